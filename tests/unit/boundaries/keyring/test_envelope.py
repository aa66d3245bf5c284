from dataclasses import replace

import pytest

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead, envelope
from securecontext.types.errors import LimitReached, Tampered
from tests.keys_case import ROOT

MOMENT = "2026-11-25T01:02:03.000000Z"


def test_the_wrapping_key_derives_from_root_salt_and_id_as_documented():
    made = envelope.begin(ROOT, MOMENT)
    info = canonical(["securecontext/key-encryption-key/v1", made.wrapping.id])
    assert made.wrapping.secret == aead.derive(ROOT, made.salt, info, 32)
    for other in (
        envelope.wrapping_key(bytes(64), made.wrapping.id, made.salt),
        envelope.wrapping_key(ROOT, made.wrapping.id, bytes(32)),
        envelope.wrapping_key(ROOT, "kek_other", made.salt),
    ):
        assert other.secret != made.wrapping.secret


def test_wrapped_keys_exchanged_with_each_other_do_not_open():
    made = envelope.begin(ROOT, MOMENT).with_new_key(MOMENT)
    one, two = made.keys
    swapped = replace(
        made,
        keys=(
            replace(one, nonce=two.nonce, wrapped=two.wrapped),
            replace(two, nonce=one.nonce, wrapped=one.wrapped),
        ),
    )
    for key in swapped.keys:
        with pytest.raises(Tampered) as refused:
            swapped.opened(key.id)
        assert refused.value.code == "key_not_authentic"


def test_a_renamed_key_does_not_open():
    made = envelope.begin(ROOT, MOMENT)
    renamed = replace(made, keys=(replace(made.writing, id="dek_other"),))
    with pytest.raises(Tampered):
        renamed.opened("dek_other")


def test_there_are_no_more_keys_than_the_file_holds(monkeypatch):
    monkeypatch.setattr(envelope, "KEYS_LIMIT", 2)
    full = envelope.begin(ROOT, MOMENT).with_new_key(MOMENT)
    for change in (
        lambda: full.with_new_key(MOMENT),
        lambda: full.rotated(ROOT, MOMENT),
        lambda: full.without(full.writing.id, MOMENT),
    ):
        with pytest.raises(LimitReached) as refused:
            change()
        assert refused.value.code == "too_many_keys"
    assert full.without(full.keys[0].id, MOMENT).writing == full.writing
