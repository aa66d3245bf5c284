"""Whatever is sealed comes back in its own place as it was, and nowhere else; no changed character of it opens."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries.keyring.bodies import MARK, Bodies, Place, is_plain
from securecontext.types.classification import CLASSIFICATIONS, SEALED, kept, rank
from securecontext.types.errors import ZcError
from tests.keys_case import ROOT, Keys

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
places = st.builds(
    Place,
    project=words,
    agent=words,
    kind=st.sampled_from(["fact", "document/text", "document/summary"]),
    row=st.integers(1, 2**53),
    beside=st.tuples(words, words, words, words),
    classification=st.sampled_from(SEALED),
)
classes = st.sampled_from(CLASSIFICATIONS)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return Bodies(Keys(tmp_path_factory.mktemp("keys") / "keys").states, ROOT)


@given(places, texts)
def test_a_sealed_text_comes_back_as_it_was(bodies, place, text):
    stored = bodies.seal(place, text)
    assert stored.startswith(MARK) and not is_plain(stored, place.classification)
    assert bodies.open(place, stored) == text
    assert text not in stored or len(text) < 3, "a few letters may stand in any base64"


@given(places, places, texts)
def test_a_sealed_text_opens_in_no_other_place(bodies, place, other, text):
    found = bodies.open(other, bodies.seal(place, text))
    assert (found == text) if other == place else (found.code == "state_tampered")


@given(places, texts, st.data())
def test_no_changed_character_of_a_sealed_text_opens(bodies, place, text, data):
    stored = bodies.seal(place, text)
    at = data.draw(st.integers(0, len(stored) - 1))
    put = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
    edited = stored[:at] + put + stored[at + 1 :]
    found = bodies.open(place, edited)
    assert found == text if edited == stored else isinstance(found, ZcError)


@given(places, texts, st.data())
def test_nothing_can_be_put_into_a_sealed_text(bodies, place, text, data):
    stored = bodies.seal(place, text)
    at = data.draw(st.integers(0, len(stored)))
    junk = data.draw(st.sampled_from(["*", "\n", " ", "=", "====", "A", "\x01"]))
    assert isinstance(bodies.open(place, stored[:at] + junk + stored[at:]), ZcError)


@given(places, st.text(max_size=80) | st.binary(max_size=80) | st.none())
def test_whatever_lies_in_the_column_is_an_answer(bodies, place, stored):
    assert isinstance(bodies.open(place, stored), ZcError)
    assert isinstance(bodies.open(replace(place, classification="internal"), stored), ZcError)


@given(st.text(max_size=40), classes)
def test_what_carries_the_mark_is_plain_in_no_class(text, classification):
    assert not is_plain(MARK + text, classification)


@given(st.none() | classes, st.lists(classes))
def test_a_class_is_never_lowered_in_silence(given_class, before):
    found = kept(given_class, before)
    assert found in CLASSIFICATIONS
    if given_class is None:
        assert all(rank(found) >= rank(each) for each in before)
        assert before or found == "internal"
    else:
        assert found == given_class


def test_a_class_that_nobody_knows_stands_above_all():
    assert [rank(each) for each in CLASSIFICATIONS] == [0, 1, 2, 3] and rank("secret") == 4
