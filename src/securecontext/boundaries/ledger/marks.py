"""Marks: up to where a ledger was checked and found good, so that the next check reads only what came after.

A mark is worth what its MAC is. The key comes from the ledger root of the epoch, so nobody who writes the database or
the file of marks makes one, a mark of another log or installation is none, and at the epoch's end all of them are::

    key = HKDF-SHA-256(R[i], info = canonical(["securecontext/ledger/v1/verified"])), 32 bytes
    MAC = HMAC-SHA-256(key, canonical form of all other members)

They stand in ``<key folder>/verified.marks``, a line of canonical JSON for each log, the members of `Mark` and ``mac``
(hex). A line that is put back later is older and lets the next check begin earlier. While the service runs, it goes
by what it knows itself: a mark that it gave up stays given up, whatever the file says.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import threading
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from securecontext.boundaries import private_files
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import InvalidInput, Unavailable
from securecontext.types.ids import parse_timestamp

FILE = "verified.marks"
MOST_BYTES = 16 * 1024 * 1024
LABEL = "securecontext/ledger/v1/verified"
MOST_AGENTS = 1_000
"""A log in which more agents are named is read whole each time."""
LASTS = timedelta(days=1)
"""How long after a full check the next ones may begin at a mark."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a good check ended.

    Attributes:
        log: the log's id.
        kid: whose root the MAC's key comes from.
        size: leaves of the log's tree.
        root: of that tree, hex.
        last: the highest row (``ledger_entries.entry``) among those leaves.
        checkpoints: how many there were below ``size``.
        anchored: leaves that an anchor vouched for.
        offset: behind the last anchor that was read.
        agents: claimed names that were met, sorted.
        full_at: when all of it was read last; empty where a full check found something since then.
    """

    log: str
    kid: str
    size: int
    root: str
    last: int
    checkpoints: int
    anchored: int
    offset: int
    agents: tuple[str, ...]
    full_at: str

    def counts(self, moment: datetime) -> bool:
        """Say whether a check may begin here."""
        return bool(self.full_at) and timedelta() <= moment - parse_timestamp(self.full_at) < LASTS


class Marks:
    """The marks of one installation. Safe to share by threads.

    Args:
        keyring: its ledger root authenticates them, its folder holds the file.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._lock = threading.Lock()
        self._known: dict[str, Mark | None] = {}

    def find(self, log: str) -> Mark | None:
        """Return the mark of a log; None where there is none, or it is not authentic.

        Raises:
            Unavailable: ``marks_file_unsafe``, ``key_folder_unsafe``, ``key_folder_unusable``.
        """
        with self._lock:
            if log not in self._known:
                self._known[log] = self._lines().get(log)
            found = self._known[log]
            return None if found is None or self._keyring.erased(found.kid) else found

    def keep(self, mark: Mark) -> None:
        """Put a mark in the place of its log's last one.

        Raises:
            Unavailable: it is kept in memory alone.
        """
        with self._lock:
            if self._known.get(mark.log) != mark:
                self._known[mark.log] = mark
                self._write(mark)

    def give_up(self, log: str) -> None:
        """Begin no further check at the log's mark; it still tells how long the log was.

        Raises:
            Unavailable: it is given up in memory alone.
        """
        with self._lock:
            found = self._known.get(log)
            if found is not None and found.full_at:
                self._known[log] = given_up = replace(found, full_at="")
                self._write(given_up)

    def _lines(self) -> dict[str, Mark]:
        try:
            with private_files.opened(self._keyring.folder) as descriptor:
                return self._read(descriptor)
        except OSError as error:
            raise self._unusable(error) from error

    def _read(self, descriptor: int) -> dict[str, Mark]:
        path = self._keyring.folder / FILE

        def refuse(what: str, hint: str) -> Unavailable:
            return Unavailable("marks_file_unsafe", f"The file {path} {what}.", hint)

        data = private_files.load(descriptor, path, refuse, MOST_BYTES) or b""
        marks = (_parse(line, self._keyring) for line in data.splitlines())
        return {mark.log: mark for mark in marks if mark is not None}

    def _write(self, mark: Mark) -> None:
        """Replace the file by one with the mark, and without those that count no more."""
        try:
            with private_files.opened(self._keyring.folder) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                marks = {**self._read(descriptor), mark.log: mark}
                lines = [
                    _line(each, self._keyring)
                    for each in marks.values()
                    if not self._keyring.erased(each.kid)
                ]
                private_files.replace(descriptor, FILE, b"".join(lines))
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> Unavailable:
        return Unavailable(
            "key_folder_unusable",
            f"The key folder {self._keyring.folder} cannot be used: {error.strerror}.",
            "Make sure that it is writable and has free space, then start again.",
        )


def _line(mark: Mark, keyring: Keyring) -> bytes:
    members = asdict(mark)
    return canonical({**members, "mac": _mac(members, mark.kid, keyring).hex()}) + b"\n"


def _mac(members: dict[str, Any], kid: str, keyring: Keyring) -> bytes:
    return hmac.digest(keyring.derive(LABEL, 32, kid), canonical(members), "sha256")


def _parse(line: bytes, keyring: Keyring) -> Mark | None:
    """Return what a line says; None unless it is authentic, for then the ledger is read from its beginning."""
    try:
        members = json.loads(line)
        mac = bytes.fromhex(members.pop("mac"))
        if not hmac.compare_digest(mac, _mac(members, members["kid"], keyring)):
            return None
        return Mark(**{**members, "agents": tuple(members["agents"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput, Unavailable):
        return None
