"""Looks whether the stored state keeps its invariants, and enters what does not; stops nothing.

What is looked at is what an ordinary call relies on without reading all of it: that each stream's head is its newest
entry, that a lease is one, that the tree is as large as was signed, that no notebook overflows, that what has to be
sealed is, that claimed tasks are leased, that the tokens that count are ours. Every entry is read by `zc audit verify`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from securecontext.app.recorders import log_of
from securecontext.app.state_reading import (
    heads,
    leases,
    notebooks,
    sealed_texts,
    task_leases,
    tokens_that_count,
    trees,
)
from securecontext.app.stores import MACHINE, Stores
from securecontext.boundaries.keys import Keyring
from securecontext.contracts.state import HEADS, LEASES, NOTEBOOKS, TASKS, TEXTS, TOKENS, TREES, flaws
from securecontext.types.errors import ZcError
from securecontext.types.ledger import EntryDraft
from securecontext.types.state import Flaw

log = logging.getLogger("securecontext.state")


def _go_on() -> None:
    """Wait for nobody."""


class StoredState:
    """The stored state of this installation. Safe to share by threads.

    Args:
        stores: hold it.
        keyring: made the heads.
        token_key: id of the key that signs session tokens.
        clock: the present moment.
    """

    def __init__(
        self, stores: Stores, keyring: Keyring, token_key: str, clock: Callable[[], datetime]
    ) -> None:
        self._stores = stores
        self._keyring = keyring
        self._token_key = token_key
        self._clock = clock
        self._entered: set[Flaw] = set()
        self._lock = threading.Lock()

    def check(self, pause: Callable[[], None] = _go_on) -> Sequence[Flaw]:
        """Return every invariant that is broken; a new one is an entry of the machine's ledger and a line in the log.

        Args:
            pause: called between files; waits as long as others need the interpreter.

        Raises:
            ZcError: the machine's store cannot be used.
        """
        with self._lock:
            found = self._look(MACHINE)
            for project in sorted(self._stores.projects_with_files()):
                pause()
                found += self._look(project)
            for flaw in found:
                if flaw not in self._entered:
                    self._enter(flaw)
            self._entered = set(found)
            return found

    def _look(self, where: str) -> list[Flaw]:
        try:
            with self._stores.reading(where) as connection:
                return [] if connection is None else self._flaws(where, connection)
        except ZcError as error:
            return [_unreadable(where, error.code)]
        except (
            SQLAlchemyError,
            TypeError,
            ValueError,
        ) as error:  # columns hold what no writer of ours puts there
            return [_unreadable(where, type(error).__name__)]

    def _flaws(self, where: str, connection: Connection) -> list[Flaw]:
        moment = self._clock()
        name = log_of(connection)
        found = flaws(where, HEADS, heads(connection, name, self._keyring))
        found += flaws(where, LEASES, leases(connection, name, self._keyring.signer, moment))
        found += flaws(where, TREES, trees(connection, name))
        if where == MACHINE:
            counting = tokens_that_count(connection, self._token_key, moment, shared=self._stores.shared)
            return found + flaws(where, TOKENS, counting)
        found += flaws(where, NOTEBOOKS, notebooks(connection, where))
        found += flaws(where, TASKS, task_leases(connection, where, moment))
        return found + flaws(where, TEXTS, sealed_texts(connection, where))

    def _enter(self, flaw: Flaw) -> None:
        log.error("the stored state is not as it always is: %s %s", flaw.code, flaw.sentence())
        arguments = {"where": flaw.where, "count": flaw.count, "first": flaw.first}
        body = {"operation": "state.check", "outcome": flaw.code, "arguments": arguments}
        draft = EntryDraft("system", "state", "", "failure", body)
        try:
            self._stores.machine.write(lambda transaction: transaction.record(draft))
        except ZcError as error:
            log.error("a finding about the stored state could not be entered: %s", error)


def _unreadable(where: str, why: str) -> Flaw:
    return Flaw(
        "state_unreadable", where, 1, why, "part of the state cannot be read", "Run `zc audit verify`."
    )
