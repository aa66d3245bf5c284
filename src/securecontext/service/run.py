"""``zc serve``: settings from the environment, then the service."""

from __future__ import annotations

import sys

from securecontext.service.start import serve
from securecontext.settings import read
from securecontext.types.errors import ZcError


def main() -> int:
    """Run the service in the foreground; return its exit code."""
    try:
        return serve(read())
    except ZcError as error:
        sys.stderr.write(f"zc serve: {error}\n")
        return error.exit_code
