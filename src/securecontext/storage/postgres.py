"""The PostgreSQL engine: psycopg 3, a bounded pool, every statement limited in time.

One database carries all projects and the machine; rows name their project. Writers take turns as on SQLite, with the
same `Writer`; readers see one snapshot and cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from securecontext.storage import schema, tables
from securecontext.storage.notices_postgres import CHANNEL
from securecontext.storage.port import Recorder, Transaction
from securecontext.storage.search_postgres import PostgresTextIndex
from securecontext.storage.writer import Writer
from securecontext.types.errors import InvalidInput, Unavailable, ZcError

T = TypeVar("T")

_LEAF = tables.ledger_entries.c.leaf_index
for index, where in (
    (tables.ONE_ACTIVE, tables.facts.c.state == "active"),
    (tables.LEAVES, _LEAF.is_not(None)),
    (tables.UNSEQUENCED, _LEAF.is_(None)),
    (tables.SEALED_FACTS, tables.is_sealed(tables.facts)),
    (tables.SEALED_DOCUMENTS, tables.is_sealed(tables.documents)),
    (tables.READY_TASKS, tables.in_state("queued")),
    (tables.DUE_TASKS, tables.tasks.c.due_at.is_not(None)),
    (tables.HELD_TASKS, tables.in_state("claimed")),
    (tables.BLOCKED_TASKS, tables.in_state("blocked")),
):
    index.dialect_options["postgresql"]["where"] = where

STATEMENT_TIMEOUT_MS: Final = 30_000
CONNECT_TIMEOUT_S: Final = 10
POOL_SIZE: Final = 10
_CLOCK: Final = text("SELECT clock_timestamp()")
_NOTIFY: Final = text("SELECT pg_notify(:channel, :topic)")
_MIGRATION_LOCK: Final = 0x5EC0_0001
"""Advisory lock key: services that start together migrate one after another."""


def open_postgres(url: str) -> Engine:
    """Return an engine for the database at ``url``; nothing is connected yet.

    Args:
        url: ``postgresql://user:password@host/database``, libpq's parameters after the question mark.

    Returns:
        An engine with at most `POOL_SIZE` connections. A connection that the server dropped is replaced unseen, a
        statement ends after `STATEMENT_TIMEOUT_MS`, and a commit returns once it is on the server's disk.

    Raises:
        InvalidInput: ``postgres_url`` when it is not such an address (the address is not repeated: it may hold a
            password).
        Unavailable: ``postgres_driver_missing`` when psycopg is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise InvalidInput(
            "postgres_url",
            "This is not the address of a PostgreSQL database.",
            "Write it as postgresql://user:password@host:5432/database.",
        )
    settings = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c synchronous_commit=on -c timezone=UTC"
    given = parsed.query.get("options")
    options = f"{given} {settings}" if isinstance(given, str) else settings
    try:
        return sqlalchemy.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=STATEMENT_TIMEOUT_MS / 1000,
            pool_pre_ping=True,
            connect_args={
                "options": options,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "securecontext",
            },
        )
    except ModuleNotFoundError as error:
        raise Unavailable(
            "postgres_driver_missing",
            "The driver for PostgreSQL is not installed.",
            "Install it with `pip install 'securecontext[postgres]'`.",
        ) from error


class PostgresStore:
    """A `Store` in a PostgreSQL database; it satisfies `port.Store` and `writer.Backend`.

    Args:
        engine: from `open_postgres`; it stays the caller's, who may share it between stores and disposes of it.
        name: of the project (or machine) whose writer this is, for its thread's name.
        clock: the moment for ledger entries.
        open_recorder: makes the store's ledger from a connection inside the first transaction; None for none.

    Raises:
        Unavailable: the server cannot be reached, or does not let this login do what is needed.
        Conflict: the schema was written by a newer release.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        clock: Callable[[], datetime],
        open_recorder: Callable[[Connection, datetime], Recorder] | None = None,
    ) -> None:
        self._engine = engine
        self._readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._text = PostgresTextIndex()
        try:
            recorder = self._prepare(clock, open_recorder)
        except DBAPIError as error:
            raise self.translate(error) from error
        self._writer = Writer(name, self, recorder, clock)

    def _prepare(
        self, clock: Callable[[], datetime], open_recorder: Callable[[Connection, datetime], Recorder] | None
    ) -> Recorder | None:
        with self._engine.begin() as connection:
            if schema.needs_upgrade(connection):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                schema.upgrade(connection)
            recorder = open_recorder(connection, clock()) if open_recorder else None
        if recorder is not None:
            recorder.committed()
        return recorder

    @property
    def text(self) -> PostgresTextIndex:
        """The database's full-text index."""
        return self._text

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one consistent state and cannot write."""
        try:
            with self._readers.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise self.translate(error) from error

    def used(self, beyond: int) -> int:
        """Return the bytes of the database that the store is in; see `port.Store.used`."""
        with self.read() as connection:
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())

    def write(self, job: Callable[[Transaction], T]) -> T:
        """Run the job on the writer; see `port.Store.write`."""
        return self._writer.run(job)

    def end(self, refusal: Callable[[], ZcError]) -> None:
        """Finish what is queued and refuse what comes later; reading goes on."""
        self._writer.close(refusal)

    def close(self) -> None:
        """Finish what is queued. The engine stays open: it is the caller's."""
        self._writer.close()

    # The writer's backend

    def connect_writer(self) -> Connection:
        """Return a connection for the writer."""
        return self._engine.connect()

    def alive(self, connection: Connection) -> bool:
        """Say whether the transaction still stands: after an error outside a savepoint it can only be rolled back.

        The driver begins with the first statement, so a transaction without one is idle and stands.
        """
        driver = connection.connection.dbapi_connection
        if driver is None:
            return False
        from psycopg.pq import TransactionStatus

        status = driver.info.transaction_status
        return status not in (TransactionStatus.INERROR, TransactionStatus.UNKNOWN)

    def scrub(self, connection: Connection) -> bool:
        """Do nothing: old row versions are the server's to vacuum, and its log is not ours to cut."""
        return True

    def moment(self, connection: Connection, own: datetime) -> datetime:
        """Return the server's moment: the services that share it may have clocks that differ."""
        found: datetime = connection.execute(_CLOCK).scalar_one()
        return found

    def notify(self, connection: Connection, topic: str) -> None:
        """Tell every service that listens, at the commit; see `notices_postgres`."""
        connection.execute(_NOTIFY, {"channel": CHANNEL, "topic": topic})

    def translate(self, error: BaseException) -> BaseException:
        """Return our refusal for a driver's error; other errors come back as they are."""
        if isinstance(error, ZcError) or not isinstance(error, DBAPIError):
            return error
        state = getattr(error.orig, "sqlstate", None)
        match state:
            case "53100":
                return Unavailable(
                    "disk_full",
                    "The database server's disk is full; nothing was changed.",
                    "Free room on the server.",
                )
            case "57014":
                return Unavailable(
                    "database_slow", "The database took longer than 30 seconds.", "Call again later."
                )
            case "42501" | "25006":
                return Unavailable(
                    "storage_read_only",
                    "This login may not do that in the database.",
                    "Check the login's grants with `zc doctor`.",
                )
            case "40001" | "40P01" | "55P03":
                return Unavailable("database_busy", "Another service holds these rows.", "Call again.")
            case None:  # no answer from the server at all
                return Unavailable(
                    "database_unreachable",
                    "The PostgreSQL server cannot be reached.",
                    "Check it, then call again.",
                )
            case str() if state.startswith(("08", "28", "53", "57P", "3D")):
                return Unavailable(
                    "database_unreachable",
                    "The PostgreSQL server refuses the connection.",
                    "Check its address, login and limits, then call again.",
                    sqlstate=state,
                )
        return error
