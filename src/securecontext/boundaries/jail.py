"""Files below one folder, and none besides: enforces on handles what `validators.filesystem` decides about text.

A jail holds a handle of its folder, and every file is opened from there: by ``openat2`` with ``RESOLVE_BENEATH``,
``RESOLVE_NO_SYMLINKS`` and ``RESOLVE_NO_MAGICLINKS`` (https://man7.org/linux/man-pages/man2/openat2.2.html), or, where
the kernel or a filter does not know that, part by part with ``O_NOFOLLOW``. Either way there is no moment between a
look and its use: a name that is exchanged in mid-walk is refused or is a file below the folder. Only regular files
are opened; nothing is waited for.

A folder that somebody moves out of the jail while a file in it is being opened is still the folder that was in it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from securecontext.types.errors import Denied, InvalidInput, NotFound, Unavailable
from securecontext.validators.filesystem import SafePath

OPENAT2: Final = 437
"""Number of the system call, the same on every architecture but Alpha."""
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_UNKNOWN: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG})
"""What a kernel, or a filter in front of it, answers that will not do ``openat2``."""
_LEAVES: Final = frozenset({errno.ELOOP, errno.EXDEV})
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER: Final = os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW

Opener = Callable[[int, tuple[str, ...], int, int], int]
"""Opens parts below a folder's handle: handle, parts, flags and mode to a new handle; raises OSError."""


def by_kernel(root: int, parts: tuple[str, ...], flags: int, mode: int) -> int:
    """Open by ``openat2``; raises OSError, with one of `_UNKNOWN` where there is no such call."""
    # Without O_NOFOLLOW, which would let a link that is asked for as a folder be "not a directory".
    how = struct.pack("=QQQ", flags & ~os.O_NOFOLLOW, mode, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    path = os.fsencode("/".join(parts))
    while True:
        found = int(_syscall()(OPENAT2, root, path, how, len(how)))
        if found >= 0:
            return found
        trouble = ctypes.get_errno()
        if trouble != errno.EINTR:
            raise OSError(trouble, os.strerror(trouble))


@cache
def _syscall() -> Callable[..., int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    found: Callable[..., int] = call
    return found


def by_walk(root: int, parts: tuple[str, ...], flags: int, mode: int) -> int:
    """Open part by part, each from the handle of the one before, following no link; raises OSError."""
    here = os.dup(root)
    try:
        for part in parts[:-1]:
            here, left = _enter(here, part), here
            os.close(left)
        return _open(here, parts[-1], flags, mode)
    finally:
        os.close(here)


def _enter(here: int, part: str) -> int:
    return _open(here, part, os.O_PATH | _FOLDER, 0)


def _open(here: int | None, part: str, flags: int, mode: int) -> int:
    try:
        return os.open(part, flags | os.O_NOFOLLOW, mode, dir_fd=here)
    except NotADirectoryError:
        # With O_DIRECTORY a link is "not a directory"; to tell it apart is a matter of words, not of safety. Where a
        # folder stands there now, it has just been exchanged.
        found = os.stat(part, dir_fd=here, follow_symlinks=False).st_mode
        if stat.S_ISLNK(found) or stat.S_ISDIR(found):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


def beneath(root: int, parts: tuple[str, ...], flags: int, mode: int) -> int:
    """Open by the kernel's own jail, or by the walk where there is none; raises OSError."""
    try:
        return by_kernel(root, parts, flags, mode)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    return by_walk(root, parts, flags, mode)


class Jail:
    """One folder's files. Make it with `Jail.at`; a context that closes its handle.

    Args:
        handle: of the folder; the jail closes it.
        opener: how files below it are opened.
    """

    def __init__(self, handle: int, opener: Opener = beneath) -> None:
        self._handle = handle
        self._open = opener

    @classmethod
    def at(cls, folder: Path, opener: Opener = beneath) -> Jail:
        """Return the jail of a folder, which must be one itself and no link to one.

        Raises:
            NotFound: ``no_such_file``: there is none.
            Denied: ``outside_jail``: its own name is a link.
            InvalidInput: ``not_a_file``: it is none.
            Unavailable: ``jail_unreadable``.
        """
        try:
            return cls(_open(None, str(folder), os.O_RDONLY | _FOLDER, 0), opener)
        except (OSError, ValueError) as error:
            raise _refusal(error) from error

    def __enter__(self) -> Jail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def read(self, path: SafePath, limit: int, *, one_name: bool = False) -> bytes:
        """Return what a file holds.

        Args:
            path: below the folder.
            limit: bytes that it may hold.
            one_name: refuse a file that has other names too (hard links), which may lie outside.

        Raises:
            NotFound, Denied, InvalidInput, Unavailable: see `open`; ``too_large``: it holds more.
        """
        with self.open(path, one_name=one_name) as file:
            found = file.read(limit + 1)
        if len(found) > limit:
            raise InvalidInput("too_large", f"The file is longer than {limit} bytes.", "Name a smaller file.")
        return found

    def open(self, path: SafePath, *, one_name: bool = False) -> BinaryIO:
        """Open a regular file for reading.

        Raises:
            NotFound: ``no_such_file``.
            Denied: ``outside_jail``: a part of the path is a link or leads out; ``many_names``: `one_name` was asked.
            InvalidInput: ``not_a_file``: a folder, pipe, socket or device.
            Unavailable: ``jail_unreadable``.
        """
        handle = self._opened(path.parts, _READ)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise _no_file()
            if one_name and status.st_nlink != 1:
                raise Denied(
                    "many_names",
                    "The file has other names, which may lie elsewhere.",
                    "Copy it, and name the copy.",
                )
            return os.fdopen(handle, "rb")
        except BaseException:
            os.close(handle)
            raise

    def create(self, path: SafePath, mode: int = 0o600) -> BinaryIO:
        """Make a file that was not there, and open it for writing.

        Raises:
            InvalidInput: ``file_exists``: something has that name.
            NotFound, Denied, Unavailable: see `open`; of its folder.
        """
        return os.fdopen(self._opened(path.parts, _CREATE, mode), "wb")

    def names(self, path: SafePath | None = None) -> list[str]:
        """Return what lies in a folder of the jail, by default in its own, in order.

        Raises:
            NotFound, Denied, InvalidInput, Unavailable: see `open`.
        """
        if path is None:
            return sorted(os.listdir(self._handle))  # noqa: PTH208 - a handle is no path
        handle = self._opened(path.parts, os.O_RDONLY | _FOLDER)
        try:
            return sorted(os.listdir(handle))  # noqa: PTH208 - a handle is no path
        finally:
            os.close(handle)

    def _opened(self, parts: tuple[str, ...], flags: int, mode: int = 0) -> int:
        try:
            return self._open(self._handle, parts, flags, mode)
        except OSError as error:
            raise _refusal(error) from error


def _no_file() -> InvalidInput:
    return InvalidInput("not_a_file", "That is not a file.", "Name a regular file.")


def _refusal(error: OSError | ValueError) -> NotFound | Denied | InvalidInput | Unavailable:
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    if number in _LEAVES:
        return Denied("outside_jail", "The path leads through a link.", "Name the file itself.")
    if number == errno.ENOENT:
        return NotFound(
            "no_such_file", "There is no such file.", "List the folder and name one of its files."
        )
    if number == errno.EEXIST:
        return InvalidInput("file_exists", "Something has that name.", "Use another name.")
    if number in (errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
        return _no_file()
    return Unavailable(
        "jail_unreadable",
        f"The file cannot be opened ({os.strerror(number or 0)}).",
        "Check its owner and mode.",
    )
