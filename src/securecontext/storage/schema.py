"""Which schema a database has, and the way to the one this code needs.

Opening a database that is up to date costs two short SELECTs: alembic (half a second to import) is loaded only
when there is something to migrate: not for a new SQLite file, which gets the current schema at once.

::

    with engine.begin() as connection:      # on SQLite the engine's BEGIN is BEGIN IMMEDIATE
        if schema.needs_upgrade(connection):
            schema.upgrade(connection)
"""

from __future__ import annotations

import threading
from typing import Final

from sqlalchemy import Connection, create_engine, text

from securecontext.contracts import ensure, require
from securecontext.storage import tables
from securecontext.types.errors import Conflict

HISTORY: Final[tuple[str, ...]] = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Every revision this code knows, oldest first. A test holds it against the files in ``migrations/versions``."""

CURRENT: Final[str] = HISTORY[-1]
"""The revision this code works with."""

_BESIDE_THE_TABLES: Final = (
    "CREATE VIRTUAL TABLE chunks_fts USING fts5(tokens, tokenize = 'unicode61 remove_diacritics 0')",
    "CREATE TABLE alembic_version (\n"
    "\tversion_num VARCHAR(32) NOT NULL, \n\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)",
)
"""What a SQLite file has besides `tables.metadata`: the full-text table, and alembic's own."""

_ALEMBIC = threading.Lock()
# Alembic keeps the running migration in module globals, while writers of several projects have a thread each.


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database behind ``connection``, or None if no migration ever ran there.

    Reads only, and imports nothing. In a database that is not ours a foreign ``alembic_version`` is returned as it
    stands, for `needs_upgrade` to refuse.
    """
    if connection.dialect.name == "sqlite":
        probe = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    else:
        probe = "SELECT to_regclass('alembic_version')"  # a failed SELECT would end the transaction
    if connection.execute(text(probe)).scalar() is None:
        return None
    found = (
        connection.execute(text("SELECT version_num FROM alembic_version ORDER BY version_num"))
        .scalars()
        .all()
    )
    return "+".join(found) or None


def needs_upgrade(connection: Connection) -> bool:
    """Say whether `upgrade` has work to do.

    Returns:
        False when the schema is `CURRENT`; True when the database is empty or older.

    Raises:
        Conflict: ``schema_newer`` when a newer SecureContext wrote the schema; ``schema_foreign`` when the database
            holds tables that SecureContext did not make.
    """
    found = current_revision(connection)
    if found == CURRENT:
        return False
    if found is None:
        if foreign := _tables_without_history(connection):
            raise Conflict(
                "schema_foreign",
                "This database holds tables that SecureContext did not make.",
                "Nothing was changed. Choose another place for the data, or move this database away.",
                tables=foreign,
            )
        return True
    if found not in HISTORY:
        raise Conflict(
            "schema_newer",
            "This database was written by a newer SecureContext than the one that is running.",
            "Nothing was changed. Update SecureContext, then try again.",
            found=found,
            known=CURRENT,
        )
    return True


@require(
    lambda connection: connection.in_transaction(), "the caller has begun the transaction of the upgrade"
)
@ensure(lambda connection: current_revision(connection) == CURRENT, "the schema is current after an upgrade")
def upgrade(connection: Connection) -> None:
    """Bring the database to `CURRENT` inside the transaction that the caller has open.

    Nothing is committed here: the caller's commit makes the whole upgrade durable, its rollback (or its death)
    leaves the database as it was. On SQLite the caller's transaction must be a ``BEGIN IMMEDIATE`` on a driver
    connection with ``isolation_level=None``; then two processes that upgrade one file wait for each other, and the
    second finds nothing to do.

    Raises:
        Conflict: as `needs_upgrade`.
    """
    if not needs_upgrade(connection):
        return
    if connection.dialect.name == "sqlite" and current_revision(connection) is None:
        create(connection)
    else:
        migrate(connection)


def create(connection: Connection) -> None:
    """Make the current schema in an empty SQLite file, without the history that leads to it.

    What a first session waits for: alembic and its migrations would take it 0.4 s longer. A test holds the result
    against that of `migrate`, word for word.
    """
    tables.metadata.create_all(connection, checkfirst=False)
    for statement in _BESIDE_THE_TABLES:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("INSERT INTO alembic_version (version_num) VALUES (?)", (CURRENT,))


def migrate(connection: Connection) -> None:
    """Run the migrations that are missing, on either engine."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "securecontext.storage:migrations")
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, CURRENT)


def is_pristine(connection: Connection) -> bool:
    """Say whether a SQLite file of the current schema has exactly its parts, word for word: no trigger, no view."""
    fresh = create_engine("sqlite://")
    try:
        with fresh.connect() as other:
            create(other)
            return _parts(connection) == _parts(other)
    finally:
        fresh.dispose()


def _parts(connection: Connection) -> set[tuple[object, ...]]:
    return {
        tuple(row)
        for row in connection.exec_driver_sql(
            "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master"
        )
    }


def _tables_without_history(connection: Connection) -> list[str]:
    """Return what stands in the way of a first migration, by name, at most ten.

    A SQLite file is all ours or not at all. A PostgreSQL schema may be shared, so that only our own names count.
    """
    if connection.dialect.name == "sqlite":
        found = connection.execute(
            text("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'")
        )
        return sorted(found.scalars())[:10]
    probe = text("SELECT to_regclass(:name)")
    return [name for name in sorted(tables.metadata.tables) if connection.scalar(probe, {"name": name})][:10]
