"""What the tests of the queue share: a store with tasks, its workers, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from securecontext.coordination import leases, queue, reclaiming, tasks
from securecontext.coordination.leases import Failed, Held
from securecontext.coordination.queue import Claimed, Enqueued, NewTask
from securecontext.coordination.reclaiming import Settled
from securecontext.coordination.tasks import Origin, Task
from securecontext.storage.port import Store

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOSS = Origin("agent:boss", "ses_boss")
ALICE = Origin("agent:alice", "ses_alice")
BOB = Origin("agent:bob", "ses_bob")
SECOND = timedelta(seconds=1)


class Queue:
    """The queue of a project over a real store, with what all calls want filled in."""

    def __init__(self, store: Store, project: str = "p") -> None:
        self.store = store
        self.project = project
        self.now = START

    def passes(self, span: timedelta) -> None:
        self.now += span

    def _write(self, work: Any) -> Any:
        return self.store.write(lambda transaction: work(transaction.connection))

    def put(
        self, task_id: str, role: str = "worker", payload: dict[str, Any] | None = None, **more: Any
    ) -> Enqueued:
        needs = [tuple(each) for each in more.pop("needs", [])]
        new = NewTask(role, task_id, payload or {"do": task_id}, needs=needs, **more)
        done: Enqueued = self._write(lambda c: queue.enqueue(c, self.project, new, BOSS, self.now))
        return done

    def take(
        self, who: Origin = ALICE, role: str = "worker", count: int = 1, *, settle: bool = True
    ) -> list[Claimed]:
        """Claim as the operation does: what is due is offered first."""

        def work(c: Connection) -> list[Claimed]:
            if settle:
                reclaiming.settle(c, self.project, self.now)
            return queue.claim(c, self.project, role, who, self.now, count=count)

        done: list[Claimed] = self._write(work)
        return done

    def one(self, who: Origin = ALICE, role: str = "worker") -> Claimed:
        """Claim exactly one task."""
        (claimed,) = self.take(who, role)
        return claimed

    def held(self, claimed: Claimed, who: Origin = ALICE) -> Held:
        return Held(claimed.role, claimed.task_id, claimed.fence, who.created_by)

    def beat(self, claimed: Claimed, who: Origin = ALICE, progress: str | None = None) -> str:
        held = self.held(claimed, who)
        until: str = self._write(
            lambda c: leases.heartbeat(c, self.project, held, self.now, progress=progress)
        )
        return until

    def complete(self, claimed: Claimed, who: Origin = ALICE, **result: Any) -> list[str] | None:
        held = self.held(claimed, who)
        done: list[str] | None = self._write(
            lambda c: leases.complete(c, self.project, held, self.now, who, result=result)
        )
        return done

    def fail(
        self, claimed: Claimed, who: Origin = ALICE, *, final: bool = False, chance: float = 0.5
    ) -> Failed:
        held = self.held(claimed, who)
        done: Failed = self._write(
            lambda c: leases.fail(c, self.project, held, self.now, reason="broke", chance=chance, final=final)
        )
        return done

    def settle(self, *, whole: bool = True) -> Settled:
        done: Settled = self._write(lambda c: reclaiming.settle(c, self.project, self.now, whole=whole))
        return done

    def renew(self, *present: Origin) -> int:
        pairs = [(who.created_by, who.session) for who in present]
        count: int = self._write(lambda c: leases.renew(c, self.project, pairs, self.now))
        return count

    def look(self, task_id: str, role: str = "worker") -> Task:
        with self.store.read() as connection:
            found = tasks.find(connection, self.project, role, task_id)
        assert found is not None
        return found

    def ids(self, claimed: Sequence[Claimed]) -> list[str]:
        return [each.task_id for each in claimed]

    def state(self, task_id: str, role: str = "worker") -> str:
        return str(self.look(task_id, role).state)
