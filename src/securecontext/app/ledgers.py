"""The ledgers of one installation: placed, signed, anchored, verified, proved and exported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from securecontext.app.checkpoints import Checkpoints
from securecontext.app.recorders import log_of
from securecontext.app.stores import Stores
from securecontext.app.verification import Verification
from securecontext.boundaries.keyring import escrow
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import export, purge, signers
from securecontext.boundaries.ledger.anchors import AnchorFile, Anchors
from securecontext.boundaries.ledger.tail import LedgerRow, tail
from securecontext.boundaries.ledger.verdict import Status, Verdict
from securecontext.boundaries.ledger.verify_entries import Pace
from securecontext.storage.port import Store
from securecontext.storage.tables import ledger_heads
from securecontext.types.errors import Expired, Unavailable, ZcError
from securecontext.types.ledger import EntryKind

log = logging.getLogger("securecontext.ledgers")
EPOCH = timedelta(days=1)
"""How long the ledger's keys are used before they are erased."""


class Ledgers:
    """The ledgers of one installation. Satisfies `pipeline.world.Ledgers`; safe to share by threads.

    Args:
        keyring: signs.
        stores: hold the ledgers.
        file: where checkpoints are kept outside the databases.
        others: where they are kept besides; full checks ask them too.
        clock: the present moment.

    Attributes:
        checkpoints: places, signs and anchors them.
    """

    def __init__(
        self,
        keyring: Keyring,
        stores: Stores,
        file: AnchorFile,
        others: Sequence[Anchors],
        clock: Callable[[], datetime],
    ) -> None:
        self._keyring = keyring
        self._stores = stores
        self.checkpoints = Checkpoints(keyring, [file, *others], clock)
        self._verification = Verification(keyring, file, others, clock)
        self._clock = clock

    def verify(self, connection: Connection) -> Verdict:
        """Verify every entry of the ledger that this connection sees."""
        return self._verification.copy(connection)

    def verify_store(self, store: Store, *, whole: bool = False) -> Verdict:
        """Verify a store's ledger: what came after the last good check, or all of it."""
        return self._verification.check(store, whole=whole)

    @property
    def signer(self) -> str:
        """The id of who signs the ledgers of this installation now."""
        return self._keyring.signer

    def verified_at(self, store: Store) -> str:
        """Return when a store's ledger was last read whole and found good, a timestamp; empty where nobody knows."""
        return self._verification.full_at(store)

    def escrow(self, passphrase: str) -> str:
        """Return an escrow of the ledger root, encrypted with a passphrase: see `boundaries.keyring.escrow`."""
        return escrow.make(self._keyring, passphrase)

    def verify_recalled(self, store: Store, given: str, passphrase: str) -> Verdict:
        """Verify every entry of a store's ledger, also those whose key is erased, with what an escrow gives back.

        Raises:
            InvalidInput, Denied: the escrow is none of ours, or does not open.
        """
        return self._verification.recalled(store, escrow.recall(self._keyring, given, passphrase))

    def verify_due(self, pace: Pace) -> None:
        """Verify every open ledger whole that was not for a day, and say in the log what is found."""
        for store in self._stores.every_open():
            with suppress(Expired, Unavailable):
                if self._verification.due(store):
                    verdict = self._verification.check(store, whole=True, pace=pace)
                    say = log.info if verdict.status in (Status.OK, Status.UNANCHORED) else log.error
                    say("the daily check of a ledger: %s", verdict.as_text())

    def checkpoint(self, store: Store) -> None:
        """Place, sign and anchor what a ledger holds; what is in the way is for the check to say."""
        try:
            self.checkpoints.make(store)
        except ZcError as error:
            log.warning("a ledger has no new checkpoint: %s", error)

    def checkpoint_due(self) -> None:
        """Do that for every open ledger that has waited long enough, or grown far enough."""
        for store in self._stores.every_open():
            with suppress(Expired, Unavailable):
                if self.checkpoints.due(store):
                    self.checkpoint(store)

    def signers(self) -> signers.Signers:
        """Return the public keys that the ledgers of this installation are signed with."""
        return signers.read(self._keyring)

    def proof(self, connection: Connection, entry: int) -> Iterator[bytes]:
        """Yield the bundle that proves an entry of the ledger that this connection sees."""
        return export.proof(connection, log_of(connection), self.signers(), entry)

    def export(self, connection: Connection, *, bodies: bool) -> Iterator[bytes]:
        """Yield the bundle of the whole ledger that this connection sees."""
        return export.whole(connection, log_of(connection), self.signers(), bodies=bodies)

    def end_epoch(self) -> Sequence[str]:
        """End the epoch of the ledger's keys; return what could not be signed any more."""
        was_open = set(self._stores.open_projects())
        opened: set[str] = set()

        def every() -> Sequence[Callable[[], Store]]:
            opened.update(self._stores.projects_with_files())
            return self._stores.openers(sorted(opened))

        try:
            return self.checkpoints.end_epoch(every)
        finally:
            for project in opened - was_open:
                self._stores.forget(project)

    def end_old_epoch(self) -> None:
        """End the epoch of the ledger's keys once it has lasted long enough."""
        since = self.checkpoints.epoch_since()
        if since is not None and self._clock() - since >= EPOCH:
            self.end_epoch()

    def purge(
        self,
        connection: Connection,
        session: str,
        by: str | None,
        moment: datetime,
        kept: Sequence[EntryKind],
    ) -> purge.Purged:
        """Purge the bodies of a session's entries in the ledger that this connection writes."""
        name = log_of(connection)
        streams = purge.streams_of(connection, name, session, by)
        return purge.purge_streams(connection, name, streams, moment, kept)

    def tail(self, connection: Connection, limit: int, before: int | None = None) -> Sequence[LedgerRow]:
        """Return the newest entries of the ledger that this connection sees, newest first; those before one."""
        return tail(connection, log_of(connection), limit, before=before)

    def size(self, connection: Connection) -> tuple[int, int]:
        """Return (entries, streams) of the ledger that this connection sees."""
        heads = ledger_heads.c
        counted = select(func.sum(heads.seq), func.count()).where(heads.log == log_of(connection))
        entries, streams = connection.execute(counted).one()
        return int(entries or 0), int(streams)
