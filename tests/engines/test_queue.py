"""The queue on both engines: order, leases, fences, retries, dependencies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from securecontext.coordination import dependencies, leases, queue, reclaiming, requeueing, tasks
from securecontext.coordination.leases import LEASE, Failed, Held
from securecontext.coordination.queue import NewTask
from securecontext.coordination.reclaiming import AT_ONCE, CLOCKS, LEASE_ENDED
from securecontext.coordination.retries import FIRST_PAUSE
from securecontext.coordination.tasks import State
from securecontext.storage import tables
from securecontext.types.errors import Conflict, ContractBroken, InvalidInput, LeaseLost, NotFound
from securecontext.types.ids import timestamp
from tests.engines.rooms_case import Rooms
from tests.queue_case import ALICE, BOB, BOSS, SECOND, START, Queue

HOUR = timedelta(hours=1)


@pytest.fixture
def at(rooms: Rooms) -> Iterator[Queue]:
    yield Queue(rooms.store)


def lost(work: Any) -> str:
    with pytest.raises(LeaseLost) as caught:
        work()
    assert caught.value.code == "lease_lost"
    return str(caught.value.details["state"])


def again(c: Any, task_id: str) -> tuple[State, list[str]]:
    return requeueing.requeue(c, "p", "worker", task_id, by="uid:0", moment=timestamp(START))


# Order


def test_the_oldest_of_the_highest_priority_is_claimed_first(at: Queue) -> None:
    for task_id, priority in (("low", 1), ("a", 50), ("b", 50), ("top", 100), ("none", 0)):
        at.put(task_id, priority=priority)
    assert at.ids(at.take(count=3)) == ["top", "a", "b"]
    assert at.ids(at.take(count=9)) == ["low", "none"]
    assert at.take() == []


def test_a_claim_says_all_that_a_worker_needs(at: Queue) -> None:
    at.put("t", payload={"b": [1, {"c": None}], "a": "ü"}, priority=7)
    claimed = at.one()
    assert (claimed.payload, claimed.priority, claimed.attempts, claimed.fence) == (
        '{"a":"ü","b":[1,{"c":null}]}',
        7,
        1,
        1,
    )
    assert (claimed.created_by, claimed.trust, claimed.until) == (
        "agent:boss",
        "agent",
        timestamp(START + LEASE),
    )
    there = at.look("t")
    assert (there.state, there.claimed_by, there.claimed_session) == (
        State.CLAIMED,
        "agent:alice",
        "ses_alice",
    )


def test_a_task_goes_in_once(at: Queue) -> None:
    assert at.put("t").inserted
    assert at.put("t") == queue.Enqueued(False, False, State.QUEUED)
    assert at.put("t", payload={"do": "else"}, priority=9) == queue.Enqueued(False, True, State.QUEUED)
    assert at.look("t").payload == '{"do":"t"}' and at.look("t").priority == 0
    at.complete(at.one())
    assert at.put("t") == queue.Enqueued(False, False, State.DONE)
    assert at.take() == []


def test_a_task_before_its_moment_is_not_handed_out(at: Queue) -> None:
    at.put("later", not_before=timestamp(START + HOUR))
    at.put("past", not_before=timestamp(START - HOUR))
    taken = at.take(count=9)
    assert at.ids(taken) == ["past"]
    at.complete(taken[0])
    at.passes(HOUR - SECOND)
    assert at.take() == [] and at.state("later") == "delayed"
    at.passes(SECOND)
    with at.store.read() as connection:
        assert tasks.any_ready(connection, "p", "worker", timestamp(at.now))
    assert at.ids(at.take()) == ["later"]


def test_w_46_one_id_names_a_task_in_each_project_and_role(at: Queue) -> None:
    """W-46: the same id in two projects, or for two roles, is two tasks, each with its own fence."""
    other = Queue(at.store, "q")
    assert at.put("t").inserted and other.put("t").inserted and at.put("t", role="developer").inserted
    mine, theirs = at.one(), other.one(BOB)
    assert (mine.fence, theirs.fence) == (1, 1) and mine.task != theirs.task
    at.complete(mine)
    assert (at.state("t"), other.state("t"), at.state("t", "developer")) == ("done", "claimed", "queued")
    assert lost(lambda: other.complete(mine)) == "claimed"


def test_rt_s4_04_a_claim_sees_its_own_role_and_project_alone(at: Queue) -> None:
    at.put("t", role="developer")
    Queue(at.store, "q").put("t")
    assert at.take() == []
    assert at.ids(at.take(role="developer")) == ["t"]


# Leases and fences


def test_rt_s4_02_a_task_whose_worker_is_silent_goes_to_another_with_a_higher_fence(at: Queue) -> None:
    at.put("t")
    first = at.one()
    at.passes(LEASE - SECOND)
    assert at.take(BOB) == []
    at.passes(SECOND)
    second = at.one(BOB)
    assert (first.fence, second.fence, second.attempts) == (1, 2, 2)
    for late in (at.complete, at.beat, at.fail):
        assert lost(lambda late=late: late(first)) == "claimed"
    assert at.look("t").claimed_by == "agent:bob" and at.look("t").reason == LEASE_ENDED
    assert at.complete(second, BOB) == []


def test_w_46_the_same_worker_after_its_lease_ended_is_told_apart_by_the_fence(at: Queue) -> None:
    """W-46: a worker that was away and one of its name that claimed anew are two."""
    at.put("t")
    before = at.one()
    at.passes(LEASE)
    again = at.one()
    assert (before.fence, again.fence) == (1, 2)
    assert lost(lambda: at.complete(before)) == "claimed"
    assert lost(lambda: at.beat(before)) == "claimed"
    assert at.complete(again) == []


def test_a_fence_is_worth_nothing_in_another_hand(at: Queue) -> None:
    at.put("t")
    claimed = at.one()
    for act in (at.complete, at.beat, at.fail):
        assert lost(lambda act=act: act(claimed, BOB)) == "claimed"
    assert at.state("t") == "claimed"


def test_what_was_never_claimed_is_not_completed(at: Queue) -> None:
    at.put("t")
    for fence in (1, 2**40):
        held = Held("worker", "t", fence, "agent:alice")
        assert (
            lost(
                lambda held=held: at._write(lambda c: leases.complete(c, "p", held, START, ALICE, result={}))
            )
            == "queued"
        )
    with pytest.raises(NotFound) as caught:
        at._write(
            lambda c: leases.complete(c, "p", Held("worker", "no", 1, "agent:alice"), START, ALICE, result={})
        )
    assert caught.value.code == "no_such_task"
    with pytest.raises(ContractBroken):
        at._write(
            lambda c: leases.complete(c, "p", Held("worker", "t", 0, "agent:alice"), START, ALICE, result={})
        )


def test_completing_twice_is_completing_once(at: Queue) -> None:
    at.put("t")
    claimed = at.one()
    assert at.complete(claimed, lines=7) == []
    assert at.complete(claimed, lines=8) is None
    assert lost(lambda: at.complete(claimed, BOB)) == "done"
    assert lost(lambda: at.fail(claimed)) == "done"
    with at.store.read() as connection:
        result = tasks.result_of(connection, claimed.task)
    assert result is not None and (result.result, result.created_by) == ({"lines": 7}, "agent:alice")


def test_a_heartbeat_prolongs_the_lease_and_says_how_far_the_agent_is(at: Queue) -> None:
    at.put("t")
    claimed = at.one()
    at.passes(LEASE - SECOND)
    assert at.beat(claimed, progress="half") == timestamp(at.now + LEASE)
    at.passes(LEASE - SECOND)
    at.beat(claimed)
    at.passes(LEASE - SECOND)
    assert at.take(BOB) == []
    there = at.look("t")
    assert (there.progress, there.progress_at) == ("half", timestamp(START + 2 * (LEASE - SECOND)))


def test_a_connected_session_keeps_its_lease_and_its_progress_is_told_apart(at: Queue) -> None:
    at.put("t")
    at.put("u")
    at.one()
    at.one(BOB)
    for _ in range(5):
        at.passes(LEASE - SECOND)
        assert at.renew(ALICE) == 1
    assert at.ids(at.take(BOSS)) == ["u"], "of the one that is away"
    assert (at.look("t").progress_at, at.look("t").due_at) == (timestamp(START), timestamp(at.now + LEASE))
    with at.store.read() as connection:
        assert leases.holders(connection, "p") == {("agent:alice", "ses_alice"), ("agent:boss", "ses_boss")}


def test_w_45_the_timer_reclaims_what_nobody_claims(at: Queue) -> None:
    """W-45: a lease that ends is looked for by the service, not only by the next worker."""
    at.put("t")
    at.one()
    assert at.settle().reclaimed == []
    at.passes(LEASE)
    assert at.settle().told() == {"reclaimed": [["worker", "t", 1]]}
    assert at.state("t") == "queued" and at.settle().told() == {}


def test_w_45_a_task_that_kills_its_workers_is_dead_after_so_many(at: Queue) -> None:
    """W-45: attempts are capped, also of workers that never say that they failed."""
    at.put("t", max_attempts=2)
    for _ in range(2):
        at.one()
        at.passes(LEASE)
    assert at.take() == []
    there = at.look("t")
    assert (there.state, there.reason, there.attempts) == (State.DEAD, LEASE_ENDED, 2)


def test_more_leases_end_than_one_turn_looks_at(at: Queue) -> None:
    for number in range(AT_ONCE + 1):
        at.put(f"t{number}")
    while at.take(count=100, settle=False):
        pass
    at.passes(LEASE)
    assert [len(at.settle().reclaimed) for _ in range(3)] == [AT_ONCE, 1, 0]


# Clocks that jump


def test_a_clock_that_jumps_ahead_hands_no_lease_to_two(at: Queue) -> None:
    at.put("t")
    first = at.one()
    at.passes(HOUR)
    second = at.one(BOB)
    at.passes(-HOUR)
    assert lost(lambda: at.complete(first)) == "claimed"
    assert at.complete(second, BOB) == []


def test_a_clock_that_is_set_back_keeps_no_task_for_ever(at: Queue) -> None:
    at.passes(24 * HOUR)
    at.put("held")
    at.put("failed")
    at.one()
    at.fail(at.one(BOB), BOB)
    at.put("meant", not_before=timestamp(at.now + HOUR))
    at.passes(-24 * HOUR)
    at.settle()
    assert (at.state("held"), at.state("failed"), at.state("meant")) == ("queued", "queued", "delayed")


def test_a_clock_that_is_set_back_a_little_takes_no_lease_away(at: Queue) -> None:
    at.put("t")
    claimed = at.one()
    at.passes(-CLOCKS)
    assert at.settle().told() == {}
    assert at.complete(claimed) == []


# Failing


def test_rt_s4_03_what_failed_rests_and_is_tried_again_then_it_is_dead(at: Queue) -> None:
    at.put("t", max_attempts=3)
    for attempt, pause in ((1, FIRST_PAUSE * 0.75), (2, FIRST_PAUSE * 1.5)):
        done = at.fail(at.one(), chance=0.5)
        assert done == Failed(State.DELAYED, attempt, timestamp(at.now + pause))
        at.passes(pause - timedelta(microseconds=1))
        assert at.take() == []
        at.passes(timedelta(microseconds=1))
    last = at.fail(at.one())
    assert (last.state, last.again_at, at.look("t").reason) == (State.DEAD, None, "broke")
    at.passes(24 * HOUR)
    assert at.take() == []


def test_a_failure_that_is_final_is_not_tried_again(at: Queue) -> None:
    at.put("t", max_attempts=20)
    assert at.fail(at.one(), final=True).state is State.DEAD


def test_a_list_of_tasks_goes_on_behind_one_of_them(at: Queue) -> None:
    for task_id, priority in (("a", 1), ("b", 9), ("c", 1), ("d", 100)):
        at.put(task_id, priority=priority)
    seen, behind = [], tasks.FIRST
    with at.store.read() as connection:
        while page := tasks.in_state_of(connection, "p", State.QUEUED, behind=behind, most=1):
            seen.append(page[0].task_id)
            behind = (page[0].priority, page[0].task)
    assert seen == ["d", "b", "a", "c"]


def test_w_45_a_dead_task_is_listed_and_brought_back_with_all_its_attempts(at: Queue) -> None:
    """W-45: failed is not the end of a task that a person wants done."""
    for task_id in ("t", "u"):
        at.put(task_id)
        at.fail(at.one(), final=True)
    with at.store.read() as connection:
        listed = tasks.in_state_of(connection, "p", State.DEAD)
    assert [(each.task_id, each.reason) for each in listed] == [("t", "broke"), ("u", "broke")]
    assert at._write(lambda c: again(c, "t")) == (State.DEAD, ["worker"])
    assert at.one().fence == 2 and at.look("t").attempts == 1
    assert at._write(lambda c: requeueing.requeue_dead(c, "p")) == ["worker"]
    assert at.ids(at.take()) == ["u"]


def test_a_claimed_task_can_be_taken_from_a_holder_who_does_not_get_on(at: Queue) -> None:
    at.put("t")
    first = at.one()
    assert at._write(lambda c: again(c, "t")) == (State.CLAIMED, ["worker"])
    assert lost(lambda: at.complete(first)) == "queued"
    second = at.one(BOB)
    assert second.fence == 2
    at.complete(second, BOB)
    with pytest.raises(Conflict) as caught:
        at._write(lambda c: again(c, "t"))
    assert caught.value.code == "not_requeued"
    with pytest.raises(NotFound):
        at._write(lambda c: again(c, "no"))


# Dependencies


def test_a_task_waits_until_what_it_needs_is_done(at: Queue) -> None:
    at.put("build")
    at.put("test", needs=[("worker", "build"), ("developer", "write")])
    assert at.look("test").needs == ["developer/write", "worker/build"]
    assert at.complete(at.one()) == [] and at.take() == []
    at.put("write", role="developer")  # later than the one that needs it
    assert at.complete(at.one(role="developer")) == ["worker"]
    assert at.ids(at.take()) == ["test"]


def test_what_it_needs_may_be_done_already(at: Queue) -> None:
    at.put("build")
    at.complete(at.one())
    at.put("test", needs=[("worker", "build")])
    assert at.state("test") == "queued"


def test_a_task_that_waits_for_others_and_for_a_moment_waits_for_both(at: Queue) -> None:
    at.put("build")
    at.put("test", needs=[("worker", "build")], not_before=timestamp(START + HOUR))
    assert at.state("test") == "blocked"
    at.complete(at.one())
    assert at.state("test") == "delayed" and at.take() == []
    at.passes(HOUR)
    assert at.ids(at.take()) == ["test"]


def test_a_dead_task_blocks_what_needs_it_until_it_is_done_after_all(at: Queue) -> None:
    at.put("build")
    at.put("test", needs=[("worker", "build")])
    at.fail(at.one(), final=True)
    assert at.settle().ready == [] and at.state("test") == "blocked"
    at._write(lambda c: again(c, "build"))
    assert at.complete(at.one()) == ["worker"]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_cycle_of_dependencies_is_refused(at: Queue, length: int) -> None:
    names = [f"t{number}" for number in range(length)]
    for here, there in pairwise(names):
        at.put(here, needs=[("worker", there)])
    with pytest.raises(InvalidInput) as caught:
        at.put(names[-1], needs=[("worker", names[0]), ("worker", "other")])
    assert caught.value.code == "dependency_cycle"
    at.put(
        "t0", role="developer", needs=[("worker", "t0")]
    )  # another role's task of that name is another task
    assert at.put(names[-1]).inserted


def test_a_need_that_was_met_unseen_is_met_at_the_next_turn(at: Queue) -> None:
    """Two services may complete and enqueue past each other; the timer looks at all that waits."""
    at.put("build")
    at.put("test", needs=[("worker", "build")])
    done = update(tables.tasks).where(tables.tasks.c.task_id == "build").values(state="done", fence=1)
    at._write(lambda c: c.execute(done).rowcount)
    assert at.settle(whole=False).ready == []
    assert at.settle().ready == ["worker"]
    assert at.ids(at.take()) == ["test"]


def test_other_projects_needs_are_others(at: Queue) -> None:
    other = Queue(at.store, "q")
    at.put("test", needs=[("worker", "build")])
    other.put("build")
    other.complete(other.one())
    assert at.state("test") == "blocked"
    assert at._write(lambda c: dependencies.release(c, "p", ("worker", "build"), timestamp(START))) == []


# The rest


def test_w_49_both_engines_answer_alike(at: Queue) -> None:
    """W-49: one history, told step by step; what each engine answers stands here once for both."""
    told: list[Any] = []
    for task_id, more in (
        ("a", {}), ("b", {"priority": 2}), ("c", {"needs": [("worker", "a")]}),
        ("d", {"not_before": timestamp(START + 20 * SECOND)}), ("b", {"payload": {"do": "other"}}),
    ):  # fmt: skip
        done = at.put(task_id, **more)
        told.append((done.inserted, done.differs, str(done.state)))
    first, second = at.take(count=2)
    told += [(first.task_id, first.fence), (second.task_id, second.fence)]
    told.append(at.fail(first, chance=0.25).again_at)
    told.append(at.complete(second))
    at.passes(30 * SECOND)
    told += [(each.task_id, each.fence, each.attempts) for each in at.take(BOB, count=9)]
    at.passes(LEASE)
    told.append(at.settle().told())
    assert told == [
        (True, False, "queued"), (True, False, "queued"), (True, False, "blocked"), (True, False, "delayed"),
        (False, True, "queued"), ("b", 1), ("a", 1), "2026-03-01T12:00:03.125000Z", ["worker"],
        ("b", 2, 2), ("c", 1, 1), ("d", 1, 1),
        {"reclaimed": [["worker", "b", 2], ["worker", "c", 1], ["worker", "d", 1]]},
    ]  # fmt: skip


def test_how_many_are_in_which_state(at: Queue) -> None:
    for task_id in ("a", "b", "c", "d"):
        at.put(task_id)
    at.put("e", role="developer", needs=[("worker", "a")])
    at.fail(at.one())
    at.complete(at.one(BOB), BOB)
    at.one()
    with at.store.read() as connection:
        found = {
            (each.role, str(each.state)): (each.tasks, each.failed) for each in tasks.counts(connection, "p")
        }
        assert tasks.any_open(connection, "p") and not tasks.any_open(connection, "q")
    assert found == {
        ("worker", "delayed"): (1, 1), ("worker", "done"): (1, 0), ("worker", "claimed"): (1, 0),
        ("worker", "queued"): (1, 0), ("developer", "blocked"): (1, 0),
    }  # fmt: skip


def test_a_queue_that_goes_on_from_a_backup_honours_no_fence_from_before(at: Queue) -> None:
    at.put("t")
    at.put("u")
    claimed = at.one()
    at._write(lambda c: reclaiming.start_over(c, START))
    assert lost(lambda: at.complete(claimed)) == "queued"
    assert at.one().fence == claimed.fence + reclaiming.FENCES_AFTER_RESTORE + 1


ROW: dict[str, Any] = {
    "project": "p", "role": "worker", "task_id": "t", "payload": "{}", "urgency": 50, "state": "queued",
    "max_attempts": 3, "created_at": timestamp(START), "created_by": "b", "session": "s",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"state": "lost"}, {"urgency": -1}, {"urgency": 101}, {"attempts": 4}, {"attempts": -1},
        {"state": "claimed"}, {"state": "claimed", "due_at": timestamp(START), "claimed_by": "a"},
        {"state": "claimed", "fence": 1, "claimed_by": "a"}, {"state": "done"}, {"trust": "root"}, {"payload": None},
    ],
    ids=str,
)  # fmt: skip
def test_the_database_itself_refuses_a_task_that_cannot_be(at: Queue, change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        at._write(lambda c: c.execute(insert(tables.tasks), ROW | change).rowcount)
    at._write(lambda c: c.execute(insert(tables.tasks), ROW).rowcount)  # it was the change that was refused


@pytest.mark.parametrize("count", [0, -1, 101])
def test_a_batch_out_of_bounds_is_our_defect(at: Queue, count: int) -> None:
    with pytest.raises(ContractBroken):
        at.take(count=count)


t = tables.tasks.c
HOT = {
    "ix_tasks_ready": select(t.task)
    .where(t.project == "p", t.role == "worker", tables.in_state("queued"))
    .order_by(t.urgency, t.task)
    .limit(1),
    "ix_tasks_due": select(t.task)
    .where(t.project == "p", t.due_at.is_not(None), t.due_at <= "2026")
    .order_by(t.due_at)
    .limit(1),
    "ix_tasks_held": select(t.task).where(
        t.project == "p", t.claimed_by == "a", t.claimed_session == "s", tables.in_state("claimed")
    ),
    "ix_tasks_blocked": select(t.task).where(t.project == "p", tables.in_state("blocked")),
    "ix_task_needs_needed": select(tables.task_needs.c.task_id).where(
        tables.task_needs.c.project == "p",
        tables.task_needs.c.needs_role == "r",
        tables.task_needs.c.needs_task_id == "t",
    ),
}


@pytest.mark.parametrize("index", HOT)
def test_tasks_that_have_ended_cost_a_claim_nothing(at: Queue, index: str) -> None:
    """What each claim, completion and turn of the timer asks is answered by an index, in its order."""
    query = str(HOT[index].compile(compile_kwargs={"literal_binds": True}))

    def plan(c: Any) -> str:
        if c.dialect.name == "sqlite":
            return str(c.exec_driver_sql("EXPLAIN QUERY PLAN " + query).all())
        c.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return str(c.exec_driver_sql("EXPLAIN " + query).all())

    said = at._write(plan)
    assert index in said and "TEMP B-TREE" not in said and "Sort" not in said


def test_a_payload_of_any_json_comes_out_as_it_went_in(at: Queue) -> None:
    payload = {"ü \u200b": [1, 1.5, True, None, "", {"n": {"m": []}}], "z": "\\ ' \" % \n"}
    new = NewTask("worker", "t", payload)
    at._write(lambda c: queue.enqueue(c, "p", new, BOSS, START))
    assert json.loads(at.one().payload) == payload
