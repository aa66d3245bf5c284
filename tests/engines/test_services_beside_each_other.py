"""Several services on one database: equals, each with ledgers of its own, none that outlives another's decision."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url, text

from securecontext.app import App
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.ledger.verdict import Status
from securecontext.boundaries.policy import Role
from securecontext.settings import Settings
from securecontext.storage.port import Transaction
from securecontext.types.errors import Expired, Unavailable
from securecontext.types.ids import now
from tests.engines.fixtures import admin_of, let_in
from tests.engines.postgres_server import PostgresServer
from tests.house_case import PERSON, House, named


@dataclass
class Town:
    """Two services on one database, whose callers work in one folder."""

    one: House
    two: House
    url: str


def service(root: Path, url: str, name: str, **more: int) -> House:
    folder = root / "work"
    folder.mkdir(exist_ok=True)
    let_in(url, root / name)
    app = App(Settings(home=root / name, user_home=root, postgres_url=url, **more))  # type: ignore[arg-type]
    return House(app, app.find_project(str(folder), ""))


@pytest.fixture
def town(tmp_path: Path, service_url: str) -> Iterator[Town]:
    made = Town(service(tmp_path, service_url, "one"), service(tmp_path, service_url, "two"), service_url)
    yield made
    made.one.app.close()
    made.two.app.close()


def sound(house: House) -> bool:
    stores = house.app.stores.every_open()
    return all(house.app.ledgers.verify_store(store, whole=True).status is Status.OK for store in stores)


def test_what_one_remembers_the_other_recalls(town: Town) -> None:
    assert town.one.project.id == town.two.project.id, "the same folder of the same machine"
    town.one.remember("db", "PostgreSQL 16")
    assert "PostgreSQL 16" in town.two.recall()
    town.two.remember("db", "PostgreSQL 17")
    assert town.one.shown() == {"db": "PostgreSQL 17"}
    town.two.do("zc_index", content="Waterfalls of the north.", source="notes")
    assert [hit["source"] for hit in town.one.search("waterfalls")] == ["notes"]


def test_who_waits_at_one_is_woken_by_what_is_enqueued_at_the_other(town: Town) -> None:
    topics: queue.SimpleQueue[str] = queue.SimpleQueue()
    town.two.app.stores.listen(topics.put)
    heard = ""
    for number in range(50):  # it listens once its connection is there
        town.one.do("zc_enqueue_task", PERSON, task_id=f"t{number}", role=f"r{number}", payload={})
        with contextlib.suppress(queue.Empty):
            heard = topics.get(timeout=1)
            break
    assert heard == f"tasks {town.one.project.id}/r{number}"


def test_each_has_ledgers_of_its_own_under_its_own_keys_and_both_are_sound(town: Town) -> None:
    town.one.remember("a", "1")
    town.two.remember("b", "2")
    for house in (town.one, town.two):
        house.app.ledgers.checkpoint(house.app.store(house.project.id))
        assert sound(house)
        assert house.app.state.check() == []
    with psycopg.connect(admin_of(town.url), options="-c search_path=securecontext") as connection:
        found = connection.execute(
            "SELECT log, array_agg(DISTINCT kid) FROM ledger_entries GROUP BY log"
        ).fetchall()
    assert len(found) == 4, "the machine's and the project's, of each service"
    assert all(len(kids) == 1 for _, kids in found)


def test_w_01_two_services_that_write_at_once_lose_and_double_nothing(town: Town) -> None:
    errors: list[BaseException] = []

    def write(house: House, agent: str) -> None:
        try:
            for number in range(20):
                house.remember("contested", f"{agent} {number}", who=named(agent, agent))
                house.remember(f"{agent}.{number}", "kept", who=named("shared", agent))
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=write, args=(house, agent))
        for house, agent in ((town.one, "ann"), (town.two, "bob"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    held = town.one.sql(
        "SELECT agent, count(*) FROM facts WHERE state = 'active' GROUP BY agent ORDER BY agent"
    )
    assert held == [("ann", 1), ("bob", 1), ("shared", 40)]
    assert sound(town.one)
    assert sound(town.two)


def test_a_token_that_one_issued_is_no_flaw_to_the_other(town: Town) -> None:
    def issue(transaction: Transaction) -> None:
        token_register.issue(
            transaction.connection, agent="ann", role=Role.DEVELOPER, project=town.one.project.id,
            issued_by="uid:1000", key=town.one.app.credentials.key_id, moment=now(),
        )  # fmt: skip

    town.one.app.machine.write(issue)
    assert town.one.app.state.check() == []
    assert town.two.app.state.check() == []


def test_one_that_dies_is_no_hindrance(town: Town, tmp_path: Path) -> None:
    town.one.remember("a", "1")
    town.one.app.stores._engine.dispose()  # type: ignore[attr-defined]  # as its death would: nothing is finished
    town.two.remember("b", "2")
    again = service(tmp_path, town.url, "three")
    assert again.shown() == {"a": "1", "b": "2"}
    again.app.close()


def test_a_project_that_one_deletes_takes_no_more_writes_of_the_other(town: Town) -> None:
    town.one.remember("a", "1")
    town.two.remember("b", "2")
    store = town.two.app.store(town.two.project.id)
    town.one.do("project.delete", PERSON, project=town.one.project.id, confirm=True)
    with pytest.raises(Expired) as caught:
        store.write(lambda transaction: transaction.connection.execute(text("SELECT 1")))
    assert caught.value.code == "project_gone"
    assert town.one.sql("SELECT count(*) FROM facts") == [(0,)]
    fresh = town.two.app.find_project(str(Path(town.two.app.settings.user_home) / "work"), "")
    assert fresh.id != town.two.project.id, "the folder has a project of its own again"


def test_what_a_deleted_projects_ledger_said_is_gone_and_its_entries_stay(town: Town) -> None:
    town.one.remember("a", "1")
    with psycopg.connect(admin_of(town.url), options="-c search_path=securecontext") as connection:
        query = "SELECT count(*), count(body) FROM ledger_bodies b JOIN meta m ON m.value = b.log AND m.name LIKE %s"
        [(entries, said)] = connection.execute(query, [f"{town.one.project.id}@%/log"]).fetchall()
        [(log,)] = connection.execute(
            "SELECT value FROM meta WHERE name LIKE %s", [f"{town.one.project.id}@%/log"]
        )
        assert entries == said > 0
        connection.commit()
        town.one.do("project.delete", PERSON, project=town.one.project.id, confirm=True)
        after = connection.execute("SELECT count(*), count(body) FROM ledger_bodies WHERE log = %s", [log])
        assert after.fetchone() == (entries, 0)


def test_a_project_that_one_merges_goes_on_in_the_other_under_its_new_name(
    town: Town, tmp_path: Path
) -> None:
    town.two.remember("a", "1")
    other = town.one.fresh_project("other")
    town.one.do("project.merge", PERSON, source=town.one.project.id, target=other.id)
    assert town.two.ask("zc_remember", {"key": "b", "value": "2"}).error is not None
    moved = town.two.app.find_project(str(tmp_path / "work"), "")
    assert moved.id == other.id
    assert "1" in town.two.ask("zc_recall_context", {}, project=moved).text


# The server and the pool


def test_a_pool_that_is_exhausted_refuses_and_recovers(
    tmp_path: Path, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securecontext.storage.postgres_address.POOL_TIMEOUT_S", 0.2)
    house = service(tmp_path, service_url, "small", postgres_connections=2)
    store = house.app.store(house.project.id)
    with store.read(), store.read():
        with pytest.raises(Unavailable) as caught, store.read():
            pass
        assert caught.value.code == "pool_exhausted"
        assert house.refused("zc_remember", key="a", value="1") == "pool_exhausted"
    house.remember("a", "1")
    assert sound(house)
    house.app.close()


def _drop_connections(server: PostgresServer, url: str) -> None:
    with server.admin() as admin:
        admin.execute(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(make_url(url).database)
            )
        )


def test_a_server_that_goes_away_between_two_calls_is_not_noticed(
    town: Town, postgres_server: PostgresServer
) -> None:
    town.one.remember("a", "1")
    _drop_connections(postgres_server, town.url)
    town.one.remember("b", "2")
    assert town.one.shown() == {"a": "1", "b": "2"}


def test_one_that_goes_away_in_mid_transaction_leaves_nothing_of_it(
    town: Town, postgres_server: PostgresServer
) -> None:
    store = town.one.app.store(town.one.project.id)

    def job(transaction: object) -> None:
        transaction.connection.execute(text("DELETE FROM facts"))  # type: ignore[attr-defined]
        _drop_connections(postgres_server, town.url)
        transaction.connection.execute(text("SELECT 1"))  # type: ignore[attr-defined]

    town.one.remember("a", "1")
    with pytest.raises(Unavailable) as caught:
        store.write(job)
    assert caught.value.code == "database_unreachable"
    assert town.one.shown() == {"a": "1"}
    assert sound(town.one)


def test_a_service_that_falls_silent_in_mid_transaction_does_not_keep_the_others_waiting(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the project's lock; the server ends its transaction, and it is told when it speaks again."""
    monkeypatch.setattr("securecontext.storage.postgres.IDLE_MS", 300)
    store = town.one.app.store(town.one.project.id)
    began, other_is_done = threading.Event(), threading.Event()
    told: list[str] = []

    def job(transaction: object) -> None:
        transaction.connection.execute(text("DELETE FROM facts"))  # type: ignore[attr-defined]
        began.set()
        other_is_done.wait(30)
        transaction.connection.execute(text("SELECT 1"))  # type: ignore[attr-defined]

    def write() -> None:
        try:
            store.write(job)
        except Unavailable as error:
            told.append(error.code)

    town.one.remember("a", "1")
    silent = threading.Thread(target=write)
    silent.start()
    assert began.wait(30)
    town.two.remember("b", "2")
    other_is_done.set()
    silent.join()
    assert told == ["database_unreachable"]
    town.one.remember("c", "3")
    assert town.two.shown() == {"a": "1", "b": "2", "c": "3"}
    assert sound(town.one)
    assert sound(town.two)


@pytest.mark.parametrize("durable", [True, False], ids=["committed", "not committed"])
def test_a_commit_whose_answer_was_lost_is_done_once(
    town: Town, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """The connection ends after, or before, the server made a transaction durable: the caller is told which."""
    dialect = town.one.app.stores._engine.dialect  # type: ignore[attr-defined]
    commit = dialect.do_commit
    lost: list[str] = []

    def interrupted(driver: psycopg.Connection[object]) -> None:
        if lost:
            commit(driver)
            return
        lost.append("once")
        if durable:
            commit(driver)
        _drop_connections(postgres_server, town.url)
        driver.execute("SELECT 1")

    town.one.remember("a", "1")
    monkeypatch.setattr(dialect, "do_commit", interrupted)
    answer = town.one.ask("zc_remember", {"key": "b", "value": "2"})
    monkeypatch.undo()
    assert lost == ["once"]
    assert (answer.error is None) is durable
    assert town.one.shown() == ({"a": "1", "b": "2"} if durable else {"a": "1"})
    assert sound(town.one)
