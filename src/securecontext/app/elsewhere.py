"""What is the database server's to do: backups of data that lies in PostgreSQL are made and restored there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from securecontext.app.backups import Made
from securecontext.app.restore import Staged
from securecontext.types.errors import Conflict
from securecontext.types.ledger import EntryDraft


def _nobody() -> None:
    """Nobody is to be told."""


class BackupsElsewhere:
    """Satisfies `pipeline.world.Backups`, and refuses.

    Attributes:
        committed: never called; see `app.keeping.Keeping`.
    """

    def __init__(self) -> None:
        self.committed: Callable[[], object] = _nobody

    def make(self, target: Path, *, with_keys: bool) -> Made:
        """Refuse."""
        raise _refusal()

    def stage(
        self,
        file: Path,
        trusted: Sequence[str],
        who: Callable[[dict[str, object]], EntryDraft],
        *,
        without_keys: bool,
    ) -> Staged:
        """Refuse."""
        raise _refusal()

    def commit(self, signer: str) -> None:
        """Refuse."""
        raise _refusal()

    def drop(self, signer: str) -> None:
        """Do nothing: nothing was made ready."""


def _refusal() -> Conflict:
    return Conflict(
        "backup_in_database",
        "The data is in a PostgreSQL database, which is backed up and restored there.",
        "Use pg_dump or the server's own backups, and keep the keys folder and logs/anchors.log beside them.",
    )
