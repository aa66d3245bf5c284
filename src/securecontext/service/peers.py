"""Who may use the socket of a system service: a map of user ids to names, which the administrator keeps.

A line each, ``<uid> <name>``; what follows ``#`` and empty lines say nothing. The file belongs to root or to the
service's own user, and nobody else may write it. It is read at every connection: whose line was taken away is let in
no more. A file with one wrong line lets nobody in.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from securecontext.boundaries.policy import Standing
from securecontext.types.errors import Denied, Unavailable

DOORS = frozenset({"hook", "mcp", "rpc"})
"""The doors of a socket that several users share; the others manage the service."""
MOST_BYTES = 64 * 1024
_LINE = re.compile(r"(0|[1-9][0-9]{0,9})[ \t]+([a-z][a-z0-9_-]{0,31})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Peer:
    """The user at the other end of a connection.

    Attributes:
        uid: as the kernel knows it.
        name: by which the map calls it; empty for the service's own user at its own socket.
    """

    uid: int
    name: str = ""

    @property
    def principal(self) -> int | str:
        """Who it is, for `introduce`."""
        return f"user:{self.name}" if self.name else self.uid

    def standing(self, own: Standing) -> Standing:
        """Return in what capacity it calls at a door where the service's own user would have this one."""
        return Standing.MEMBER if self.name and own is not Standing.HOOK else own


class Peers:
    """The map.

    Args:
        file: holds it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def admit(self, uid: int) -> Peer:
        """Return the peer of a user id.

        Raises:
            Denied: ``user_not_mapped``.
            Unavailable: ``principals_unusable``: the map cannot be read, or is none; nobody is let in.
        """
        name = self._read().get(uid)
        if name is None:
            raise Denied(
                "user_not_mapped",
                "This service does not know your user.",
                f"Ask the administrator to add a line for it to {self._file}.",
            )
        return Peer(uid, name)

    def _read(self) -> dict[int, str]:
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                data = os.read(descriptor, MOST_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unusable(f"cannot be read ({error.strerror})") from error
        if not stat.S_ISREG(found.st_mode) or len(data) > MOST_BYTES:
            raise self._unusable("is no file of such lines")
        if found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022:
            raise self._unusable("can be written by others")
        return self._parsed(data)

    def _parsed(self, data: bytes) -> dict[int, str]:
        peers: dict[int, str] = {}
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            said = line.partition("#")[0].strip()
            if not said:
                continue
            match = _LINE.fullmatch(said)
            if match is None or int(match[1]) in peers or match[2] in peers.values():
                raise self._unusable(f"is wrong in line {number}")
            peers[int(match[1])] = match[2]
        return peers

    def _unusable(self, what: str) -> Unavailable:
        return Unavailable(
            "principals_unusable",
            f"The map of users {self._file} {what}; nobody is let in.",
            "Ask the administrator: a line each, `<uid> <name>`, each of both once, in a file of root's.",
        )
