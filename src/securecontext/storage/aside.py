"""Files that are no sound databases: set aside under another name, never overwritten, and decided about by a person."""

from __future__ import annotations

import json
from pathlib import Path

from securecontext.types.errors import Unavailable

MARKER = ".set-aside"


def marker_of(path: Path) -> Path:
    """Return where the marker of a file lies."""
    return path.with_name(path.name + MARKER)


def refuse_if_set_aside(path: Path) -> None:
    """Raise Unavailable when this file was set aside and nobody has decided what to do about it."""
    marker = marker_of(path)
    if marker.exists():
        kept = _kept(marker)
        raise Unavailable(
            "database_set_aside",
            f"{path.name} was not a sound database and was kept as {kept.name}.",
            "Put a backup in its place, or start a fresh one with `zc recover --yes`.",
            kept=str(kept),
        )


def found_in(*folders: Path) -> dict[Path, Path]:
    """Return the files that were set aside in some folders: the name each had, and where it is kept."""
    markers = sorted(marker for folder in folders for marker in folder.glob("*" + MARKER))
    return {marker.with_name(marker.name.removesuffix(MARKER)): _kept(marker) for marker in markers}


def _kept(marker: Path) -> Path:
    return Path(json.loads(marker.read_text(encoding="utf-8"))["kept"])


def set_aside(path: Path) -> Path:
    """Rename a broken file and its logs, never overwriting anything, and leave a marker. Return the new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.bad-{number}")).exists():
        number += 1
    # The marker first: who dies in between leaves a file that is refused, never one that is silently made anew.
    fresh = path.with_name(f".{path.name}{MARKER}")
    fresh.write_text(json.dumps({"kept": str(aside)}), encoding="utf-8")
    fresh.replace(marker_of(path))
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def recover(path: Path) -> Path | None:
    """Remove the marker of a file that was set aside, so that a fresh one may be made. Return what was kept."""
    marker = marker_of(path)
    if not marker.exists():
        return None
    kept = Path(json.loads(marker.read_text(encoding="utf-8"))["kept"])
    marker.unlink()
    return kept
