"""`zc db migrate`, and the logins that the service takes: what stands between an injected statement and the ledger."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from securecontext.app import App, database
from securecontext.boundaries.database_context import ContextKey
from securecontext.settings import Settings
from securecontext.storage import postgres_address, schema
from securecontext.storage.acting import SERVICE
from securecontext.storage.postgres import act, open_postgres
from securecontext.storage.postgres_rights import OWNER
from securecontext.storage.tables import metadata
from securecontext.types.errors import Denied, InvalidInput, NotFound, Unavailable, ZcError
from tests.engines.fixtures import admin_of
from tests.engines.postgres_server import PostgresServer, running_postgres

OWNED = "SELECT tablename FROM pg_tables WHERE schemaname = 'securecontext'"


@pytest.fixture
def bare(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database of the administrator's that nothing is in."""
    name = f"t_{secrets.token_hex(6)}"
    postgres_server.create(name, owner="postgres")
    yield name
    postgres_server.drop(name)


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a login that may do nothing yet; it goes with what it was given."""
    name = f"zc_{secrets.token_hex(4)}"
    with postgres_server.admin() as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(postgres_server.login_password)
            )
        )
    yield name
    with postgres_server.admin() as admin:
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def service(tmp_path: Path, url: str) -> App:
    return App(Settings(home=tmp_path / "zc", user_home=tmp_path, postgres_url=url))


def known(tmp_path: Path, url: str, admin_url: str) -> App:
    """Return a service that the database knows."""
    keyring = database.keyring_of(Settings(home=tmp_path / "zc", user_home=tmp_path))
    database.migrate(admin_url, None, [], keyring)
    return service(tmp_path, url)


def refusal(tmp_path: Path, url: str) -> str:
    """Return the code with which a service does not start, or with which it refuses every call."""
    with pytest.raises(ZcError) as caught:
        app = service(tmp_path, url)
        try:
            _ = app.machine
        finally:
            app.close()
    assert (make_url(url).password or "?") not in str(caught.value)
    return caught.value.code


# The administrator's part


def test_migrating_makes_what_nobody_can_log_in_to_own(postgres_server: PostgresServer, bare: str) -> None:
    done = database.migrate(postgres_server.admin_url(bare), postgres_server.service_url(bare), [])
    assert (done.before, done.after, list(done.logins)) == (None, schema.CURRENT, ["zc_service"])
    assert postgres_server.admin_password not in done.where
    with postgres_server.admin(bare) as admin:
        owners = admin.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'securecontext'"
        ).fetchall()
        login = admin.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone()
        made = {name for (name,) in admin.execute(OWNED)}
    assert owners == [(OWNER,)]
    assert login == (False,)
    assert made == {*metadata.tables, "alembic_version", "context_keys"}
    again = database.migrate(postgres_server.admin_url(bare), postgres_server.service_url(bare), [])
    assert again.before == schema.CURRENT, "a second time there is nothing to do"


def test_two_who_migrate_at_once_do_it_once(postgres_server: PostgresServer, bare: str) -> None:
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            database.migrate(postgres_server.admin_url(bare), postgres_server.service_url(bare), [])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with postgres_server.admin(bare) as admin:
        assert admin.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.CURRENT,)]


def test_a_migration_that_fails_half_way_leaves_nothing(
    postgres_server: PostgresServer, bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_args: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(database.postgres_rights, "finish", dies)
    with pytest.raises(RuntimeError):
        database.migrate(postgres_server.admin_url(bare), postgres_server.service_url(bare), [])
    with postgres_server.admin(bare) as admin:
        assert admin.execute(OWNED).fetchall() == []
        assert admin.execute("SELECT to_regnamespace('securecontext')").fetchone() == (None,)


def test_a_login_that_may_not_make_tables_is_told_so(postgres_server: PostgresServer, bare: str) -> None:
    with pytest.raises(Denied) as caught:
        database.migrate(postgres_server.service_url(bare), None, [])
    assert caught.value.code == "admin_login_weak"


@pytest.mark.parametrize(
    ("name", "code"), [("nobody_of_that_name", "no_such_login"), ("postgres", "login_too_mighty")]
)
def test_only_a_modest_login_is_let_in(
    postgres_server: PostgresServer, bare: str, name: str, code: str
) -> None:
    with pytest.raises((NotFound, Denied)) as caught:
        database.migrate(postgres_server.admin_url(bare), None, [name])
    assert caught.value.code == code
    with postgres_server.admin(bare) as admin:
        assert admin.execute(OWNED).fetchall() == [], "and nothing was made"


# The service's part


def test_w_18_a_service_starts_with_the_login_that_was_made_for_it(tmp_path: Path, service_url: str) -> None:
    assert refusal(tmp_path, service_url) == "context_unknown", "nobody let it in"
    app = known(tmp_path, service_url, admin_of(service_url))
    assert app.ledgers.verify_store(app.machine).status == "OK"
    app.close()


def test_w_18_a_superuser_is_refused(
    tmp_path: Path, postgres_server: PostgresServer, service_url: str
) -> None:
    name = make_url(service_url).database or ""
    assert refusal(tmp_path, postgres_server.admin_url(name)) == "postgres_login_unsafe"


@pytest.mark.parametrize(
    "might",
    [
        "ALTER ROLE {role} BYPASSRLS",
        "ALTER ROLE {role} CREATEROLE",
        "ALTER ROLE {role} REPLICATION",
        "GRANT securecontext_owner TO {role}",
        "GRANT pg_read_all_data TO {role}",
        "CREATE TABLE securecontext.theirs (); ALTER TABLE securecontext.theirs OWNER TO {role}",
    ],
)
def test_w_18_a_login_that_could_undo_what_protects_the_data_is_refused(
    tmp_path: Path, postgres_server: PostgresServer, service_url: str, role: str, might: str
) -> None:
    name = make_url(service_url).database or ""
    database.migrate(postgres_server.admin_url(name), None, [role])
    url = make_url(service_url).set(username=role).render_as_string(hide_password=False)
    app = known(tmp_path / "before", url, postgres_server.admin_url(name))
    assert app.machine.used(0) > 0, "until then it serves"
    app.close()
    with postgres_server.admin(name) as admin:
        admin.execute(might.format(role=role))  # type: ignore[arg-type]
    try:
        assert refusal(tmp_path / "after", url) == "postgres_login_unsafe"
    finally:
        with postgres_server.admin(name) as admin:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))


def test_w_18_a_server_that_believes_whoever_reaches_it_over_tcp_is_refused(tmp_path: Path) -> None:
    with running_postgres(trusting=True) as server:
        server.create("data", owner="postgres")
        database.migrate(server.admin_url("data"), server.service_url("data"), [])
        here = known(tmp_path / "socket", server.service_url("data"), server.admin_url("data"))
        assert here.machine.used(0) > 0, "at the socket it asks for the password"
        here.close()
        over = f"postgresql://zc_service:{server.login_password}@127.0.0.1:{server.port}/data"
        assert refusal(tmp_path / "tcp", over) == "postgres_trust"


def test_a_database_without_tables_and_one_of_an_older_release_name_the_next_step(
    tmp_path: Path, postgres_server: PostgresServer, bare: str, service_url: str
) -> None:
    assert refusal(tmp_path / "bare", postgres_server.service_url(bare)) == "schema_missing"
    name = make_url(service_url).database or ""
    known(tmp_path / "old", service_url, admin_of(service_url)).close()
    with postgres_server.admin(name) as admin:
        admin.execute("UPDATE alembic_version SET version_num = '0001'")
    assert refusal(tmp_path / "old", service_url) == "schema_older"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "UPDATE ledger_entries SET canonical = 'x'",
        "UPDATE ledger_entries SET mac = 'x'",
        "UPDATE ledger_entries SET leaf_index = 7 WHERE leaf_index IS NOT NULL",
        "UPDATE ledger_bodies SET body = 'x'",
        "UPDATE ledger_bodies SET purged_at = 'x'",
        "DELETE FROM ledger_bodies",
        "UPDATE ledger_bodies SET seq = 7",
        "DELETE FROM ledger_heads",
        "DELETE FROM ledger_checkpoints",
        "UPDATE ledger_checkpoints SET note = 'x'",
        "DROP TABLE ledger_entries",
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "CREATE TABLE securecontext.theirs ()",
        "UPDATE alembic_version SET version_num = '0000'",
        "SET ROLE securecontext_owner",
        "COPY ledger_entries TO PROGRAM 'cat'",
        "COPY ledger_entries FROM '/dev/null'",
    ],
)
def test_w_17_the_ledger_is_append_only_for_the_very_login_that_writes_it(
    tmp_path: Path, service_url: str, statement: str
) -> None:
    app = known(tmp_path, service_url, admin_of(service_url))
    assert app.machine.used(0) > 0
    key, signer = ContextKey(app._keyring), app._keyring.signer
    app.close()  # what it wrote has its place in the tree now
    engine = open_postgres(service_url, 1)
    with engine.connect() as connection:
        act(connection, partial(key.sign, f"machine@{signer}"), SERVICE)  # itself, which sees these rows
        assert connection.exec_driver_sql("SELECT count(*) FROM ledger_entries").scalar()
        with pytest.raises(DBAPIError) as caught:
            connection.exec_driver_sql(statement)
    assert isinstance(caught.value.orig, psycopg.errors.InsufficientPrivilege)
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger_entries",
        "UPDATE ledger_entries SET mac = 'x'",
        "TRUNCATE ledger_entries CASCADE",
        "UPDATE ledger_bodies SET body = 'x'",
        "DELETE FROM ledger_checkpoints",
    ],
)
def test_w_17_and_even_for_the_owner_of_the_tables(
    tmp_path: Path, postgres_server: PostgresServer, service_url: str, statement: str
) -> None:
    app = known(tmp_path, service_url, admin_of(service_url))
    assert app.machine.used(0) > 0
    app.close()
    with postgres_server.admin(make_url(service_url).database or "") as admin:
        admin.execute("SET ROLE securecontext_owner")
        for table in ("ledger_entries", "ledger_bodies", "ledger_checkpoints"):
            admin.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(sql.Identifier(table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            admin.execute(statement)  # type: ignore[call-overload]


# The address


@pytest.mark.parametrize("host", ["db.example.org", "10.0.0.7", "127.0.0.1,db.example.org", "[2001:db8::1]"])
def test_an_address_that_leaves_the_machine_asks_for_tls_and_the_certificate(host: str) -> None:
    url = f"postgresql://u:p@/d?host={host.strip('[]')}"
    parsed = postgres_address.parse(url)
    assert (parsed.query["sslmode"], parsed.query["sslrootcert"]) == ("verify-full", "system")
    assert postgres_address.parse(f"{url}&sslmode=require").query["sslmode"] == "require"
    for weak in ("disable", "allow", "prefer"):
        with pytest.raises(InvalidInput) as caught:
            postgres_address.parse(f"{url}&sslmode={weak}")
        assert caught.value.code == "postgres_tls"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "/run/postgresql", "127.0.0.1,::1"])
def test_one_that_stays_on_it_does_not(host: str) -> None:
    assert "sslmode" not in postgres_address.parse(f"postgresql://u:p@/d?host={host}").query


def test_an_address_is_told_without_its_password() -> None:
    url = postgres_address.parse("postgresql://zc:hunter2hunter2@10.0.0.7:5433/data?sslmode=require")
    assert postgres_address.told(url) == "zc at 10.0.0.7:5433, database data"


def test_a_server_that_is_away_says_nothing_of_the_password(tmp_path: Path) -> None:
    app = service(tmp_path, f"postgresql://u:hunter2hunter2@/d?host={tmp_path}")
    with pytest.raises(Unavailable) as caught:
        _ = app.machine
    assert caught.value.code == "database_unreachable"
    assert "hunter2" not in str(caught.value)
    app.close()
