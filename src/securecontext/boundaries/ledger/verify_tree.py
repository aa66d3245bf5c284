"""The tree's part of a check: every checkpoint is signed over exactly these leaves.

From the leaves up, so that a change is named where it is: a leaf that is not its entry's names the entry (see
``verify_entries``), a stored node that does not follow from the leaves is the tree's own fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select

from securecontext.boundaries.ledger.notes import Checkpoint, open_note, parse_checkpoint
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.tiles import WIDTH, Tiles, folded
from securecontext.boundaries.ledger.verdict import Broken
from securecontext.boundaries.tree import HASH_BYTES
from securecontext.storage.tables import ledger_checkpoints
from securecontext.types.errors import Tampered

c = ledger_checkpoints.c
_checkpoints = (
    select(c.size, c.kid, c.note)
    .where(c.log == bindparam("log"), c.size >= bindparam("since"))
    .order_by(c.size, c.kid)
)

Note = Callable[[Broken, object, object, object], None]
"""Records a broken place: how, stream, seq, row."""


@dataclass(slots=True)
class Signed:
    """What the checkpoints of a log say, as far as their signatures hold.

    Attributes:
        points: in the order of their size.
        last: by key id, the size of the last checkpoint that its keys signed.
        notes: as they are stored: what is anchored of them needs no second look at its signatures.
    """

    points: list[Checkpoint] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        """Leaves under the newest checkpoint."""
        return self.points[-1].size if self.points else 0


def read_checkpoints(
    connection: Connection, log: str, signers: Signers, note: Note, since: int = 0
) -> Signed:
    """Return the checkpoints of a log, of so many leaves or more, whose signatures hold; others are broken places."""
    out = Signed()
    for size, kid, stored in connection.execute(_checkpoints, {"log": log, "since": since}).all():
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
        out.notes.add(stored)
    return out


def check_tree(connection: Connection, log: str, signed: Signed, note: Note, since: int = 0) -> None:
    """Check that leaves are there, each stored node against those below it, and each root against its signature.

    Args:
        connection: sees one state throughout.
        log: the log's id.
        signed: the checkpoints.
        note: records what is broken.
        since: leaves whose nodes were checked before; those of the tile in which they end are checked again.
    """
    tiles = Tiles(connection, log)
    size = signed.size
    for first in range(since // WIDTH * WIDTH, size, WIDTH):
        count = min(WIDTH, size - first)
        if len(tiles.tile(0, first // WIDTH)) < count * HASH_BYTES:
            note(Broken.ROOT_MISMATCH, "", first + count, None)
    _check_nodes(tiles, since, size, note)
    for point in signed.points:
        if root_at(tiles, point.size) != point.root:
            note(Broken.ROOT_MISMATCH, "", point.size, None)


def root_at(tiles: Tiles, size: int) -> bytes:
    """Return the root of so many leaves as the stored nodes give it; empty where they do not."""
    try:
        return tiles.root(size)
    except Tampered:
        return b""


def _check_nodes(tiles: Tiles, since: int, size: int, note: Note) -> None:
    """Check that each stored node of a higher tile follows from the tile below it."""
    level, first, count = 1, since // WIDTH, size // WIDTH
    while count:
        for index in range(first, count):
            below = tiles.tile(level - 1, index)
            above = tiles.tile(level, index // WIDTH)
            at = (index % WIDTH) * HASH_BYTES
            if len(below) < WIDTH * HASH_BYTES or folded(below) != above[at : at + HASH_BYTES]:
                note(Broken.ROOT_MISMATCH, "", (index + 1) * WIDTH**level, None)
        level, first, count = level + 1, first // WIDTH, count // WIDTH
