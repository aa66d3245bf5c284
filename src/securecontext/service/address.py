"""Where clients find the service: its socket, and the link in the data folder that points at it."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from securecontext import __version__, rendezvous
from securecontext.service import guard
from securecontext.types.errors import Unavailable

VERSION = "service.version"


class Address:
    """A listening socket and the link to it, held by whoever holds the claim to the data folder.

    Args:
        home: the data folder.

    Attributes:
        socket: what listens, mode 0600.
        path: where it lies.

    Raises:
        Unavailable: something else lies where the socket or the link belongs.
        ServiceAway: there is no folder for the socket.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.take()

    def take(self) -> None:
        """Bind a socket and let the link point at it; also anew, after somebody took the former one away.

        Raises:
            Unavailable: something else lies where the socket or the link belongs.
            ServiceAway: there is no folder for the socket.
        """
        self.path = rendezvous.socket_path(str(self._home))
        try:
            self.socket = listening_socket(self.path)
        except OSError as error:
            raise guard.blocked(Path(self.path), error) from error
        self._inode = _inode(self.path)
        self.point()

    def point(self) -> None:
        """Let ``service.sock`` point at the socket, in one step.

        Raises:
            Unavailable: something else lies where the link belongs.
        """
        guard.write_own(self._home / VERSION, __version__)
        link = self._home / rendezvous.LINK
        fresh = self._home / f".{rendezvous.LINK}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path)
        try:
            fresh.replace(link)
        except IsADirectoryError as error:
            fresh.unlink()
            raise Unavailable(
                "link_blocked",
                f"{link} is a folder; the service's socket belongs there.",
                "Move it away, then call again.",
            ) from error

    def has_socket(self) -> bool:
        """Say whether the socket still lies where it was bound: a name may have been taken by another one."""
        return _inode(self.path) == self._inode

    def has_link(self) -> bool:
        """Say whether the link still points at this path."""
        try:
            return str((self._home / rendezvous.LINK).readlink()) == self.path
        except OSError:
            return False

    def remove(self) -> None:
        """Take the link and the socket away, where they are still this service's."""
        mine = self.has_socket()
        with contextlib.suppress(OSError):
            if self.has_link() and (mine or not os.path.lexists(self.path)):
                (self._home / rendezvous.LINK).unlink()
        with contextlib.suppress(OSError):
            if mine:
                Path(self.path).unlink()

    def close(self) -> None:
        """Take the address away and listen no more."""
        self.remove()
        self.socket.close()


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listening_socket(path: str) -> socket.socket:
    """Return a listening socket at a path, mode 0600, in place of a stale one.

    The caller holds the claim to the data folder, so whatever lies at the path serves nobody.
    """
    Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(before)
    listening.listen(1024)
    listening.setblocking(False)
    return listening
