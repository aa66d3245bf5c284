"""The entries' part of a check: bytes, MAC, place in stream and tree, body and head of each; and what only heads tell.

Entries stream through in the order of stream and number. Nothing but the heads' rows, the names of agents and a byte
for each leaf is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, union

from securecontext.boundaries import chain
from securecontext.boundaries.canonical import SAFE_INTEGER
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.marks import Mark
from securecontext.boundaries.ledger.purge import Gaps
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.ledger.verdict import MOST_FINDINGS, Broken, Finding
from securecontext.boundaries.ledger.verify_tree import Signed
from securecontext.boundaries.tree import leaf_hash
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from securecontext.types.errors import InvalidInput, Tampered, Unavailable

ROWS_AT_ONCE = 1000

e, h, b = ledger_entries.c, ledger_heads.c, ledger_bodies.c
_same_body = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
_same_head = (h.log == e.log) & (h.stream == e.stream) & (h.seq == e.seq)
_rows = (
    select(
        e.entry, e.log, e.stream, e.seq, e.canonical, e.mac, e.kid, e.ts, e.kind, e.principal, e.claimed_agent,
        e.body_digest, e.prev, e.leaf_index, b.salt, b.body, b.purged_at, h.seq, h.head,
        h.mac,
    )
    .select_from(ledger_entries.outerjoin(ledger_bodies, _same_body).outerjoin(ledger_heads, _same_head))
    .order_by(e.stream, e.seq, e.entry)
)  # fmt: skip
_entries = _rows.where(e.log == bindparam("log"))
_here = select(e.entry).where(e.log == bindparam("log"))
_since = _rows.where(
    e.log + ""
    == bindparam("log"),  # not by the index of all of the log's entries: there are few, by their rows
    e.entry.in_(
        union(
            _here.where(e.leaf_index.is_(None)),
            _here.where(e.leaf_index.is_not(None), e.leaf_index >= bindparam("size")),
            select(e.entry).where(e.entry > bindparam("last")),
        )
    ),
)
"""What came after a mark: by its place in the tree, by having none, or by its row, whichever says so."""
_one = select(e.entry, e.canonical, e.mac).where(
    e.log == bindparam("log"), e.stream == bindparam("of"), e.seq == bindparam("at")
)
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
_heads = select(func.count()).select_from(ledger_heads).where(h.log == bindparam("log"))

Pace = Callable[[], None]
"""Called once a thousand rows; may take its time."""


class Check:
    """The state of one run: the stream at hand, and what was found.

    Args:
        connection: for reading.
        log: the log's id.
        keyring: holds the ledger root.
        since: where a good check ended; what is below is not read. None for all.
        pace: called now and then.
    """

    def __init__(
        self, connection: Connection, log: str, keyring: Keyring, since: Mark | None, pace: Pace | None
    ) -> None:
        self.log = log
        self.findings: list[Finding] = []
        self.broken = 0
        self.entries = 0
        self.streams = 0
        self.last_row = since.last if since else 0
        self.agents: set[str] = set(since.agents) if since else set()
        self.gaps = Gaps()
        self.recovered = 0
        self._connection = connection
        self._keyring = keyring
        self._since = since
        self._pace = pace or (lambda: None)
        self._opened = since is not None
        self._headless: dict[str, tuple[int, int]] = {}
        """Stream -> last seq and row, until a stray head is met."""
        self._stream: str | None = None
        self._seq = 0
        self._row = 0
        self._prev: str | None = None
        """None: not judged, because the entry before is broken itself."""
        self._kid: str | None = None
        self._key = b""
        self._head_at: int | None = None
        self._signed = Signed()
        self._signers = Signers([])
        self._tiles = Tiles(connection, log)
        self._first = since.size if since else 0
        self._seen = bytearray()
        self._erased: dict[str, bool] = {}
        self._named: set[tuple[object, object]] = set()

    def note(self, kind: Broken, stream: object, seq: object, row: object = None) -> None:
        """Record a broken place."""
        self.broken += 1
        self._named.add((stream, seq))
        if len(self.findings) < MOST_FINDINGS:
            number = seq if type(seq) is int else 0
            self.findings.append(Finding(kind, str(stream), number, row if type(row) is int else None))

    def run(self, signed: Signed, signers: Signers) -> None:
        """Check all entries, heads and bodies.

        Args:
            signed: what the checkpoints say; each leaf under them must be an entry's.
            signers: say whose keys were left behind when the log was restored from a backup.
        """
        self._signed, self._signers = signed, signers
        self._seen = bytearray(max(signed.size - self._first, 0))
        for row in self._rows(*self._wanted()):
            self._entry(row)
        self._end_of_stream()
        for row in self._rows(_stray_heads):
            self._stray_head(row)
        if self._since is None:
            for stream, seq in self._rows(_stray_bodies):
                self.note(Broken.FOREIGN_BODY, stream, seq)
        else:
            self.streams = int(self._connection.execute(_heads, {"log": self.log}).scalar() or 0)
        for broken, of, number in self.gaps.unexplained():
            if (of, number) not in self._named:
                told = len(self.findings) < MOST_FINDINGS
                self.note(broken, of, number, self._row_of(of, number) if told else None)
        self._end_of_log()

    def _row_of(self, stream: str, seq: int) -> object:
        here = {"log": self.log, "of": stream, "at": seq}
        found = self._connection.execute(_one, here).first()
        return None if found is None else found[0]

    def _wanted(self) -> tuple[Select[Any], dict[str, Any]]:
        if self._since is None:
            return _entries, {}
        return _since, {"size": self._since.size, "last": self._since.last}

    def _rows(self, query: Select[Any], given: dict[str, Any] | None = None) -> Iterator[Sequence[Any]]:
        """Stream the rows; they are not collected in memory on either engine."""
        options = {"yield_per": ROWS_AT_ONCE}
        here = {"log": self.log, **(given or {})}
        with self._connection.execute(query, here, execution_options=options) as result:
            for part in result.partitions():
                yield from part
                self._pace()

    def _entry(self, stored: Sequence[Any]) -> None:
        """Check one entry: bytes, MAC, place, body, head, leaf. It yields one finding at most."""
        (
            row, log, stream, seq, data, mac, kid, ts, kind, principal, agent, digest, prev, leaf, salt, body,
            purged_at, head_seq, head, head_mac,
        ) = stored  # fmt: skip
        self.entries += 1
        if type(stream) is not str or type(seq) is not int:
            if leaf is not None:
                self._leaf(row, leaf, data, mac, Broken.ALTERED_COLUMN)
            self.note(Broken.ALTERED_COLUMN, stream, seq, row)
            return
        if stream != self._stream:
            self._begin_stream(stream, seq)
        if agent and type(agent) is str:
            self.agents.add(agent)

        columns = (log, stream, seq, kid, ts, kind, principal, agent, digest, prev)
        finding = self._content(columns, data, mac, leaf)
        actual = None
        if finding is None:
            actual = chain.entry_hash(data, mac)
            finding = self._place(seq, prev)
        if finding is None and salt is None and body is None:
            self.gaps.missing(stream, seq, digest, purged_at)
        elif finding is None:
            finding = _body(salt, body, digest, purged_at)
            if finding is None and kind == "purge":
                self.gaps.claim(body)
        if head_seq is not None:
            self._head_at = seq
            if finding is None and not self._authentic_head(stream, seq, head, head_mac, actual):
                finding = Broken.HEAD_MISMATCH
        if leaf is not None:
            finding = self._leaf(row, leaf, data, mac, finding)
        if finding is not None:
            self.note(finding, stream, seq, row)
        elif kind == "recovered":
            self.recovered += 1
        elif stream == chain.LOG_STREAM and seq == 1 and kind == "created":
            self._opened = True
        self._seq, self._row, self._prev = seq, row, actual

    def _begin_stream(self, stream: str, seq: int) -> None:
        self._end_of_stream()
        self._stream, self._seq, self._kid, self._head_at = stream, 0, None, None
        self._prev = chain.genesis(self.log, stream)
        self.streams += 1
        if self._since is None or seq <= 1:
            return
        # The entry before is below the mark. What is new names its hash, under a MAC, so it speaks for it.
        found = self._connection.execute(_one, {"log": self.log, "of": stream, "at": seq - 1}).first()
        if found is None:
            return  # told as missing by the entry itself
        _, data, mac = found
        whole = type(data) is bytes and type(mac) is bytes
        self._seq, self._prev = seq - 1, chain.entry_hash(data, mac) if whole else ""

    def _content(self, columns: tuple[Any, ...], data: object, mac: object, leaf: object) -> Broken | None:
        """Check the stored bytes: rebuilt from the columns they are the same, and their MAC fits.

        Where the key is erased, the tree speaks for bytes and MAC, if they were placed in it while the key was there.
        """
        if type(data) is not bytes or type(mac) is not bytes:
            return Broken.ALTERED_ENTRY
        log, stream, kid = columns[0], columns[1], columns[3]
        rebuilt = _rebuilds(columns, data)
        if not rebuilt:
            try:
                signed = chain.decode(data)
            except Tampered:
                return Broken.ALTERED_ENTRY
            log, stream, kid = signed.log, signed.stream, signed.kid
        in_place = log == self.log and stream == columns[1]
        if kid != self._kid:
            finding = self._take_key(kid, columns[1])
            if finding is not None:
                return finding
        if self._erased[kid]:
            if type(leaf) is not int or not 0 <= leaf < self._signed.last.get(kid, 0):
                return Broken.UNVOUCHED
            return None if rebuilt and in_place else Broken.ALTERED_COLUMN
        # Moved here from where it was written, it fits the key of that place.
        key = self._key if in_place else self._keyring.stream_key_for(kid, log, stream)
        if not chain.same_mac(mac, chain.mac(key, data)):
            return Broken.ALTERED_ENTRY
        return None if rebuilt else Broken.ALTERED_COLUMN

    def _take_key(self, kid: str, stream: str) -> Broken | None:
        """Hold the key that an entry of the stream names, or know that it is erased."""
        self._kid = None
        if self._erased.get(kid) is None:
            self._erased[kid] = self._keyring.erased(kid) or self._signers.given_up(kid)
        if self._erased[kid]:
            return None
        try:
            self._key = self._keyring.stream_key_for(kid, self.log, stream)
        except Unavailable:
            return Broken.FOREIGN_KEY
        self._kid = kid
        return None

    def _place(self, seq: int, prev: str) -> Broken | None:
        """Check that the entry follows the one before it; a gap is the gap's finding, not the entry's."""
        if seq > self._seq + 1:
            self.note(Broken.MISSING_ENTRY, self._stream, self._seq + 1)
            return None
        if seq <= self._seq or (self._prev is not None and prev != self._prev):
            return Broken.BROKEN_LINK
        return None

    def _leaf(
        self, row: object, leaf: object, data: object, mac: object, finding: Broken | None
    ) -> Broken | None:
        """Check that an entry is the one that was placed at its leaf, alone."""
        at = leaf - self._first if type(leaf) is int else -1
        if not 0 <= at < len(self._seen) or self._seen[at]:
            return finding or Broken.ALTERED_LEAF
        self._seen[at] = 1
        if type(row) is int and row > self.last_row:
            self.last_row = row
        if finding is not None or type(data) is not bytes or type(mac) is not bytes:
            return finding
        stored = self._tiles.leaf(at + self._first)
        # Where the tile itself lacks it, that is the tree's finding.
        return None if not stored or stored == leaf_hash(data + mac) else Broken.ALTERED_LEAF

    def _authentic_head(
        self, stream: str, seq: object, head: object, mac: object, actual: object = None
    ) -> bool:
        """Tell whether a head was written by the ledger, and names this hash if one is given."""
        if type(seq) is not int or type(head) is not str or not 0 < seq <= SAFE_INTEGER:
            return False
        if actual is not None and head != actual:
            return False
        if self._kid is None and stream == self._stream:
            # Under an erased key: its entry is in the tree, and it names that entry.
            return actual is not None
        key = self._key if stream == self._stream else self._keyring.stream_key(self.log, stream)
        return chain.same_mac(mac, chain.head_mac(key, self.log, stream, seq, head))

    def _end_of_stream(self) -> None:
        """Check that the head names the stream's newest entry; if it names none, the stray heads will tell."""
        if self._stream is None:
            return
        if self._head_at is None:
            self._headless[self._stream] = (self._seq, self._row)
        elif self._head_at != self._seq:
            self.note(Broken.HEAD_MISMATCH, self._stream, self._seq, self._row)
        self._stream = None

    def _stray_head(self, stored: Sequence[Any]) -> None:
        """Judge a head that names no entry: entries were cut off, or the head itself was changed."""
        stream, seq, head, mac = stored
        if type(stream) is not str:
            self.note(Broken.HEAD_MISMATCH, stream, seq)
            return
        last, _ = self._headless.pop(stream, (0, 0))
        if self._authentic_head(stream, seq, head, mac) and seq > last:
            self.note(Broken.MISSING_ENTRY, stream, last + 1)
        else:
            self.note(Broken.HEAD_MISMATCH, stream, seq)

    def _end_of_log(self) -> None:
        """Judge what only the whole shows: streams without a head, leaves without an entry, a log without its first."""
        for stream, (seq, row) in self._headless.items():
            self.note(Broken.MISSING_HEAD, stream, seq, row)
        if self._since is None and self.entries == 0:
            self.broken += 1
            self.findings.insert(0, Finding(Broken.EMPTIED, "", 0, None))
        elif not self._opened and not any(found.stream == chain.LOG_STREAM for found in self.findings):
            self.note(Broken.MISSING_ENTRY, chain.LOG_STREAM, 1)
        at = self._seen.find(0)
        while at >= 0:
            self.note(Broken.MISSING_LEAF, "", at + self._first)
            at = self._seen.find(0, at + 1)


def _rebuilds(columns: tuple[Any, ...], data: bytes) -> bool:
    """Tell whether the columns, written canonically, are the stored bytes: then all of them are what was signed."""
    try:
        return chain.written(*columns) == data
    except (InvalidInput, TypeError):  # a column holds what no entry can
        return False


def _body(salt: object, body: object, digest: str, purged_at: object) -> Broken | None:
    if salt is None or body is None:
        return Broken.MISSING_BODY
    if type(salt) is not bytes or type(body) is not bytes or len(salt) != chain.SALT_BYTES:
        return Broken.ALTERED_BODY
    kept = purged_at is None and chain.body_digest(salt, body) == digest
    return None if kept else Broken.ALTERED_BODY
