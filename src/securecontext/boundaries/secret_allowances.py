"""What a person said is no secret: fingerprints in the machine's database, and the key that they are made with.

The list holds no value. A fingerprint is made with a key of this installation, so that whoever reads the list cannot
try passwords against it, and one from elsewhere allows nothing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keys import Keyring
from securecontext.storage import meta_rows
from securecontext.types.errors import InvalidInput, LimitReached, NotFound
from securecontext.validators.secrets import FINGERPRINT_DIGITS

KEY_LABEL = "securecontext/secrets/v1/fingerprint"
MOST = 1_000
_NAME = "secrets_allowed"
_FORM = re.compile(f"[0-9a-f]{{{FINGERPRINT_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One entry of the list.

    Attributes:
        fingerprint: of the value.
        by: the principal who said so.
        at: timestamp.
    """

    fingerprint: str
    by: str
    at: str


def fingerprint_key(keyring: Keyring) -> bytes:
    """Return the key of fingerprints of this installation."""
    return aead.derive(keyring.root("encryption"), b"", canonical([KEY_LABEL]))


def read(connection: Connection) -> list[Allowance]:
    """Return the list, in the order of its making."""
    said = meta_rows.read(connection, _NAME)
    return [] if said is None else [Allowance(**each) for each in json.loads(said)]


def add(connection: Connection, allowance: Allowance) -> list[Allowance]:
    """Enter a fingerprint; one that is there stays as it is. Return the list.

    Raises:
        InvalidInput: ``bad_fingerprint``.
        LimitReached: ``too_many_allowances``.
    """
    if _FORM.fullmatch(allowance.fingerprint) is None:
        raise InvalidInput(
            "bad_fingerprint",
            f"A fingerprint has {FINGERPRINT_DIGITS} hexadecimal digits.",
            "Take it from the answer that told of the redaction, or from `zc audit tail`.",
        )

    def change(found: list[Allowance]) -> list[Allowance]:
        if any(each.fingerprint == allowance.fingerprint for each in found):
            return found
        if len(found) >= MOST:
            raise LimitReached(
                "too_many_allowances",
                f"{MOST} fingerprints are allowed already.",
                "Take some back: `zc secrets disallow`.",
                limit=MOST,
            )
        return [*found, allowance]

    return _changed(connection, change)


def remove(connection: Connection, fingerprint: str) -> list[Allowance]:
    """Take a fingerprint off the list, and return it.

    Raises:
        NotFound: ``no_such_allowance``.
    """

    def change(found: list[Allowance]) -> list[Allowance]:
        left = [each for each in found if each.fingerprint != fingerprint]
        if len(left) == len(found):
            raise NotFound(
                "no_such_allowance", "This fingerprint is not allowed.", "See `zc secrets allowed`."
            )
        return left

    return _changed(connection, change)


def _changed(connection: Connection, change: Callable[[list[Allowance]], list[Allowance]]) -> list[Allowance]:
    left = change(read(connection))
    meta_rows.put(connection, _NAME, json.dumps([asdict(each) for each in left]))
    return left
