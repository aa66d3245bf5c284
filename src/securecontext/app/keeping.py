"""Backups and restores of one installation, as operations see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from securecontext.app.backups import Backups, Made
from securecontext.app.restore import Restores, Staged
from securecontext.app.stores import Stores
from securecontext.types.errors import Unavailable, ZcError
from securecontext.types.ledger import EntryDraft


def _nobody() -> None:
    """Nobody is to be told."""


class Keeping:
    """Satisfies `pipeline.world.Backups`.

    Args:
        backups: makes them.
        restores: makes them ready.
        stores: take no more writes once a restore is decided on.

    Attributes:
        committed: called once a restore is decided on: the service is to end, the next one finishes it.
    """

    def __init__(self, backups: Backups, restores: Restores, stores: Stores) -> None:
        self._backups = backups
        self._restores = restores
        self._stores = stores
        self._staged: dict[str, Staged] = {}
        self.committed: Callable[[], object] = _nobody

    def make(self, target: Path, *, with_keys: bool) -> Made:
        """Make a backup; see `app.backups`."""
        return self._backups.make(target, with_keys=with_keys)

    def stage(
        self,
        file: Path,
        trusted: Sequence[str],
        who: Callable[[dict[str, object]], EntryDraft],
        *,
        without_keys: bool,
    ) -> Staged:
        """Check a backup and make it ready; see `app.restore`."""
        staged = self._restores.stage(file, trusted, who, without_keys=without_keys)
        self._staged[staged.signer] = staged
        return staged

    def commit(self, signer: str) -> None:
        """Have the restore of a new signer take place: nothing is written from here on, and the service ends."""
        staged = self._staged[signer]
        self._stores.freeze(_waits)
        try:
            self._restores.commit(staged)
        finally:
            self.committed()

    def drop(self, signer: str) -> None:
        """Forget a restore, and remove what was made ready for it unless it was committed."""
        staged = self._staged.pop(signer)
        self._restores.drop(staged.folder)


def _waits() -> ZcError:
    return Unavailable(
        "restore_waits", "A restore waits for the service to start anew.", "Call again: a new one takes over."
    )
