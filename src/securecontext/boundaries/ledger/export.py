"""Bundles out of a database: a whole log, or the proof of one entry. What they say, and to whom: see ``bundle``."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, select

from securecontext.boundaries import tree
from securecontext.boundaries.ledger.bundle import entry_line, head_lines, inclusion_line
from securecontext.boundaries.ledger.sequencer import newest
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.storage.tables import ledger_bodies, ledger_checkpoints, ledger_entries
from securecontext.types.errors import NotFound

ROWS_AT_ONCE = 1000

e, b, c = ledger_entries.c, ledger_bodies.c, ledger_checkpoints.c
_same = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
_placed = (
    select(e.leaf_index, e.canonical, e.mac, b.salt, b.body, b.purged_at)
    .select_from(ledger_entries.outerjoin(ledger_bodies, _same))
    .where(e.log == bindparam("in_log"), e.leaf_index.is_not(None))
)
_all = _placed.where(e.leaf_index < bindparam("up_to")).order_by(e.leaf_index)
_one = _placed.where(e.entry == bindparam("of_entry"))
_notes = select(c.note).where(c.log == bindparam("in_log")).order_by(c.size, c.created_at)


def whole(connection: Connection, log: str, signers: Signers, *, bodies: bool) -> Iterator[bytes]:
    """Yield the lines of a log's export, as far as it is signed.

    Args:
        connection: sees one state throughout.
        log: the log's id.
        signers: of this installation.
        bodies: with the bodies, which say what was done; else what is shown proves that something was.
    """
    signed = newest(connection, log, signers)
    if signed is None:
        raise _unsigned()
    yield from head_lines(log, signers, connection.execute(_notes, {"in_log": log}).scalars())
    given = {"in_log": log, "up_to": signed.point.size}
    with connection.execute(_all, given, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        for leaf, data, mac, *about in rows:
            yield entry_line(leaf, data, mac, *(about if bodies else (None, None)))


def proof(connection: Connection, log: str, signers: Signers, entry: int) -> Iterator[bytes]:
    """Yield the lines that prove one entry.

    Args:
        connection: sees one state throughout.
        log: the log's id.
        signers: of this installation.
        entry: as `zc audit tail` numbers it.

    Raises:
        NotFound: there is no such entry, or it is not signed yet.
    """
    signed = newest(connection, log, signers)
    row = connection.execute(_one, {"in_log": log, "of_entry": entry}).first()
    if signed is None or row is None or row.leaf_index >= signed.point.size:
        raise _unsigned()
    size = signed.point.size
    hashes = tree.inclusion_proof(row.leaf_index, size, Tiles(connection, log).node)
    yield from head_lines(log, signers, [signed.note])
    yield entry_line(row.leaf_index, row.canonical, row.mac, row.salt, row.body, row.purged_at)
    yield inclusion_line(row.leaf_index, size, hashes)


def _unsigned() -> NotFound:
    return NotFound(
        "not_signed_yet",
        "There is no such entry under a checkpoint.",
        "List entries with `zc audit tail`; `zc audit verify` signs what is new.",
    )
