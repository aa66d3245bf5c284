"""The ledger's verifier: reads every entry, skips none, and never calls a ledger good that it could not read.

Entries stream through in the order of stream and number; nothing but the heads' rows and the names of agents is
kept. Statements that are each consistent in themselves, so a writer at work does not make a sound ledger look broken:

1. the signed checkpoints;
2. every entry with its body, and with its stream's head if that head names it;
3. every head that names no entry, every body without an entry, and every missing body against the entries of
   purges;
4. every leaf of the tree against its entry, and each signed root against the leaves (``verify_tree``);
5. what was anchored outside the database against the tree (``verify_anchors``).

What came after the last anchor out of the attacker's reach can be cut off with heads of that time, unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, or_, select
from sqlalchemy.exc import SQLAlchemyError

from securecontext.boundaries import chain
from securecontext.boundaries.anchors import AnchorFile
from securecontext.boundaries.canonical import SAFE_INTEGER
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.purge import Gaps
from securecontext.boundaries.signers import Signers, read
from securecontext.boundaries.verdict import MOST_FINDINGS, Broken, Finding, Status, Verdict
from securecontext.boundaries.verify_anchors import Anchored, check_anchors
from securecontext.boundaries.verify_tree import check_tree, read_checkpoints
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from securecontext.types.errors import InvalidInput, Tampered, Unavailable
from securecontext.types.ids import timestamp

ROWS_AT_ONCE = 1000
GRACE = timedelta(minutes=10)
"""How old an entry may become before it must be under an anchor."""

e, h, b = ledger_entries.c, ledger_heads.c, ledger_bodies.c
_same_body = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
_same_head = (h.log == e.log) & (h.stream == e.stream) & (h.seq == e.seq)
_entries = (
    select(
        e.entry, e.log, e.stream, e.seq, e.canonical, e.mac, e.kid, e.ts, e.kind, e.principal, e.claimed_agent,
        e.body_digest, e.prev, e.leaf_index, b.salt, b.body, b.purged_at, h.seq, h.head, h.mac,
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


def verify(
    connection: Connection,
    log: str,
    keyring: Keyring,
    *,
    anchors: AnchorFile | None = None,
    moment: datetime | None = None,
) -> Verdict:
    """Check a whole log.

    Args:
        connection: for reading; no transaction of the caller's is changed.
        log: the log's id.
        keyring: holds the ledger root, and names the signers.
        anchors: what is known of the log outside the database; None where nobody keeps any.
        moment: now; without it no entry is too old to be without an anchor.

    Returns:
        ``TAMPERED`` when something is not as it was written; else ``ROLLED_BACK`` when an anchor knows more than the
        log; else ``INCOMPLETE`` when not everything could be read; else ``UNANCHORED`` when entries older than `GRACE`
        are under no anchor; else ``OK``.
    """
    check = _Check(log, keyring)
    read_error = None
    anchored = Anchored()
    try:
        signers = _signers(keyring, check)
        signed = read_checkpoints(connection, log, signers, check.note)
        check.last_signed = signed.last
        check.checkpoints = len(signed.points)
        for row in _rows(connection, _entries, log):
            check.entry(row)
        check.end_of_stream()
        for row in _rows(connection, _stray_heads, log):
            check.stray_head(row)
        for stream, seq in _rows(connection, _stray_bodies, log):
            check.note(Broken.FOREIGN_BODY, stream, seq)
        for broken, stream, seq in check.gaps.unexplained():
            told = len(check.findings) < MOST_FINDINGS
            check.note_once(broken, stream, seq, _row_of(connection, log, stream, seq) if told else None)
        check.end_of_log()
        check_tree(connection, log, signed, check.note_once)
        if anchors is not None:
            anchored = check_anchors(connection, log, signers, anchors, signed, check.note)
    except (SQLAlchemyError, OSError, UnicodeDecodeError, Unavailable) as error:
        cause = getattr(error, "orig", None) or error
        read_error = f"{cause} (after {check.entries} entries)"
    late = moment is not None and read_error is None and _late(connection, log, anchored.size, moment)
    return check.verdict(read_error, anchored, late=late)


def _signers(keyring: Keyring, check: _Check) -> Signers:
    try:
        return read(keyring)
    except Tampered:
        check.note(Broken.ALTERED_SIGNERS, "", 0)
        return Signers([])


def _late(connection: Connection, log: str, anchored: int, moment: datetime) -> bool:
    """Say whether an entry that is under no anchor is older than it may be."""
    query = select(e.entry).where(
        e.log == log,
        or_(e.leaf_index.is_(None), e.leaf_index >= anchored),
        e.ts < timestamp(moment - GRACE),
    )
    return connection.execute(query.limit(1)).first() is not None


def _row_of(connection: Connection, log: str, stream: str, seq: int) -> object:
    return connection.execute(select(e.entry).where(e.log == log, e.stream == stream, e.seq == seq)).scalar()


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
        self.last_signed: dict[str, int] = {}
        self.erased: dict[str, bool] = {}
        self.checkpoints = 0
        self.gaps = Gaps()
        self.named: set[tuple[object, object]] = set()

    def note_once(self, kind: Broken, stream: object, seq: object, row: object = None) -> None:
        """Record a broken place unless the entry is named as broken already."""
        if (stream, seq) not in self.named:
            self.note(kind, stream, seq, row)

    def note(self, kind: Broken, stream: object, seq: object, row: object = None) -> None:
        """Record a broken place."""
        self.broken += 1
        self.named.add((stream, seq))
        if len(self.findings) < MOST_FINDINGS:
            number = seq if type(seq) is int else 0
            self.findings.append(Finding(kind, str(stream), number, row if type(row) is int else None))

    def entry(self, stored: Sequence[Any]) -> None:
        """Check one entry: its bytes, its MAC, its place, its body, its head. It yields one finding at most."""
        (
            row, log, stream, seq, data, mac, kid, ts, kind, principal, agent, digest, prev, leaf_index, salt, body,
            purged_at, head_seq, head, head_mac,
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
        finding = self._content(columns, data, mac, leaf_index)
        actual = chain.entry_hash(data, mac) if finding is None else None
        if finding is None:
            finding = self._place(seq, prev)
        if finding is None and salt is None and body is None:
            self.gaps.missing(stream, seq, digest, purged_at)
        elif finding is None:
            finding = _body(salt, body, digest, purged_at)
            if finding is None and kind == "purge":
                self.gaps.claim(body)
        if head_seq is not None:
            self.head_at = seq
            if finding is None and not self._authentic_head(stream, seq, head, head_mac, actual):
                finding = Broken.HEAD_MISMATCH
        if finding is not None:
            self.note(finding, stream, seq, row)
        elif stream == chain.LOG_STREAM and seq == 1 and kind == "created":
            self.opened = True
        self.seq, self.row, self.prev = seq, row, actual

    def _content(self, columns: chain.Entry, data: object, mac: object, leaf_index: object) -> Broken | None:
        """Check the stored bytes: rebuilt from the columns they are the same, and their MAC fits.

        Where the key is erased, the tree speaks for bytes and MAC (see ``verify_tree``), if they were placed in it
        while the key was there.
        """
        if type(data) is not bytes or type(mac) is not bytes:
            return Broken.ALTERED_ENTRY
        signed = columns
        if not _rebuilds(columns, data):
            try:
                signed = chain.decode(data)
            except Tampered:
                return Broken.ALTERED_ENTRY
        if self.erased.get(signed.kid) is None:
            self.erased[signed.kid] = self.keyring.erased(signed.kid)
        if self.erased[signed.kid]:
            self.kid = None
            if type(leaf_index) is not int or not 0 <= leaf_index < self.last_signed.get(signed.kid, 0):
                return Broken.UNVOUCHED
            in_place = signed is columns and (signed.log, signed.stream) == (self.log, columns.stream)
            return None if in_place else Broken.ALTERED_COLUMN
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
        if self.kid is None and stream == self.stream:
            return (
                actual is not None
            )  # under an erased key: its entry is in the tree, and it names that entry
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

    def verdict(self, read_error: str | None, anchored: Anchored, *, late: bool) -> Verdict:
        """Return the answer."""
        if self.broken:
            status = Status.TAMPERED
        elif anchored.beyond:
            status = Status.ROLLED_BACK
        elif read_error is not None:
            status = Status.INCOMPLETE
        else:
            status = Status.UNANCHORED if late else Status.OK
        return Verdict(
            status, self.entries, self.streams, len(self.agents), tuple(self.findings), self.broken,
            unanchored=max(self.entries - anchored.size, 0), checkpoints=self.checkpoints, read_error=read_error,
            purged=self.gaps.bodies,
        )  # fmt: skip


def _rebuilds(columns: chain.Entry, data: bytes) -> bool:
    """Tell whether the columns, written canonically, are the stored bytes: then all of them are what was signed."""
    try:
        return chain.encode(columns) == data
    except (InvalidInput, TypeError):  # a column holds what no entry can
        return False


def _body(salt: object, body: object, digest: str, purged_at: object) -> Broken | None:
    if salt is None or body is None:
        return Broken.MISSING_BODY
    if type(salt) is not bytes or type(body) is not bytes or len(salt) != chain.SALT_BYTES:
        return Broken.ALTERED_BODY
    kept = purged_at is None and chain.body_digest(salt, body) == digest
    return None if kept else Broken.ALTERED_BODY
