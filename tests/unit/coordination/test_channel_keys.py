"""What is kept of a channel's key, and who is let pass."""

from __future__ import annotations

import re

import pytest

from securecontext.coordination import channel_keys
from securecontext.coordination.channel_keys import Channel
from securecontext.types.errors import Denied, InvalidInput, Tampered

KEY = "a key of sixteen"


@pytest.fixture(scope="module")
def verifier() -> str:
    return channel_keys.verifier_of(KEY)


def test_t_b04_what_is_kept_is_scrypt_with_a_salt_of_its_own(verifier: str) -> None:
    """T_B04: the format of the stored hash."""
    assert re.fullmatch(r"scrypt\$32768\$8\$1\$[A-Za-z0-9+/]{43}=\$[0-9a-f]{64}", verifier)
    assert KEY not in verifier and verifier != channel_keys.verifier_of(KEY)


def test_who_knows_the_key_passes_and_nobody_else(verifier: str) -> None:
    channel_keys.admit(Channel("set", verifier), KEY)
    for wrong, code in (
        ("", "channel_key_needed"), (None, "channel_key_needed"), (KEY + "x", "wrong_channel_key"),
        (KEY[:-1], "wrong_channel_key"), ("x" * 100_000, "wrong_channel_key"), (verifier, "wrong_channel_key"),
        ("\ud800" * 16, "wrong_channel_key"),
    ):  # fmt: skip
        with pytest.raises(Denied) as caught:
            channel_keys.admit(Channel("set", verifier), wrong)
        assert caught.value.code == code


def test_without_a_key_nobody_passes_unless_the_operator_waived_it() -> None:
    with pytest.raises(Denied) as caught:
        channel_keys.admit(Channel("missing"), KEY)
    assert caught.value.code == "channel_key_missing"
    channel_keys.admit(Channel("waived"), None)


@pytest.mark.parametrize("length", [0, 8, 15, 257])
def test_a_key_that_is_too_short_or_too_long_is_none(length: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        channel_keys.verifier_of("k" * length)
    assert caught.value.code == "channel_key_length"


def test_a_made_key_is_long_and_new_each_time() -> None:
    made = {channel_keys.fresh() for _ in range(50)}
    assert len(made) == 50 and {len(key) for key in made} == {32}


@pytest.mark.parametrize(
    "damaged",
    ["", "scrypt", "waive", "scrypt$2$8$1$AAAA$" + "0" * 64, "scrypt$1073741824$8$1${salt}$" + "0" * 64,
     "scrypt$32768$8$1000000$x$y", "bcrypt$32768$8$1${salt}$" + "0" * 64, "scrypt$-2$8$1${salt}$" + "0" * 64],
)  # fmt: skip
def test_a_damaged_verifier_lets_nobody_pass(damaged: str, verifier: str) -> None:
    with pytest.raises(Tampered):
        channel_keys.admit(Channel("set", damaged.replace("{salt}", verifier.split("$")[4])), KEY)
