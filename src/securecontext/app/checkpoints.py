"""When ledgers are placed, signed and anchored, and how an epoch of their keys ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, bindparam, select

from securecontext.app.recorders import log_of
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import signers
from securecontext.boundaries.ledger.anchors import Anchors
from securecontext.boundaries.ledger.sequencer import MOST_AT_ONCE, Signed, newest, sequence
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.storage.acting import SEQUENCER, acting
from securecontext.storage.port import Store, Transaction
from securecontext.storage.tables import ledger_entries
from securecontext.types.errors import Unavailable, ZcError
from securecontext.types.ids import timestamp

log = logging.getLogger("securecontext.checkpoints")
EVERY_ENTRIES = 1_024
EVERY = timedelta(seconds=60)
"""A ledger is signed and anchored when it has so many entries without a place, or one that is so old."""

e = ledger_entries.c
_waiting = select(e.ts).where(e.log == bindparam("in_log"), e.leaf_index.is_(None)).order_by(e.entry)


class Checkpoints:
    """Places, signs and anchors the ledgers of one service.

    Args:
        keyring: signs.
        anchors: where checkpoints are kept outside the databases; the first one must be written to.
        clock: the present moment.
    """

    def __init__(self, keyring: Keyring, anchors: Sequence[Anchors], clock: Callable[[], datetime]) -> None:
        self._keyring = keyring
        self._anchors = anchors
        self._clock = clock
        self._holder = keyring.signer
        """A service that starts again is the same holder: of one installation only one runs at a time."""
        self._turn = threading.Lock()
        """One at a time: an epoch does not end while a checkpoint of it is under way."""

    def due(self, store: Store) -> bool:
        """Say whether a ledger waits for its checkpoint."""
        with acting(SEQUENCER), store.read() as connection:
            here = {"in_log": log_of(connection)}
            oldest = connection.execute(_waiting.limit(1), here).scalar()
            if oldest is None:
                return False
            if oldest <= timestamp(self._clock() - EVERY):
                return True
            return connection.execute(_waiting.limit(1).offset(EVERY_ENTRIES - 1), here).first() is not None

    def make(self, store: Store) -> None:
        """Place all entries of a ledger, sign it, and anchor that.

        Raises:
            Tampered: the ledger, its tree or its anchors are not what was written; nothing more is signed.
            Unavailable: the database or the anchors cannot be written now.
            Conflict: another service is at it.
        """
        with self._turn, acting(SEQUENCER):
            self._make(store)

    @contextmanager
    def held(self) -> Iterator[Callable[[Store], None]]:
        """While this is held, nothing is signed and no epoch ends but by what it yields: it signs a copy to its end.

        A copy has the first entries of its ledger in their order, so that the ledger's tree grows out of the copy's. It
        is not anchored: the ledger itself may be anchored further already.
        """
        with self._turn, acting(SEQUENCER):
            yield self._sign

    def _make(self, store: Store, closing: str = "") -> None:
        listed = signers.enlist(self._keyring, self._clock())
        self._sign(store, closing)
        with store.read() as connection:
            signed = newest(connection, log_of(connection), listed)
            if signed is not None:
                self._anchor(connection, signed)

    def _sign(self, store: Store, closing: str = "") -> None:
        listed = signers.enlist(self._keyring, self._clock())
        more = True
        while more:
            job = partial(self._sequence, listed=listed, closing=closing)
            more = store.write(job) == MOST_AT_ONCE

    def _sequence(self, transaction: Transaction, *, listed: signers.Signers, closing: str) -> int:
        connection = transaction.connection
        name = log_of(connection)
        before = newest(connection, name, listed)
        signed = sequence(
            connection,
            name,
            holder=self._holder,
            keyring=self._keyring,
            signers=listed,
            moment=self._clock(),
            closing=closing,
        )
        return (signed.point.size if signed else 0) - (before.point.size if before else 0)

    def _anchor(self, connection: Connection, signed: Signed) -> None:
        first, *others = self._anchors
        first.append(signed, Tiles(connection, signed.point.log), self._clock())
        for anchors in others:
            try:
                anchors.append(signed, Tiles(connection, signed.point.log), self._clock())
            except Unavailable as error:  # no reason to keep keys, or to sign nothing more
                log.warning("a ledger is not anchored a second time: %s", error)

    def end_epoch(self, stores: Callable[[], Sequence[Callable[[], Store]]]) -> list[str]:
        """End the epoch of the ledger's keys: sign every ledger for the last time with them, then erase them.

        Args:
            stores: names every ledger of this installation; asked once nobody writes with the old keys any more.

        Returns:
            What could not be signed any more, in a sentence each: entries there without a place stay without a proof.

        Raises:
            ZcError: the keys cannot be replaced; the epoch goes on.
        """
        with self._turn:
            left_out = []
            signers.enlist(self._keyring, self._clock())
            ending = self._keyring.begin_epoch()
            signers.enlist(self._keyring, self._clock())
            for give in stores():
                try:
                    with acting(SEQUENCER):
                        self._make(give(), closing=ending)
                except ZcError as error:
                    log.error("a ledger is left out at the end of an epoch: %s", error)
                    left_out.append(str(error))
            self._keyring.end_epoch()
            return left_out

    def epoch_since(self) -> datetime | None:
        """Return when the epoch began that signs now; None before the first checkpoint."""
        return signers.read(self._keyring).since
