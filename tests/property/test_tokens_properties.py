"""A session token comes back as what was signed, and every other text is refused with one kind of error."""

from __future__ import annotations

import base64
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.policy import Role
from securecontext.boundaries.tokens import CHARACTERS, PREFIX, TTL_SECONDS, Claims, TokenKey
from securecontext.types.errors import Unauthenticated

START = 1_790_000_000
NOW = datetime.fromtimestamp(START + 1, UTC)
with tempfile.TemporaryDirectory() as folder:
    KEY = TokenKey(Keyring.open(Path(folder) / "keys"))

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,63}", fullmatch=True)
claims = st.builds(
    Claims,
    tid=names,
    aid=names,
    role=st.sampled_from(list(Role)),
    ph=names,
    sid=names,
    iat=st.just(START),
    exp=st.integers(START + 2, START + TTL_SECONDS),
)
TOKEN = KEY.sign(Claims("tok_1", "alice", Role.WORKER, "prj_1", "ses_1", START, START + TTL_SECONDS))


@given(claims)
def test_what_was_signed_comes_back(said):
    token = KEY.sign(said)
    assert token.startswith(PREFIX) and len(token) <= CHARACTERS and token.isascii() and " " not in token
    assert KEY.open(token, NOW) == said


@given(claims, st.data())
def test_rt_s2_01_any_changed_character_is_refused(said, data):
    token = KEY.sign(said)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[place]))
    for changed in (
        token[:place] + other + token[place + 1 :],
        token[:place] + token[place].swapcase() + token[place + 1 :],
        token[:place] + token[place + 1 :],
        token[:place] + other + token[place:],
    ):
        if changed != token:
            with pytest.raises(Unauthenticated):
                KEY.open(changed, NOW)


@given(st.text(max_size=200) | st.builds(lambda text: PREFIX + text, st.text(max_size=200)))
@example("")
@example(PREFIX)
@example(PREFIX + "." + "0" * 64)
@example(PREFIX + "e30." + "0" * 64)
@example(TOKEN + "\n")
@example(" " + TOKEN)
@example(TOKEN + "." + "0" * 64)
@example(TOKEN.upper())
@example(PREFIX + "A" * 1_000_000 + "." + "0" * 64)
def test_any_other_text_is_refused_and_never_breaks_anything(text):
    with pytest.raises(Unauthenticated) as caught:
        KEY.open(text, NOW)
    assert caught.value.code in ("token_malformed", "token_wrong")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TAKEN = {
    "tid": "tok_1", "aid": "alice", "role": "worker", "ph": "prj_1", "sid": "ses_1", "iat": START, "exp": START + 60,
}  # fmt: skip


@given(
    st.one_of(
        json_values,
        st.builds(lambda name, value: {**TAKEN, name: value}, st.sampled_from(sorted(TAKEN)), json_values),
        st.builds(lambda name, value: {**TAKEN, name: value}, st.text(max_size=8), json_values),
        st.builds(lambda name: {n: v for n, v in TAKEN.items() if n != name}, st.sampled_from(sorted(TAKEN))),
    )
)
@example({**TAKEN, "role": "root"})
@example({**TAKEN, "exp": START + TTL_SECONDS + 1})
@example({**TAKEN, "exp": True})
@example({**TAKEN, "exp": float(START + 60)})
@example({**TAKEN, "admin": True})
def test_a_right_mac_over_anything_else_than_a_token_says_is_refused(told):
    """Not even we could sign it by mistake: the form is demanded beside the signature."""
    body = PREFIX + spelled(told)
    text = f"{body}.{KEY._mac(body)}"
    try:
        found = KEY.open(text, NOW)
    except Unauthenticated:
        return
    assert KEY.sign(found) == text


def spelled(told: object) -> str:
    plain = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")
