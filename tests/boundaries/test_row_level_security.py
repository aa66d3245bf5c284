"""SQL sent on the very login of the service: without its word for who acts there is no row; nobody else has that word.

Two projects in one database. What an injected statement could do is done here by hand, on a connection of the service's
own login, inside a transaction in which the service has said that it acts for the first project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from securecontext.boundaries.database_context import ContextKey
from securecontext.boundaries.ledger.verdict import Status
from securecontext.pipeline.world import Project
from securecontext.storage import tables
from securecontext.storage.acting import SERVICE, Actor
from securecontext.storage.postgres import act, open_postgres
from tests.engines.fixtures import admin_of
from tests.house_case import House, make_house

HELD = sorted(set(tables.metadata.tables))


@dataclass
class Case:
    """A service with two projects, and a connection of its login in the hands of an attacker."""

    house: House
    other: Project
    url: str

    def context(self, connection: Connection, project: Project, actor: Actor = SERVICE) -> None:
        """Say in a transaction who acts in a project, as the service does itself."""
        signer = self.house.app._keyring.signer
        key = ContextKey(self.house.app._keyring)
        act(connection, partial(key.sign, f"{project.id}@{signer}"), actor)


@pytest.fixture
def case(tmp_path: Path, service_url: str) -> Iterator[Case]:
    house = make_house(tmp_path / "house", service_url)
    other = house.fresh_project("other")
    house.remember("mine", "pelican")
    house.do("zc_index", content="Pelicans feed at dawn.", source="mine")
    house.ask("zc_remember", {"key": "theirs", "value": "corvid"}, project=other, key="k1")
    house.ask("zc_index", {"content": "Corvids cache food.", "source": "theirs"}, project=other)
    for project in (house.project, other):
        house.app.ledgers.checkpoint(house.app.store(project.id))
    yield Case(house, other, service_url)
    house.app.close()


@pytest.fixture
def inside(case: Case) -> Iterator[Connection]:
    """A transaction of the service in which it acts for the first project, and an injected statement may run."""
    engine = open_postgres(case.url, 1)
    with engine.connect() as connection:
        case.context(connection, case.house.project)
        yield connection
    engine.dispose()


def counted(connection: Connection, query: str) -> int:
    return int(connection.execute(text(query)).scalar_one())


def test_w_18_every_table_is_under_a_forced_policy(service_url: str) -> None:
    with psycopg.connect(admin_of(service_url)) as admin:
        bare = admin.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE nspname = 'securecontext'"
            " AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity)"
            " AND relname NOT IN ('alembic_version', 'context_keys')"
        ).fetchall()
        views = admin.execute("SELECT viewname FROM pg_views WHERE schemaname = 'securecontext'").fetchall()
    assert (bare, views) == ([], [])


@pytest.mark.parametrize("table", HELD)
def test_w_18_without_a_context_no_table_shows_a_row(case: Case, table: str) -> None:
    with psycopg.connect(case.url, options="-c search_path=securecontext") as bare:
        assert bare.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # type: ignore[call-overload]


def test_w_18_within_one_project_nothing_of_another_is_seen(case: Case, inside: Connection) -> None:
    assert counted(inside, "SELECT count(*) FROM facts") == 1
    assert counted(inside, "SELECT count(*) FROM documents") == 1
    for table in ("facts", "documents", "chunks", "events"):
        theirs = text(f"SELECT count(*) FROM {table} WHERE project = :project")
        assert inside.execute(theirs, {"project": case.other.id}).scalar() == 0
    assert counted(inside, "SELECT count(DISTINCT log) FROM ledger_entries") == 1
    assert counted(inside, "SELECT count(*) FROM projects") == 0
    assert counted(inside, "SELECT count(*) FROM tokens") == 0
    said = inside.execute(text("SELECT DISTINCT split_part(name, '@', 1) FROM meta")).scalars().all()
    assert said == [case.house.project.id]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET value = 'changed' WHERE project = :other",
        "DELETE FROM facts WHERE project = :other",
        "DELETE FROM documents WHERE project = :other",
        "DELETE FROM chunks WHERE project = :other",
        "UPDATE ledger_bodies SET body = NULL, salt = NULL, purged_at = 'x' WHERE log = :log",
        "UPDATE ledger_heads SET seq = 0 WHERE log = :log",
        "DELETE FROM meta WHERE name LIKE :other || '@%'",
        "DELETE FROM idempotency WHERE scope LIKE '%/' || :other || '/%'",
        "UPDATE projects SET state = 'deleted' WHERE project = :other",
    ],
)
def test_w_18_nothing_of_another_project_is_changed_or_deleted(
    case: Case, inside: Connection, statement: str
) -> None:
    with case.house.app.store(case.other.id).read() as connection:
        log = connection.execute(text("SELECT log FROM ledger_heads LIMIT 1")).scalar()
    given = {"other": case.other.id, "log": log}
    wanted = {name: value for name, value in given.items() if f":{name}" in statement}
    assert inside.execute(text(statement), wanted).rowcount == 0


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO events (project, session, kind, detail, created_at) VALUES (:other, 's', 'k', 'd', 'now')",
        "UPDATE facts SET project = :other",
        "INSERT INTO ledger_heads (log, stream, seq, head, mac) VALUES (:log, 'x', 1, 'x', 'x')",
        "INSERT INTO meta (name, value) VALUES (:other || '@x/log', :log)",
        "INSERT INTO meta (name, value) VALUES ('ends/' || :other, 'me')",
        "INSERT INTO projects (project, name, created_at, last_used_at) VALUES ('prj_x', 'x', 'x', 'x')",
    ],
)
def test_w_18_nothing_is_written_into_another_project(case: Case, inside: Connection, statement: str) -> None:
    with case.house.app.store(case.other.id).read() as connection:
        log = connection.execute(text("SELECT log FROM ledger_heads LIMIT 1")).scalar()
    given = {"other": case.other.id, "log": log}
    wanted = {name: value for name, value in given.items() if f":{name}" in statement}
    with pytest.raises(DBAPIError) as caught:
        inside.execute(text(statement), wanted)
    assert getattr(caught.value.orig, "sqlstate", "") == "42501"


FORGED = (
    "v2|{other}@{signer}|{who}|{backend}|{began}|" + "0" * 64,
    "v2|{other}@{signer}|{who}|{backend}|{began}|{mac}",  # the MAC of our own context
    "{other}",
    "v2|machine@{signer}|{who}|{backend}|{began}|{mac}",
    "",
    "|||||||||||",
    "v2|{other}@{signer}|{who}|99999999999999|1|" + "0" * 64,
    "v1|{other}@{signer}|{backend}|{began}|{mac}",
)


@pytest.mark.parametrize("forged", FORGED)
def test_w_18_set_config_has_no_valid_value_to_set(case: Case, inside: Connection, forged: str) -> None:
    own = str(inside.execute(text("SELECT current_setting('zc.context')")).scalar())
    _, store, *who, backend, began, mac = own.split("|")
    said = forged.format(
        other=case.other.id, signer=store.partition("@")[2], who="|".join(who), backend=backend, began=began,
        mac=mac,
    )  # fmt: skip
    inside.execute(text("SELECT set_config('zc.context', :said, false)"), {"said": said})
    assert inside.execute(text("SELECT current_store()")).scalar() is None
    assert counted(inside, "SELECT count(*) FROM facts") == 0


def test_w_18_a_context_that_was_seen_says_nothing_in_another_transaction(
    case: Case, inside: Connection
) -> None:
    seen = inside.execute(text("SELECT current_setting('zc.context')")).scalar()
    assert counted(inside, "SELECT count(*) FROM facts") == 1
    inside.rollback()
    inside.execute(text("SELECT set_config('zc.context', :seen, true)"), {"seen": seen})
    assert counted(inside, "SELECT count(*) FROM facts") == 0, "on the same connection, a moment later"
    with psycopg.connect(case.url, options="-c search_path=securecontext") as elsewhere:
        elsewhere.execute("SELECT set_config('zc.context', %s, false)", [seen])
        assert elsewhere.execute("SELECT count(*) FROM facts").fetchone() == (0,), "nor on another one"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM context_keys",
        "INSERT INTO context_keys VALUES ('sig_mine', 'x', 'x')",
        "UPDATE context_keys SET inner_pad = 'x'",
        "SET ROLE securecontext_owner",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER TABLE facts NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE facts DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_rows_select ON facts",
        "CREATE POLICY mine ON facts USING (true)",
        "CREATE OR REPLACE FUNCTION securecontext.current_store() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$",
        "CREATE FUNCTION securecontext.mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ SELECT 1 $$",
        "CREATE VIEW securecontext.mine AS SELECT * FROM facts",
        "TRUNCATE facts",
        "COPY facts FROM '/dev/null'",
        "COPY facts TO PROGRAM 'cat'",
        "SET row_security = off; SELECT count(*) FROM facts",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT lo_import('/etc/passwd')",
        "ALTER ROLE zc_service BYPASSRLS",
    ],
)
def test_w_18_the_login_can_take_no_policy_away_and_read_no_key(inside: Connection, statement: str) -> None:
    with pytest.raises(DBAPIError) as caught:
        for part in statement.split("; "):
            inside.exec_driver_sql(part)
    assert getattr(caught.value.orig, "sqlstate", "") in ("42501", "0A000")


def test_w_18_reset_role_and_a_temporary_table_of_the_same_name_change_nothing(inside: Connection) -> None:
    inside.exec_driver_sql("RESET ROLE")
    inside.exec_driver_sql("RESET SESSION AUTHORIZATION")
    assert counted(inside, "SELECT count(*) FROM facts") == 1
    inside.exec_driver_sql("CREATE TEMP TABLE context_keys (signer text, inner_pad bytea, outer_pad bytea)")
    inside.exec_driver_sql("CREATE TEMP TABLE meta (name text, value text)")
    assert counted(inside, "SELECT count(*) FROM facts") == 1
    assert counted(inside, "SELECT count(*) FROM ledger_entries") > 0, "functions read our tables, not these"


def test_w_18_an_error_tells_nothing_of_rows_that_are_not_seen(case: Case, inside: Connection) -> None:
    """A predicate that fails on a foreign row would tell that it is there: policies come before it."""
    query = "SELECT count(*) FROM facts WHERE project = :other AND 1 / (length(value) - length(value)) = 1"
    assert inside.execute(text(query), {"other": case.other.id}).scalar() == 0


def test_w_18_copy_out_shows_what_a_select_shows(inside: Connection) -> None:
    driver = inside.connection.dbapi_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy("COPY facts TO STDOUT") as copy:  # type: ignore[attr-defined]
        lines = list(copy)
    assert len(lines) == 1


def test_w_02_the_service_itself_sees_all_that_it_needs(case: Case) -> None:
    assert case.house.shown() == {"mine": "pelican"}
    assert "mine" in [hit["source"] for hit in case.house.search("pelicans")]
    for store in case.house.app.stores.every_open():
        assert case.house.app.ledgers.verify_store(store, whole=True).status is Status.OK
    assert case.house.app.state.check() == []


def test_the_owners_own_migrations_are_not_silently_void(case: Case) -> None:
    """Under forced policies a statement of the owner touches no row; where they are not lifted it is an error."""
    with psycopg.connect(admin_of(case.url), options="-c search_path=securecontext") as admin:
        admin.execute("SET ROLE securecontext_owner")
        assert admin.execute("UPDATE facts SET importance = 1").rowcount == 0
        admin.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute("UPDATE facts SET importance = 1")
