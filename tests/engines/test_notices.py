"""Services that share a PostgreSQL database wake each other; a file has one service, which has nobody to tell."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue as Topics

import pytest
from sqlalchemy import Engine, text

from securecontext.coordination import tasks
from securecontext.operations.queue import announce
from securecontext.storage.notices_postgres import Notices
from securecontext.storage.port import Transaction
from securecontext.storage.postgres import PostgresStore, open_postgres
from tests.engines.rooms_case import Rooms
from tests.queue_case import ALICE, START, Queue
from tests.waiting import wait_until


@pytest.fixture
def engine(migrated_postgres_url: str) -> Iterator[Engine]:
    made = open_postgres(migrated_postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[PostgresStore]:
    made = PostgresStore(engine, "p", lambda: START)
    yield made
    made.close()


@pytest.fixture
def heard(engine: Engine) -> Iterator[Topics[str]]:
    topics: Topics[str] = Topics()
    notices = Notices(engine, topics.put)
    assert notices.listening.wait(60)
    yield topics
    notices.close()


def tell(store: PostgresStore, topic: str) -> None:
    store.write(lambda transaction: transaction.notify(topic))


def test_what_one_service_tells_others_hear(store: PostgresStore, heard: Topics[str]) -> None:
    for topic in ("tasks p/worker", "ü 'quoted' \\"):
        tell(store, topic)
        assert heard.get(timeout=60) == topic


def test_what_is_rolled_back_was_never_told(store: PostgresStore, heard: Topics[str]) -> None:
    def job(transaction: Transaction) -> None:
        transaction.notify("lost")
        raise KeyError

    with pytest.raises(KeyError):
        store.write(job)
    tell(store, "told")
    assert heard.get(timeout=60) == "told"


def test_a_connection_that_is_cut_is_made_again(
    engine: Engine, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securecontext.storage.notices_postgres.AGAIN_SECONDS", 0.01)
    topics: Topics[str] = Topics()
    notices = Notices(engine, topics.put)
    assert notices.listening.wait(60)
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    with engine.connect() as connection:
        assert connection.execute(cut).all() == [(True,)]

    def told() -> bool:
        tell(store, "again")
        return topics.qsize() > 0

    wait_until(told, "a notice to be heard again")
    notices.close()


def test_only_a_queue_that_was_empty_is_told_of(store: PostgresStore, heard: Topics[str]) -> None:
    at = Queue(store)

    def put(*ids: str) -> None:
        for task_id in ids:
            at.put(task_id)
        store.write(lambda transaction: announce(transaction, "p", ["worker"] * len(ids)))

    put("a")
    assert heard.get(timeout=60) == "tasks p/worker"
    put("b")
    put("c", "d")
    at.take(ALICE, count=9)
    put("e", "f")
    tell(store, "end")
    assert [heard.get(timeout=60) for _ in range(2)] == ["tasks p/worker", "end"]


def test_the_first_tasks_of_a_role_are_known_as_such(rooms: Rooms) -> None:
    at = Queue(rooms.store)
    at.put("other", role="developer")
    for number in range(3):
        at.put(f"t{number}")
    with rooms.store.read() as connection:
        first = [tasks.are_the_first(connection, "p", "worker", count) for count in (1, 2, 3, 4)]
    assert first == [False, False, True, True]


def test_the_moment_of_a_transaction_is_the_servers_and_one_for_the_batch(
    store: PostgresStore, engine: Engine
) -> None:
    def job(transaction: Transaction) -> tuple[object, object]:
        return transaction.moment, transaction.moment

    with engine.connect() as connection:
        before = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        first, second = store.write(job)
        after = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    assert first == second and before <= first <= after, (
        "and not the clock of the service, which says 2026-03-01"
    )
