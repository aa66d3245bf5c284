"""Where the services and houses of the tests keep their data: in files, or with E2E_ENGINE=postgres in PostgreSQL.

Tests that name their engine by themselves (tests/engines and others) run alike with either.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.engines.fixtures import admin_of, let_in, ready_database
from tests.engines.postgres_server import PostgresServer
from tests.engines.shared_case import rows_of_project

ENGINE = os.environ.get("E2E_ENGINE", "sqlite")
"""Asked once: tests have an environment of their own."""
ON_POSTGRES = ENGINE == "postgres"
_ready: list[tuple[PostgresServer, str]] = []
_given: dict[Path, str] = {}


def use(server: PostgresServer, template: str) -> None:
    """Have databases made on a server out of a template, for as long as the run lasts."""
    _ready.append((server, template))


@contextmanager
def address() -> Iterator[str]:
    """Yield the address of a database of its own for the login of services; an empty one for files."""
    if not ON_POSTGRES:
        yield ""
        return
    server, template = _ready[0]
    with ready_database(server, template) as url:
        yield url


@contextmanager
def data_of(home: Path, machine_secret: bytes | None = None) -> Iterator[dict[str, str]]:
    """Yield what the environment of a data folder's service says of where its data is.

    A folder that has a database already, because a second service is started on it, keeps that one.
    """
    if home in _given:
        yield {"ZC_POSTGRES_URL": _given[home]}
        return
    with address() as url:
        if not url:
            yield {}
            return
        let_in(url, home, machine_secret)
        _given[home] = url
        try:
            yield {"ZC_POSTGRES_URL": url}
        finally:
            del _given[home]


def machine_rows(home: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query, written for the machine's file, finds there, or of the machine's ledgers in the database."""
    if home in _given:
        return rows_of_project(admin_of(_given[home]), "machine", query, *values)
    with contextlib.closing(sqlite3.connect(f"file:{home / 'machine.db'}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def rows(home: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query finds in the files of all projects, or in the whole database, read by an outsider."""
    if home in _given:
        with psycopg.connect(admin_of(_given[home]), options="-c search_path=securecontext") as connection:
            return connection.execute(query.replace("%", "%%").replace("?", "%s").encode(), values).fetchall()
    found = []
    for file in sorted((home / "projects").glob("*.db")):
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            found += database.execute(query, values).fetchall()
    return found


def all_that_is_stored(home: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a database by its name, or of every table of the one in a server."""
    if home not in _given:
        return {file.name: file.read_bytes() for file in home.rglob("*") if ".db" in file.name}
    with psycopg.connect(admin_of(_given[home]), options="-c search_path=securecontext") as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'securecontext'"
            )
        ]
        held = {
            name: connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))).fetchall()
            for name in names
        }
    return {name: b"\n".join(_bytes(value) for row in found for value in row) for name, found in held.items()}


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def tamper(home: Path, statement: str) -> int:
    """Change what is stored past every guard: in the file of the one project, or as the database's superuser.

    Returns:
        How many rows were changed.
    """
    if home in _given:
        with psycopg.connect(admin_of(_given[home]), options="-c search_path=securecontext") as connection:
            connection.execute("SET session_replication_role = replica")  # no trigger holds it up
            return connection.execute(statement.encode()).rowcount
    with contextlib.closing(sqlite3.connect(_project_file(home), timeout=30)) as database, database:
        return database.execute(statement).rowcount


def copied(home: Path) -> Callable[[], None]:
    """Copy the one project, and with a database all that is in it; return what puts the copy in its place.

    No service may run at either moment.
    """
    if home in _given:
        server, name = _ready[0][0], str(make_url(_given[home]).database)
        older = f"{name}_older"
        server.create(older, name, owner="postgres")

        def put_back() -> None:
            server.drop(name)
            server.create(name, older, owner="postgres")
            server.drop(older)

        return put_back
    file = _project_file(home)
    older_file = home.parent / "older.db"
    shutil.copy(file, older_file)

    def put_file_back() -> None:
        for part in file.parent.glob(file.name + "*"):
            part.unlink()
        shutil.copy(older_file, file)

    return put_file_back


def _project_file(home: Path) -> Path:
    (file,) = (home / "projects").glob("*.db")
    return file
