"""The command ``zc``. The shim and the service start without loading the command line."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the command of ``sys.argv`` and return its exit code."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word == "mcp" and len(sys.argv) == 2:
        from securecontext.mcp.shim import main as shim

        return shim()
    if word == "serve" and len(sys.argv) == 2:
        gc.disable()  # until its modules are there: hundreds are made, with hardly a cycle among them
        os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # nobody else's code sees what is validated
        from securecontext.service.run import main as serve

        return serve()
    from securecontext.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
