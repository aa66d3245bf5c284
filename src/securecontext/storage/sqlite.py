"""The SQLite engine: one file a store, WAL, every commit synced before it is acknowledged.

Python's driver runs with ``isolation_level=None``: its default begins transactions behind the caller's back and
lets the first savepoint run outside one. SQLAlchemy's engines issue ``BEGIN IMMEDIATE`` on the writer and
``BEGIN`` on readers, which cannot write (``query_only``).

A file that is not a sound database is set aside under another name and never overwritten; a marker beside it keeps
the service from starting an empty one in its place until a person says so (`zc recover`).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from securecontext.storage import schema
from securecontext.storage.acting import Actor
from securecontext.storage.aside import marker_of, recover, refuse_if_set_aside, set_aside
from securecontext.storage.port import Recorder, Transaction
from securecontext.storage.search_sqlite import VOCABULARY, SqliteTextIndex
from securecontext.storage.writer import Writer
from securecontext.types.errors import Unavailable, ZcError

T = TypeVar("T")
PATIENCE_MS = 10_000
"""How long it is waited for another program that holds the file."""
SCRUB_PATIENCE_MS = 200
CACHE_KIB = 1024
"""Pages that each connection keeps; the system's own cache lies below it, and a service has ten connections."""
QUICK_CHECK_BYTES = 64 * 1024 * 1024
"""A file up to this size is checked page by page when it is opened; a larger one by its header and schema."""


def _connect(path: Path, *, writer: bool) -> sqlite3.Connection:
    # mode=rw: a file that was taken away is missed, not made anew and empty in its place.
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        address, uri=True, timeout=PATIENCE_MS / 1000, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # The writer moves pages into the file while nobody waits (see `scrub`), not in the middle of a call.
    connection.execute("PRAGMA wal_autocheckpoint = 16000")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(VOCABULARY)
    if not writer:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _engine(path: Path, *, writer: bool) -> Engine:
    def creator() -> sqlite3.Connection:
        return _connect(path, writer=writer)

    if writer:
        engine = sqlalchemy.create_engine("sqlite://", creator=creator, poolclass=NullPool)
    else:
        engine = sqlalchemy.create_engine(
            "sqlite://", creator=creator, poolclass=QueuePool, pool_size=4, max_overflow=12
        )
    # Not an event listener: an engine with listeners looks for more of them at every statement.
    engine.dialect.do_begin = _begin_immediate if writer else _begin  # type: ignore[method-assign, assignment]
    return engine


def _begin_immediate(connection: Any) -> None:
    connection.execute("BEGIN IMMEDIATE")


def _begin(connection: Any) -> None:
    connection.execute("BEGIN")


class SqliteStore:
    """A `Store` in one SQLite file.

    Args:
        path: the file; its folder exists.
        clock: the moment for ledger entries.
        open_recorder: makes the store's ledger from a fresh connection inside the first transaction; None for none.

    Raises:
        Unavailable: the file is not a sound database (it is set aside), was set aside before, cannot be read or
            written, or the disk is full.
        Conflict: the file was written by a newer release.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], datetime],
        open_recorder: Callable[[Connection, datetime], Recorder] | None = None,
    ) -> None:
        self.path = path
        self._text = SqliteTextIndex()
        self._broken = threading.Lock()
        self._inode = 0
        refuse_if_set_aside(path)
        self._writer_engine = _engine(path, writer=True)
        self._reader_engine = _engine(path, writer=False)
        try:
            recorder = self._prepare(clock, open_recorder)
        except BaseException as error:
            self._writer_engine.dispose()
            self._reader_engine.dispose()
            raise self.translate(error) from error
        self._writer = Writer(path.stem, self, recorder, clock)

    def _prepare(
        self, clock: Callable[[], datetime], open_recorder: Callable[[Connection, datetime], Recorder] | None
    ) -> Recorder | None:
        fresh = not self.path.exists()
        if fresh:
            _make(self.path)
        status = self.path.stat()
        self._inode = status.st_ino
        if not fresh and status.st_size <= QUICK_CHECK_BYTES:
            _quick_check(self.path)
        with self._writer_engine.connect() as connection:
            with connection.begin():
                if schema.current_revision(connection) != schema.CURRENT:
                    schema.upgrade(connection)
                recorder = open_recorder(connection, clock()) if open_recorder else None
            if recorder is not None:
                recorder.committed()
            return recorder

    @property
    def text(self) -> SqliteTextIndex:
        """The file's full-text index."""
        return self._text

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one consistent state and cannot write."""
        self._refuse_if_gone()
        try:
            with self._reader_engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise self.translate(error) from error

    def used(self, beyond: int) -> int:
        """Return the bytes in use; see `port.Store.used`."""
        try:
            size = self.path.stat().st_size + _size(self.path.with_name(self.path.name + "-wal"))
        except FileNotFoundError:
            raise self._missing() from None
        if size < beyond:
            return size
        with self.read() as connection:
            pages, free, each = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * each

    def write(self, job: Callable[[Transaction], T]) -> T:
        """Run the job on the writer; see `port.Store.write`."""
        self._refuse_if_gone()
        return self._writer.run(job)

    def _refuse_if_gone(self) -> None:
        """Refuse once this store's file was set aside; what lies at its path later is another store's."""
        if self._inode < 0:
            refuse_if_set_aside(self.path)
            raise Unavailable("database_reopened", f"{self.path.name} is opened anew.", "Call again.")

    def end(self, refusal: Callable[[], ZcError]) -> None:
        """Finish what is queued and refuse what comes later; reading goes on."""
        self._writer.close(refusal)

    def close(self) -> None:
        """Finish what is queued and close every connection."""
        self._writer.close()
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    # The writer's backend

    keeps_connection = True

    def connect_writer(self) -> Connection:
        """Return a fresh connection for the writer."""
        return self._writer_engine.connect()

    def begun(self, connection: Connection, actor: Actor) -> None:
        """Do nothing: ``BEGIN IMMEDIATE`` holds the file."""

    def committed_after_all(self, error: BaseException) -> bool:
        """Say no: SQLite answers each commit itself."""
        return False

    def alive(self, connection: Connection) -> bool:
        """Say whether the transaction still stands: SQLite ends it by itself on a full disk.

        Raises:
            Unavailable: the file is no longer at its path; what is written into it would be lost with it.
        """
        self._refuse_if_taken_away()
        driver = connection.connection.dbapi_connection
        return bool(driver is not None and driver.in_transaction)

    def scrub(self, connection: Connection) -> bool:
        """Move the log's pages into the file and empty the log; say whether that could be done.

        It cannot while another program reads the file, for whom it is not waited long.
        """
        driver: Any = connection.connection.dbapi_connection
        driver.execute(f"PRAGMA busy_timeout = {SCRUB_PATIENCE_MS}")
        try:
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            driver.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        return not busy

    def moment(self, connection: Connection, own: datetime) -> datetime:
        """Return the service's own moment: nobody else writes here."""
        return own

    def notify(self, connection: Connection, topic: str) -> None:
        """Do nothing: nobody else works on this file."""

    def translate(self, error: BaseException) -> BaseException:
        """Return our refusal for a driver's error, setting a broken file aside."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(error, ZcError) or not isinstance(cause, (sqlite3.Error, OSError)):
            return error
        name = getattr(cause, "sqlite_errorname", "") or ""
        where = str(self.path)
        broken = str(cause).startswith(
            ("quick_check", "Could not decode to UTF-8")
        )  # the second is the driver's
        if broken or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            try:
                aside = self._set_aside()
            except OSError as second:
                return Unavailable(
                    "database_corrupt",
                    f"{where} is not a sound database, and could not be set aside ({second.strerror}).",
                    "Let the folder be written to and free some room, then call again.",
                )
            if aside is None:
                return Unavailable("database_reopened", f"{self.path.name} is opened anew.", "Call again.")
            return Unavailable(
                "database_corrupt",
                f"{where} is not a sound database. It was kept as {aside.name}.",
                "Put a backup in its place, or start a fresh one with `zc recover --yes`.",
                kept=str(aside),
            )
        if name == "SQLITE_FULL" or getattr(cause, "errno", None) == 28:
            return Unavailable(
                "disk_full",
                "The disk is full; nothing was changed.",
                f"Free room beside {where}, then call again.",
            )
        if name.startswith("SQLITE_CANTOPEN") and not self.path.exists():
            return self._missing()
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")) or isinstance(
            cause, PermissionError
        ):
            return Unavailable(
                "storage_read_only",
                f"{where} cannot be written.",
                "Check the folder's owner and mode, or set ZC_HOME to a folder that you can write.",
            )
        if name.startswith("SQLITE_BUSY"):
            return Unavailable(
                "database_busy", f"Another program holds {where}.", "Close it, then call again."
            )
        if name.startswith("SQLITE_IOERR") or isinstance(cause, OSError):
            return Unavailable(
                "storage_failed",
                f"{where} cannot be read or written ({cause}).",
                "Check the disk, then run `zc doctor`.",
            )
        return error

    def _refuse_if_taken_away(self) -> None:
        try:
            if self.path.stat().st_ino == self._inode:
                return
        except FileNotFoundError:
            pass
        if self._inode >= 0:
            raise self._missing()

    def _missing(self) -> Unavailable:
        return Unavailable(
            "database_missing",
            f"{self.path} was taken away while the service ran.",
            "Put it back. If it is lost, run `zc service restart`, then `zc recover`.",
        )

    def _set_aside(self) -> Path | None:
        """Set this store's file aside, once; None when another file lies at the path by now."""
        with self._broken:
            if self._inode >= 0 and not marker_of(self.path).exists():
                if self.path.stat().st_ino != self._inode:
                    return None
                set_aside(self.path)
            self._inode = -1
            try:
                return Path(json.loads(marker_of(self.path).read_text(encoding="utf-8"))["kept"])
            except FileNotFoundError:
                return None


def _make(path: Path) -> None:
    """Make a new database under a temporary name and rename it: a file without a byte is then always a broken one."""
    if any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm")):
        set_aside(path)  # a log that outlived its file would be replayed into the new one
        recover(path)
    draft = path.with_name(f".{path.name}.new")
    for suffix in ("-wal", "-shm", "-journal", ""):  # what one left behind who died at this
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    engine = _engine(draft, writer=True)
    try:
        with engine.connect() as connection, connection.begin():
            schema.upgrade(connection)
    finally:
        engine.dispose()
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _quick_check(path: Path) -> None:
    """Look at every page of a file, through a connection that changes nothing: not even its log moves into it."""
    if path.stat().st_size == 0:
        raise sqlite3.DatabaseError("quick_check: the file is empty")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA cell_size_check = ON")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        connection.close()
    if found != "ok":
        raise sqlite3.DatabaseError(f"quick_check: {found}")
