"""Who acts in a transaction of a shared database, said so that an injected statement cannot say it.

A context names the store, the backend and the transaction, and is authenticated with a key that the service and one
function in the database hold, and nobody who can only send SQL::

    v1|<store>|<backend's process id>|<begin of the transaction, microseconds since the epoch>|<hex HMAC-SHA-256>

It is a bound parameter of the transaction's first statements. One that was seen in another transaction, or at another
backend, says nothing in this one.
"""

from __future__ import annotations

import hmac
from typing import Final

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring.roots import hkdf
from securecontext.boundaries.keys import Keyring

LABEL: Final = "securecontext/database-context/v1"
KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 64
"""Of SHA-256: RFC 2104."""


class ContextKey:
    """The key of one service's contexts; another one once the tokens root was rotated.

    Args:
        keyring: of the service.
    """

    __slots__ = ("_key",)

    def __init__(self, keyring: Keyring) -> None:
        self._key = hkdf(keyring.root("tokens"), canonical([LABEL]), KEY_BYTES)

    def sign(self, store: str, backend: int, began: int) -> str:
        """Return the context of a transaction.

        Args:
            store: who acts: ``<machine, or project id>@<signer id>``.
            backend: the process id of the connection's backend.
            began: the begin of the transaction, microseconds since the epoch.
        """
        said = f"v1|{store}|{backend}|{began}"
        return f"{said}|{hmac.digest(self._key, said.encode(), 'sha256').hex()}"

    def pads(self) -> tuple[bytes, bytes]:
        """Return the key as the database keeps it: its inner and its outer block of HMAC (RFC 2104)."""
        block = self._key.ljust(BLOCK_BYTES, b"\0")
        return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)

    def __repr__(self) -> str:
        return "<ContextKey>"
