"""Who acts in a transaction of a shared database, said so that an injected statement cannot say it.

A context names the store, who acts there, the backend and the transaction, and is authenticated with a key that the
service and one function in the database hold, and nobody who can only send SQL::

    v2|<store>|<who>|<kind>|<role>|<duty>|<notebooks>|<place>|<log>|<pid>|<began>|<hex HMAC-SHA-256>

``place`` is ``here`` in the project of the call, else ``elsewhere``; ``log`` is the ledger that the store appends to,
empty until that is known; ``pid`` is the process id of the backend, and ``began`` the begin of the transaction in
microseconds since the epoch, with whose end the context ends.

It is a bound parameter of the transaction's first statements. One that was seen in another transaction, or at another
backend, says nothing in this one.
"""

from __future__ import annotations

import hmac
from typing import Final

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring.roots import hkdf
from securecontext.boundaries.keys import Keyring
from securecontext.contracts import require
from securecontext.storage.acting import Actor

LABEL: Final = "securecontext/database-context/v1"
KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 64
"""Of SHA-256: RFC 2104."""
SEPARATOR: Final = "|"


class ContextKey:
    """The key of one service's contexts; another one once the tokens root was rotated.

    Args:
        keyring: of the service.
    """

    __slots__ = ("_key",)

    def __init__(self, keyring: Keyring) -> None:
        self._key = hkdf(keyring.root("tokens"), canonical([LABEL]), KEY_BYTES)

    @require(
        lambda store, actor, log: SEPARATOR not in "".join((store, log, *_told(actor))),
        "no part of a context ends it",
    )
    def sign(self, store: str, actor: Actor, log: str, backend: int, began: int) -> str:
        """Return the context of a transaction.

        Args:
            store: where: ``<machine, or project id>@<signer id>``.
            actor: who acts there.
            log: the ledger that the store appends to; empty where that is not known yet.
            backend: the process id of the connection's backend.
            began: the begin of the transaction, microseconds since the epoch.
        """
        project = store.partition("@")[0]
        place = "here" if actor.kind == "system" or actor.project == project else "elsewhere"
        said = SEPARATOR.join(("v2", store, *_told(actor), place, log, str(backend), str(began)))
        return f"{said}|{hmac.digest(self._key, said.encode(), 'sha256').hex()}"

    def pads(self) -> tuple[bytes, bytes]:
        """Return the key as the database keeps it: its inner and its outer block of HMAC (RFC 2104)."""
        block = self._key.ljust(BLOCK_BYTES, b"\0")
        return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)

    def __repr__(self) -> str:
        return "<ContextKey>"


def _told(actor: Actor) -> tuple[str, ...]:
    return (actor.name, actor.kind, actor.role, actor.duty, actor.notebooks)
