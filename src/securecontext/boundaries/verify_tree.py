"""The tree's part of a check: every leaf is its entry's, every checkpoint is signed over exactly these leaves.

From the leaves up, so that a change is named where it is: a leaf that is not its entry's names the entry, a stored node
that does not follow from the leaves is the tree's own fault. The connection sees one state throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select

from securecontext.boundaries.notes import Checkpoint, open_note, parse_checkpoint
from securecontext.boundaries.signers import Signers
from securecontext.boundaries.tiles import WIDTH, Tiles
from securecontext.boundaries.tree import HASH_BYTES, leaf_hash, node_hash
from securecontext.boundaries.verdict import Broken
from securecontext.storage.tables import ledger_checkpoints, ledger_entries
from securecontext.types.errors import Tampered

ROWS_AT_ONCE = 1000

e, c = ledger_entries.c, ledger_checkpoints.c
_leaves = (
    select(e.leaf_index, e.canonical, e.mac, e.stream, e.seq, e.entry)
    .where(e.log == bindparam("log"), e.leaf_index.is_not(None))
    .order_by(e.leaf_index)
)
_checkpoints = select(c.size, c.kid, c.note).where(c.log == bindparam("log")).order_by(c.size, c.kid)

Note = Callable[[Broken, object, object, object], None]
"""Records a broken place: how, stream, seq, row."""


@dataclass(slots=True)
class Signed:
    """What the checkpoints of a log say, as far as their signatures hold.

    Attributes:
        points: in the order of their size.
        last: by key id, the size of the last checkpoint that its keys signed.
    """

    points: list[Checkpoint] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Leaves under the newest checkpoint."""
        return self.points[-1].size if self.points else 0


def read_checkpoints(connection: Connection, log: str, signers: Signers, note: Note) -> Signed:
    """Return the checkpoints of a log whose signatures hold; the others are broken places."""
    out = Signed()
    for size, kid, stored in connection.execute(_checkpoints, {"log": log}).all():
        try:
            point = parse_checkpoint(open_note(stored, signers.keys(kid)))
        except (Tampered, TypeError, AttributeError):
            note(Broken.ALTERED_CHECKPOINT, "", size, None)
            continue
        if (point.log, point.size) != (log, size):
            note(Broken.ALTERED_CHECKPOINT, "", size, None)
            continue
        out.points.append(point)
        out.last[kid] = size
    return out


def check_tree(connection: Connection, log: str, signed: Signed, note: Note) -> None:
    """Check every leaf against its entry, the stored nodes against the leaves, and each root against its signature."""
    tiles = Tiles(connection, log)
    size = signed.size
    expected = 0
    for first, rows in _by_tile(connection, log):
        for gap in range(expected, min(first, size), WIDTH):
            _check_leaves(gap, [], tiles, size, note)
        _check_leaves(first, rows, tiles, size, note)
        expected = max(expected, first + WIDTH)
    for gap in range(expected, size, WIDTH):
        _check_leaves(gap, [], tiles, size, note)
    _check_nodes(tiles, size, note)
    for point in signed.points:
        try:
            same = tiles.root(point.size) == point.root
        except Tampered:
            same = False
        if not same:
            note(Broken.ROOT_MISMATCH, "", point.size, None)


def _by_tile(connection: Connection, log: str) -> Iterator[tuple[int, list[Sequence[Any]]]]:
    """Yield the rows of each tile, with the index of its first leaf; tiles without rows are left out."""
    rows: list[Sequence[Any]] = []
    tile = 0
    options = {"yield_per": ROWS_AT_ONCE}
    with connection.execute(_leaves, {"log": log}, execution_options=options) as result:
        for row in result:
            index = row[0] if type(row[0]) is int else -1
            if index // WIDTH != tile:
                if rows:
                    yield tile * WIDTH, rows
                rows, tile = [], index // WIDTH
            rows.append(row)
    if rows:
        yield tile * WIDTH, rows


def _check_leaves(first: int, rows: list[Sequence[Any]], tiles: Tiles, size: int, note: Note) -> None:
    """Compare a tile's leaves with its entries: at once, and one by one where they differ.

    Before the first place there is no tile, whatever is stored there.
    """
    count = min(WIDTH, max(size - first, 0)) if first >= 0 else 0
    stored = tiles.tile(0, first // WIDTH)[: count * HASH_BYTES] if count else b""
    if len(stored) != count * HASH_BYTES:
        note(Broken.ROOT_MISMATCH, "", first + count, None)
        return
    indexes = [row[0] for row in rows]
    try:
        made = b"".join(leaf_hash(row[1] + row[2]) for row in rows)
    except TypeError:
        made = b""
    if made == stored and indexes == list(range(first, first + count)):
        return
    here: dict[object, Sequence[Any]] = {}
    for row in rows:
        if row[0] in here:  # a second entry at one place is not the one that was placed, or the first is not
            note(Broken.ALTERED_LEAF, *row[3:])
        here.setdefault(row[0], row)
    for index in range(first, first + count):
        placed = here.pop(index, None)
        if placed is None:
            note(Broken.MISSING_LEAF, "", index, None)
            continue
        _, data, mac, stream, seq, entry = placed
        at = (index - first) * HASH_BYTES
        ours = (
            type(data) is bytes
            and type(mac) is bytes
            and leaf_hash(data + mac) == stored[at : at + HASH_BYTES]
        )
        if not ours:
            note(Broken.ALTERED_LEAF, stream, seq, entry)
    for _, _, _, stream, seq, entry in here.values():
        note(Broken.ALTERED_LEAF, stream, seq, entry)


def _check_nodes(tiles: Tiles, size: int, note: Note) -> None:
    """Check that each stored node of a higher tile follows from the tile below it."""
    level, count = 1, size // WIDTH
    while count:
        for index in range(count):
            below = tiles.tile(level - 1, index)
            above = tiles.tile(level, index // WIDTH)
            at = (index % WIDTH) * HASH_BYTES
            if len(below) < WIDTH * HASH_BYTES or _folded(below) != above[at : at + HASH_BYTES]:
                note(Broken.ROOT_MISMATCH, "", (index + 1) * WIDTH**level, None)
        level, count = level + 1, count // WIDTH


def _folded(hashes: bytes) -> bytes:
    row = [hashes[at : at + HASH_BYTES] for at in range(0, WIDTH * HASH_BYTES, HASH_BYTES)]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
