"""The ledger's writer: drafts in, chained entries out, inside the caller's transaction.

The only module that writes ledger rows. It offers no way to change or to remove one. What an entry is: see ``chain``;
how a ledger is checked: see ``verify``.

Heads are kept in memory so that an append reads nothing. A head in memory is trusted only once its transaction was
committed, and every append moves the stored head by compare-and-set: when the stored head is not the one in memory,
the ledger either follows another service's honest entries or refuses. It never forks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, get_args

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from securecontext.boundaries import chain, signers
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.sequencer import vouched
from securecontext.boundaries.tree import leaf_hash
from securecontext.contracts import invariant, require
from securecontext.contracts.security import leaves_no_gap, places_every_draft
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from securecontext.types.errors import Conflict, InvalidInput, Tampered
from securecontext.types.ids import timestamp
from securecontext.types.ledger import FIELD_LIMITS, EntryDraft, EntryKind

KINDS = frozenset(get_args(EntryKind))
TRIES = 3

e, h, b = ledger_entries.c, ledger_heads.c, ledger_bodies.c
_insert_entries = insert(ledger_entries)
_insert_bodies = insert(ledger_bodies)
_insert_head = insert(ledger_heads)
_move_head = (
    update(ledger_heads)
    .where(
        h.log == bindparam("in_log"),
        h.stream == bindparam("in_stream"),
        h.seq == bindparam("from_seq"),
        h.head == bindparam("from_head"),
    )
    .values(seq=bindparam("to_seq"), head=bindparam("to_head"), mac=bindparam("to_mac"))
)
_read_head = select(h.seq, h.head, h.mac).where(h.log == bindparam("log"), h.stream == bindparam("stream"))
_newest = (
    select(e.seq, e.canonical, e.mac, e.leaf_index)
    .where(e.log == bindparam("log"), e.stream == bindparam("stream"))
    .order_by(e.seq.desc())
    .limit(1)
)
_any_entry = select(e.entry).where(e.log == bindparam("log")).limit(1)
_any_head = select(h.seq).where(h.log == bindparam("log")).limit(1)


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry's place: stream, number within the stream, time, hex hash."""

    stream: str
    seq: int
    ts: str
    hash: str


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A stored entry as people read it; nothing of it is verified (see ``verify``).

    Attributes:
        entry: order of arrival in this database.
        body: the body's JSON object; None when it is purged or unreadable.
        hash: hex, as the next entry of the stream names it.
    """

    entry: int
    stream: str
    seq: int
    ts: str
    kind: str
    principal: str
    claimed_agent: str
    body: dict[str, Any] | None
    hash: str


class _Head(NamedTuple):
    seq: int
    hash: str


class _Sealed(NamedTuple):
    """A stream's part of a batch, ready to be written."""

    entries: list[dict[str, Any]]
    bodies: list[dict[str, Any]]
    places: list[Appended]
    head: _Head


@invariant(
    lambda self: all(
        stream not in self._committed or self._committed[stream].seq < head.seq
        for stream, head in self._pending.items()
    ),
    "a stream's head never goes back",
)
class Ledger:
    """The writer of one log. Owned by one thread; several services may write one log, each in its own streams.

    Args:
        log: the log's id, at most 64 characters.
        keyring: holds the ledger root.
        new_salt: gives 16 random bytes; an argument for the golden vectors alone.
    """

    def __init__(self, log: str, keyring: Keyring, new_salt: Callable[[], bytes] | None = None) -> None:
        self.log = log
        self._keyring = keyring
        self._new_salt = new_salt or (lambda: os.urandom(chain.SALT_BYTES))
        self._committed: dict[str, _Head] = {}
        self._pending: dict[str, _Head] = {}

    def committed(self) -> None:
        """Tell the ledger that the transaction of its last appends was committed."""
        self._committed.update(self._pending)
        self._pending.clear()

    def rolled_back(self) -> None:
        """Tell the ledger that the transaction was rolled back, or that nobody knows whether it was committed."""
        self._pending.clear()

    @require(lambda drafts: all(draft.kind in KINDS for draft in drafts), "every entry has a known kind")
    @require(
        lambda drafts: all(
            isinstance(draft.body.get("arguments", {}), dict) for draft in drafts if draft.secrets
        ),
        "the arguments of a body with secrets are an object",
    )
    @require(lambda moment: moment.tzinfo is not None, "the moment of an entry has a time zone")
    @places_every_draft
    @leaves_no_gap
    def append(
        self, connection: Connection, drafts: Sequence[EntryDraft], moment: datetime
    ) -> list[Appended]:
        """Append entries within the caller's transaction; the caller then calls `committed` or `rolled_back`.

        After any error the caller rolls the transaction back.

        Args:
            connection: in a transaction that writes.
            drafts: in the order in which things happened; those of one stream keep it.
            moment: aware; the ``ts`` of them all.

        Returns:
            The place of each draft, in the order given.

        Raises:
            InvalidInput: ``not_canonical`` or ``ledger_field_invalid``: a draft cannot be written; nothing was.
            Conflict: ``ledger_stream_moved``: another writer was faster; roll back and try again.
            Tampered: ``ledger_head_mismatch``: the stored stream is not what was written; verify the ledger.
        """
        for draft in drafts:
            _check(draft)
        streams: dict[str, list[int]] = {}
        for index, draft in enumerate(drafts):
            streams.setdefault(draft.stream, []).append(index)
        ts = timestamp(moment)
        places: list[Appended | None] = [None] * len(drafts)
        ordered = {stream: [drafts[index] for index in streams[stream]] for stream in sorted(streams)}
        sealed = self._advance_together(connection, ordered, ts)
        for stream, own in ordered.items():  # one lock order for every service
            part = sealed.get(stream) or self._advance(connection, stream, own, ts)
            sealed[stream] = part
            for index, place in zip(streams[stream], part.places, strict=True):
                places[index] = place
        if sealed:
            try:
                connection.execute(_insert_entries, [row for part in sealed.values() for row in part.entries])
                connection.execute(_insert_bodies, [row for part in sealed.values() for row in part.bodies])
            except IntegrityError as error:
                raise _mismatch("its head") from error
        self._pending.update({stream: part.head for stream, part in sealed.items()})
        return [place for place in places if place is not None]

    def open_log(self, connection: Connection, moment: datetime) -> list[Appended]:
        """Write the log's first entry, of kind ``created``, when the log has neither entries nor heads.

        Because every log has it, a log without entries has been emptied.

        Returns:
            The place of the new entry, or nothing when the log was open already.
        """
        here = {"log": self.log}
        if connection.execute(_any_entry, here).first() or connection.execute(_any_head, here).first():
            return []
        if self._committed:
            raise _mismatch("the whole log, which is empty")
        principal, session = chain.LOG_STREAM.split("/")
        draft = EntryDraft(
            principal, session, "", "created", {"operation": "open_log", "format": chain.VERSION}
        )
        return self.append(connection, [draft], moment)

    def _advance_together(
        self, connection: Connection, ordered: Mapping[str, Sequence[EntryDraft]], ts: str
    ) -> dict[str, _Sealed]:
        """Move the heads of many streams in one go, where all are known; return the streams that were moved."""
        heads = {stream: self._pending.get(stream) or self._committed.get(stream) for stream in ordered}
        known = {stream: head for stream, head in heads.items() if head is not None}
        if len(known) < max(len(heads), 2):
            return {}
        parts = {stream: self._seal(stream, head, ordered[stream], ts) for stream, head in known.items()}
        steps = [self._step(stream, head, parts[stream].head) for stream, head in known.items()]
        if connection.execute(_move_head, steps).rowcount == len(steps):
            return parts
        # Another writer was faster in some of them: those go one by one.
        return {stream: part for stream, part in parts.items() if self._stands(connection, stream, part.head)}

    def _stands(self, connection: Connection, stream: str, head: _Head) -> bool:
        stored = connection.execute(_read_head, {"log": self.log, "stream": stream}).first()
        return stored is not None and (stored.seq, stored.head) == head

    def _advance(self, connection: Connection, stream: str, drafts: Sequence[EntryDraft], ts: str) -> _Sealed:
        """Seal the drafts behind the stream's head and move the stored head; refuse rather than fork."""
        head = self._pending.get(stream) or self._committed.get(stream) or self._load(connection, stream)
        for _ in range(TRIES):
            part = self._seal(stream, head, drafts, ts)
            if self._move(connection, stream, head, part.head):
                return part
            known, head = head, self._load(connection, stream)
            if known is not None and (head is None or head.seq <= known.seq):
                raise _mismatch("its head, which went back")
        raise _moved()

    def _move(self, connection: Connection, stream: str, old: _Head | None, new: _Head) -> bool:
        if old is None:
            seal = self._head_mac(stream, new)
            row = {"log": self.log, "stream": stream, "seq": new.seq, "head": new.hash, "mac": seal}
            try:
                connection.execute(_insert_head, row)
            except IntegrityError as error:
                raise _moved() from error
            return True
        return connection.execute(_move_head, self._step(stream, old, new)).rowcount == 1

    def _step(self, stream: str, old: _Head, new: _Head) -> dict[str, Any]:
        """Return what moves a head by compare-and-set."""
        return {
            "in_log": self.log, "in_stream": stream, "from_seq": old.seq, "from_head": old.hash,
            "to_seq": new.seq, "to_head": new.hash, "to_mac": self._head_mac(stream, new),
        }  # fmt: skip

    def _head_mac(self, stream: str, head: _Head) -> bytes:
        return chain.head_mac(
            self._keyring.stream_key(self.log, stream), self.log, stream, head.seq, head.hash
        )

    def _load(self, connection: Connection, stream: str) -> _Head | None:
        """Return the stored head after checking that it is authentic and that the newest entry is the one it names."""
        here = {"log": self.log, "stream": stream}
        stored = connection.execute(_read_head, here).first()
        newest = connection.execute(_newest, here).first()
        if stored is None and newest is None:
            return None
        if stored is None or newest is None:
            raise _mismatch("its head or its entries, which are gone")
        if (newest.seq, chain.entry_hash(newest.canonical, newest.mac)) != (stored.seq, stored.head):
            raise _mismatch("its newest entry")
        if not self._authentic(connection, stream, stored, newest):
            raise _mismatch("the MAC of its head")
        return _Head(stored.seq, stored.head)

    def _authentic(self, connection: Connection, stream: str, stored: Any, newest: Any) -> bool:
        """Say whether head and newest entry are ours: by their MACs, or where the key is erased by the signed tree."""
        kid = chain.decode(newest.canonical).kid
        if self._keyring.erased(kid):
            leaf = leaf_hash(newest.canonical + newest.mac)
            return vouched(connection, self.log, signers.read(self._keyring), newest.leaf_index, leaf)
        key = self._keyring.stream_key_for(kid, self.log, stream)
        return chain.same_mac(newest.mac, chain.mac(key, newest.canonical)) and chain.same_mac(
            stored.mac, chain.head_mac(key, self.log, stream, stored.seq, stored.head)
        )

    def _seal(self, stream: str, head: _Head | None, drafts: Iterable[EntryDraft], ts: str) -> _Sealed:
        """Chain the drafts behind a head. Touches neither the database nor memory."""
        key, kid = self._keyring.stream_key(self.log, stream), self._keyring.kid
        seq, prev = head or (0, chain.genesis(self.log, stream))
        entries: list[dict[str, Any]] = []
        bodies: list[dict[str, Any]] = []
        places: list[Appended] = []
        for draft in drafts:
            seq += 1
            salt = self._new_salt()
            body = canonical(body_of(draft, salt))
            entry = chain.Entry(
                self.log, stream, seq, kid, ts, draft.kind, draft.principal, draft.claimed_agent,
                chain.body_digest(salt, body), prev,
            )  # fmt: skip
            data = chain.encode(entry)
            mac = chain.mac(key, data)
            entries.append(
                {
                    "log": self.log, "stream": stream, "seq": seq, "canonical": data, "mac": mac, "kid": kid, "ts": ts,
                    "kind": entry.kind, "principal": entry.principal, "claimed_agent": entry.claimed_agent,
                    "body_digest": entry.body_digest, "prev": prev,
                }
            )  # fmt: skip
            bodies.append({"log": self.log, "stream": stream, "seq": seq, "salt": salt, "body": body})
            prev = chain.entry_hash(data, mac)
            places.append(Appended(stream, seq, ts, prev))
        return _Sealed(entries, bodies, places, _Head(seq, prev))


def body_of(draft: EntryDraft, salt: bytes) -> dict[str, Any]:
    """Return the body as it is stored: each secret stands in ``arguments`` as its salted digest alone."""
    body = dict(draft.body)
    if draft.secrets:
        digests = {name: chain.secret_digest(salt, text) for name, text in draft.secrets.items()}
        body["arguments"] = {**body.get("arguments", {}), **digests}
    return body


def tail(
    connection: Connection, log: str, limit: int, *, stream: str | None = None, before: int | None = None
) -> list[LedgerRow]:
    """Return the newest entries of a log, newest first.

    Args:
        connection: for reading.
        log: the log's id.
        limit: most rows.
        stream: of this stream alone.
        before: older than this ``LedgerRow.entry``, to page on.
    """
    same = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
    query = (
        select(ledger_entries, b.body)
        .select_from(ledger_entries.outerjoin(ledger_bodies, same))
        .where(e.log == log)
        .order_by(e.entry.desc())
        .limit(limit)
    )
    if stream is not None:
        query = query.where(e.stream == stream)
    if before is not None:
        query = query.where(e.entry < before)
    return [
        LedgerRow(
            row.entry, row.stream, row.seq, row.ts, row.kind, row.principal, row.claimed_agent,
            _readable(row.body), chain.entry_hash(row.canonical, row.mac),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def _readable(body: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(body) if body is not None else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _check(draft: EntryDraft) -> None:
    """Refuse what the columns of either engine cannot hold as it is."""
    texts = {
        "principal": draft.principal, "session": draft.session, "claimed_agent": draft.claimed_agent,
        "stream": draft.stream,
    }  # fmt: skip
    for name, text in texts.items():
        limit = FIELD_LIMITS[name]
        if len(text) > limit or any(mark < " " or mark == "\x7f" for mark in text):
            raise InvalidInput(
                "ledger_field_invalid",
                f"The {name} of a ledger entry is longer than {limit} characters or holds control characters.",
                f"Use a {name} without control characters, within that length.",
            )


def _mismatch(what: str) -> Tampered:
    return Tampered(
        "ledger_head_mismatch",
        f"A stream of the ledger was changed behind the service's back: {what} is not what was written.",
        "Nothing was written. Run `zc audit verify` to see where the ledger breaks.",
    )


def _moved() -> Conflict:
    return Conflict("ledger_stream_moved", "Another writer was faster in this stream.", "Try again.")
