"""Leases of claimed tasks: kept, and given back as done or failed. How they end otherwise: see ``reclaiming``.

Whoever speaks of a claimed task shows its fence, and one statement compares it with the row's and changes the row: a
worker that was away while its task went to another changes nothing and hears `LeaseLost`. So no clock decides who holds
a task; a clock decides only when the task of a silent holder is offered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from securecontext.contracts.task import holds_a_fence
from securecontext.coordination import dependencies, ownership, task_files
from securecontext.coordination.retries import is_spent, pause_after
from securecontext.coordination.tasks import IN_PROJECT, OF_KEY, Origin, State, as_json, find, t
from securecontext.storage.tables import in_state, task_results, tasks
from securecontext.types.errors import LeaseLost, NotFound
from securecontext.types.ids import timestamp

LEASE: Final = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Held:
    """A claimed task as its holder names it.

    Attributes:
        by: the principal.
        fence: as the claim gave it.
    """

    role: str
    task_id: str
    fence: int
    by: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What becomes of a task that failed: ``delayed`` until a moment, or ``dead``.

    Attributes:
        ready: the roles of tasks that can have its files now, one a task.
    """

    state: State
    attempts: int
    again_at: str | None
    ready: Sequence[str] = ()


_IS_HELD = and_(
    OF_KEY, t.fence == bindparam("of_fence"), t.claimed_by == bindparam("of_holder"), in_state("claimed")
)
_HEARTBEAT = (
    update(tasks)
    .where(_IS_HELD)
    .values(due_at=bindparam("until"), progress_at=bindparam("now"))
    .returning(t.task, t.files)
)
_HEARTBEAT_TELLING = _HEARTBEAT.values(progress=bindparam("said"))
_COMPLETE = (
    update(tasks)
    .where(_IS_HELD)
    .values(state=State.DONE.value, due_at=None, ended_at=bindparam("now"), progress_at=bindparam("now"))
    .returning(t.task, t.files)
)
_KEEP_RESULT = insert(task_results)
_ATTEMPTS = select(t.attempts, t.max_attempts, t.files).where(_IS_HELD).with_for_update()
_FAIL = (
    update(tasks)
    .where(_IS_HELD)
    .values(
        state=bindparam("new_state"),
        due_at=bindparam("until"),
        reason=bindparam("because"),
        ended_at=bindparam("ended"),
    )
)
_RENEW = (
    update(tasks)
    .where(
        IN_PROJECT,
        t.claimed_by == bindparam("of_holder"),
        t.claimed_session == bindparam("of_session"),
        in_state("claimed"),
    )
    .values(due_at=bindparam("until"))
)
_HOLDERS = select(t.claimed_by, t.claimed_session).where(IN_PROJECT, in_state("claimed")).distinct()


@holds_a_fence
def heartbeat(
    connection: Connection,
    project: str,
    held: Held,
    moment: datetime,
    *,
    progress: str | None = None,
    lease: timedelta = LEASE,
) -> str:
    """Prolong a lease, and note that its holder works; return when it ends.

    Raises:
        LeaseLost, NotFound: see `_refusal`.
    """
    until = timestamp(moment + lease)
    given = _named(project, held) | {"until": until, "now": timestamp(moment)}
    query, more = (_HEARTBEAT, {}) if progress is None else (_HEARTBEAT_TELLING, {"said": progress})
    row = connection.execute(query, given | more).first()
    if row is None:
        raise _refusal(connection, project, held)
    if row.files is not None:
        ownership.prolong(connection, project, task_files.cause_of(held.role, held.task_id), until)
    return until


@holds_a_fence
def complete(
    connection: Connection,
    project: str,
    held: Held,
    moment: datetime,
    origin: Origin,
    *,
    result: Mapping[str, Any],
    artefacts: Sequence[str] = (),
) -> list[str] | None:
    """Store what came of a task; whoever says so again with the same fence changes nothing.

    Returns:
        The roles whose tasks waited for it or its files and need wait no more, one a task; None where it was done
        already.

    Raises:
        LeaseLost, NotFound: see `_refusal`.
    """
    now = timestamp(moment)
    row = connection.execute(_COMPLETE, _named(project, held) | {"now": now}).first()
    if row is None:
        there = find(connection, project, held.role, held.task_id)
        if there is not None and (there.state, there.fence, there.claimed_by) == (
            State.DONE,
            held.fence,
            held.by,
        ):
            return None
        raise _refusal(connection, project, held)
    if result or artefacts:
        connection.execute(
            _KEEP_RESULT,
            {
                "task": row.task,
                "project": project,
                "fence": held.fence,
                "result": as_json(result),
                "artefacts": as_json(list(artefacts)),
                "created_at": now,
                "created_by": origin.created_by,
                "session": origin.session,
                "trust": origin.trust,
                "provenance": "EXTRACTED",
            },
        )
    key = (held.role, held.task_id)
    freed: list[str] = []
    if row.files is not None:
        freed = task_files.release(connection, project, [key], by=held.by, moment=now)
    return [*dependencies.release(connection, project, key, now), *freed]


@holds_a_fence
def fail(
    connection: Connection,
    project: str,
    held: Held,
    moment: datetime,
    *,
    reason: str,
    chance: float,
    final: bool = False,
) -> Failed:
    """Give a task back as failed: it rests and is tried again, or is dead.

    Args:
        connection: in a transaction that writes.
        project: the project.
        held: the task.
        moment: now.
        reason: why.
        chance: uniform in [0, 1), for the pause.
        final: whether another attempt would be of no use.

    Raises:
        LeaseLost, NotFound: see `_refusal`.
    """
    named = _named(project, held)
    row = connection.execute(_ATTEMPTS, named).first()
    if row is None:
        raise _refusal(connection, project, held)
    dead = is_spent(row.attempts, row.max_attempts, final=final)
    again = None if dead else timestamp(moment + pause_after(row.attempts, chance))
    state = State.DEAD if dead else State.DELAYED
    connection.execute(
        _FAIL,
        named
        | {
            "new_state": state.value,
            "until": again,
            "because": reason,
            "ended": timestamp(moment) if dead else None,
        },
    )
    ready: Sequence[str] = ()
    if row.files is not None:
        key = (held.role, held.task_id)
        ready = task_files.release(connection, project, [key], by=held.by, moment=timestamp(moment))
    return Failed(state, row.attempts, again, ready)


def renew(
    connection: Connection,
    project: str,
    present: Iterable[tuple[str, str]],
    moment: datetime,
    *,
    lease: timedelta = LEASE,
) -> int:
    """Prolong every lease of sessions that are connected; that their agents make progress is not said by that.

    Args:
        connection: in a transaction that writes.
        project: the project.
        present: principal and session of each.
        moment: now.
        lease: how long from now.

    Returns:
        How many leases were prolonged.
    """
    until = timestamp(moment + lease)
    prolonged = 0
    for by, session in sorted(present):
        given = {"in_project": project, "of_holder": by, "of_session": session, "until": until}
        prolonged += connection.execute(_RENEW, given).rowcount
        ownership.prolong_held(connection, project, by, session, until)
    return prolonged


def holders(connection: Connection, project: str) -> set[tuple[str, str]]:
    """Return principal and session of everybody who holds a task."""
    return {(by, session) for by, session in connection.execute(_HOLDERS, {"in_project": project})}


def _named(project: str, held: Held) -> dict[str, Any]:
    return {
        "in_project": project,
        "of_role": held.role,
        "of_id": held.task_id,
        "of_fence": held.fence,
        "of_holder": held.by,
    }


def _refusal(connection: Connection, project: str, held: Held) -> LeaseLost | NotFound:
    """Return why nothing was changed: ``no_such_task``, or ``lease_lost``, which says how the task stands."""
    there = find(connection, project, held.role, held.task_id)
    if there is None:
        return no_such_task(held.role, held.task_id)
    return LeaseLost(
        "lease_lost",
        f"The task {held.role}/{held.task_id} is not yours under the fence {held.fence}: it is {there.state}.",
        "Stop working on it and change nothing more for it; claim another one with zc_claim_task.",
        state=str(there.state),
    )


def no_such_task(role: str, task_id: str) -> NotFound:
    """Return the refusal of a task that does not exist."""
    return NotFound(
        "no_such_task",
        f"There is no task {task_id} for the role {role} in this project.",
        "See zc_queue_stats, or `zc queue`.",
    )
