"""Session tokens: what they say, when they end, and where their key is."""

from __future__ import annotations

import base64
import hmac
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.policy import Role
from securecontext.boundaries.tokens import CHARACTERS, PREFIX, TTL_SECONDS, Claims, TokenKey, is_token
from securecontext.types.errors import Unauthenticated

START = 1_790_000_000
SAID = Claims("tok_1", "alice", Role.WORKER, "prj_1", "ses_1", START, START + TTL_SECONDS)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    return TokenKey(Keyring.open(tmp_path / "keys"))


def test_a_token_has_the_published_form(key: TokenKey) -> None:
    prefix, body, mac = key.sign(SAID).split(".")
    assert (prefix + ".", len(bytes.fromhex(mac))) == (PREFIX, 32)
    assert json.loads(base64.urlsafe_b64decode(body + "==")) == {
        "tid": "tok_1", "aid": "alice", "role": "worker", "ph": "prj_1", "sid": "ses_1",
        "iat": START, "exp": START + 86_400,
    }  # fmt: skip
    assert "=" not in body and is_token(key.sign(SAID)) and not is_token("0" * 64)


def test_it_counts_until_it_ends(key: TokenKey) -> None:
    token = key.sign(SAID)
    assert key.open(token, at(0)) == key.open(token, at(TTL_SECONDS - 1)) == SAID
    for late in (TTL_SECONDS, TTL_SECONDS + 1, 10 * TTL_SECONDS):
        with pytest.raises(Unauthenticated) as caught:
            key.open(token, at(late))
        assert caught.value.code == "token_expired"


def test_w_22_another_root_is_another_key(key: TokenKey, tmp_path: Path) -> None:
    other = TokenKey(Keyring.open(tmp_path / "others"))
    with pytest.raises(Unauthenticated) as caught:
        key.open(other.sign(SAID), at(1))
    assert caught.value.code == "token_wrong"


def test_w_22_the_key_is_not_the_root_and_shows_nowhere(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path / "keys")
    key = TokenKey(ring)
    assert key._key not in ring.root("tokens") and ring.root("tokens")[:32] != key._key
    assert repr(key) == "<TokenKey>"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_the_longest_token_that_can_be_issued_is_read(key: TokenKey) -> None:
    said = Claims("t" * 64, "a" * 64, Role.ORCHESTRATOR, "p" * 64, "s" * 64, START, START + TTL_SECONDS)
    token = key.sign(said)
    assert len(token) <= CHARACTERS and key.open(token, at(1)) == said


def test_the_key_is_what_the_published_derivation_gives(tmp_path: Path) -> None:
    """Else a new version would refuse every token of the one before."""
    ring = Keyring.open(tmp_path / "keys")
    info = b'["securecontext/tokens/v1/session"]'
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(ring.root("tokens"))
    body, _, mac = TokenKey(ring).sign(SAID).rpartition(".")
    assert hmac.digest(derived, body.encode(), "sha256").hex() == mac


@pytest.mark.parametrize(
    ("seconds", "holds"),
    [(-1, False), (0, False), (1, True), (TTL_SECONDS, True), (TTL_SECONDS + 1, False)],
)
def test_no_token_lasts_longer_than_a_day_or_ends_before_it_begins(
    key: TokenKey, seconds: int, holds: bool
) -> None:
    token = key.sign(replace(SAID, exp=START + seconds))
    if holds:
        assert key.open(token, at(-5)).exp == START + seconds
    else:
        with pytest.raises(Unauthenticated) as caught:
            key.open(token, at(-5))
        assert caught.value.code == "token_malformed"
