"""The store that ``zc bench queue`` works in: a file of its own, or a schema of its own in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.keys import Keyring
from securecontext.storage import schema
from securecontext.storage.port import Recorder, Store
from securecontext.storage.postgres import PostgresStore, open_postgres
from securecontext.storage.sqlite import SqliteStore
from securecontext.types.errors import Unavailable
from securecontext.types.ids import new_id, now

PROJECT = "prj_bench"
LOG = "log_bench"
_PATH = "-csearch_path="


def _recorder(folder: Path) -> Callable[[Connection, datetime], Recorder]:
    keyring = Keyring.open(folder / "keys")

    def open_recorder(connection: Connection, moment: datetime) -> Recorder:
        ledger = Ledger(LOG, keyring)
        ledger.open_log(connection, moment)
        return ledger

    return open_recorder


@contextmanager
def opened(folder: Path, url: str) -> Iterator[Store]:
    """Yield the store, as each of the services has it that share it.

    Args:
        folder: of the keys, and of the file.
        url: of the PostgreSQL schema; empty for the file.
    """
    if not url:
        store = SqliteStore(folder / "queue.db", now, _recorder(folder))
        try:
            yield store
        finally:
            store.close()
        return
    engine = _engine(url)
    shared = PostgresStore(engine, PROJECT, now, _recorder(folder))
    try:
        yield shared
    finally:
        shared.close()
        engine.dispose()


def _engine(url: str) -> Engine:
    """Return an engine for the schema that an address of `own_schema` names."""
    parsed = make_url(url)
    bare = parsed.difference_update_query(["options"]).render_as_string(hide_password=False)
    return open_postgres(bare, schema=str(parsed.query["options"]).removeprefix(_PATH))


@contextmanager
def own_schema(url: str) -> Iterator[str]:
    """Yield the address of a schema that is made now and dropped at the end, with all that is in it.

    Raises:
        Unavailable: ``no_schema``: the server or the login does not let it.
    """
    name = new_id("zc_bench", 12)
    engine = open_postgres(url)
    try:
        try:
            with engine.begin() as connection:
                connection.execute(text(f'CREATE SCHEMA "{name}"'))
        except DBAPIError as error:
            raise Unavailable(
                "no_schema",
                "No schema for the bench can be made in that database.",
                "Check ZC_POSTGRES_URL; the login needs CREATE on the database.",
            ) from error
        try:
            address = make_url(url).update_query_dict({"options": f"{_PATH}{name}"})
            own = address.render_as_string(hide_password=False)
            within = _engine(own)
            try:
                with within.begin() as connection:
                    schema.upgrade(connection)
            finally:
                within.dispose()
            yield own
        finally:
            with engine.begin() as connection:
                connection.execute(text(f'DROP SCHEMA "{name}" CASCADE'))
    finally:
        engine.dispose()
