"""A claim reserves the files of its task, on both engines: for one holder at a time, for as long as it has the task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from securecontext.app import chores
from securecontext.coordination import (
    leases,
    ownership,
    queue,
    reclaiming,
    requeueing,
    rewriting,
    task_files,
    tasks,
)
from securecontext.coordination.leases import LEASE
from securecontext.coordination.ownership import KEPT, Holder
from securecontext.coordination.patterns import Pattern
from securecontext.coordination.queue import Claimed
from securecontext.coordination.tasks import Origin
from securecontext.types.errors import Conflict, LeaseLost
from securecontext.types.ids import timestamp
from tests.engines.rooms_case import Rooms
from tests.engines.test_queue_races import do, race
from tests.queue_case import ALICE, BOB, BOSS, SECOND, START, Queue


@pytest.fixture
def at(rooms: Rooms) -> Iterator[Queue]:
    yield Queue(rooms.store)


def held(at: Queue) -> dict[str, str]:
    """Return which agent holds what."""
    with at.store.read() as connection:
        live = ownership.live(connection, at.project, timestamp(at.now))
    return {each.pattern.text: each.agent for each in live}


def assign(at: Queue, agent: str, *files: str, until: timedelta = ownership.LEASE) -> None:
    holder = Holder(agent, f"agent:{agent}", "", "broadcast:1", "by hand")
    wanted = [Pattern.of(each) for each in files]
    at._write(
        lambda c: ownership.reserve(
            c, at.project, holder, wanted, until=timestamp(at.now + until), moment=timestamp(at.now)
        )
    )


def waiting(at: Queue) -> dict[str, int]:
    with at.store.read() as connection:
        return dict(task_files.held_up(connection, at.project, timestamp(at.now)))


def ready(at: Queue, role: str = "worker") -> bool:
    with at.store.read() as connection:
        return task_files.any_free(connection, at.project, role, timestamp(at.now))


def test_w_28_whoever_claims_a_task_has_its_files_and_a_task_that_needs_them_is_passed_over(
    at: Queue,
) -> None:
    at.put("parser", files=["src/parser"], priority=9)
    at.put("lexer", files=["src/parser/lexer.py", "docs"], priority=8)
    at.put("lists", files=["src/*.txt"], priority=7)
    at.put("plain", priority=1)
    assert at.ids(at.take(ALICE)) == ["parser"]
    assert held(at) == {"src/parser": "alice"}
    assert at.ids(at.take(BOB, count=9)) == ["lists", "plain"]
    assert held(at) == {"src/parser": "alice", "src/*.txt": "bob"}
    assert (waiting(at), ready(at), at.take(BOB)) == ({"worker": 1}, False, [])
    assert at.state("lexer") == "queued" and at.look("lexer").fence == 0, "nobody has touched it"


def test_tasks_of_one_claim_have_no_file_in_common(at: Queue) -> None:
    for task_id, files in (("a", ["x", "y"]), ("b", ["y/z"]), ("c", ["z"])):
        at.put(task_id, files=files)
    assert at.ids(at.take(count=3)) == ["a", "c"]
    assert at.take(ALICE) == [], "not even whoever holds the files may have two tasks on them"


@pytest.mark.parametrize(
    "end", ["complete", "fail", "dies", "silent", "dead", "requeued", "purged", "restored"]
)
def test_however_a_task_ends_its_files_are_free_at_once(at: Queue, end: str) -> None:
    at.put("t", files=["src"], max_attempts=1 if end == "dead" else 3)
    at.put("next", role="other", files=["src/a.py"])
    claimed = at.one()
    assert held(at) == {"src": "alice"} and at.take(BOB, "other") == []
    now = timestamp(at.now)
    told: Any = None
    match end:
        case "complete":
            told = at.complete(claimed)
        case "fail":
            told = at.fail(claimed).ready
        case "dies":
            told = at.fail(claimed, final=True).ready
        case "silent" | "dead":
            at.passes(LEASE)
            told = at.settle(whole=False).ready
        case "requeued":
            told = at._write(lambda c: requeueing.requeue(c, "p", "worker", "t", by="uid:0", moment=now))[1]
        case "purged":
            at._write(lambda c: rewriting.withdraw(c, "p", BOSS.session, None, now))
        case "restored":
            at._write(lambda c: reclaiming.start_over(c, at.now))
    assert held(at) == {}
    if end == "purged":
        assert at.take(BOB, "other") == [], "what it had enqueued is dead, and names no files"
        return
    assert end == "restored" or "other" in told, "who waits for the files is woken"
    assert at.ids(at.take(BOB, "other")) == ["next"]


def test_no_clock_takes_the_files_from_a_holder_that_may_still_go_on(at: Queue) -> None:
    at.put("t", files=["src"])
    at.put("next", role="other", files=["src"])
    claimed = at.one()
    at.passes(LEASE + SECOND)
    assert at.take(BOB, "other", settle=False) == [] and held(at) == {"src": "alice"}
    at.beat(claimed)
    assert at.take(BOB, "other") == [], "the lease goes on"
    at.passes(LEASE)
    assert at.ids(at.take(BOB, "other")) == ["next"]
    with pytest.raises(LeaseLost):
        at.beat(claimed)


def test_what_is_shown_of_the_end_goes_with_the_lease(at: Queue) -> None:
    at.put("t", files=["src"])
    claimed = at.one()

    def until() -> str:
        with at.store.read() as connection:
            return ownership.live(connection, "p", timestamp(at.now))[0].expires_at

    assert until() == claimed.until
    at.passes(30 * SECOND)
    assert until() == claimed.until != at.beat(claimed) == until()
    at.passes(30 * SECOND)
    at.renew(ALICE)
    assert until() == timestamp(at.now + LEASE)


def test_a_task_waits_for_files_that_were_assigned_and_its_own_are_not_assigned(at: Queue) -> None:
    assign(at, "carol", "docs")
    at.put("t", files=["docs/a.md"])
    at.put("u", files=["src"])
    assert at.ids(at.take(count=2)) == ["u"]
    with pytest.raises(Conflict) as caught:
        assign(at, "carol", "src/x")
    assert (caught.value.code, caught.value.details["holder"]) == ("files_reserved", "alice")
    assert caught.value.details["conflicting_task_id"] == "worker/u"
    at.passes(ownership.LEASE)
    assert ready(at) and at.ids(at.take(BOB)) == ["t"]


def test_a_task_is_the_same_only_with_the_same_files(at: Queue) -> None:
    at.put("t", files=["b", "a", "a"])
    assert at.look("t").files == '["a","b"]'
    assert [at.put("t", files=each).differs for each in (["a", "b"], ["a"], [])] == [False, True, True]


def test_a_claim_makes_no_more_reservations_than_a_project_may_have(
    at: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_files, "MOST_LIVE", 3)
    assign(at, "carol", "x", "y")
    at.put("two", files=["a", "b"])
    at.put("one", files=["c"])
    assert at.ids(at.take(count=2)) == ["one"]


def test_a_purge_takes_the_names_of_files_too(at: Queue) -> None:
    at.put("t", files=["secret/plan"])
    at._write(lambda c: rewriting.withdraw(c, "p", BOSS.session, BOSS.created_by, timestamp(at.now)))
    assert at.look("t").files is None


def test_what_has_ended_can_be_traced_for_a_month(at: Queue, rooms: Rooms) -> None:
    assign(at, "carol", "docs")
    at.put("t", files=["src"])
    at.put("u", files=["lib"])
    at.complete(at.one())
    at.one()

    def sweep() -> list[str]:
        rooms.store.write(lambda t: chores.drop_expired(t, project="p", text=rooms.store.text, moment=at.now))
        with at.store.read() as connection:
            causes = ("broadcast:1", "task:worker/t", "task:worker/u")
            return [each for each in causes if ownership.of_cause(connection, "p", each)]

    at.passes(KEPT)
    assert sweep() == ["broadcast:1", "task:worker/t", "task:worker/u"]
    at.passes(SECOND)
    assert sweep() == ["broadcast:1", "task:worker/u"]
    at.passes(ownership.LEASE)
    assert sweep() == ["task:worker/u"], "what a task holds has not ended"


# Races


def put(task_id: str, *files: str) -> Any:
    new = queue.NewTask("worker", task_id, {}, files=files)
    return lambda c: queue.enqueue(c, "p", new, BOSS, START).state


def claim(who: Origin) -> Any:
    def work(c: Any) -> list[str]:
        claimed: list[Claimed] = queue.claim(c, "p", "worker", who, START)
        return [each.task_id for each in claimed]

    return work


def complete(task_id: str, who: Origin) -> Any:
    at = leases.Held("worker", task_id, 1, who.created_by)
    return lambda c: leases.complete(c, "p", at, START, who, result={})


@pytest.mark.parametrize("crash", [False, True])
def test_two_that_claim_tasks_with_the_same_files_at_once_get_one(engine: Any, crash: bool) -> None:
    do(engine, put("t", "src"), put("u", "src/x"))
    given = race(engine, claim(ALICE), claim(BOB), crash=crash)
    assert given == (["t"], ["t"] if crash else [])
    live = do(engine, lambda c: ownership.live(c, "p", timestamp(START)))
    assert [each.agent for each in live] == ["bob" if crash else "alice"]


def test_files_are_given_to_a_task_or_to_an_assignment_that_come_at_once(engine: Any) -> None:
    do(engine, put("t", "src"))
    holder = Holder("carol", "agent:carol", "", "broadcast:1", "by hand")

    def reserve(c: Any) -> str:
        until = timestamp(START + ownership.LEASE)
        ownership.reserve(c, "p", holder, [Pattern.of("src/x")], until=until, moment=timestamp(START))
        return "reserved"

    assert race(engine, claim(ALICE), reserve) == (["t"], "files_reserved")
    do(engine, complete("t", ALICE), put("u", "src"))
    assert race(engine, reserve, claim(BOB)) == ("reserved", [])
    assert do(engine, lambda c: tasks.find(c, "p", "worker", "u")).state == "queued"
