"""Small secret files of one owner: made whole or not at all, and refused when others could know them.

A file lies in a folder of mode 0700, is regular, of mode 0600 and of this user. What is open to others is refused, not
repaired: what was exposed may have been copied. All access goes through a descriptor of the folder, which cannot be
exchanged for another one meanwhile.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from securecontext.types.errors import Unavailable

Refuse = Callable[[str, str], Unavailable]
"""Makes the refusal of a file: what is wrong with it (``is open to others``), and the next step."""


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Yield a descriptor of the checked key folder, making the folder at the first use.

    Raises:
        Unavailable: ``key_folder_unsafe``.
        OSError: it cannot be made or opened.
    """
    descriptor = _open(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        _sync_folder(folder.parent)
    if folder.is_symlink() or not folder.is_dir():
        raise _unsafe(folder, "is not a folder of its own", f"Move it away: `mv {folder} {folder}.aside`.")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        os.close(descriptor)
        raise _unsafe(folder, "belongs to another user", f"Look who made it: `ls -ld {folder}`.")
    if status.st_mode & 0o077:
        os.close(descriptor)
        raise _unsafe(folder, "is open to other users", f"Close it: `chmod 700 {folder}`.")
    return descriptor


def _unsafe(folder: Path, what: str, hint: str) -> Unavailable:
    return Unavailable("key_folder_unsafe", f"The key folder {folder} {what}.", hint)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(descriptor: int, path: Path, refuse: Refuse, limit: int = 4096) -> bytes | None:
    """Return what a private file holds, at most ``limit`` bytes, or None when there is none.

    Args:
        descriptor: of the folder.
        path: the file, for messages; its name is looked up in the folder.
        refuse: makes the refusal of a file that is no private one.
        limit: bytes that are read.

    Raises:
        Unavailable: what ``refuse`` makes.
    """
    try:
        status = os.lstat(path.name, dir_fd=descriptor)
    except FileNotFoundError:
        return None
    away = f"Move it away: `mv {path} {path}.aside`."
    if not stat.S_ISREG(status.st_mode):
        raise refuse("is not a regular file", away)
    # O_NOFOLLOW and O_NONBLOCK: should the name be exchanged after the look, no link is followed, no pipe waited on.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path.name, flags, dir_fd=descriptor), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise refuse("is not a regular file", away)
        if status.st_uid != os.geteuid():
            raise refuse("belongs to another user", f"Look who made it: `ls -l {path}`.")
        if status.st_mode & 0o177:
            raise refuse("is open to others", f"If nobody has read it, close it: `chmod 600 {path}`.")
        return file.read(limit)


def make(descriptor: int, name: str, data: bytes) -> None:
    """Put a complete file in place, unless one is there: the name appears with its full content or not at all."""
    with _draft(descriptor, name, data) as draft:
        try:
            os.link(draft, name, src_dir_fd=descriptor, dst_dir_fd=descriptor, follow_symlinks=False)
        except FileExistsError:
            return
        os.fsync(descriptor)


def replace(descriptor: int, name: str, data: bytes) -> None:
    """Put a complete file in the place of another one, durably; whoever reads finds the old one or the new one.

    The old bytes are overwritten first where the file system lets them be: a journal or a snapshot may keep them.
    """
    with _draft(descriptor, name, data) as draft:
        old = _open_old(descriptor, name)
        os.rename(draft, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.fsync(descriptor)
        if old is not None:
            _overwrite(old)


def remove(descriptor: int, name: str) -> None:
    """Erase a file, durably: its name is gone, then its bytes are overwritten, as far as the file system allows."""
    old = _open_old(descriptor, name)
    if old is None:
        return
    os.unlink(name, dir_fd=descriptor)
    os.fsync(descriptor)
    _overwrite(old)


def sweep(descriptor: int, name: str) -> None:
    """Erase the drafts of a file that a crash left behind; only for whoever is the file's one writer."""
    for found in os.listdir(descriptor):
        if found.startswith(f".{name}."):
            remove(descriptor, found)


@contextmanager
def _draft(descriptor: int, name: str, data: bytes) -> Iterator[str]:
    draft = f".{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    made = os.open(draft, flags, 0o600, dir_fd=descriptor)
    try:
        with os.fdopen(made, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        with suppress(FileNotFoundError):  # it was renamed into its place
            os.unlink(draft, dir_fd=descriptor)


def _open_old(descriptor: int, name: str) -> int | None:
    try:
        return os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except FileNotFoundError:
        return None


def _overwrite(opened_file: int) -> None:
    """Overwrite a file that has no name any more, and close it."""
    try:
        if (
            os.fstat(opened_file).st_nlink == 0
        ):  # another name means that it is somebody's copy, not ours to damage
            os.pwrite(opened_file, b"\0" * os.fstat(opened_file).st_size, 0)
            os.fsync(opened_file)
    finally:
        os.close(opened_file)
