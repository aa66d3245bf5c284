"""Copies of the client's files: in the data folder, for this user's eyes alone, and only so many of them."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

KEPT = 20
"""So many commands' backups are kept; the oldest go first."""


class Backups:
    """The backups of one command: ``<home>/backups/<UTC time>/``, made with the first copy.

    Args:
        home: the data folder.
        now: names the folder.
    """

    def __init__(self, home: Path, now: datetime | None = None) -> None:
        self._all = home.absolute() / "backups"
        self._set = self._all / f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}"

    def copy(self, path: Path) -> Path:
        """Copy a file and return the copy's path."""
        if not self._set.is_dir():
            for old in sorted(self._all.glob("[0-9]*T[0-9]*Z"))[: -(KEPT - 1)]:  # the one to make is kept too
                shutil.rmtree(old)
        return copy_into(self._set, path, path.read_bytes())

    def drop(self, copy: Path) -> None:
        """Remove a copy that turned out to be needless, and its folder with the last one."""
        copy.unlink()
        for folder in (self._set, self._all):
            with contextlib.suppress(OSError):  # something else lies in it
                folder.rmdir()


def copy_into(folder: Path, path: Path, content: bytes) -> Path:
    """Write what ``path`` holds to a file in ``folder`` that is named after it; return that file."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file's name holds 255 bytes. Of a longer path the end says more than the beginning.
    stem = os.fsdecode(os.fsencode("__".join(path.absolute().parts[1:]))[-200:])
    copy, number = folder / stem, 1
    while copy.exists():
        copy, number = folder / f"{stem}-{number}", number + 1
    with open(copy, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
    return copy


class Watch:
    """Copy files before something changes them, and keep only the copies of those that did change.

    Used as a context; afterwards `changed` and `copies` say what happened.

    Args:
        paths: the files, whether they exist or not.
        backups: takes the copies.
    """

    def __init__(self, paths: list[Path], backups: Backups) -> None:
        self.before = {path: _bytes(path) for path in paths}
        self.changed: tuple[Path, ...] = ()
        self.copies: tuple[Path, ...] = ()
        self._backups = backups
        self._copied: dict[Path, Path] = {}

    def __enter__(self) -> Watch:
        self._copied = {
            path: self._backups.copy(path) for path, content in self.before.items() if content is not None
        }
        return self

    def __exit__(self, *_: object) -> None:
        self.changed = tuple(path for path, content in self.before.items() if _bytes(path) != content)
        for path, copy in self._copied.items():
            if path not in self.changed:
                self._backups.drop(copy)
        self.copies = tuple(copy for path, copy in self._copied.items() if path in self.changed)

    def undo(self, *, leave: Path) -> None:
        """Bring back what the files held, but for the one to leave alone."""
        for path, content in self.before.items():
            if path == leave or _bytes(path) == content:
                continue
            if content is None:
                path.unlink()
            else:
                write(path, content)


def write(path: Path, content: bytes) -> None:
    """Replace a file's content as a whole and keep its mode; a link is followed."""
    real = path.resolve()
    draft = real.with_name(f".{real.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    if real.exists():
        shutil.copymode(real, draft)
    draft.replace(real)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
