"""The PostgreSQL engine: one database holds the machine's rows and those of all projects; rows name their project.

Writers take turns as on SQLite, with the same `Writer`, and beyond this service too: whoever writes into a project
holds its advisory lock until the commit, so that several services on one database are one writer. Readers see one
snapshot and cannot write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, TimeoutError

from securecontext.storage import acting, meta_rows, schema, tables
from securecontext.storage.acting import Actor
from securecontext.storage.meta_rows import STORE
from securecontext.storage.notices_postgres import CHANNEL
from securecontext.storage.port import Recorder, Transaction
from securecontext.storage.postgres_address import open_postgres as open_postgres
from securecontext.storage.postgres_errors import translated
from securecontext.storage.postgres_size import size_of
from securecontext.storage.search_postgres import PostgresTextIndex
from securecontext.storage.writer import Undecided, Writer
from securecontext.types.errors import Unavailable, ZcError

T = TypeVar("T")
Sign = Callable[[Actor, str, int, int], str]
"""Makes a context out of who acts, the ledger (empty where it is not known yet), the backend's process id and the
begin of the transaction in microseconds since the epoch."""

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
    (tables.FILE_TASKS, tables.in_state("queued") & tables.tasks.c.files.is_not(None)),
):
    index.dialect_options["postgresql"]["where"] = where

_CLOCK: Final = text("SELECT clock_timestamp()")
_NOTIFY: Final = text("SELECT pg_notify(:channel, :topic)")
_WRITERS: Final = 0x5EC0_0002
"""First half of the advisory locks of writers; the second half is made of the store's name."""
_WHEN: Final = "pg_backend_pid(), (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint"
IDLE_MS = 15_000
"""So long a service that falls silent in the middle of a write holds the lock of a project."""
_TAKE_TURN = text(
    f"SELECT {_WHEN}, pg_current_xact_id()::text, pg_advisory_xact_lock(:kind, :store), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
)
_BEGAN = text(f"SELECT {_WHEN}")
_SAY = text("SELECT set_config('zc.context', :context, true)")
_ENDED_HOW = text("SELECT pg_xact_status(CAST(:xact AS xid8))")


def act(connection: Connection, sign: Sign | None, actor: Actor, log: str = "") -> None:
    """Say who acts in the transaction that is open, or begins now: without that there is no row under the policies."""
    if sign is None:
        acting.begun(connection, None, actor)
        return
    backend, began = connection.execute(_BEGAN).one()
    _say(connection, sign, actor, log, int(backend), int(began))


def take_turn(connection: Connection, name: str, sign: Sign | None, actor: Actor, log: str = "") -> str:
    """Wait until nobody else writes into a store, in any service, and say who acts; return the transaction's id."""
    turn = {"kind": _WRITERS, "store": _number_of(name), "idle": str(IDLE_MS)}
    backend, began, transaction, *_ = connection.execute(_TAKE_TURN, turn).one()
    if sign is None:
        acting.begun(connection, None, actor)
    else:
        _say(connection, sign, actor, log, int(backend), int(began))
    return str(transaction)


def _say(connection: Connection, sign: Sign, actor: Actor, log: str, backend: int, began: int) -> None:
    def say(connection: Connection, actor: Actor) -> None:
        connection.execute(_SAY, {"context": sign(actor, log, backend, began)})

    say(connection, actor)
    acting.begun(connection, say, actor)


def _nothing(connection: Connection) -> None:
    """Ask nothing before a batch."""


class PostgresStore:
    """A `Store` in a PostgreSQL database; it satisfies `port.Store` and `writer.Backend`.

    Args:
        engine: from `open_postgres`; it stays the caller's, who may share it between stores and disposes of it.
        name: of the project (or machine) whose rows these are.
        clock: the moment for ledger entries.
        open_recorder: makes the store's ledger from a connection inside the first transaction; None for none.
        store: names the store among its like in ``meta``; see `meta_rows`.
        sign: makes the contexts of transactions; None for a login that no policy concerns.
        admit: called in each write transaction once nobody else writes into this project; raises where nobody may.

    Raises:
        Unavailable: the server cannot be reached, does not let this login do what is needed, or its schema is not
            there or of an older release (``schema_older``): `zc db migrate` makes it.
        Conflict: the schema was written by a newer release.
    """

    keeps_connection: Final = False
    """Connections are few, and stores are many."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        clock: Callable[[], datetime],
        open_recorder: Callable[[Connection, datetime], Recorder] | None = None,
        *,
        store: str = "",
        sign: Sign | None = None,
        admit: Callable[[Connection], None] = _nothing,
    ) -> None:
        self._name = name
        self._engine = engine.execution_options(**{STORE: store})
        self._readers = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._sign = sign
        self._admit = admit
        self._text = PostgresTextIndex()
        self._transaction = ""
        self._log = ""
        try:
            recorder = self._prepare(clock, open_recorder)
        except (DBAPIError, TimeoutError) as error:
            raise self.translate(error) from error
        self._writer = Writer(name, self, recorder, clock)

    def _prepare(
        self, clock: Callable[[], datetime], open_recorder: Callable[[Connection, datetime], Recorder] | None
    ) -> Recorder | None:
        with self._engine.begin() as connection:
            if schema.needs_upgrade(connection):
                raise Unavailable(
                    "schema_older",
                    "The tables in this database are of an older SecureContext, or not there yet.",
                    "Bring them up to date as the database's administrator: `zc db migrate`.",
                    needed=schema.CURRENT,
                )
            take_turn(connection, self._name, self._sign, acting.SERVICE)
            self._admit(connection)
            recorder = open_recorder(connection, clock()) if open_recorder else None
            self._log = meta_rows.read(connection, "log") or ""
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
                act(connection, self._sign, acting.current(), self._log)
                yield connection
        except (DBAPIError, TimeoutError) as error:
            raise self.translate(error) from error

    def used(self, beyond: int) -> int:
        """Return the bytes of the store's rows, or of all the database while that is below; see `port.Store.used`."""
        with self.read() as connection:
            whole = int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
            return whole if whole < beyond else size_of(connection, self._name)

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

    def begun(self, connection: Connection, actor: Actor) -> None:
        """Wait until nobody else writes into this project, and see whether anybody may."""
        self._transaction = take_turn(connection, self._name, self._sign, actor, self._log)
        self._admit(connection)

    def committed_after_all(self, error: BaseException) -> bool:
        """Say whether a transaction whose commit got no answer is durable: the server knows, once it is reached again.

        Raises:
            Undecided: it cannot be reached, or is still at it.
        """
        state = getattr(getattr(error, "orig", None), "sqlstate", None)
        if not isinstance(error, DBAPIError) or not (state is None or state.startswith(("08", "57P"))):
            return False  # the server answered: it did not commit
        try:
            with self._engine.connect() as connection:
                status = connection.execute(_ENDED_HOW, {"xact": self._transaction}).scalar()
        except (DBAPIError, TimeoutError):
            status = None
        if status in ("committed", "aborted"):
            return bool(status == "committed")
        raise Undecided

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
        return translated(error)


def _number_of(name: str) -> int:
    """Return 31 bits of a store's name: two that share them wait for each other, which harms nothing."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1
