import json
import math
from enum import StrEnum
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries.canonical import canonical, quote
from securecontext.types.errors import InvalidInput

VECTORS = Path(__file__).parents[3].parent / "shared" / "data" / "rfc8785"
NAMES = ("arrays", "french", "structures", "unicode", "values", "weird")

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text
numbers = st.floats(allow_nan=False, allow_infinity=False)


def nested(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_vectors(name):
    if not VECTORS.is_dir():
        pytest.skip("the RFC 8785 vectors are not beside the repository: ../shared/data/rfc8785")
    value = json.loads((VECTORS / "input" / f"{name}.json").read_bytes())
    assert canonical(value) == (VECTORS / "output" / f"{name}.json").read_bytes()


@given(nested(scalars | numbers))
def test_every_value_has_the_bytes_that_the_library_writes(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(text, scalars, min_size=1))
def test_flat_objects_have_the_bytes_that_the_library_writes(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(text)
def test_a_quoted_text_has_the_bytes_that_the_library_writes(value):
    assert quote(value).encode() == rfc8785.dumps(value)


@given(nested(scalars))
def test_what_was_written_reads_back_and_is_written_the_same(value):
    data = canonical(value)
    assert json.loads(data) == value
    assert canonical(json.loads(data)) == data


def test_keys_are_ordered_by_utf_16_units_not_by_code_points():
    # U+10000 begins with the unit D800 and comes before U+E000, though its code point is greater.
    assert canonical({"\ue000": 1, "\U00010000": 2}) == '{"\U00010000":2,"\ue000":1}'.encode()


def test_each_control_character_has_its_one_spelling():
    every = "".join(map(chr, range(0x20))) + '"\\\x7f/'
    assert canonical({"a": every}) == rfc8785.dumps({"a": every})


def test_a_subclass_of_text_is_its_text():
    class Colour(StrEnum):
        RED = "red"

    assert canonical([Colour.RED]) == b'["red"]'


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, "NaN"),
        ([math.inf], "NaN"),
        (2**53, "integer"),
        ({"a": -(2**53)}, "integer"),
        ({1: "a"}, "key"),
        ({"a": 1, 2: "b"}, "key"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({"é": "\ud800"}, "surrogate"),
        (b"bytes", "type"),
        ({"a": {1, 2}}, "type"),
    ],
)
def test_what_rfc_8785_cannot_carry_is_refused_and_told_why(value, why):
    with pytest.raises(InvalidInput) as refused:
        canonical(value)
    assert refused.value.code == "not_canonical"
    assert why in refused.value.message


def test_a_refusal_does_not_repeat_the_value():
    with pytest.raises(InvalidInput) as refused:
        canonical({"hunter2": "hunter2\ud800"})
    assert "hunter2" not in str(refused.value)


def test_endless_nesting_is_a_refusal_not_a_crash():
    endless = []
    endless.append(endless)
    with pytest.raises(InvalidInput, match="nested"):
        canonical(endless)


def same(one, other):
    """Whether two values are one JSON value: 1 and 1.0 are, 1 and true are not, nor a list and an object."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


few = st.sampled_from(
    [None, True, False, 0, 1, -1, 0.5, 1.0, "", "0", "1", "true", "null", "[]", ",", '"', "a", "é"]
)
few_values = st.recursive(
    few,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["", "a", "b", "é"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(few_values, few_values)
def test_two_values_have_the_same_bytes_only_if_they_are_one(one, other):
    assert (canonical(one) == canonical(other)) == same(one, other)
