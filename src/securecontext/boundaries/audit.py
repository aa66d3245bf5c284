"""The ledger's writer: drafts in, chained entries out, inside the caller's transaction.

With ``heads``, the only module that writes entries. It offers no way to change or to remove one. What an entry is: see
``chain``; how drafts become entries: see ``sealing``; how a ledger is checked: see ``verify``.

Heads are kept in memory so that an append reads nothing. A head in memory is trusted only once its transaction was
committed, and every append moves the stored head by compare-and-set: when the stored head is not the one in memory,
the ledger either follows another service's honest entries or refuses. It never forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import get_args

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from securecontext.boundaries import chain
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.heads import Head, load, mismatch, move, move_all, moved_away
from securecontext.boundaries.ledger.sealing import Appended, Sealed, check, seal
from securecontext.contracts import invariant, require
from securecontext.contracts.security import leaves_no_gap, places_every_draft
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from securecontext.types.ids import timestamp
from securecontext.types.ledger import EntryDraft, EntryKind

KINDS = frozenset(get_args(EntryKind))
TRIES = 3

e, h = ledger_entries.c, ledger_heads.c
_insert_entries = insert(ledger_entries)
_insert_bodies = insert(ledger_bodies)
_any_entry = select(e.entry).where(e.log == bindparam("log")).limit(1)
_any_head = select(h.seq).where(h.log == bindparam("log")).limit(1)


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
        self._committed: dict[str, Head] = {}
        self._pending: dict[str, Head] = {}

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
            check(draft)
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
                raise mismatch("its head") from error
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
            raise mismatch("the whole log, which is empty")
        principal, session = chain.LOG_STREAM.split("/")
        draft = EntryDraft(
            principal, session, "", "created", {"operation": "open_log", "format": chain.VERSION}
        )
        return self.append(connection, [draft], moment)

    def _advance_together(
        self, connection: Connection, ordered: Mapping[str, Sequence[EntryDraft]], ts: str
    ) -> dict[str, Sealed]:
        """Move the heads of many streams in one go, where all are known; return the streams that were moved."""
        heads = {stream: self._pending.get(stream) or self._committed.get(stream) for stream in ordered}
        known = {stream: head for stream, head in heads.items() if head is not None}
        if len(known) < max(len(heads), 2):
            return {}
        parts = {
            stream: seal(self._keyring, self.log, stream, head, ordered[stream], ts, self._new_salt)
            for stream, head in known.items()
        }
        steps = {stream: (head, parts[stream].head) for stream, head in known.items()}
        moved = move_all(connection, self._keyring, self.log, steps)
        return {stream: part for stream, part in parts.items() if stream in moved}

    def _advance(self, connection: Connection, stream: str, drafts: Sequence[EntryDraft], ts: str) -> Sealed:
        """Seal the drafts behind the stream's head and move the stored head; refuse rather than fork."""
        head = self._pending.get(stream) or self._committed.get(stream) or self._load(connection, stream)
        for _ in range(TRIES):
            part = seal(self._keyring, self.log, stream, head, drafts, ts, self._new_salt)
            if move(connection, self._keyring, self.log, stream, head, part.head):
                return part
            known, head = head, self._load(connection, stream)
            if known is not None and (head is None or head.seq <= known.seq):
                raise mismatch("its head, which went back")
        raise moved_away()

    def _load(self, connection: Connection, stream: str) -> Head | None:
        return load(connection, self._keyring, self.log, stream)
