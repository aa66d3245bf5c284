"""Write the plugin with this machine's paths into a folder that Claude Code takes as a local marketplace."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from securecontext.boundaries.code.plugin_files import Machine, plugin_files, plugin_source


def render(target: Path, machine: Machine, source: Path | None = None) -> None:
    """Bring ``target`` to the state of a marketplace folder with the plugin for this machine.

    Each file is replaced as a whole, because running sessions read the hook's file at every event; files of
    an earlier version that are no longer part of the plugin are removed.

    Args:
        target: the folder; made for this user alone if it does not exist.
        machine: what to write into the files.
        source: the plugin's sources; `plugin_source` by default.
    """
    bring(target, dict(plugin_files(source or plugin_source(), machine)))


def contents(target: Path) -> dict[Path, bytes]:
    """Return what a rendered folder holds, by path within it; nothing where there is none."""
    return {path.relative_to(target): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def bring(target: Path, wanted: Mapping[Path, bytes]) -> None:
    """Bring a rendered folder to hold exactly ``wanted``; to hold nothing is not to be there."""
    for relative, content in wanted.items():
        _replace(target / relative, content)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(target) not in wanted:
            path.unlink()
    if not wanted:
        remove(target)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_file() and path.read_bytes() == content:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def remove(target: Path) -> bool:
    """Remove the rendered folder; return whether there was one."""
    if not target.is_dir():
        return False
    shutil.rmtree(target)
    return True
