"""What the plugin's files hold on this machine: the plugin's sources with this machine's paths in their places.

Pure: nothing is written. `cli.plugin_render` writes them where Claude Code reads them, and `integrity` asks whether
what lies there is what this package would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import securecontext
from securecontext.types.errors import Unavailable

MARKETPLACE = "securecontext"
PLUGIN = "securecontext"
SERVER = "zc-ctx"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the rendered plugin must know of this machine.

    Args:
        python: absolute path of the interpreter that SecureContext is installed for.
        home: absolute path of the data folder where it is not the default, else None.
    """

    python: Path
    home: Path | None = None

    @property
    def service_command(self) -> list[str]:
        """The command line that starts the service."""
        return [str(self.python), "-I", "-m", "securecontext", "serve"]

    @property
    def shim(self) -> Path:
        """The MCP shim, run as a file so that no package is imported at its start."""
        return package_folder() / "mcp" / "shim.py"


def package_folder() -> Path:
    """Return the folder of the installed package."""
    return Path(securecontext.__file__).resolve().parent


def plugin_source() -> Path:
    """Return the folder with the plugin's sources: inside the package, or beside ``src`` in a checkout.

    Raises:
        Unavailable: ``plugin_missing``, the installation is incomplete.
    """
    package = package_folder()
    for folder in (package / "_plugin", package.parent.parent / "plugin"):
        if (folder / ".claude-plugin" / "plugin.json").is_file():
            return folder
    raise Unavailable(
        "plugin_missing",
        "This installation of SecureContext does not hold the plugin's files.",
        "Install the package again, then run: zc install claude-code",
    )


def plugin_files(source: Path, machine: Machine) -> Iterator[tuple[Path, bytes]]:
    """Yield each file of the marketplace folder: its path within the folder, and what it holds.

    Args:
        source: the plugin's sources, see `plugin_source`.
        machine: what to write into them.

    Raises:
        Unavailable: ``plugin_missing``, the sources are incomplete.
    """
    version = securecontext.__version__
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if not path.is_file() or "__pycache__" in relative.parts:
            continue
        content = path.read_bytes()
        match relative.as_posix():
            case ".claude-plugin/plugin.json":
                content = _json({**json.loads(content), "version": version})
            case ".mcp.json":
                content = _json({"mcpServers": {SERVER: _server(machine)}})
            case "hooks/hooks.json":
                content = _json(_with_python(json.loads(content), machine.python))
            case "hooks/entry.py":
                content = _entry(content.decode(), machine, version).encode()
        yield Path("plugin") / relative, content
    manifest = json.loads((source / ".claude-plugin" / "plugin.json").read_bytes())
    entry = {"name": PLUGIN, "source": "./plugin", "description": manifest["description"]}
    market = {"name": MARKETPLACE, "owner": manifest["author"], "plugins": [entry]}
    yield Path(".claude-plugin/marketplace.json"), _json(market)


def _server(machine: Machine) -> dict[str, Any]:
    server: dict[str, Any] = {"command": str(machine.python), "args": ["-I", "-S", str(machine.shim)]}
    if machine.home is not None:
        # The client hands its own environment on, so only what a later shell may lack is written down.
        server["env"] = {"ZC_HOME": f"${{ZC_HOME:-{machine.home}}}"}
    return server


def _with_python(hooks: dict[str, Any], python: Path) -> dict[str, Any]:
    for groups in hooks["hooks"].values():
        for group in groups:
            for handler in group["hooks"]:
                handler["command"] = str(python)
    return hooks


def _entry(text: str, machine: Machine, version: str) -> str:
    home = None if machine.home is None else str(machine.home)
    for name, annotation, value in (
        ("COMMAND", ": list[str] | None", machine.service_command),
        ("HOME", ": str | None", home),
        ("VERSION", "", version),
    ):
        line = f"{name}{annotation} = {value!r}"
        text, count = re.subn(rf"(?m)^{name}\b[^=\n]*= .*$", lambda _, line=line: line, text)  # type: ignore[misc]
        if count != 1:
            raise Unavailable(
                "plugin_missing",
                f"The plugin's hook file has no single line for {name}.",
                "Install the package again, then run: zc install claude-code",
            )
    return text


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
