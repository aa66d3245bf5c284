import base64
import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries.notes import (
    Checkpoint,
    PublicKeys,
    SigningKeys,
    open_note,
    parse_checkpoint,
    signer_of,
)
from securecontext.types.errors import Tampered

KEYS = SigningKeys("sig_a.0", bytes(range(32)), 12345)
OTHER = SigningKeys("sig_b.0", bytes(range(1, 33)), 54321)
POINT = Checkpoint("log_x", 1042, bytes(range(32)))
NOTE = KEYS.sign(POINT.text())


def test_a_note_holds_under_its_keys_and_says_who_signed():
    assert parse_checkpoint(open_note(NOTE, KEYS.public)) == POINT
    assert signer_of(NOTE) == "sig_a.0"


def test_the_note_has_the_published_form():
    text, _, signatures = NOTE.rpartition("\n\n")
    assert text.split("\n") == ["securecontext/log_x", "1042", base64.b64encode(bytes(range(32))).decode()]
    lines = signatures.splitlines()
    assert [line.split(" ")[:2] for line in lines] == [["—", "securecontext/sig_a.0"]] * 2
    raw = [base64.b64decode(line.split(" ")[2]) for line in lines]
    assert len(raw[0]) == 4 + 64
    assert len({each[:4] for each in raw}) == 2


def test_a_foreign_key_of_the_same_name_is_refused():
    forged = PublicKeys("sig_a.0", OTHER.public.ed25519, OTHER.public.p256)
    with pytest.raises(Tampered) as refused:
        open_note(NOTE, forged)
    assert refused.value.code == "note_not_signed"


@pytest.mark.parametrize("kept", [0, 1])
def test_one_signature_alone_is_not_enough(kept):
    text, _, signatures = NOTE.rpartition("\n\n")
    alone = text + "\n\n" + signatures.splitlines()[kept] + "\n"
    with pytest.raises(Tampered, match="not signed by"):
        open_note(alone, KEYS.public)


def test_signatures_of_others_are_passed_over():
    witness = OTHER.sign(POINT.text()).rpartition("\n\n")[2]
    assert open_note(NOTE + witness, KEYS.public) == POINT.text()


@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_any_flipped_bit_is_refused(bit):
    data = bytearray(NOTE.encode())
    data[bit >> 3] ^= 1 << (bit & 7)
    changed = data.decode("utf-8", "replace")
    with pytest.raises(Tampered):
        open_note(changed, KEYS.public)


@given(st.text())
def test_no_text_whatever_raises_anything_else(text):
    for read in (signer_of, parse_checkpoint, lambda note: open_note(note, KEYS.public)):
        with contextlib.suppress(Tampered):
            read(text)


@pytest.mark.parametrize(
    "text",
    [
        "securecontext/log_x\n01\n" + "A" * 43 + "=\n",
        "securecontext/log_x\n-1\n" + "A" * 43 + "=\n",
        "securecontext/log_x\n1\nAAAA\n",
        "securecontext/log_x\n1\n" + "A" * 43 + "=\nmore\n",
        "other/log_x\n1\n" + "A" * 43 + "=\n",
        "securecontext/\n1\n" + "A" * 43 + "=\n",
        "securecontext/log_x\n1\n" + "A" * 43 + "=",
    ],
)
def test_a_checkpoint_in_another_spelling_is_refused(text):
    with pytest.raises(Tampered) as refused:
        parse_checkpoint(text)
    assert refused.value.code == "note_malformed"


def test_private_keys_show_nowhere():
    assert repr(KEYS) == "<SigningKeys sig_a.0>"
    with pytest.raises(TypeError):
        pickle.dumps(KEYS)


def test_the_fingerprint_is_over_both_keys():
    assert KEYS.public.fingerprint != OTHER.public.fingerprint
    mixed = PublicKeys("sig_a.0", KEYS.public.ed25519, OTHER.public.p256)
    assert mixed.fingerprint not in (KEYS.public.fingerprint, OTHER.public.fingerprint)


def test_a_lone_surrogate_makes_no_note():
    for opened in (lambda note: open_note(note, KEYS.public), signer_of):
        with pytest.raises(Tampered) as refused:
            opened(NOTE.replace("1042", "104\ud800"))
        assert refused.value.code == "note_malformed"


def test_a_key_of_an_unknown_kind_signs_nothing():
    """Its own signature of Ed25519 holds and its name fits, so that the other key is looked at."""
    known = KEYS.public.p256
    for changed in (
        known.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030101")),
        known.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0205")),
        b"",
    ):
        made = SigningKeys("sig_a.0", bytes(range(32)), 12345)
        made.public = PublicKeys("sig_a.0", KEYS.public.ed25519, changed)
        with pytest.raises(Tampered) as refused:
            open_note(made.sign(POINT.text()), made.public)
        assert refused.value.code == "note_not_signed"
