"""The ledger's verifier: reads every entry, skips none, and never calls a ledger good that it could not read.

Entries stream through in the order of stream and number; nothing but the heads' rows and the names of agents is
kept. Three statements, each consistent in itself, so a writer at work does not make a sound ledger look broken:

1. every entry with its body, and with its stream's head if that head names it;
2. every head that names no entry;
3. every body without an entry.

What cannot be seen without an anchor outside the database: a stream removed whole, with its head and bodies; a
stream cut back together with a head of its own from that time; a return of the whole database to an older copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from securecontext.boundaries import chain
from securecontext.boundaries.canonical import SAFE_INTEGER
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.verdict import MOST_FINDINGS, Broken, Finding, Status, Verdict
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from securecontext.types.errors import InvalidInput, Tampered, Unavailable

ROWS_AT_ONCE = 1000

e, h, b = ledger_entries.c, ledger_heads.c, ledger_bodies.c
_same_body = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
_same_head = (h.log == e.log) & (h.stream == e.stream) & (h.seq == e.seq)
_entries = (
    select(
        e.entry, e.log, e.stream, e.seq, e.canonical, e.mac, e.kid, e.ts, e.kind, e.principal, e.claimed_agent,
        e.body_digest, e.prev, b.salt, b.body, h.seq, h.head, h.mac,
    )
    .select_from(ledger_entries.outerjoin(ledger_bodies, _same_body).outerjoin(ledger_heads, _same_head))
    .where(e.log == bindparam("log"))
    .order_by(e.stream, e.seq, e.entry)
)  # fmt: skip
_stray_heads = (
    select(h.stream, h.seq, h.head, h.mac)
    .select_from(ledger_heads.outerjoin(ledger_entries, _same_head))
    .where(h.log == bindparam("log"), e.entry.is_(None))
    .order_by(h.stream)
)
_stray_bodies = (
    select(b.stream, b.seq)
    .select_from(ledger_bodies.outerjoin(ledger_entries, _same_body))
    .where(b.log == bindparam("log"), e.entry.is_(None))
    .order_by(b.stream, b.seq)
)


def verify(connection: Connection, log: str, keyring: Keyring) -> Verdict:
    """Check a whole log.

    Args:
        connection: for reading; no transaction of the caller's is changed.
        log: the log's id.
        keyring: holds the ledger root.

    Returns:
        ``OK`` when all is as it was written, ``TAMPERED`` when something is not, ``INCOMPLETE`` when nothing broken
        was found but not everything could be read.
    """
    check = _Check(log, keyring)
    read_error = None
    try:
        for row in _rows(connection, _entries, log):
            check.entry(row)
        check.end_of_stream()
        for row in _rows(connection, _stray_heads, log):
            check.stray_head(row)
        for stream, seq in _rows(connection, _stray_bodies, log):
            check.note(Broken.FOREIGN_BODY, stream, seq)
        check.end_of_log()
    except (SQLAlchemyError, OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "orig", None) or error
        read_error = f"{cause} (after {check.entries} entries)"
    return check.verdict(read_error)


def _rows(connection: Connection, query: Select[Any], log: str) -> Iterator[Sequence[Any]]:
    """Stream the rows; they are not collected in memory on either engine."""
    with connection.execute(query, {"log": log}, execution_options={"yield_per": ROWS_AT_ONCE}) as result:
        yield from result


class _Check:
    """The state of one run: the stream at hand, and what was found."""

    def __init__(self, log: str, keyring: Keyring) -> None:
        self.log = log
        self.keyring = keyring
        self.findings: list[Finding] = []
        self.broken = 0
        self.entries = 0
        self.streams = 0
        self.agents: set[str] = set()
        self.opened = False
        self.headless: dict[
            str, tuple[int, int]
        ] = {}  # stream -> last seq and row, until a stray head is met
        self.stream: str | None = None
        self.seq = 0
        self.row = 0
        self.prev: str | None = None  # None: not judged, because the entry before is broken itself
        self.kid: str | None = None
        self.key = b""
        self.head_at: int | None = None

    def note(self, kind: Broken, stream: object, seq: object, row: object = None) -> None:
        """Record a broken place."""
        self.broken += 1
        if len(self.findings) < MOST_FINDINGS:
            number = seq if type(seq) is int else 0
            self.findings.append(Finding(kind, str(stream), number, row if type(row) is int else None))

    def entry(self, stored: Sequence[Any]) -> None:
        """Check one entry: its bytes, its MAC, its place, its body, its head. It yields one finding at most."""
        (
            row, log, stream, seq, data, mac, kid, ts, kind, principal, agent, digest, prev, salt, body,
            head_seq, head, head_mac,
        ) = stored  # fmt: skip
        self.entries += 1
        if type(stream) is not str or type(seq) is not int:
            self.note(Broken.ALTERED_COLUMN, stream, seq, row)
            return
        if stream != self.stream:
            self.end_of_stream()
            self.stream, self.seq, self.kid, self.head_at = stream, 0, None, None
            self.prev = chain.genesis(self.log, stream)
            self.streams += 1
        if agent and type(agent) is str:
            self.agents.add(agent)

        columns = chain.Entry(log, stream, seq, kid, ts, kind, principal, agent, digest, prev)
        finding = self._content(columns, data, mac)
        actual = chain.entry_hash(data, mac) if finding is None else None
        if finding is None:
            finding = self._place(seq, prev)
        if finding is None:
            finding = _body(salt, body, digest)
        if head_seq is not None:
            self.head_at = seq
            if finding is None and not self._authentic_head(stream, seq, head, head_mac, actual):
                finding = Broken.HEAD_MISMATCH
        if finding is not None:
            self.note(finding, stream, seq, row)
        elif stream == chain.LOG_STREAM and seq == 1 and kind == "created":
            self.opened = True
        self.seq, self.row, self.prev = seq, row, actual

    def _content(self, columns: chain.Entry, data: object, mac: object) -> Broken | None:
        """Check the stored bytes: rebuilt from the columns they are the same, and their MAC fits."""
        if type(data) is not bytes or type(mac) is not bytes:
            return Broken.ALTERED_ENTRY
        signed = columns
        if not _rebuilds(columns, data):
            try:
                signed = chain.decode(data)
            except Tampered:
                return Broken.ALTERED_ENTRY
        if signed.kid != self.kid:
            try:
                self.key = self.keyring.stream_key_for(signed.kid, self.log, columns.stream)
            except Unavailable:
                self.kid = None
                return Broken.FOREIGN_KEY
            self.kid = signed.kid
        key = self.key
        if (signed.log, signed.stream) != (self.log, columns.stream):  # moved here from where it was written
            key = self.keyring.stream_key_for(signed.kid, signed.log, signed.stream)
        if not chain.same_mac(mac, chain.mac(key, data)):
            return Broken.ALTERED_ENTRY
        return None if signed is columns else Broken.ALTERED_COLUMN

    def _place(self, seq: int, prev: str) -> Broken | None:
        """Check that the entry follows the one before it; a gap is the gap's finding, not the entry's."""
        if seq > self.seq + 1:
            self.note(Broken.MISSING_ENTRY, self.stream, self.seq + 1)
            return None
        if seq <= self.seq or (self.prev is not None and prev != self.prev):
            return Broken.BROKEN_LINK
        return None

    def _authentic_head(
        self, stream: str, seq: object, head: object, mac: object, actual: object = None
    ) -> bool:
        """Tell whether a head was written by the ledger, and names this hash if one is given."""
        if type(seq) is not int or type(head) is not str or not 0 < seq <= SAFE_INTEGER:
            return False
        if actual is not None and head != actual:
            return False
        key = self.key if stream == self.stream else self.keyring.stream_key(self.log, stream)
        return chain.same_mac(mac, chain.head_mac(key, self.log, stream, seq, head))

    def end_of_stream(self) -> None:
        """Check that the head names the stream's newest entry; if it names none, the stray heads will tell."""
        if self.stream is None:
            return
        if self.head_at is None:
            self.headless[self.stream] = (self.seq, self.row)
        elif self.head_at != self.seq:
            self.note(Broken.HEAD_MISMATCH, self.stream, self.seq, self.row)
        self.stream = None

    def stray_head(self, stored: Sequence[Any]) -> None:
        """Judge a head that names no entry: entries were cut off, or the head itself was changed."""
        stream, seq, head, mac = stored
        if type(stream) is not str:
            self.note(Broken.HEAD_MISMATCH, stream, seq)
            return
        last, _ = self.headless.pop(stream, (0, 0))
        if self._authentic_head(stream, seq, head, mac) and seq > last:
            self.note(Broken.MISSING_ENTRY, stream, last + 1)
        else:
            self.note(Broken.HEAD_MISMATCH, stream, seq)

    def end_of_log(self) -> None:
        """Judge what only the whole shows: streams without a head, and a log without its first entry."""
        for stream, (seq, row) in self.headless.items():
            self.note(Broken.MISSING_HEAD, stream, seq, row)
        if self.entries == 0:
            self.broken += 1
            self.findings.insert(0, Finding(Broken.EMPTIED, "", 0, None))
        elif not self.opened and not any(found.stream == chain.LOG_STREAM for found in self.findings):
            self.note(Broken.MISSING_ENTRY, chain.LOG_STREAM, 1)

    def verdict(self, read_error: str | None) -> Verdict:
        """Return the answer."""
        status = (
            Status.TAMPERED if self.broken else Status.INCOMPLETE if read_error is not None else Status.OK
        )
        return Verdict(
            status, self.entries, self.streams, len(self.agents), tuple(self.findings), self.broken,
            unanchored=self.entries, read_error=read_error,
        )  # fmt: skip


def _rebuilds(columns: chain.Entry, data: bytes) -> bool:
    """Tell whether the columns, written canonically, are the stored bytes: then all of them are what was signed."""
    try:
        return chain.encode(columns) == data
    except (InvalidInput, TypeError):  # a column holds what no entry can
        return False


def _body(salt: object, body: object, digest: str) -> Broken | None:
    if salt is None or body is None:
        return Broken.MISSING_BODY
    if type(salt) is not bytes or type(body) is not bytes or len(salt) != chain.SALT_BYTES:
        return Broken.ALTERED_BODY
    return None if chain.body_digest(salt, body) == digest else Broken.ALTERED_BODY
