"""What was made ready takes the place of what is there: decided by one rename, finished at the next start.

1. The folder of drafts is renamed to `READY`: from here on the restore will happen, whatever dies. Before, nothing has.
2. At its next start the service, which alone is in the data folder then, moves what is there into `BEFORE`, one name
   after another, and renames `READY` to `INSTALLING`.
3. It moves each file of `INSTALLING` to its place, and removes the folder.

Each step can be repeated, and who dies in one of them goes on with it. Nothing is served in between.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from securecontext.types.errors import Unavailable

READY, INSTALLING, BEFORE = "restore.ready", "restore.installing", "before-restore"
KEYS = ("keys/ledger.root", "keys/signers.log")
"""Of the keys those that belong to the ledgers: they go with them. All others stay."""
_FOLDERS = ("", "projects", "keys", "logs")


def commit(home: Path, folder: Path) -> None:
    """Decide that what lies in a folder takes the place of what is there, at the next start.

    Raises:
        OSError: it could not be decided; nothing was changed.
    """
    folder.rename(home / READY)
    sync(home)


def finish(home: Path, moment: datetime) -> bool:
    """Finish a restore that was decided on; return whether there was one. Only for who is alone in the data folder.

    Args:
        home: the data folder.
        moment: names where that goes which was there.

    Raises:
        Unavailable: files cannot be moved now; the next start goes on.
    """
    ready, installing = home / READY, home / INSTALLING
    if not ready.is_dir() and not installing.is_dir():
        return False
    try:
        if ready.is_dir():
            _set_aside(home, moment)
            ready.rename(installing)
            sync(home)
        _put_in_place(home, installing)
    except OSError as error:
        raise Unavailable(
            "restore_unfinished",
            f"A restore could not be finished: {error.filename or home} cannot be moved ({error.strerror}).",
            f"Let {home} be written to and free some room, then start again: it goes on where it stopped.",
        ) from error
    return True


def _set_aside(home: Path, moment: datetime) -> None:
    """Move what the restore takes the place of, and whatever belongs to it, out of the way."""
    aside = home / BEFORE / f"{moment:%Y%m%dT%H%M%SZ}"
    for name in _FOLDERS:
        (aside / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    found = [
        *(each for each in home.iterdir() if each.name.lstrip(".").startswith("machine.db")),
        *(each for each in (home / "projects").glob("*") if each.is_file()),
        *(home / name for name in (*KEYS, "keys/verified.marks", "logs/anchors.log")),
    ]
    for path in found:
        if path.exists():
            path.rename(_free(aside / path.relative_to(home)))
    for name in _FOLDERS:
        sync(aside / name)
        sync(home / name)


def _free(path: Path) -> Path:
    """Return a path that is free: a restore that died and went on in the same second overwrites nothing."""
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}.{number}")
    return free


def _put_in_place(home: Path, installing: Path) -> None:
    for file in sorted(each for each in installing.rglob("*") if each.is_file()):
        target = home / file.relative_to(installing)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        file.rename(target)
    for name in _FOLDERS:
        sync(home / name)
    shutil.rmtree(installing)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if folder.is_dir():
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
