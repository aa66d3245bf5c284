"""The heads of streams: read with every doubt, and moved by compare-and-set, so that a stream never forks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from securecontext.boundaries import chain
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import signers
from securecontext.boundaries.ledger.sequencer import vouched
from securecontext.boundaries.tree import leaf_hash
from securecontext.storage.tables import ledger_entries, ledger_heads
from securecontext.types.errors import Conflict, Tampered, Unavailable

e, h = ledger_entries.c, ledger_heads.c
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


class Head(NamedTuple):
    """The newest entry of a stream: its number, and its hex hash."""

    seq: int
    hash: str


def move(
    connection: Connection, keyring: Keyring, log: str, stream: str, old: Head | None, new: Head
) -> bool:
    """Move the stored head of a stream; False where it is not the old one.

    Raises:
    Conflict: another writer made the stream's first head.
    """
    if old is None:
        seal = _mac(keyring, log, stream, new)
        row = {"log": log, "stream": stream, "seq": new.seq, "head": new.hash, "mac": seal}
        try:
            connection.execute(_insert_head, row)
        except IntegrityError as error:
            raise moved_away() from error
        return True
    return connection.execute(_move_head, _step(keyring, log, stream, old, new)).rowcount == 1


def move_all(
    connection: Connection, keyring: Keyring, log: str, steps: Mapping[str, tuple[Head, Head]]
) -> frozenset[str]:
    """Move the stored heads of many streams in one go; return the streams whose old head it was.

    Args:
        connection: in a transaction that writes.
        keyring: seals the heads.
        log: the log's id.
        steps: from where to where, by stream, in the order of the streams.
    """
    given = [_step(keyring, log, stream, old, new) for stream, (old, new) in steps.items()]
    if connection.execute(_move_head, given).rowcount == len(given):
        return frozenset(steps)
    return frozenset(
        stream for stream, (_, new) in steps.items() if _stands(connection, log, stream, new)
    )  # another writer was faster in some of them


def _stands(connection: Connection, log: str, stream: str, head: Head) -> bool:
    stored = connection.execute(_read_head, {"log": log, "stream": stream}).first()
    return stored is not None and (stored.seq, stored.head) == head


def _step(keyring: Keyring, log: str, stream: str, old: Head, new: Head) -> dict[str, Any]:
    """Return what moves a head by compare-and-set."""
    return {
        "in_log": log, "in_stream": stream, "from_seq": old.seq, "from_head": old.hash,
        "to_seq": new.seq, "to_head": new.hash, "to_mac": _mac(keyring, log, stream, new),
    }  # fmt: skip


def _mac(keyring: Keyring, log: str, stream: str, head: Head) -> bytes:
    return chain.head_mac(keyring.stream_key(log, stream), log, stream, head.seq, head.hash)


def load(connection: Connection, keyring: Keyring, log: str, stream: str) -> Head | None:
    """Return the stored head after checking that it is authentic and that the newest entry is the one it names.

    Raises:
    Tampered: ``ledger_head_mismatch``.
    """
    here = {"log": log, "stream": stream}
    stored = connection.execute(_read_head, here).first()
    newest = connection.execute(_newest, here).first()
    if stored is None and newest is None:
        return None
    if stored is None or newest is None:
        raise mismatch("its head or its entries, which are gone")
    if (newest.seq, chain.entry_hash(newest.canonical, newest.mac)) != (stored.seq, stored.head):
        raise mismatch("its newest entry")
    if not _authentic(connection, keyring, log, stream, stored, newest):
        raise mismatch("the MAC of its head")
    return Head(stored.seq, stored.head)


def _authentic(
    connection: Connection, keyring: Keyring, log: str, stream: str, stored: Any, newest: Any
) -> bool:
    """Say whether head and newest entry are ours: by their MACs, or where the key is erased by the signed tree."""
    kid = chain.decode(newest.canonical).kid
    try:
        key = keyring.stream_key_for(kid, log, stream)
    except Unavailable:
        listed = signers.read(keyring)
        if not (keyring.erased(kid) or listed.given_up(kid)):
            raise
        leaf = leaf_hash(newest.canonical + newest.mac)
        return vouched(connection, log, listed, newest.leaf_index, leaf)
    return macs_fit(key, log, stream, stored, newest)


def macs_fit(key: bytes, log: str, stream: str, stored: Any, newest: Any) -> bool:
    """Say whether a stored head and its newest entry were made with the key of their stream."""
    return chain.same_mac(newest.mac, chain.mac(key, newest.canonical)) and chain.same_mac(
        stored.mac, chain.head_mac(key, log, stream, stored.seq, stored.head)
    )


def mismatch(what: str) -> Tampered:
    """Return what is raised when a stored stream is not what was written."""
    return Tampered(
        "ledger_head_mismatch",
        f"A stream of the ledger was changed behind the service's back: {what} is not what was written.",
        "Nothing was written. Run `zc audit verify` to see where the ledger breaks.",
    )


def moved_away() -> Conflict:
    """Return what is raised when another writer was faster."""
    return Conflict("ledger_stream_moved", "Another writer was faster in this stream.", "Try again.")
