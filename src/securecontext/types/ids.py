"""Opaque ids and the one form of time.

Ids are random, prefixed by what they name. Times are RFC 3339 in UTC with microseconds and a ``Z``, so that text
order is time order.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, lower case: no letter that reads like a digit."""


def new_id(prefix: str, characters: int = 16) -> str:
    """Return ``prefix`` + ``_`` + random characters of five bits each (16 characters: 80 bits)."""
    return f"{prefix}_" + "".join([ALPHABET[byte & 31] for byte in secrets.token_bytes(characters)])


def hook_session(client_session: str) -> str:
    """Return the name of a client's session as hooks report it: ``claude-`` and what an id may hold of it."""
    kept = "".join(c for c in client_session if c.isascii() and (c.isalnum() or c in "-_."))[:90]
    return f"claude-{kept or 'unknown'}"


def timestamp(moment: datetime) -> str:
    """Return the stored form of an aware moment: ``2026-11-22T01:02:03.000004Z``."""
    # Not by strftime, which writes the year 1 as one digit: text order would no longer be time order.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_timestamp(text: str) -> datetime:
    """Return the aware moment of a stored timestamp.

    Raises:
        ValueError: the text is not in the stored form.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def now() -> datetime:
    """Return the present moment in UTC. Called at the doors; rooms get the moment as an argument."""
    return datetime.now(UTC)
