"""The queue against a model: workers that come, go, lie and die, a clock that runs and jumps, services that crash."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from securecontext.coordination import ownership, queue
from securecontext.coordination.leases import LEASE
from securecontext.coordination.queue import Claimed
from securecontext.coordination.reclaiming import CLOCKS
from securecontext.coordination.retries import LONGEST_PAUSE, pause_after
from securecontext.coordination.tasks import Origin
from securecontext.storage.port import Transaction
from securecontext.storage.sqlite import SqliteStore
from securecontext.storage.tables import tasks
from securecontext.types.errors import InvalidInput, LeaseLost
from securecontext.types.ids import timestamp
from tests.queue_case import ALICE, BOB, START, Queue

IDS = st.sampled_from(["a", "b", "c", "d"])
FILES = st.sampled_from(["x", "x/y", "z"])
"""Two have a file in common if they begin alike."""
WORKERS = st.sampled_from([ALICE, BOB])
SPANS = st.sampled_from([1, 5, 30, 90, 91, 700]).map(lambda seconds: timedelta(seconds=seconds))
JUMPS = st.sampled_from([60, 600, 86_400, -60, -600, -86_400]).map(lambda seconds: timedelta(seconds=seconds))


@dataclass
class Known:
    """A task as the model has it."""

    order: int
    priority: int
    most: int
    needs: list[str]
    not_before: datetime | None
    state: str
    due: datetime | None = None
    attempts: int = 0
    fence: int = 0
    holder: Origin | None = None
    files: str | None = None


class Crash(Exception):
    """The service dies before its commit."""


@dataclass
class Given:
    """A claim that was handed out once, whatever became of it."""

    claimed: Claimed
    who: Origin
    completed: bool = field(default=False)


class QueueMachine(RuleBasedStateMachine):
    """Every call there is, in any order, by two workers of one queue."""

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="zc-queue-"))
        self.at = Queue(SqliteStore(self.root / "q.db", lambda: START))
        self.model: dict[str, Known] = {}
        self.given: list[Given] = []
        self.present: set[Origin] = set()
        self.done: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "at"):
            self.at.store.close()
            shutil.rmtree(self.root)

    # The model's own rules

    def _leads_to(self, start: str, target: str, seen: frozenset[str] = frozenset()) -> bool:
        if start == target:
            return True
        needs = self.model[start].needs if start in self.model and start not in seen else []
        return any(self._leads_to(each, target, seen | {start}) for each in needs)

    def _free(self, known: Known) -> bool:
        return all(each in self.model and self.model[each].state == "done" for each in known.needs)

    def _let_go(self, known: Known) -> None:
        later = known.not_before is not None and known.not_before > self.at.now
        known.state, known.due = ("delayed", known.not_before) if later else ("queued", None)

    def _is_due(self, known: Known, whole: bool) -> bool:
        now, due = self.at.now, known.due
        if due is None or due <= now:
            return due is not None
        if not whole or due <= now + LEASE + CLOCKS:
            return False
        meant = known.not_before is not None and due <= known.not_before
        return known.state == "claimed" or (due > now + LONGEST_PAUSE + CLOCKS and not meant)

    def _settle(self, whole: bool) -> None:
        for known in self.model.values():
            if self._is_due(known, whole):
                spent = known.state == "claimed" and known.attempts >= known.most
                known.state, known.due = ("dead" if spent else "queued"), None
            elif whole and known.state == "blocked" and self._free(known):
                self._let_go(known)

    def _holds(self, given: Given) -> Known | None:
        known = self.model[given.claimed.task_id]
        right = (known.state, known.fence, known.holder) == ("claimed", given.claimed.fence, given.who)
        return known if right else None

    def _held(self) -> list[str]:
        return [k.files for k in self.model.values() if k.files is not None and k.state == "claimed"]

    def _handed_out(self, ready: list[str], count: int) -> list[str]:
        held, chosen = self._held(), list[str]()
        for each in ready:
            files = self.model[each].files
            if len(chosen) < count and not (files and any(files[0] == other[0] for other in held)):
                chosen.append(each)
                held += [files] if files else []
        return chosen

    # What happens

    @rule(
        task_id=IDS,
        priority=st.integers(0, 2),
        most=st.integers(1, 3),
        delay=st.none() | SPANS,
        need=st.none() | IDS,
        files=st.none() | FILES,
    )
    def enqueue(
        self,
        task_id: str,
        priority: int,
        most: int,
        delay: timedelta | None,
        need: str | None,
        files: str | None,
    ) -> None:
        needs = [] if need is None else [need]
        moment = None if delay is None else self.at.now + delay
        given = {"priority": priority, "max_attempts": most, "needs": [("worker", each) for each in needs]}
        given["files"] = [] if files is None else [files]
        when = None if moment is None else timestamp(moment)
        if need is not None and self._leads_to(need, task_id):
            with pytest.raises(InvalidInput):
                self.at.put(task_id, not_before=when, **given)
            return
        inserted = self.at.put(task_id, not_before=when, **given).inserted
        assert inserted == (task_id not in self.model)
        if inserted:
            known = Known(len(self.model), priority, most, needs, moment, "blocked", files=files)
            self.model[task_id] = known
            if self._free(known):
                self._let_go(known)

    @rule(who=WORKERS, count=st.integers(1, 2))
    def claim(self, who: Origin, count: int) -> None:
        self._settle(whole=False)
        ready = sorted(
            (each for each in self.model if self.model[each].state == "queued"),
            key=lambda each: (-self.model[each].priority, self.model[each].order),
        )
        claimed = self.at.take(who, count=count)
        assert self.at.ids(claimed) == self._handed_out(ready, count)
        for each in claimed:
            known = self.model[each.task_id]
            known.state, known.due, known.holder = "claimed", self.at.now + LEASE, who
            known.attempts += 1
            known.fence += 1
            assert each.fence == known.fence
            self.given.append(Given(each, who))

    @precondition(lambda self: self.given)
    @rule(data=st.data(), thief=st.booleans())
    def complete(self, data: st.DataObject, thief: bool) -> None:
        given = data.draw(st.sampled_from(self.given))
        who = (BOB if given.who == ALICE else ALICE) if thief else given.who
        known = None if thief else self._holds(given)
        if known is not None:
            self.at.complete(given.claimed, who)
            known.state, known.due, given.completed = "done", None, True
            self.done.append(given.claimed.task_id)
            for waiting in self.model.values():
                if (
                    waiting.state == "blocked"
                    and given.claimed.task_id in waiting.needs
                    and self._free(waiting)
                ):
                    self._let_go(waiting)
        elif given.completed and not thief:
            assert self.at.complete(given.claimed, who) is None
        else:
            with pytest.raises(LeaseLost):
                self.at.complete(given.claimed, who)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), final=st.booleans())
    def fail(self, data: st.DataObject, final: bool) -> None:
        given = data.draw(st.sampled_from(self.given))
        known = self._holds(given)
        if known is None:
            with pytest.raises(LeaseLost):
                self.at.fail(given.claimed, given.who, final=final)
            return
        self.at.fail(given.claimed, given.who, final=final, chance=0.5)
        spent = final or known.attempts >= known.most
        known.state = "dead" if spent else "delayed"
        known.due = None if spent else self.at.now + pause_after(known.attempts, 0.5)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        given = data.draw(st.sampled_from(self.given))
        known = self._holds(given)
        if known is None:
            with pytest.raises(LeaseLost):
                self.at.beat(given.claimed, given.who)
            return
        self.at.beat(given.claimed, given.who)
        known.due = self.at.now + LEASE

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.at.passes(span)

    @rule(span=JUMPS)
    def the_clock_jumps(self, span: timedelta) -> None:
        self.at.passes(span)

    @rule(who=WORKERS)
    def comes_or_goes(self, who: Origin) -> None:
        self.present ^= {who}

    @rule()
    def the_timer_turns(self) -> None:
        self.at.renew(*self.present)
        for known in self.model.values():
            if known.state == "claimed" and known.holder in self.present:
                known.due = self.at.now + LEASE
        self.at.settle(whole=True)
        self._settle(whole=True)

    @rule(who=WORKERS)
    def the_service_dies_before_a_commit(self, who: Origin) -> None:
        def job(transaction: Transaction) -> None:
            queue.claim(transaction.connection, "p", "worker", who, self.at.now, count=5)
            raise Crash

        with pytest.raises(Crash):
            self.at.store.write(job)

    @rule()
    def the_service_starts_again(self) -> None:
        self.at.store.close()
        self.at.store = SqliteStore(self.root / "q.db", lambda: START)
        self.present = set()

    # What always holds

    @invariant()
    def the_database_is_what_the_model_says(self) -> None:
        if not hasattr(self, "at"):
            return
        t = tasks.c
        with self.at.store.read() as connection:
            rows = connection.execute(select(t.task_id, t.state, t.due_at, t.attempts, t.fence)).all()
        found = {row.task_id: tuple(row)[1:] for row in rows}
        assert found == {
            name: (k.state, None if k.due is None else timestamp(k.due), k.attempts, k.fence)
            for name, k in self.model.items()
        }

    @invariant()
    def the_files_of_claimed_tasks_are_reserved_and_no_others(self) -> None:
        if not hasattr(self, "at"):
            return
        with self.at.store.read() as connection:
            live = ownership.live(connection, "p", timestamp(self.at.now))
        assert sorted(each.pattern.text for each in live) == sorted(self._held())
        assert len({each.pattern.text[0] for each in live}) == len(live), "no two have a file in common"

    @invariant()
    def nothing_is_done_twice_and_no_fence_is_given_twice(self) -> None:
        if not hasattr(self, "at"):
            return
        assert len(self.done) == len(set(self.done))
        fences = [(each.claimed.task_id, each.claimed.fence) for each in self.given]
        assert len(fences) == len(set(fences))


QueueMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
