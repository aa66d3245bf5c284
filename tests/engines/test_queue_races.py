"""Two at once, step by step, on both engines; then fifty, and services that are killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue as Outcomes
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from securecontext.app.bench.queue import measure
from securecontext.coordination import leases, queue, reclaiming, tasks
from securecontext.coordination.leases import LEASE, Held
from securecontext.coordination.queue import Claimed, NewTask
from securecontext.coordination.tasks import Origin, State
from securecontext.storage.locks import alone
from securecontext.storage.postgres import open_postgres
from securecontext.types.errors import ZcError
from tests.engines.fixtures import ENGINES
from tests.queue_case import ALICE, BOB, BOSS, START
from tests.waiting import wait_until

LATER = START + LEASE
Work = Callable[[Connection], Any]


def put(task_id: str, *needs: str) -> Work:
    new = NewTask("worker", task_id, {}, needs=[("worker", each) for each in needs])
    return lambda c: queue.enqueue(c, "p", new, BOSS, START).state


def claim(who: Origin, moment: Any = START) -> Work:
    def work(c: Connection) -> list[Claimed]:
        reclaiming.settle(c, "p", moment)
        return queue.claim(c, "p", "worker", who, moment)

    return lambda c: [(each.task_id, each.fence) for each in work(c)]


def complete(task_id: str, fence: int, who: Origin) -> Work:
    held = Held("worker", task_id, fence, who.created_by)
    return lambda c: leases.complete(c, "p", held, START, who, result={})


def do(engine: Engine, *works: Work) -> Any:
    """Do works one after another, each in a transaction of its own; return what the last gives."""
    for work in works:
        with engine.begin() as connection:
            given = work(connection)
    return given


def race(engine: Engine, first: Work, second: Work, *, crash: bool = False) -> tuple[Any, Any]:
    """Begin the second while the first is done and not committed; return what both give, a refusal as its code.

    Args:
        engine: of the database.
        first: what is done.
        second: what another service does meanwhile. On SQLite it waits for its turn; on PostgreSQL it ends, or waits
            for a row.
        crash: whether the first is rolled back instead of committed.
    """
    ended: Outcomes[Any] = Outcomes()

    def compete() -> None:
        try:
            ended.put(do(engine, second))
        except ZcError as error:
            ended.put(error.code)

    other = threading.Thread(target=compete)
    with engine.connect() as connection:
        transaction = connection.begin()
        given = first(connection)
        other.start()
        if engine.dialect.name == "postgresql":
            wait_until(lambda: ended.qsize() or _waits(engine), "the second to end, or to wait")
        if crash:
            transaction.rollback()
        else:
            transaction.commit()
    other.join(60)
    return given, ended.get(timeout=60)


def _waits(engine: Engine) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return bool(connection.execute(query).scalar())


def state(engine: Engine, task_id: str) -> str:
    found = do(engine, lambda c: tasks.find(c, "p", "worker", task_id))
    return str(found.state)


def test_two_that_claim_at_once_get_two_tasks(engine: Engine) -> None:
    do(engine, put("t"), put("u"))
    assert race(engine, claim(ALICE), claim(BOB)) == ([("t", 1)], [("u", 1)])


def test_a_claim_does_not_wait_for_that_of_another_service(migrated_postgres_url: str) -> None:
    """It passes over rows that are locked (SKIP LOCKED): it ends while the other one is still open."""
    engine = open_postgres(migrated_postgres_url)
    do(engine, put("t"), put("u"))

    def impatient(c: Connection) -> Any:
        c.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
        return claim(BOB)(c)

    with engine.begin() as connection:
        assert claim(ALICE)(connection) == [("t", 1)]
        assert do(engine, impatient) == [("u", 1)]
    engine.dispose()


def test_of_two_that_claim_the_last_task_one_gets_it(engine: Engine) -> None:
    do(engine, put("t"))
    assert race(engine, claim(ALICE), claim(BOB)) == ([("t", 1)], [])


def test_a_claim_whose_service_dies_before_its_commit_was_none(engine: Engine) -> None:
    do(engine, put("t"))
    first, second = race(engine, claim(ALICE), claim(BOB), crash=True)
    if not second:  # on PostgreSQL it passed the row over while that was locked
        second = do(engine, claim(BOB))
    assert (first, second) == ([("t", 1)], [("t", 1)])
    assert do(engine, complete("t", 1, BOB)) == []
    with pytest.raises(ZcError) as caught:
        do(engine, complete("t", 1, ALICE))
    assert caught.value.code == "lease_lost"


def test_a_completion_that_comes_while_the_task_is_claimed_again_is_too_late(engine: Engine) -> None:
    do(engine, put("t"), claim(ALICE))
    assert race(engine, claim(BOB, LATER), complete("t", 1, ALICE)) == ([("t", 2)], "lease_lost")
    assert do(engine, complete("t", 2, BOB)) == []


def test_a_task_that_is_being_completed_is_not_claimed_again(engine: Engine) -> None:
    do(engine, put("t"), claim(ALICE))
    assert race(engine, complete("t", 1, ALICE), claim(BOB, LATER)) == ([], [])
    assert state(engine, "t") == "done"


def test_a_task_that_is_completed_twice_at_once_is_completed_once(engine: Engine) -> None:
    do(engine, put("t"), claim(ALICE))
    assert race(engine, complete("t", 1, ALICE), complete("t", 1, ALICE)) == ([], None)


def test_a_task_that_two_enqueue_at_once_is_one(engine: Engine) -> None:
    states = race(engine, put("t"), put("t"))
    assert states == (State.QUEUED, State.QUEUED)
    assert do(engine, claim(ALICE)) == [("t", 1)] and do(engine, claim(BOB)) == []


def test_two_that_enqueue_half_a_cycle_each_do_not_close_it(engine: Engine) -> None:
    assert race(engine, put("t", "u"), put("u", "t")) == (State.BLOCKED, "dependency_cycle")


@pytest.mark.parametrize("enqueued_first", [True, False])
def test_a_task_whose_need_is_met_while_it_is_enqueued_does_not_wait_for_ever(
    engine: Engine, enqueued_first: bool
) -> None:
    do(engine, put("need"), claim(ALICE))
    works = (put("t", "need"), complete("need", 1, ALICE))
    race(engine, *(works if enqueued_first else reversed(works)))
    assert state(engine, "t") == "queued"


def test_w_15_whoever_is_alone_is_so_until_the_end_of_its_transaction(migrated_postgres_url: str) -> None:
    """W-15: the lock outlasts the statement that takes it, and others get it only after the commit."""
    engine = open_postgres(migrated_postgres_url)
    held = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    ended: Outcomes[str] = Outcomes()

    def second() -> None:
        with engine.begin() as other:
            alone(other, "files")
            ended.put("in")

    thread = threading.Thread(target=second)
    with engine.begin() as connection:
        alone(connection, "files")
        connection.execute(text("SELECT 1"))
        assert connection.execute(held).scalar() == 1
        thread.start()
        wait_until(lambda: _waits(engine), "the second to wait")
        assert ended.empty()
    assert ended.get(timeout=60) == "in"
    thread.join(60)
    with engine.connect() as connection:
        assert connection.execute(held).scalar() == 0
    engine.dispose()


# Many


def address(request: pytest.FixtureRequest, kind: str) -> str:
    return "" if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize("kind", ENGINES)
def test_rt_s4_01_fifty_workers_and_five_thousand_tasks(request: pytest.FixtureRequest, kind: str) -> None:
    """RT-S4-01, W-01: none is claimed under one fence twice, none is lost, none is done twice, each is entered once."""
    done = measure(kind, workers=50, count=5_000, url=address(request, kind))
    assert (done.doubles, done.lost) == (0, 0)


@pytest.mark.parametrize("kind", ENGINES)
def test_services_that_are_killed_lose_no_task_and_do_none_twice(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """Nine of them, with SIGKILL, while they claim and complete; others finish what they held."""
    done = measure(kind, workers=12, count=300, kill=True, url=address(request, kind))
    assert (done.doubles, done.lost, done.killed) == (0, 0, 9)
