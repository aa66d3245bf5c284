"""The narrow port through which every room reaches a database.

A `Store` is one project's data, or the machine's. Reads run beside each other; writes run one after another on the
store's writer and are acknowledged after their commit is durable. The ledger rides along: what a job records with
`Transaction.record` is appended in the very transaction of its effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from securecontext.types.errors import ZcError
from securecontext.types.ledger import EntryDraft

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Match:
    """One hit of the full-text index.

    Attributes:
        chunk: `tables.chunks.c.chunk`.
        score: relevance, higher is better, unbounded.
    """

    chunk: int
    score: float


class TextIndex(Protocol):
    """Full-text search over analysed tokens: the part that each engine does its own way."""

    def add(self, connection: Connection, chunks: Sequence[tuple[int, str]]) -> None:
        """Index chunks, each with its space-separated tokens."""

    def remove(self, connection: Connection, chunks: Sequence[int]) -> None:
        """Take chunks out of the index."""

    def match(self, connection: Connection, project: str, tokens: Sequence[str], limit: int) -> list[Match]:
        """Return the best chunks of a project that hold any of the tokens, best first."""

    def scrub(self, connection: Connection) -> None:
        """Rewrite the index so that no page still holds words of removed chunks."""


class Recorder(Protocol):
    """What appends ledger entries; implemented by `boundaries.audit.Ledger`."""

    def append(self, connection: Connection, drafts: Sequence[EntryDraft], moment: datetime) -> Any:
        """Append the drafts in the caller's transaction."""

    def committed(self) -> None:
        """The transaction of the last `append` is durable."""

    def rolled_back(self) -> None:
        """The transaction of the last `append` is gone: trust nothing that was cached."""


class Transaction(Protocol):
    """What a write job works with."""

    @property
    def connection(self) -> Connection:
        """The writer's connection, inside the batch's transaction."""

    @property
    def moment(self) -> datetime:
        """Now, by the clock of whoever orders the writers: the service's on SQLite, the server's on PostgreSQL.

        One moment for the whole batch. When a call came in says less: it may have waited for its turn.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """Bracket an effect: an exception inside rolls back to here and passes on."""

    def record(self, draft: EntryDraft) -> None:
        """Have the draft appended to the ledger at the end of this batch, before the commit."""

    def notify(self, topic: str) -> None:
        """Tell the other services that share the database, once this batch is committed; a file has one service."""

    def scrub_after_commit(self) -> None:
        """Have write-ahead copies of removed text cleaned once the commit is durable."""


class Store(Protocol):
    """One project's data, or the machine's."""

    @property
    def text(self) -> TextIndex:
        """The full-text index of this engine."""

    def read(self) -> AbstractContextManager[Connection]:
        """Return a connection that sees one consistent state and cannot write."""

    def write(self, job: Callable[[Transaction], T]) -> T:
        """Run the job on the writer and return its result once it is durable.

        A job may run more than once (a batch that lost its transaction is replayed), so it touches nothing outside
        the database. Exceptions of the job roll back what it did and are raised here.
        """

    def used(self, beyond: int) -> int:
        """Return the bytes that the store uses, room that deleted rows left and later ones fill not counted.

        Args:
            beyond: below it, what is cheaper to know will do: the size of what lies on the disk.
        """

    def end(self, refusal: Callable[[], ZcError]) -> None:
        """Finish what is queued, then refuse every later write; reading goes on."""

    def close(self) -> None:
        """Finish what is queued, then close every connection."""
