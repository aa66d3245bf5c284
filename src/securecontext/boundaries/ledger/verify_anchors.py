"""The anchors' part of a check: the log has grown out of everything that was anchored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from securecontext.boundaries.ledger.anchors import Anchor
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.ledger.verdict import Broken
from securecontext.boundaries.ledger.verify_tree import Signed, root_at
from securecontext.types.errors import Tampered


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the anchors say.

    Attributes:
        size: leaves of the log that an anchor vouches for.
        beyond: whether an anchor knows more leaves than the log has.
    """

    size: int = 0
    beyond: bool = False


def check_anchors(
    connection: Connection,
    log: str,
    signers: Signers,
    anchors: Iterable[Anchor],
    signed: Signed,
    note: Callable[[Broken, object, object], None],
) -> Anchored:
    """Hold every anchor of a log against its tree."""
    tiles = Tiles(connection, log)
    roots = {point.size: point.root for point in signed.points}
    size, beyond = 0, False
    for anchor in anchors:
        point = anchor.point
        try:
            if anchor.note not in signed.notes:
                point = anchor.verified(signers)
        except Tampered:
            note(Broken.ALTERED_ANCHOR, "", anchor.point.size)
            continue
        if point.size > signed.size:
            beyond = True
        elif point.root != (roots.get(point.size) or root_at(tiles, point.size)):
            note(Broken.ANCHOR_MISMATCH, "", point.size)
        else:
            size = max(size, point.size)
            if point.size not in roots:  # committed before it was anchored, and none is ever removed
                note(Broken.MISSING_CHECKPOINT, "", point.size)
    return Anchored(size, beyond)
