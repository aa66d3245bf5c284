"""Agents of one project are kept apart by the database itself: SQL on the service's login, in another agent's name.

What an injected statement could do in a call of alice is done here by hand: on a connection of the service's own login,
in a transaction in which the service has said that alice acts. Of bob's notebook, of his restricted texts and of what
he was answered it reads and writes nothing, whatever duty her call has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from securecontext.boundaries.database_context import ContextKey
from securecontext.boundaries.policy import Principal, Role, Standing
from securecontext.boundaries.sight import actor_of, sight_of
from securecontext.storage import acting
from securecontext.storage.acting import Actor
from securecontext.storage.postgres import act, open_postgres
from securecontext.types.classification import CLASSIFICATIONS
from tests.engines.fixtures import admin_of, ready_database
from tests.engines.postgres_server import PostgresServer
from tests.house_case import House, make_house

ALICE = Principal("uid:1001", Standing.AGENT, "mcp", "s1", "alice")
BOB = Principal("uid:1002", Standing.AGENT, "mcp", "s2", "bob")
WHO = {
    "alice": ALICE,
    "bob": BOB,
    "nobody in particular": Principal("uid:1001", Standing.AGENT, "mcp", "s1"),
    "her hook": Principal("uid:1001", Standing.HOOK, "hook", "s1", "alice"),
    "a person": Principal("uid:1002", Standing.PERSON, "cli", "terminal"),
    "a member": Principal("uid:1003", Standing.MEMBER, "mcp", "s3", "carol"),
    "with a token": Principal(
        "agent:alice", Standing.AGENT, "mcp", "s1", agent="alice", role=Role.WORKER, token="t"
    ),
}
AUTHORS = ("uid:1001", "uid:1002", "agent:alice")
NOTEBOOKS = ("alice", "bob", "default")
SERVICE_PARTS = (
    acting.SERVICE, acting.WRITER, acting.SEQUENCER, acting.AUDITOR, acting.RETENTION, acting.RESCAN, acting.QUEUE,
    acting.TOKENS, acting.PROJECTS,
)  # fmt: skip


@dataclass
class Case:
    """A service with one project in which two agents keep texts."""

    house: House
    url: str

    @property
    def here(self) -> str:
        return self.house.project.id

    @contextmanager
    def as_(self, actor: Actor, store: str = "") -> Iterator[Connection]:
        """A transaction on the service's login in which somebody acts; it is rolled back."""
        keyring = self.house.app._keyring
        engine = open_postgres(self.url, 1)
        with engine.connect() as connection:
            where = f"{store or self.here}@{keyring.signer}"
            act(connection, partial(ContextKey(keyring).sign, where), actor)
            yield connection
        engine.dispose()

    def alice(self, duty: str = "") -> Actor:
        return actor_of(ALICE, self.here, duty)


@pytest.fixture(scope="module")
def case(
    postgres_server: PostgresServer, _ready_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    with ready_database(postgres_server, _ready_template) as url:
        house = make_house(tmp_path_factory.mktemp("apart") / "house", url)
        ask = partial(house.ask, who=BOB)
        for key, more in (
            ("mine", {"agent_id": "bob"}),
            ("sealed", {"agent_id": "bob", "classification": "confidential"}),
            ("secret", {"agent_id": "default", "classification": "restricted"}),
            ("shared", {"agent_id": "default"}),
        ):
            given = {"key": key, "value": f"bobs wombat {key}", **more}
            assert ask("zc_remember", given, key=f"k-{key}").error is None
        for source, classification in (("plan", "restricted"), ("notes", "internal")):
            given = {"content": f"bobs walrus {source}", "source": source, "classification": classification}
            assert ask("zc_index", given, key=f"k-{source}").error is None
        yield Case(house, url)
        house.app.close()


def count(connection: Connection, query: str) -> int:
    return int(connection.execute(text(query)).scalar_one())


OF_BOB = "agent = 'bob' OR classification = 'restricted'"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "from another project"])
@pytest.mark.parametrize("name", WHO)
def test_the_database_shows_what_the_service_shows(case: Case, name: str, elsewhere: bool) -> None:
    who = WHO[name]
    sight = sight_of(who, elsewhere=elsewhere)
    rows = list(product(NOTEBOOKS, CLASSIFICATIONS, AUTHORS))
    with psycopg.connect(admin_of(case.url), options="-c search_path=securecontext") as admin:
        for notebook, classification, author in rows:
            admin.execute(
                "INSERT INTO facts (project, agent, key, value, importance, state, created_at, classification,"
                " created_by, session) VALUES ('prj_all', %s, 'k', 'v', 3, 'replaced', 'now', %s, %s, 's')",
                [notebook, classification, author],
            )
        for classification, author in product(CLASSIFICATIONS, AUTHORS):
            admin.execute(
                "INSERT INTO documents (project, kind, source, content, created_at, classification, created_by,"
                " session) VALUES ('prj_all', 'text', 's', 'c', 'now', %s, %s, 's')",
                [classification, author],
            )
    try:
        with case.as_(actor_of(who, "prj_own" if elsewhere else "prj_all"), "prj_all") as connection:
            facts = connection.execute(text("SELECT agent, classification, created_by FROM facts")).all()
            texts = connection.execute(text("SELECT classification, created_by FROM documents")).all()
    finally:
        with psycopg.connect(admin_of(case.url), options="-c search_path=securecontext") as admin:
            admin.execute("DELETE FROM facts WHERE project = 'prj_all'")
            admin.execute("DELETE FROM documents WHERE project = 'prj_all'")
    assert sorted(map(tuple, facts)) == sorted(row for row in rows if sight.sees_fact(*row))
    assert sorted(map(tuple, texts)) == sorted(
        each for each in product(CLASSIFICATIONS, AUTHORS) if sight.sees(*each)
    )


@pytest.mark.parametrize("duty", ["", acting.KEEP, acting.PURGE])
def test_rt_s3_02_alice_reads_nothing_of_bobs_notebook(case: Case, duty: str) -> None:
    with case.as_(case.alice(duty)) as connection:
        assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 0
        assert count(connection, "SELECT count(*) FROM facts WHERE key = 'shared'") == 1
    with case.as_(case.alice()) as connection:
        assert count(connection, f"SELECT count(*) FROM facts WHERE {OF_BOB}") == 0
        assert count(connection, "SELECT count(*) FROM documents WHERE classification = 'restricted'") == 0
        assert count(connection, "SELECT count(*) FROM documents") == 1
        words = connection.execute(text("SELECT tokens FROM chunks")).scalars().all()
        assert not any("mine" in each for each in words) and len(words) == 2


def test_rt_s3_01_bob_reads_all_of_his(case: Case) -> None:
    with case.as_(actor_of(BOB, case.here)) as connection:
        assert count(connection, "SELECT count(*) FROM facts") == 4
        assert count(connection, "SELECT count(*) FROM documents") == 2
        assert count(connection, "SELECT count(*) FROM idempotency") == 6


def test_what_bob_was_answered_is_no_others(case: Case) -> None:
    with case.as_(case.alice()) as connection:
        assert count(connection, "SELECT count(*) FROM idempotency") == 0
        assert connection.execute(text("DELETE FROM idempotency")).rowcount == 0
        refused(
            connection,
            "INSERT INTO idempotency VALUES ('uid:1002/' || :here || '/bob/zc_index', 'k', 'd', '{}', 'n')",
            case,
        )


def refused(connection: Connection, statement: str, case: Case) -> None:
    given = {"here": case.here} if ":here" in statement else {}
    with pytest.raises(DBAPIError) as caught:
        connection.execute(text(statement), given)
    assert getattr(caught.value.orig, "sqlstate", "") == "42501", caught.value


_FACT = (
    "INSERT INTO facts (project, agent, key, value, importance, created_at, created_by, session)"
    " VALUES (:here, '{agent}', '{key}', 'v', 3, 'now', '{by}', 's')"
)


@pytest.mark.parametrize(
    ("duty", "statement"),
    [
        ("", _FACT.format(agent="bob", key="k", by="uid:1001")),
        ("", _FACT.format(agent="default", key="secret", by="uid:1001")),  # no answer whether that key is taken
        (acting.KEEP, _FACT.format(agent="bob", key="k", by="uid:1001")),
        (acting.KEEP, _FACT.format(agent="default", key="k", by="uid:1002")),
        (acting.PURGE, _FACT.format(agent="bob", key="k", by="uid:1001")),
        (acting.KEEP, "UPDATE facts SET agent = 'bob'"),
        (
            acting.KEEP,
            "INSERT INTO documents (project, kind, source, content, created_at, created_by, session)"
            " VALUES (:here, 'text', 's', 'c', 'now', 'uid:1002', 's')",
        ),
        (
            "",
            "INSERT INTO broadcasts (project, type, agent, role, task, importance, recipients, message, created_at,"
            " created_by, session) VALUES (:here, 'STATUS', 'bob', 'worker', 't', 3, 0, '{}', 'now', 'uid:1002', 's')",
        ),
        ("", "INSERT INTO broadcast_acks VALUES (:here, 1, 'bob', 's', 'now')"),
        ("", "INSERT INTO channel_keys VALUES (:here, 'waived', 'now', 'uid:1002')"),
        ("", "INSERT INTO ledger_heads (log, stream, seq, head, mac) VALUES ('l', 'uid:1002/s2', 1, 'x', 'x')"),
        (acting.KEEP, "INSERT INTO ledger_heads SELECT log, 'x', 1, 'x', mac FROM ledger_heads"),
    ],
)  # fmt: skip
def test_w_18_alice_writes_nothing_in_bobs_name_nor_notebook(case: Case, duty: str, statement: str) -> None:
    with case.as_(case.alice(duty)) as connection:
        refused(connection, statement, case)


@pytest.mark.parametrize(
    ("duty", "statement"),
    [
        ("", "UPDATE facts SET value = 'x'"),
        ("", "DELETE FROM facts"),
        ("", f"SELECT 1 FROM facts WHERE {OF_BOB} FOR UPDATE"),
        ("", "UPDATE documents SET content = 'x'"),
        ("", "DELETE FROM chunks"),
        (acting.KEEP, "UPDATE facts SET value = 'x' WHERE agent = 'bob'"),
        (acting.KEEP, "DELETE FROM facts WHERE agent = 'bob'"),
        (acting.PURGE, "DELETE FROM facts WHERE agent = 'bob'"),
        (acting.KEEP, "UPDATE ledger_heads SET seq = 0"),
        ("", "UPDATE ledger_bodies SET body = NULL, salt = NULL, purged_at = 'x'"),
    ],
)
def test_w_18_alice_changes_and_deletes_nothing_of_bobs(case: Case, duty: str, statement: str) -> None:
    with case.as_(case.alice(duty)) as connection:
        assert connection.execute(text(statement)).rowcount == 0


def test_w_18_no_way_around_leads_there(case: Case) -> None:
    """What a view, a function, a prepared statement, a cursor or COPY shows is what a SELECT shows."""
    asked = f"SELECT count(*) FROM facts WHERE {OF_BOB}"
    with case.as_(case.alice()) as connection:
        run = connection.exec_driver_sql
        run("CREATE TEMP VIEW seen AS SELECT * FROM securecontext.facts")
        assert count(connection, f"SELECT count(*) FROM pg_temp.seen WHERE {OF_BOB}") == 0
        run(f"CREATE FUNCTION pg_temp.asked() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ {asked} $$")
        assert count(connection, "SELECT pg_temp.asked()") == 0
        run(f"PREPARE asked AS {asked}")
        assert run("EXECUTE asked").scalar() == 0
        run(f"DECLARE asked CURSOR FOR SELECT value FROM facts WHERE {OF_BOB}")
        assert run("FETCH ALL FROM asked").all() == []
        driver = connection.connection.dbapi_connection
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY (SELECT * FROM facts WHERE {OF_BOB}) TO STDOUT") as copy,
        ):  # type: ignore[union-attr]
            assert list(copy) == []
        assert (
            count(connection, "SELECT count(*) FROM pg_stats WHERE tablename IN ('facts', 'documents')") == 0
        )
        run("DEALLOCATE asked")


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE securecontext_owner", "TRUNCATE facts", "COPY facts FROM PROGRAM 'cat'",
        "SET row_security = off; SELECT * FROM facts", "SELECT * FROM context_keys",
        "DROP POLICY own_rows_select ON facts",
    ],
)  # fmt: skip
def test_w_18_no_right_of_the_login_leads_there(case: Case, statement: str) -> None:
    with case.as_(case.alice()) as connection, pytest.raises(DBAPIError) as caught:
        for part in statement.split("; "):
            connection.exec_driver_sql(part)
    assert getattr(caught.value.orig, "sqlstate", "") == "42501"


def test_w_18_reset_role_and_listen_change_nothing(case: Case) -> None:
    with case.as_(case.alice()) as connection:
        for statement in ("RESET ROLE", "RESET SESSION AUTHORIZATION", "LISTEN securecontext"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("SET search_path = public, securecontext")
        assert count(connection, f"SELECT count(*) FROM securecontext.facts WHERE {OF_BOB}") == 0


def test_w_18_an_error_tells_nothing_of_what_is_not_seen(case: Case) -> None:
    with case.as_(case.alice()) as connection:
        query = f"SELECT count(*) FROM facts WHERE ({OF_BOB}) AND 1 / (length(key) - length(key)) = 1"
        assert count(connection, query) == 0


def test_w_18_no_savepoint_leads_back_to_who_acted_before(case: Case) -> None:
    """Two calls share a transaction: before alice's savepoint bob acted, and a part of the service before both."""
    with case.as_(acting.SERVICE) as connection:
        acting.say(connection, actor_of(BOB, case.here))
        connection.exec_driver_sql("SAVEPOINT effect")
        assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 2
        connection.exec_driver_sql("RELEASE SAVEPOINT effect")
        acting.say(connection, case.alice())
        connection.exec_driver_sql("SAVEPOINT effect")
        with acting.raised(connection, acting.SURVEY):
            assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 2
        assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 0
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT effect")
        assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 0


def test_a_duty_ends_where_it_fails(case: Case) -> None:
    with case.as_(case.alice()) as connection:
        connection.exec_driver_sql("SAVEPOINT effect")
        with pytest.raises(DBAPIError), acting.raised(connection, acting.SURVEY):
            connection.exec_driver_sql("SELECT 1 / 0")
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT effect")
        with acting.raised(connection, acting.SURVEY):
            assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 2
        with pytest.raises(ValueError, match="ours"), acting.raised(connection, acting.SURVEY):
            raise ValueError("ours")
        assert count(connection, "SELECT count(*) FROM facts WHERE agent = 'bob'") == 0


@pytest.mark.parametrize("part", SERVICE_PARTS, ids=lambda part: part.name)
def test_each_part_of_the_service_sees_what_it_works_on_and_no_more(case: Case, part: Actor) -> None:
    with case.as_(part) as connection:
        held = {
            table: count(connection, f"SELECT count(*) FROM {table}")
            for table in ("facts", "documents", "chunks", "idempotency", "ledger_entries")
        }
    with_texts = part in (acting.SERVICE, acting.PROJECTS, acting.RESCAN, acting.RETENTION)
    assert (held["facts"], held["documents"], held["chunks"]) == ((4, 2, 3) if with_texts else (0, 0, 0))
    assert held["idempotency"] == (6 if with_texts else 0)
    assert held["ledger_entries"] > 0


def test_nobody_that_the_database_does_not_know_sees_anything(case: Case) -> None:
    """Unknown is refused: a kind or a part that no policy names."""
    for actor in (
        acting.system("visitor"),
        replace(case.alice(), kind="guest"),
        replace(case.alice(), kind=""),
    ):
        with case.as_(actor) as connection:
            for table in (
                "facts",
                "documents",
                "chunks",
                "events",
                "tasks",
                "ledger_entries",
                "meta",
                "broadcasts",
            ):
                assert count(connection, f"SELECT count(*) FROM {table}") == 0, (actor, table)


def test_the_service_itself_keeps_its_memory_whole(case: Case) -> None:
    """Over a key that bob holds as restricted in the shared notebook alice may write, and is not told what it held."""
    house: House = case.house
    before = house.do("zc_remember", ALICE, key="taken", value="alices own")
    assert before["changed"]
    assert {hit["source"] for hit in house.search("wombat", who=ALICE)} == {"memory:default:shared"}
    assert "memory:bob:mine" in {hit["source"] for hit in house.search("wombat", who=BOB)}
    told = house.do("zc_remember", ALICE, key="secret", value="alices guess", agent_id="default")
    assert told["classification"] == "restricted" and told["changed"]
    assert "alices guess" in house.recall(ALICE) and "alices guess" not in house.recall(BOB)
