"""What a session token is worth now: its signature, its time and the register of issued tokens together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from securecontext.boundaries.identity import token_register
from securecontext.boundaries.tokens import Claims, TokenKey
from securecontext.storage.acting import TOKENS, acting
from securecontext.storage.port import Store


class Credentials:
    """Checks and signs session tokens.

    Args:
        key: signs.
        machine: returns the machine's store, where the register of tokens is.
        clock: the present moment.
    """

    def __init__(self, key: TokenKey, machine: Callable[[], Store], clock: Callable[[], datetime]) -> None:
        self._key = key
        self._machine = machine
        self._clock = clock

    @property
    def key_id(self) -> str:
        """The id of the key that signs."""
        return self._key.id

    def identify(self, token: str) -> Claims:
        """Return what a session token says that counts now: signed here, in time, entered, and not revoked.

        Raises:
            Unauthenticated: it does not count.
        """
        claims = self._key.open(token, self._clock())
        self.check(claims.tid)
        return claims

    def check(self, token: str) -> None:
        """Refuse the id of a session token that does not count any more.

        Raises:
            Unauthenticated: it was revoked, or its time is over.
        """
        with acting(TOKENS), self._machine().read() as connection:
            self.check_within(connection, token)

    def check_within(self, connection: Connection, token: str) -> None:
        """Do the same within a transaction of the machine's store, which nobody changes meanwhile."""
        token_register.check(connection, token, self._clock())

    def sign(self, claims: Claims) -> str:
        """Return the session token of claims that were entered."""
        return self._key.sign(claims)
