"""When ledgers are verified, how much of them, and what is remembered of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from securecontext.app.recorders import log_of
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.anchors import AnchorFile, Anchors
from securecontext.boundaries.ledger.marks import Mark, Marks
from securecontext.boundaries.ledger.verdict import Status, Verdict
from securecontext.boundaries.ledger.verify import Outcome, full, incremental
from securecontext.boundaries.ledger.verify_entries import Pace
from securecontext.storage.acting import AUDITOR, acting
from securecontext.storage.port import Store
from securecontext.types.errors import ZcError

log = logging.getLogger("securecontext.verification")
WHOLE_BELOW = 20_000
"""A ledger of fewer entries is read whole each time: that takes less than half a second, and misses nothing."""


class Verification:
    """Verifies the ledgers of one service.

    Args:
        keyring: holds the ledger root.
        file: where checkpoints are anchored first; read onward from where it was read last.
        others: where else they are anchored; read whole by full checks.
        clock: the present moment.
    """

    def __init__(
        self, keyring: Keyring, file: AnchorFile, others: Sequence[Anchors], clock: Callable[[], datetime]
    ) -> None:
        self._keyring = keyring
        self._file = file
        self._anchors: Sequence[Anchors] = (file, *others)
        self._clock = clock
        self._marks = Marks(keyring)

    def copy(self, connection: Connection) -> Verdict:
        """Check every entry of the ledger that a connection sees; nothing is remembered of it."""
        return self._full(connection, log_of(connection), None, None).verdict

    def recalled(self, store: Store, keyring: Keyring) -> Verdict:
        """Check every entry, with a keyring that holds erased keys again; nothing is remembered of it."""
        with acting(AUDITOR), store.read() as connection:
            name = log_of(connection)
            found = full(connection, name, keyring, anchors=self._anchors, moment=self._clock())
        return found.verdict

    def check(self, store: Store, *, whole: bool, pace: Pace | None = None) -> Verdict:
        """Check a ledger of our own: a long one from its mark, where one counts and nothing is found; else all of it.

        Args:
            store: whose ledger.
            whole: from the beginning.
            pace: see `boundaries.ledger.verify.full`.
        """
        name, mark = self._found(store)
        if not whole and mark is not None and mark.size >= WHOLE_BELOW and mark.counts(self._clock()):
            with acting(AUDITOR), store.read() as connection:
                outcome = incremental(
                    connection, name, self._keyring, mark, anchors=[self._file], moment=self._clock()
                )
            if outcome.verdict.status in (Status.OK, Status.UNANCHORED):
                self._remember(name, outcome)
                return outcome.verdict
        with acting(AUDITOR), store.read() as connection:
            outcome = self._full(connection, name, mark, pace)
        self._remember(name, outcome)
        return outcome.verdict

    def due(self, store: Store) -> bool:
        """Say whether a ledger has no mark from which it could be checked."""
        _, mark = self._found(store)
        return mark is None or not mark.counts(self._clock())

    def full_at(self, store: Store) -> str:
        """Return when a ledger was last read whole and found good; empty where no mark says so."""
        _, mark = self._found(store)
        return "" if mark is None else mark.full_at

    def _found(self, store: Store) -> tuple[str, Mark | None]:
        """Return a ledger's id and mark: the mark first, then the state that is checked, which is never older."""
        with acting(AUDITOR), store.read() as connection:
            name = log_of(connection)
        try:
            return name, self._marks.find(name)
        except ZcError as error:
            log.warning("the marks of verified ledgers cannot be read: %s", error)
            return name, None

    def _full(self, connection: Connection, name: str, mark: Mark | None, pace: Pace | None) -> Outcome:
        return full(
            connection,
            name,
            self._keyring,
            anchors=self._anchors,
            moment=self._clock(),
            witness=mark,
            pace=pace,
        )

    def _remember(self, name: str, outcome: Outcome) -> None:
        try:
            if outcome.mark is not None:
                self._marks.keep(outcome.mark)
            elif not outcome.verdict.incremental:
                self._marks.give_up(name)
        except ZcError as error:
            log.warning("what was verified is not remembered beyond this service: %s", error)
