"""Whatever is encrypted comes back in its own place, and nowhere else; a file of keys is read as it was written."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecontext.boundaries.keyring import key_file
from securecontext.boundaries.keyring.envelope import begin
from securecontext.types.errors import Expired, Tampered, Unavailable
from securecontext.types.security import AgentState
from tests.keys_case import ROOT, Keys

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
places = st.tuples(words, words, words, words)
MOMENT = "2026-11-25T01:02:03.000000Z"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys") / "keys")


@given(places, st.binary(max_size=300))
def test_a_state_comes_back_as_it_was(keys, place, content):
    state = AgentState(*place, content)
    encrypted = keys.states.encrypt_agent_state(state)
    assert keys.decrypt(encrypted) == state
    assert len(encrypted.nonce) == 12 and len(encrypted.sealed) == len(content) + 16


@given(places, places, st.binary(max_size=40))
def test_a_state_opens_in_no_other_place(keys, place, other, content):
    encrypted = keys.states.encrypt_agent_state(AgentState(*place, content))
    moved = replace(encrypted, **dict(zip(("project", "agent", "kind", "record"), other, strict=True)))
    if other == place:
        assert keys.decrypt(moved).content == content
    else:
        with pytest.raises(Tampered):
            keys.decrypt(moved)


steps = st.lists(st.sampled_from(["rotate", "new", "count"]) | st.integers(0, 8), max_size=12)


@settings(max_examples=60)
@given(steps, st.binary(min_size=16, max_size=64))
def test_every_way_of_rotating_and_destroying_keeps_what_was_not_destroyed(steps, root):
    envelope = begin(root, MOMENT)
    secrets = {envelope.writing.id: envelope.opened(envelope.writing.id).secret}
    gone = set()
    for step in steps:
        uses = {key.id: key.uses for key in envelope.keys}
        match step:
            case "rotate":
                envelope = envelope.rotated(root, MOMENT)
            case "new":
                envelope = envelope.with_new_key(MOMENT)
            case "count":
                envelope = envelope.counted(7)
            case int():
                victim = envelope.keys[step % len(envelope.keys)].id
                envelope, gone = envelope.without(victim, MOMENT), gone | {victim}
        assert all(key.uses >= uses.get(key.id, 0) for key in envelope.keys)
        if envelope.writing.id not in secrets:
            secrets[envelope.writing.id] = envelope.opened(envelope.writing.id).secret
        envelope = key_file.read(key_file.written(envelope, root), root, Path("data.keys"))
        assert {key.id for key in envelope.keys} == set(secrets)
        assert len(set(secrets.values())) == len(secrets)
        for key_id, secret in secrets.items():
            if key_id in gone:
                with pytest.raises(Expired):
                    envelope.opened(key_id)
            else:
                assert envelope.opened(key_id).secret == secret
    assert not envelope.writing.destroyed


def test_two_files_of_one_root_never_hold_the_same_keys():
    made = [begin(ROOT, MOMENT) for _ in range(20)]
    assert len({each.salt for each in made}) == 20
    assert len({each.wrapping.secret for each in made}) == 20
    assert len({each.opened(each.writing.id).secret for each in made}) == 20


@given(st.data())
def test_a_file_of_keys_with_any_flipped_bit_is_refused(data):
    whole = key_file.written(begin(ROOT, MOMENT), ROOT)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Tampered, Unavailable)):
        key_file.read(bytes(changed), ROOT, Path("data.keys"))
