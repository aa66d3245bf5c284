"""Session tokens: text in, claims out, or one refusal. No database here; see ``token_register`` for what was issued.

A token says who an agent is, in what role, in which project and session, and until when::

    zcst.<base64url of canonical JSON {aid, exp, iat, ph, role, sid, tid}>.<hex HMAC-SHA-256 of all before the last dot>

The key is derived from the tokens root (HKDF-SHA-256, see `TokenKey`); it is in no database, least of all in the one
that the tokens protect. There is one spelling for each token: padding, upper-case digits, white space, another order
of members or an unknown member make another text, and it is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import NoReturn

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.policy import Role
from securecontext.types.errors import Unauthenticated

PREFIX = "zcst."
TTL_SECONDS = 86_400
CHARACTERS = 1_024
"""No token is longer; what is longer is not looked into."""
KEY_LABEL = "securecontext/tokens/v1/session"
KEY_ID_LABEL = "securecontext/tokens/v1/session-key-id"
TOKEN_ID = "tok_"  # noqa: S105 - how ids begin
"""An id is ``tok_<id of the key that signed the token>_<random>``; that of one issued earlier does not name the key."""
_FORM = re.compile(r"zcst\.([A-Za-z0-9_-]+)\.([0-9a-f]{64})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}", re.ASCII)
_SECONDS = range(1 << 40)
_HINT = "Ask for a new one: `zc token issue`, or the orchestrator's zc_issue_token."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says.

    Attributes:
        tid: id of the token.
        aid: the agent.
        role: its role.
        ph: id of the project.
        sid: the session.
        iat: seconds since the epoch, when it was issued.
        exp: the same, when it ends.
    """

    tid: str
    aid: str
    role: Role
    ph: str
    sid: str
    iat: int
    exp: int

    def has_ended(self, moment: datetime) -> bool:
        """Say whether its time is over."""
        return moment.timestamp() >= self.exp


_MEMBERS = frozenset(field.name for field in fields(Claims))


class TokenKey:
    """Signs and checks; the key never shows in a repr.

    Args:
        keyring: holds the tokens root.
    """

    __slots__ = ("_key", "id")

    def __init__(self, keyring: Keyring) -> None:
        root = keyring.root("tokens")
        self._key = aead.derive(root, b"", canonical([KEY_LABEL]))
        self.id = aead.derive(root, b"", canonical([KEY_ID_LABEL]), 5).hex()
        """Tells this key from those of other roots, and says nothing about it."""

    def sign(self, claims: Claims) -> str:
        """Return the token."""
        body = PREFIX + _encoded(claims)
        return f"{body}.{self._mac(body)}"

    def open(self, text: str, moment: datetime) -> Claims:
        """Return what a token says: its form, its MAC (in constant time) and its time are right.

        Raises:
            Unauthenticated: ``token_malformed``, ``token_wrong``, ``token_expired``; nothing else is ever raised.
        """
        found = _FORM.fullmatch(text) if len(text) <= CHARACTERS else None
        if found is None:
            _malformed()
        body, _, mac = text.rpartition(".")
        if not hmac.compare_digest(self._mac(body), mac):
            raise Unauthenticated(
                "token_wrong",
                "The session token was not issued by this service, or its key was rotated since.",
                _HINT,
                reason="wrong",
            )
        claims = _claims(found[1])
        if claims.has_ended(moment):
            raise Unauthenticated("token_expired", "The session token has expired.", _HINT, reason="expired")
        return claims

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode("ascii"), hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "<TokenKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token key is never serialised")


def read_unverified(text: str) -> Claims:
    """Return what a token of another service says, whose key is not here: for display, never for a decision.

    Raises:
        Unauthenticated: ``token_malformed``.
    """
    found = _FORM.fullmatch(text) if len(text) <= CHARACTERS else None
    if found is None:
        _malformed()
    return _claims(found[1])


def key_of(token: str) -> str:
    """Return the id of the key that signed a token, by the token's own id; empty where that does not say."""
    key, _, number = token.removeprefix(TOKEN_ID).partition("_")
    return key if number else ""


def is_token(text: str) -> bool:
    """Say whether a text means to be a session token, right or not."""
    return text.startswith(PREFIX)


def _encoded(claims: Claims) -> str:
    return base64.urlsafe_b64encode(canonical(asdict(claims))).decode("ascii").rstrip("=")


def _claims(encoded: str) -> Claims:
    try:
        told = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        if not isinstance(told, dict) or told.keys() != _MEMBERS:
            _malformed()
        claims = Claims(**{**told, "role": Role(told["role"])})
    except (ValueError, TypeError, RecursionError, binascii.Error):
        _malformed()
    names = (claims.tid, claims.aid, claims.ph, claims.sid)
    times = (claims.iat, claims.exp)
    if (
        not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
        or not all(type(seconds) is int and seconds in _SECONDS for seconds in times)
        or not 0 < claims.exp - claims.iat <= TTL_SECONDS
        or _encoded(claims) != encoded
    ):
        _malformed()
    return claims


def _malformed() -> NoReturn:
    raise Unauthenticated(
        "token_malformed", "This is not a session token.", _HINT, reason="malformed"
    ) from None
