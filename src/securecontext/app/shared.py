"""Every store in one PostgreSQL database, which other services may use too.

Each service keeps ledgers of its own there, under its own keys: one for the machine and one for each project that it
writes into. Memory, archive and the register of projects are everybody's. A project that ends in one service ends in
all: a row says so, which each writer reads in its transaction once it is the only one in that project.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.exc import DBAPIError, TimeoutError

from securecontext.app import chores
from securecontext.app.recorders import recorder
from securecontext.app.stores import MACHINE, Stores, empty_and_close, gone
from securecontext.boundaries.database_context import ContextKey
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import purge
from securecontext.projects import register
from securecontext.storage import (
    acting,
    meta_rows,
    postgres,
    postgres_address,
    postgres_errors,
    postgres_login,
    schema,
    shared_rows,
)
from securecontext.storage.notices_postgres import Notices
from securecontext.storage.port import Store, Transaction
from securecontext.storage.tables import meta
from securecontext.types.errors import Unavailable, ZcError
from securecontext.types.ids import timestamp

log = logging.getLogger("securecontext.stores")
_ENDS = "ends/"
"""Begins the name of the row that says that a project ends; its value is the service that ends it."""
_SAID = select(meta.c.value).where(meta.c.name == bindparam("wanted"))
_TAKE_BACK = delete(meta).where(meta.c.name == bindparam("wanted"), meta.c.value == bindparam("said_by"))
_OURS = select(meta.c.name).where(meta.c.name.like(_ENDS + "%"), meta.c.value == bindparam("said_by"))


class SharedStores(Stores):
    """The stores of an installation whose data lies in a PostgreSQL database.

    Args:
        url: of the database; see `storage.postgres_address`.
        connections: how many this service has at most.
        keyring: holds the keys of the ledgers.
        clock: the present moment.
        before_closing: is given each store that is about to be closed.
        used: is told where the data is, without a password, once the database was found fit for use.

    Raises:
        ZcError: the address is none, or the login may not be used; see `storage.postgres_login`.
    """

    shared = True

    def __init__(
        self,
        url: str,
        connections: int,
        keyring: Keyring,
        clock: Callable[[], datetime],
        before_closing: Callable[[Store], None],
        used: Callable[[str], None],
    ) -> None:
        super().__init__(clock, before_closing)
        self._keyring = keyring
        self._used = used
        self._engine = postgres_address.open_postgres(url, connections)
        self._where = postgres_address.told(self._engine.url)
        self._looked = False
        self._settled: set[str] = set()
        self._notices: Notices | None = None
        self._contexts = ContextKey(keyring)
        try:
            with suppress(Unavailable):  # a server that is away may come back: calls are refused meanwhile
                self._look_at_login()
        except BaseException:
            self._engine.dispose()
            raise

    def listen(self, tell: Callable[[str], None]) -> None:
        """Have topics told that other services on the same database make known, on a thread of its own."""
        self._notices = Notices(self._engine, tell)

    # Opening

    def _store(self, name: str, *, of_ended: bool = False) -> postgres.PostgresStore:
        self._look_at_login()
        project = "" if name == MACHINE else name
        kind = MACHINE if name == MACHINE else "project"
        return postgres.PostgresStore(
            self._engine,
            name,
            self._clock,
            recorder(self._keyring, kind, project),
            store=f"{name}@{self._keyring.signer}",
            sign=self._sign(name),
            admit=partial(self._admit, project=project) if project and not of_ended else _anybody,
        )

    def _sign(self, name: str) -> postgres.Sign:
        """Return what makes the contexts of a store's transactions."""
        return partial(self._contexts.sign, f"{name}@{self._keyring.signer}")

    @contextmanager
    def _acting(self, name: str) -> Iterator[Connection]:
        """Yield a transaction of a store that is not opened for it, in which nobody else writes there."""
        engine = self._engine.execution_options(**{meta_rows.STORE: f"{name}@{self._keyring.signer}"})
        try:
            with engine.begin() as connection:
                postgres.take_turn(connection, name, self._sign(name), acting.PROJECTS)
                yield connection
        except (DBAPIError, TimeoutError) as error:
            raise postgres_errors.translated(error) from error

    def _look_at_login(self) -> None:
        """Refuse, before anything else is done, a login that the service must not have."""
        if self._looked:
            return
        try:
            with self._engine.connect() as connection:
                postgres_login.refuse_unsafe(connection)
                postgres.act(connection, self._sign(MACHINE), acting.SERVICE)
                postgres_login.refuse_unknown(connection, f"{MACHINE}@{self._keyring.signer}")
        except (DBAPIError, TimeoutError) as error:
            raise postgres_errors.translated(error) from error
        self._used(self._where)
        self._looked = True

    def _admit(self, connection: Connection, *, project: str) -> None:
        """Let nobody write into a project that another service ends, or has ended; what this one ends it knows."""
        said_by = connection.execute(_SAID, {"wanted": _ENDS + project}).scalar()
        if said_by not in (None, self._keyring.signer):
            self.changes += 1
            raise gone()

    def _open_machine(self) -> Store:
        machine = self._store(MACHINE)
        try:
            machine.write(self._forget_unfinished)
        except BaseException:
            machine.close()
            raise
        return machine

    def _forget_unfinished(self, transaction: Transaction) -> None:
        """Let a project go on whose end was begun here and came to nothing: this service died at it."""
        connection = transaction.connection
        for name in connection.execute(_OURS, {"said_by": self._keyring.signer}).scalars().all():
            if register.get(connection, name.removeprefix(_ENDS)).state == "active":
                connection.execute(_TAKE_BACK, {"wanted": name, "said_by": self._keyring.signer})

    def _open(self, project: str) -> Store:
        with self.machine.read() as connection:
            known = register.has_file(connection, project)
        store = self._store(project)
        if not known:
            moment = timestamp(self._clock())
            self.machine.write(partial(chores.keep_file, project=project, moment=moment))
        return store

    # Ending

    def _say_ends(self, project: str) -> None:
        row = {"name": _ENDS + project, "value": self._keyring.signer}
        with self._acting(
            project
        ) as connection:  # from the commit on nobody else has a write under way there
            said_by = connection.execute(_SAID, {"wanted": row["name"]}).scalar()
            if said_by is None:
                connection.execute(insert(meta), row)
        if said_by not in (None, self._keyring.signer):
            raise gone()

    def _say_goes_on(self, project: str) -> None:
        said = {"wanted": _ENDS + project, "said_by": self._keyring.signer}
        self.machine.write(lambda transaction: _execute(transaction, said))

    def _empty(self, entry: register.Entry) -> None:
        """Delete what a merged project held; the ledgers stay."""
        empty_and_close(self._store(entry.id, of_ended=True), entry)
        self._settled.add(entry.id)

    def _remove(self, project: str) -> None:
        """Delete what a project held, and what the ledgers that all services kept of it say."""
        moment = timestamp(self._clock())
        with self._acting(project) as connection:
            # The service's login may delete no entry: what is left is that there were entries, and when.
            purge.blank(connection, shared_rows.logs_of(connection, project), moment)
            shared_rows.remove(connection, project)
        self._settled.add(project)

    def _settle_ended(self) -> None:
        with self.machine.read() as connection:
            ended = register.every(connection, ("merged", "deleted"))
            left = [
                entry
                for entry in ended
                if entry.id not in self._settled
                and (entry.state == "deleted" or register.has_file(connection, entry.id))
            ]
        left = [entry for entry in left if self.kept_in(entry.id)]
        for entry in left:
            try:
                self.settle(entry.id)
            except ZcError as error:
                log.warning("project %s, which is %s: %s", entry.id, entry.state, error)

    # What there is

    def kept_in(self, project: str) -> str:
        """Return ``database`` where there is a row of a project."""
        with self._acting(project) as connection:
            return "database" if shared_rows.are_there(connection, project) else ""

    @contextmanager
    def reading(self, where: str) -> Iterator[Connection | None]:
        """Yield a connection that sees one state of a store; None where this service never wrote into that project."""
        if where != MACHINE and where not in self.projects_with_files():
            yield None
            return
        store = self.machine if where == MACHINE else self.project(where)
        with store.read() as connection:
            yield connection if schema.current_revision(connection) == schema.CURRENT else None

    def told(self) -> dict[str, object]:
        """Return the engine, the login and where it leads, and the database's size in bytes."""
        size = self.machine.used(1 << 62)
        return {"engine": "postgres", "where": self._where, "bytes": size}

    def largest(self, beyond: int) -> int:
        """Return the bytes of the largest project that is open here."""
        return max((store.used(beyond) for store in self.open_projects().values()), default=0)

    def set_aside(self) -> Sequence[tuple[Path, Path | None]]:
        """Return nothing: what is broken in the database is the server's to tell."""
        return []

    def recover(self, path: Path) -> None:
        """Do nothing: there is no file to be made."""

    def _let_go(self) -> None:
        if self._notices is not None:
            self._notices.close()
        self._engine.dispose()


def _anybody(connection: Connection) -> None:
    """Let everybody write."""


def _execute(transaction: Transaction, said: dict[str, str]) -> None:
    transaction.connection.execute(_TAKE_BACK, said)
