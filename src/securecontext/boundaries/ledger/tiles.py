"""The tree's stored nodes: tiles of up to 256 hashes, side by side in one row.

Only every eighth level is stored; what lies between is hashed anew out of one tile. At a million leaves a proof reads
three rows. The layout is that of https://c2sp.org/tlog-tiles with tiles of height 8.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, insert, select

from securecontext.boundaries import tree
from securecontext.boundaries.tree import HASH_BYTES, Growing
from securecontext.storage.tables import ledger_tiles
from securecontext.types.errors import Tampered

HEIGHT = 8
WIDTH = 1 << HEIGHT

t = ledger_tiles.c
_read = select(t.hashes).where(
    t.log == bindparam("in_log"), t.level == bindparam("at_level"), t.tile == bindparam("at_tile")
)
_drop = delete(ledger_tiles).where(
    t.log == bindparam("in_log"), t.level == bindparam("at_level"), t.tile == bindparam("at_tile")
)
_insert = insert(ledger_tiles)


class Tiles:
    """The nodes of one log's tree as they are stored; reads each tile once.

    Args:
        connection: for reading.
        log: the log's id.
    """

    def __init__(self, connection: Connection, log: str) -> None:
        self._connection = connection
        self._log = log
        self._read: dict[tuple[int, int], bytes] = {}

    def tile(self, level: int, tile: int) -> bytes:
        """Return the hashes of a tile, side by side; empty where there is none."""
        place = (level, tile)
        if place not in self._read:
            found = self._connection.execute(
                _read, {"in_log": self._log, "at_level": level, "at_tile": tile}
            ).scalar()
            self._read[place] = found if type(found) is bytes else b""
        return self._read[place]

    def leaf(self, index: int) -> bytes:
        """Return the hash of a leaf; empty where it is not stored."""
        at = index % WIDTH * HASH_BYTES
        return self.tile(0, index // WIDTH)[at : at + HASH_BYTES]

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a full subtree.

        Raises:
            Tampered: ``ledger_tree_broken``: it is not stored.
        """
        above = level % HEIGHT
        first = index << above
        hashes = self.tile(level // HEIGHT, first // WIDTH)
        start = (first % WIDTH) * HASH_BYTES
        part = hashes[start : start + (HASH_BYTES << above)]
        if len(part) != HASH_BYTES << above:
            raise Tampered(
                "ledger_tree_broken",
                "The tree of the ledger lacks nodes that it had.",
                "Run `zc audit verify` to see where the ledger breaks.",
            )
        return folded(part)

    def growing(self, size: int) -> Growing:
        """Return the tree of so many leaves, to be appended to."""
        return Growing(size, [self.node(*place) for place in tree.full_subtrees(0, size)])

    def root(self, size: int) -> bytes:
        """Return the root of the tree of so many leaves."""
        return tree.root_of(size, self.node)


def folded(hashes: bytes) -> bytes:
    """Return the hash of the full subtree over hashes side by side."""
    row = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    while len(row) > 1:
        row = [tree.node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def append(connection: Connection, log: str, tiles: Tiles, growing: Growing, leaves: Iterable[bytes]) -> None:
    """Append leaf hashes to a tree and store the tiles that they change."""
    fresh: dict[tuple[int, int], bytearray] = {}
    for leaf in leaves:
        for level, index, made in growing.append(leaf):
            if level % HEIGHT == 0:
                place = (level // HEIGHT, index // WIDTH)
                if place not in fresh:
                    fresh[place] = bytearray(tiles.tile(*place)[: (index % WIDTH) * HASH_BYTES])
                fresh[place] += made
    if not fresh:
        return
    places = [{"in_log": log, "at_level": level, "at_tile": tile} for level, tile in fresh]
    connection.execute(_drop, places)
    connection.execute(
        _insert,
        [
            {"log": log, "level": level, "tile": tile, "hashes": bytes(hashes)}
            for (level, tile), hashes in fresh.items()
        ],
    )
