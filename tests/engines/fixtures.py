"""Fixtures that give a test each engine in turn; tests/conftest.py hands them to every test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Engine, event, make_url
from sqlalchemy.pool import NullPool

from securecontext.app import database
from securecontext.settings import Settings
from securecontext.storage import schema
from securecontext.storage.postgres import open_postgres
from tests.engines.postgres_server import PostgresServer, running_postgres

ENGINES = ("sqlite", "postgres")
SERVERS: dict[str, PostgresServer] = {}
"""Those that run, by the folder of their socket."""


def sqlite_engine(path: Path) -> Engine:
    """Return an engine for a file, whose transactions are BEGIN IMMEDIATE as the product's writer has them."""
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def _connect(connection, _record) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole run."""
    with running_postgres() as server:
        SERVERS[str(server.socket)] = server
        yield server


@pytest.fixture(scope="session")
def _migrated_template(postgres_server: PostgresServer) -> str:
    engine = open_postgres(postgres_server.create("zc_template"))
    with engine.begin() as connection:
        schema.upgrade(connection)
    engine.dispose()
    return "zc_template"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database, for a login that is no superuser."""
    name = f"t_{uuid.uuid4().hex}"
    yield postgres_server.create(name)
    postgres_server.drop(name)


@pytest.fixture
def migrated_postgres_url(postgres_server: PostgresServer, _migrated_template: str) -> Iterator[str]:
    """The address of a database with the current schema and no rows."""
    name = f"t_{uuid.uuid4().hex}"
    yield postgres_server.create(name, _migrated_template)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def _ready_template(postgres_server: PostgresServer) -> str:
    postgres_server.create("zc_ready", owner="postgres")
    database.migrate(postgres_server.admin_url("zc_ready"), postgres_server.service_url("zc_ready"), [])
    return "zc_ready"


def admin_of(url: str) -> str:
    """Return the address of the same database for the superuser, whom no policy concerns."""
    parsed = make_url(url)
    return SERVERS[str(parsed.query["host"])].admin_url(parsed.database or "")


def let_in(url: str, home: Path, machine_secret: bytes | None = None) -> None:
    """Let the service of a data folder act in a database, as `zc db migrate` does."""
    keyring = database.keyring_of(Settings(home=home, user_home=home, machine_secret=machine_secret))
    database.migrate(admin_of(url), url, [], keyring)


@contextmanager
def ready_database(server: PostgresServer, template: str) -> Iterator[str]:
    """Yield the address of a database as `zc db migrate` leaves it, for the login of services."""
    name = f"t_{uuid.uuid4().hex}"
    server.create(name, template, owner="postgres")
    try:
        yield server.service_url(name)
    finally:
        server.drop(name)


@pytest.fixture
def service_url(postgres_server: PostgresServer, _ready_template: str) -> Iterator[str]:
    """The address of a database for a service, gone afterwards."""
    with ready_database(postgres_server, _ready_template) as url:
        yield url


@pytest.fixture(params=ENGINES)
def empty_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine over an empty database, SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        engine = sqlite_engine(tmp_path / "empty.db")
    else:
        engine = open_postgres(request.getfixturevalue("postgres_url"))
    yield engine
    engine.dispose()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine over a database with the current schema, SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        engine = sqlite_engine(tmp_path / "current.db")
        with engine.begin() as connection:
            schema.upgrade(connection)
    else:
        engine = open_postgres(request.getfixturevalue("migrated_postgres_url"))
    yield engine
    engine.dispose()
