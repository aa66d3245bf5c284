import base64
import contextlib
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries.ledger.notes import (
    MOST_BYTES,
    MOST_SIGNATURES,
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


def lines_of(note):
    text, _, tail = note.rpartition("\n\n")
    return text, tail.splitlines()


def test_a_witness_may_sign_before_us_too():
    text, ours = lines_of(NOTE)
    _, others = lines_of(OTHER.sign(POINT.text()))
    assert open_note("\n".join([text, "", *others, *ours, ""]), KEYS.public) == POINT.text()


def test_a_text_of_several_parts_is_one_text():
    text = "one\n\ntwo\n"
    assert open_note(KEYS.sign(text), KEYS.public) == text


def test_as_many_signatures_and_bytes_as_are_allowed_and_no_more():
    text, ours = lines_of(NOTE)
    _, others = lines_of(OTHER.sign(POINT.text()))
    for count, holds in ((MOST_SIGNATURES - 2, True), (MOST_SIGNATURES - 1, False)):
        note = "\n".join([text, "", *ours, *(others[:1] * count), ""])
        if holds:
            assert open_note(note, KEYS.public) == POINT.text()
        else:
            with pytest.raises(Tampered, match="form"):
                open_note(note, KEYS.public)
    long = "x" * MOST_BYTES + "\n"
    for note, holds in (
        (padded(MOST_BYTES), True),
        (padded(MOST_BYTES + 1), False),
        (KEYS.sign(long), False),
    ):
        if holds:
            assert signer_of(note) == "sig_a.0"
        else:
            with pytest.raises(Tampered, match="form"):
                signer_of(note)


def padded(length):
    """A note of so many characters: the signature of somebody unknown, who needs no more than a name, fills it up."""
    filler = length - len(NOTE) - len("—  AAAAAAAA\n")
    return f"{NOTE}— {'w' * filler} AAAAAAAA\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda text, first, second: f"{text}\n\n{first}\n{second}",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\nmore",
        lambda text, first, second: f"{text}\n\n",
        lambda text, first, second: f"{text}\n\n{first.removeprefix('— ')}\n{second}\n",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\n— AAAAAAAA\n",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\n— a b AAAAAAAA\n",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\n—  AAAAAAAA\n",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\n— a AAAA\n",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\n— a AAAAAAB=\n",
        lambda text, first, second: f"{text}\n\n{first}\n{second}\n— a AAAAAAA*=\n",
    ],
)
def test_whatever_is_not_spelt_as_a_note_is_none(change):
    text, (first, second) = lines_of(NOTE)
    for opened in (lambda note: open_note(note, KEYS.public), signer_of):
        with pytest.raises(Tampered) as refused:
            opened(change(text, first, second))
        assert refused.value.code == "note_malformed"


@pytest.mark.parametrize(
    "other", [ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256K1())]
)
def test_a_second_key_on_another_curve_signs_nothing_although_its_signature_holds(other):
    der = other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    claimed = PublicKeys("sig_a.0", KEYS.public.ed25519, der)
    text, (first, _) = lines_of(NOTE)
    signature = other.sign(POINT.text().encode(), ec.ECDSA(SHA256()))
    line = "— securecontext/sig_a.0 " + base64.b64encode(claimed._ids[1] + signature).decode()
    with pytest.raises(Tampered) as refused:
        open_note(f"{text}\n\n{first}\n{line}\n", claimed)
    assert refused.value.code == "note_not_signed"


def test_a_second_key_of_another_kind_signs_nothing():
    other = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    der = other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    claimed = PublicKeys("sig_a.0", KEYS.public.ed25519, der)
    text, (first, _) = lines_of(NOTE)
    line = "— securecontext/sig_a.0 " + base64.b64encode(claimed._ids[1] + bytes(64)).decode()
    with pytest.raises(Tampered) as refused:
        open_note(f"{text}\n\n{first}\n{line}\n", claimed)
    assert refused.value.code == "note_not_signed"


def test_the_empty_tree_has_a_checkpoint_and_a_negative_one_has_none():
    empty = Checkpoint("log_x", 0, bytes(32))
    assert parse_checkpoint(empty.text()) == empty
    for none in (
        Checkpoint("log_x", -1, bytes(32)),
        Checkpoint("", 1, bytes(32)),
        Checkpoint("log_x", 1, bytes(31)),
    ):
        with pytest.raises(Tampered):
            parse_checkpoint(none.text())
