import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries import tree

VECTORS = Path(__file__).parents[3].parent / "shared" / "data" / "rfc6962"


def vectors(kind):
    files = sorted((VECTORS / kind).rglob("*.json"))
    if not files:
        pytest.skip("the RFC 6962 vectors are not beside the repository: ../shared/data/rfc6962")
    return [(file, json.loads(file.read_text())) for file in files]


def decoded(texts):
    return [base64.b64decode(text) for text in texts or []]


def test_every_inclusion_vector_is_accepted_or_refused_as_it_says():
    wrong = []
    for file, case in vectors("inclusion"):
        leaf, root = base64.b64decode(case["leafHash"] or ""), base64.b64decode(case["root"] or "")
        holds = tree.included(leaf, case["leafIdx"], case["treeSize"], decoded(case["proof"]), root)
        if holds == case["wantErr"]:
            wrong.append(str(file))
    assert wrong == []


def test_every_consistency_vector_is_accepted_or_refused_as_it_says():
    wrong = []
    for file, case in vectors("consistency"):
        roots = [base64.b64decode(case[name] or "") for name in ("root1", "root2")]
        holds = tree.consistent(case["size1"], case["size2"], *roots, decoded(case["proof"]))
        if holds == case["wantErr"]:
            wrong.append(str(file))
    assert wrong == []


def leaves(count):
    return [tree.leaf_hash(bytes([n & 255, n >> 8])) for n in range(count)]


def naive_root(hashes):
    """RFC 6962's definition, word for word."""
    if not hashes:
        return tree.EMPTY
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return tree.node_hash(naive_root(hashes[:k]), naive_root(hashes[k:]))


SIZE = 70
LEAVES = leaves(SIZE)
NODES = tree.nodes_of(LEAVES)


@pytest.mark.parametrize("size", range(SIZE + 1))
def test_roots_are_those_of_the_definition(size):
    growing = tree.Growing()
    for leaf in LEAVES[:size]:
        growing.append(leaf)
    assert growing.root() == tree.root_of(size, NODES) == naive_root(LEAVES[:size])


def test_a_tree_goes_on_from_its_full_subtrees():
    for size in range(SIZE):
        again = tree.Growing(size, [NODES(*place) for place in tree.full_subtrees(0, size)])
        for leaf in LEAVES[size:]:
            again.append(leaf)
        assert again.root() == naive_root(LEAVES)


def test_every_leaf_of_every_size_is_proved_included():
    for size in range(1, SIZE + 1):
        root = naive_root(LEAVES[:size])
        for index in range(size):
            proof = tree.inclusion_proof(index, size, NODES)
            assert tree.included(LEAVES[index], index, size, proof, root)
            assert not tree.included(LEAVES[index], index + 1, size, proof, root)


def test_every_pair_of_sizes_is_proved_consistent():
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            proof = tree.consistency_proof(old, new, NODES)
            roots = naive_root(LEAVES[:old]), naive_root(LEAVES[:new])
            assert tree.consistent(old, new, *roots, proof)


@given(st.data())
def test_any_changed_proof_is_refused(data):
    size = data.draw(st.integers(2, SIZE))
    index = data.draw(st.integers(0, size - 1))
    root, proof = naive_root(LEAVES[:size]), tree.inclusion_proof(index, size, NODES)
    place = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(proof[place])
    changed[bit >> 3] ^= 1 << (bit & 7)
    assert not tree.included(
        LEAVES[index], index, size, [*proof[:place], bytes(changed), *proof[place + 1 :]], root
    )
    assert not tree.included(LEAVES[index], index, size, proof[:place] + proof[place + 1 :], root)
    assert not tree.included(LEAVES[index], index, size, [*proof, proof[-1]], root)


@given(
    st.integers(-3, 80),
    st.integers(-3, 80),
    st.lists(st.binary(max_size=33), max_size=8),
    st.binary(max_size=33),
)
def test_no_proof_whatever_raises(first, second, proof, root):
    assert not tree.included(LEAVES[0], first, second, [*proof, b"short"], root)
    assert not tree.consistent(first, second, root, LEAVES[1], [*proof, b"short"])


def test_leaves_and_nodes_are_hashed_under_marks_of_their_own():
    assert tree.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.leaf_hash(b"\1" + bytes(64)) != tree.node_hash(bytes(32), bytes(32))


def test_every_full_subtree_is_told_once_with_its_place_as_it_is_completed():
    growing, told = tree.Growing(), {}
    for leaf in LEAVES:
        for level, index, made in growing.append(leaf):
            assert (level, index) not in told
            told[level, index] = made
    nodes = tree.nodes_of(LEAVES)
    for level in range(SIZE.bit_length()):
        for index in range(SIZE >> level):
            wanted = naive_root(LEAVES[index << level : (index + 1) << level])
            assert told.pop((level, index)) == wanted == nodes(level, index)
    assert told == {}


def test_a_range_is_covered_by_the_largest_aligned_subtrees():
    for start in range(40):
        for end in range(start, 40):
            at = start
            for level, index in tree.full_subtrees(start, end):
                assert index << level == at
                assert at + (2 << level) > end or at % (2 << level), "a larger one would fit"
                at += 1 << level
            assert at == end


@pytest.mark.parametrize("new", range(2, 36))
def test_any_changed_proof_of_consistency_is_refused(new):
    for old in range(1, new):
        first, second = naive_root(LEAVES[:old]), naive_root(LEAVES[:new])
        proof = tree.consistency_proof(old, new, NODES)
        for place in range(len(proof)):
            flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
            changed = ([*proof[:place], flipped, *proof[place + 1 :]], proof[:place] + proof[place + 1 :])
            for other in changed:
                assert not tree.consistent(old, new, first, second, other)
        for other in ([*proof, proof[-1]], [*proof, LEAVES[0]], [], [each[:-1] for each in proof]):
            assert not tree.consistent(old, new, first, second, other)
        assert not tree.consistent(old, new, second, second, proof)
        assert not tree.consistent(old, new, first, first, proof)
        assert not tree.consistent(old, new, second, first, proof)
        assert not tree.consistent(new, old, second, first, proof)


def test_equal_sizes_are_consistent_where_the_roots_are_and_nothing_is_to_be_proved():
    one, other = naive_root(LEAVES[:5]), naive_root(LEAVES[:6])
    assert tree.consistent(5, 5, one, one, [])
    assert not tree.consistent(5, 5, one, other, [])
    assert not tree.consistent(5, 5, one, one, [LEAVES[0]])
    assert not tree.consistent(0, 5, tree.EMPTY, one, [])
    assert not tree.consistent(0, 0, tree.EMPTY, tree.EMPTY, [])
    assert tree.consistency_proof(0, 5, NODES) == tree.consistency_proof(5, 5, NODES) == []
