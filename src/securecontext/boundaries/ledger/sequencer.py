"""The sequencer: gives entries their place in the log's tree, and signs what the tree then is.

One at a time for each log: whoever sequences holds a lease, and each new holder a higher fence, which is moved in the
transaction of what is written, so that one who comes back after its lease ran out writes nothing. It goes on only from
a state that is under a signature of ours, and places only entries whose MAC fits: once their key is erased, their place
in the tree is what speaks for them.

Leaf: ``SHA-256(0x00 ‖ canonical ‖ mac)``. Order of things: entries committed → checkpoint committed → anchored (see
``anchors``) → at an epoch's end, its key erased.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from securecontext.boundaries import chain, tree
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import tiles as tiling
from securecontext.boundaries.ledger.notes import Checkpoint, open_note, parse_checkpoint
from securecontext.boundaries.ledger.signers import Signers, signing_keys
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.tree import leaf_hash
from securecontext.storage.tables import ledger_checkpoints, ledger_entries, ledger_sequencers
from securecontext.types.errors import Conflict, Tampered, Unavailable
from securecontext.types.ids import timestamp

LEASE = timedelta(seconds=60)
MOST_AT_ONCE = 20_000
"""Entries that are placed in one transaction, so that nobody waits long for it."""

e, c, s = ledger_entries.c, ledger_checkpoints.c, ledger_sequencers.c
_unplaced = (
    select(e.entry, e.stream, e.kid, e.canonical, e.mac)
    .where(e.log == bindparam("in_log"), e.leaf_index.is_(None))
    .order_by(e.entry)
    .limit(MOST_AT_ONCE)
)
_place = (
    update(ledger_entries)
    .where(e.entry == bindparam("of_entry"), e.leaf_index.is_(None))
    .values(leaf_index=bindparam("at_leaf"))
)
_newest = (
    select(c.kid, c.note, c.size)
    .where(c.log == bindparam("in_log"))
    .order_by(c.size.desc(), c.created_at.desc())
    .limit(1)
)
_highest = select(func.max(e.leaf_index)).where(e.log == bindparam("in_log"), e.leaf_index.is_not(None))
_lease = select(s.holder, s.fence, s.expires_at).where(s.log == bindparam("in_log"))
_take = (
    update(ledger_sequencers)
    .where(s.log == bindparam("in_log"), s.fence == bindparam("old_fence"))
    .values(holder=bindparam("new_holder"), fence=bindparam("new_fence"), expires_at=bindparam("until"))
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint with its note."""

    point: Checkpoint
    note: str


def newest(connection: Connection, log: str, signers: Signers) -> Signed | None:
    """Return the newest checkpoint of a log; None when it has none.

    Raises:
        Tampered: its signature does not hold, or it speaks of another log or size.
    """
    row = connection.execute(_newest, {"in_log": log}).first()
    if row is None:
        return None
    point = parse_checkpoint(open_note(row.note, signers.keys(row.kid)))
    if (point.log, point.size) != (log, row.size):
        raise _changed()
    return Signed(point, row.note)


def vouched(connection: Connection, log: str, signers: Signers, leaf_index: object, leaf: bytes) -> bool:
    """Say whether a leaf stands at its place in the tree that the newest checkpoint signs.

    Raises:
        Tampered: as `newest`, or the tree's nodes are broken.
    """
    signed = newest(connection, log, signers)
    if signed is None or type(leaf_index) is not int or not 0 <= leaf_index < signed.point.size:
        return False
    proof = tree.inclusion_proof(leaf_index, signed.point.size, Tiles(connection, log).node)
    return tree.included(leaf, leaf_index, signed.point.size, proof, signed.point.root)


def sequence(
    connection: Connection,
    log: str,
    *,
    holder: str,
    keyring: Keyring,
    signers: Signers,
    moment: datetime,
    closing: str = "",
) -> Signed | None:
    """Place what has no place yet, at most `MOST_AT_ONCE` entries, and sign the tree. In the caller's transaction.

    Args:
        connection: in a transaction that writes, after all entries of the log that are to be placed.
        log: the log's id.
        holder: who holds the lease, e.g. a service's id.
        keyring: checks the entries and signs.
        signers: verify the checkpoint before; the signing epoch is listed in them.
        moment: now.
        closing: a key id whose epoch ends: its keys sign although nothing is new, unless they did already.

    Returns:
        The new checkpoint; None when there was nothing to sign.

    Raises:
        Conflict: ``sequencer_busy``: another holder's lease runs.
        Tampered: what is stored is not what was signed; nothing is signed on top of it.
    """
    rows = connection.execute(_unplaced, {"in_log": log}).all()
    before = newest(connection, log, signers)
    kid = closing or keyring.kid
    if not rows and (not closing or before is None or _signed_by(connection, log, before.point.size, kid)):
        return None
    _hold(connection, log, holder, moment)
    tiles = Tiles(connection, log)
    size = before.point.size if before is not None else 0
    highest = connection.execute(_highest, {"in_log": log}).scalar()
    if (highest if highest is not None else -1) != size - 1:
        raise _changed()
    growing = tiles.growing(size)
    if before is not None and growing.root() != before.point.root:
        raise _changed()
    if rows:
        places = [{"of_entry": row.entry, "at_leaf": size + n} for n, row in enumerate(rows)]
        connection.execute(_place, places)
        leaves = (_leaf(keyring, log, row) for row in rows)
        tiling.append(connection, log, tiles, growing, leaves)
    point = Checkpoint(log, growing.size, growing.root())
    note = signing_keys(keyring, kid).sign(point.text())
    row = {"log": log, "size": point.size, "kid": kid, "note": note, "created_at": timestamp(moment)}
    connection.execute(insert(ledger_checkpoints), row)
    return Signed(point, note)


def _leaf(keyring: Keyring, log: str, row: Any) -> bytes:
    """Return an entry's leaf after checking that it is what was written."""
    try:
        key = keyring.stream_key_for(row.kid, log, row.stream)
    except Unavailable:
        raise _forged(row) from None
    if type(row.canonical) is not bytes or not chain.same_mac(row.mac, chain.mac(key, row.canonical)):
        raise _forged(row)
    return leaf_hash(row.canonical + row.mac)


def _signed_by(connection: Connection, log: str, size: int, kid: str) -> bool:
    query = select(c.size).where(c.log == log, c.size == size, c.kid == kid)
    return connection.execute(query).first() is not None


def _hold(connection: Connection, log: str, holder: str, moment: datetime) -> None:
    """Take the lease, or prolong it."""
    until = timestamp(moment + LEASE)
    found = connection.execute(_lease, {"in_log": log}).first()
    if found is None:
        first = {"log": log, "holder": holder, "fence": 1, "expires_at": until}
        try:
            connection.execute(insert(ledger_sequencers), first)
        except IntegrityError as error:
            raise _busy() from error
        return
    if found.holder != holder and found.expires_at > timestamp(moment):
        raise _busy()
    fence = found.fence if found.holder == holder else found.fence + 1
    taken = connection.execute(
        _take,
        {"in_log": log, "old_fence": found.fence, "new_holder": holder, "new_fence": fence, "until": until},
    )
    if taken.rowcount != 1:
        raise _busy()


def release(connection: Connection, log: str) -> None:
    """Give up the lease of whoever held it: where a log goes on from a backup, that was another installation."""
    connection.execute(delete(ledger_sequencers).where(s.log == log))


def _busy() -> Conflict:
    return Conflict("sequencer_busy", "Another service places entries in this log.", "Try again in a minute.")


def _forged(row: Any) -> Tampered:
    return Tampered(
        "ledger_entry_forged",
        "An entry of the ledger is not what was written, or its key is gone: it gets no place in the tree.",
        "Run `zc audit verify` to see where the ledger breaks.",
        entry=row.entry,
    )


def _changed() -> Tampered:
    return Tampered(
        "ledger_tree_changed",
        "The tree of the ledger is not what was signed; nothing is signed on top of it.",
        "Run `zc audit verify` to see where the ledger breaks.",
    )
