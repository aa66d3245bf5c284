"""The anchors' part of a check: the log has grown out of everything that was anchored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from securecontext.boundaries.anchors import AnchorFile
from securecontext.boundaries.signers import Signers
from securecontext.boundaries.tiles import Tiles
from securecontext.boundaries.verdict import Broken
from securecontext.boundaries.verify_tree import Signed
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
    anchors: AnchorFile,
    signed: Signed,
    note: Callable[[Broken, object, object], None],
) -> Anchored:
    """Hold every anchor of a log against its tree.

    Raises:
        Unavailable: the anchors cannot be read.
    """
    try:
        known = anchors.read(log)
    except Tampered as error:
        note(Broken.ALTERED_ANCHOR, "", error.details.get("line", 0))
        return Anchored()
    tiles = Tiles(connection, log)
    size, beyond = 0, False
    for anchor in known:
        try:
            point = anchor.verified(signers)
        except Tampered:
            note(Broken.ALTERED_ANCHOR, "", anchor.point.size)
            continue
        if point.size > signed.size:
            beyond = True
        elif _root(tiles, point.size) != point.root:
            note(Broken.ANCHOR_MISMATCH, "", point.size)
        else:
            size = max(size, point.size)
    return Anchored(size, beyond)


def _root(tiles: Tiles, size: int) -> bytes:
    try:
        return tiles.root(size)
    except Tampered:
        return b""
