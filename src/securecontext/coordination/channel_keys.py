"""The key of a project's channel: a second thing, beside a session token, that who broadcasts must know.

Kept is what tells the key from another one, never the key::

    scrypt$<N>$<r>$<p>$<base64 of 32 bytes of salt>$<hex HMAC-SHA-256(derived key, label)>

A project has a key, or the operator has said that it needs none (``waived``), or nobody broadcasts in it. scrypt:
https://www.rfc-editor.org/rfc/rfc7914
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, bindparam, delete, insert, select

from securecontext.contracts.session import has_a_moment
from securecontext.storage.tables import channel_keys
from securecontext.types.errors import Denied, InvalidInput, Tampered

CHARACTERS: Final = range(16, 257)
SALT_BYTES: Final = 32
COST, BLOCK, LANES = 32_768, 8, 1
MOST_BYTES: Final = 64 * 1024 * 1024
LABEL: Final = b"securecontext/channel/v1/verifier"
WAIVED: Final = "waived"
HINT: Final = (
    "In your own terminal: `zc channel-key set` (or `zc channel-key waive`, if tokens are enough for you)."
)

_ONE_AT_A_TIME: Final = threading.Lock()
"""A derivation takes 32 MiB and some 60 ms: guesses wait for each other, not for all of the machine."""
_ROW = select(channel_keys.c.verifier, channel_keys.c.created_at, channel_keys.c.created_by).where(
    channel_keys.c.project == bindparam("in_project")
)
_DROP = delete(channel_keys).where(channel_keys.c.project == bindparam("in_project"))


@dataclass(frozen=True, slots=True)
class Channel:
    """How a project's channel stands.

    Attributes:
        state: ``set``, ``waived`` or ``missing``.
        verifier: what tells the key from others; empty without one.
        since: timestamp; empty where it is missing.
        by: who set or waived it.
    """

    state: Literal["set", "waived", "missing"]
    verifier: str = ""
    since: str = ""
    by: str = ""


def fresh() -> str:
    """Return a new key: 32 characters, 192 random bits."""
    return secrets.token_urlsafe(24)


def verifier_of(key: str) -> str:
    """Return what is stored of a key.

    Raises:
        InvalidInput: ``channel_key_length``.
    """
    if len(key) not in CHARACTERS:
        raise InvalidInput(
            "channel_key_length",
            f"A channel key has {CHARACTERS.start} to {CHARACTERS.stop - 1} characters.",
            "Leave the key out: a good one is made.",
            field="key",
        )
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _digest(key, COST, BLOCK, LANES, salt)
    return f"scrypt${COST}${BLOCK}${LANES}${base64.b64encode(salt).decode()}${digest}"


@has_a_moment
def keep(connection: Connection, project: str, verifier: str, by: str, moment: str) -> None:
    """Put a verifier, or `WAIVED`, in the place of what was there."""
    connection.execute(_DROP, {"in_project": project})
    connection.execute(
        insert(channel_keys),
        {"project": project, "verifier": verifier, "created_at": moment, "created_by": by},
    )


def read(connection: Connection, project: str) -> Channel:
    """Return how a project's channel stands."""
    row = connection.execute(_ROW, {"in_project": project}).first()
    if row is None:
        return Channel("missing")
    verifier, since, by = row
    return Channel("waived", "", since, by) if verifier == WAIVED else Channel("set", verifier, since, by)


def admit(channel: Channel, key: str | None) -> None:
    """Let who knows the key pass. Takes some 60 ms, so never within a transaction.

    Raises:
        Denied: ``channel_key_missing`` (the project has none), ``channel_key_needed``, ``wrong_channel_key``.
        Tampered: ``channel_key_malformed``.
    """
    match channel.state:
        case "missing":
            raise Denied("channel_key_missing", "This project's channel has no key yet.", HINT)
        case "waived":
            return
    if not key:
        raise Denied(
            "channel_key_needed",
            "Broadcasting needs the channel's key.",
            "Give channel_key; the operator has it.",
        )
    if len(key) not in CHARACTERS or not _accepts(channel.verifier, key):
        raise Denied("wrong_channel_key", "The channel key is wrong.", "Ask the operator for it.")


def _accepts(verifier: str, key: str) -> bool:
    try:
        kind, cost, block, lanes, salt, digest = verifier.split("$")
        n, r, p = int(cost), int(block), int(lanes)
        plain_salt = base64.b64decode(salt, validate=True)
    except ValueError:
        kind, n, r, p, plain_salt, digest = "", 0, 0, 0, b"", ""
    bounded = kind == "scrypt" and n > 1 and n & (n - 1) == 0 and r > 0 and 0 < p <= 16
    if not bounded or 128 * n * r > MOST_BYTES or len(plain_salt) != SALT_BYTES or len(digest) != 64:
        raise Tampered(
            "channel_key_malformed",
            "What is stored of the channel's key is damaged.",
            "Set a new one. " + HINT,
        )
    return hmac.compare_digest(_digest(key, n, r, p, plain_salt), digest)


def _digest(key: str, cost: int, block: int, lanes: int, salt: bytes) -> str:
    with _ONE_AT_A_TIME:
        derived = hashlib.scrypt(
            key.encode("utf-8", "surrogatepass"),
            salt=salt,
            n=cost,
            r=block,
            p=lanes,
            maxmem=MOST_BYTES + (1 << 20),  # it wants some more than its table
            dklen=64,
        )
    return hmac.new(derived, LABEL, hashlib.sha256).hexdigest()
