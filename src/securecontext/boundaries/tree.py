"""The Merkle tree of RFC 6962 (section 2.1): roots, inclusion and consistency proofs. Pure.

A subtree that is full is addressed by ``(level, index)``: the node over the leaves ``index·2^level`` up to
``(index + 1)·2^level``. Whoever stores nodes needs those alone; all other hashes follow from them.

``leaf = SHA-256(0x00 ‖ data)``, ``node = SHA-256(0x01 ‖ left ‖ right)``, the empty tree is ``SHA-256("")``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from securecontext.contracts import require

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]
"""Returns the hash of the full subtree at a level and index."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees side by side."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Growing:
    """A tree that is only appended to: keeps the roots of its full subtrees, at most 64 hashes.

    Args:
        size: leaves so far.
        roots: of its full subtrees, largest first, as `full_subtrees` lists them.
    """

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Append a leaf hash; return every full subtree that it completes, as (level, index, hash)."""
        made = [(0, self.size, leaf)]
        level, index = 0, self.size
        while index & 1:
            leaf = node_hash(self._roots.pop(), leaf)
            level, index = level + 1, index >> 1
            made.append((level, index, leaf))
        self._roots.append(leaf)
        self.size += 1
        return iter(made)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return _bagged(self._roots)


def _bagged(roots: Sequence[bytes]) -> bytes:
    if not roots:
        return EMPTY
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


def full_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Return the largest full subtrees, as (level, index), that lie side by side over a range of leaves."""
    out = []
    while start < end:
        level = min((start & -start).bit_length() - 1 if start else 64, (end - start).bit_length() - 1)
        out.append((level, start >> level))
        start += 1 << level
    return out


@require(lambda size: size >= 0, "a size is not negative")
def root_of(size: int, node: Node) -> bytes:
    """Return the root of the tree of so many leaves."""
    return _bagged([node(*place) for place in full_subtrees(0, size)])


def _range_root(start: int, end: int, node: Node) -> bytes:
    """Return the hash of RFC 6962's subtree over a range, which starts where a full subtree of its size would."""
    return _bagged([node(*place) for place in full_subtrees(start, end)])


def _split(size: int) -> int:
    """Return the largest power of two below a size of at least two."""
    return int(1 << ((size - 1).bit_length() - 1))


@require(lambda leaf, size: 0 <= leaf < size, "the leaf is one of the tree's")
def inclusion_proof(leaf: int, size: int, node: Node) -> list[bytes]:
    """Return the hashes that prove a leaf to be in the tree of so many leaves, lowest first."""
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if leaf < middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(start, middle, node))
            start = middle
    return proof[::-1]


@require(lambda old, new: 0 <= old <= new, "a tree only grows")
def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """Return the hashes that prove that the tree of ``old`` leaves is the beginning of that of ``new`` ones."""
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(start, middle, node))
            start, whole = middle, False
    if not whole:
        proof.append(_range_root(start, end, node))
    return proof[::-1]


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether an inclusion proof holds (RFC 9162, section 2.1.3.2). Never raises."""
    if not (0 <= index < size and all(len(each) == HASH_BYTES for each in (leaf, root, *proof))):
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a consistency proof holds (RFC 9162, section 2.1.4.2). Never raises.

    Of the empty tree nothing can be proved: it is no beginning that anybody could have seen.
    """
    if not (0 < old <= new and all(len(each) == HASH_BYTES for each in proof)):
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    of_old = of_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            of_old, of_new = node_hash(sibling, of_old), node_hash(sibling, of_new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            of_new = node_hash(of_new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root


def nodes_of(leaves: Iterable[bytes]) -> Node:
    """Return the nodes of a tree that is held in memory, given its leaf hashes."""
    known: dict[tuple[int, int], bytes] = {}
    tree = Growing()
    for leaf in leaves:
        known.update({(level, index): made for level, index, made in tree.append(leaf)})
    return lambda level, index: known[level, index]
