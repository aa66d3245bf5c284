"""Tasks as the queue knows them, and reading them: one, a list, how many in which state, what came of one.

::

    enqueue ──► queued ──claim──► claimed ──complete──► done
      │           ▲                 │  │
      ├► delayed ─┤ ◄──fail, rest───┘  └──attempts used up, or no use──► dead ──requeue──► queued
      └► blocked ─┘ (what it needs is done)      a lease that ends: queued again, or dead

``delayed`` waits for a moment, ``blocked`` for other tasks. A task is known by project, role and id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select

from securecontext.storage.tables import in_state, task_needs, task_results, tasks

t, r, n = tasks.c, task_results.c, task_needs.c
TOP_PRIORITY: Final = 100


class State(StrEnum):
    """Where a task stands; see the module's docstring."""

    QUEUED = "queued"
    DELAYED = "delayed"
    BLOCKED = "blocked"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who brings a text in."""

    created_by: str
    session: str
    trust: str = "agent"


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands.

    Attributes:
        task: its row; grows with the order of arrival.
        priority: 0 to 100, higher first.
        due_at: claimed: when the lease ends; delayed: when it may be claimed. A timestamp, as all times here.
        attempts: how often it was claimed since it was enqueued, or requeued.
        fence: of its newest claim; 0 before the first.
        claimed_by: the principal of its newest claim.
        progress_at: when that agent itself last said that it works on it.
        reason: why its last attempt failed.
        files: JSON list of the patterns that a claim reserves; None for none.
        needs: tasks that it waits for, as ``role/id``; only those that are not done.
    """

    task: int
    role: str
    task_id: str
    state: State
    priority: int
    payload: str
    not_before: str | None
    due_at: str | None
    attempts: int
    max_attempts: int
    fence: int
    claimed_by: str | None
    claimed_session: str | None
    claimed_at: str | None
    progress_at: str | None
    progress: str | None
    reason: str | None
    created_at: str
    ended_at: str | None
    created_by: str
    trust: str
    files: str | None = None
    needs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a task."""

    result: Mapping[str, Any]
    artefacts: Sequence[str]
    created_at: str
    created_by: str
    trust: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many tasks of a role are in a state; of those not ended, how many have failed before."""

    role: str
    state: State
    tasks: int
    failed: int


COLUMNS = (
    t.task, t.role, t.task_id, t.state, t.urgency, t.payload, t.not_before, t.due_at, t.attempts, t.max_attempts,
    t.fence, t.claimed_by, t.claimed_session, t.claimed_at, t.progress_at, t.progress, t.reason, t.created_at,
    t.ended_at, t.created_by, t.trust, t.files,
)  # fmt: skip
FIRST: Final = (TOP_PRIORITY + 1, 0)
"""Priority and number of a task that would stand before all others."""
IN_PROJECT = t.project == bindparam("in_project")
OF_KEY = and_(IN_PROJECT, t.role == bindparam("of_role"), t.task_id == bindparam("of_id"))
_FIND = select(*COLUMNS).where(OF_KEY)
_BEHIND = or_(
    t.urgency > bindparam("behind_urgency"),
    and_(t.urgency == bindparam("behind_urgency"), t.task > bindparam("behind_task")),
)
_OF_STATE = select(*COLUMNS).where(IN_PROJECT, t.state == bindparam("of_state"), _BEHIND)
_LIST = _OF_STATE.order_by(t.urgency, t.task).limit(bindparam("most"))
_LIST_OF_ROLE = (
    _OF_STATE.where(t.role == bindparam("of_role")).order_by(t.urgency, t.task).limit(bindparam("most"))
)
_HELD = (
    select(*COLUMNS)
    .where(IN_PROJECT, t.claimed_by == bindparam("of_holder"), in_state("claimed"))
    .order_by(t.claimed_at, t.task)
    .limit(bindparam("most"))
)
_COUNT_HELD = select(func.count()).where(
    IN_PROJECT, t.claimed_by == bindparam("of_holder"), in_state("claimed")
)
_FAILED = func.sum(case((and_(t.attempts > 0, t.reason.is_not(None)), 1), else_=0))
_COUNT = (
    select(t.role, t.state, func.count(), _FAILED)
    .where(IN_PROJECT)
    .group_by(t.role, t.state)
    .order_by(t.role, t.state)
)
_NEEDS = (
    select(n.needs_role, n.needs_task_id)
    .select_from(
        task_needs.outerjoin(
            tasks, and_(t.project == n.project, t.role == n.needs_role, t.task_id == n.needs_task_id)
        )
    )
    .where(
        n.project == bindparam("in_project"),
        n.role == bindparam("of_role"),
        n.task_id == bindparam("of_id"),
        or_(t.state.is_(None), t.state != State.DONE.value),
    )
    .order_by(n.needs_role, n.needs_task_id)
)
_RESULT = select(r.result, r.artefacts, r.created_at, r.created_by, r.trust).where(
    r.task == bindparam("of_task")
)
_TIMED = select(t.task).where(IN_PROJECT, t.due_at.is_not(None)).limit(1)
_BLOCKED = select(t.task).where(IN_PROJECT, in_state("blocked")).limit(1)
_OPEN = select(t.task).where(IN_PROJECT, t.ended_at.is_(None)).limit(1)
_QUEUED = (
    select(t.task)
    .where(IN_PROJECT, t.role == bindparam("of_role"), in_state("queued"), t.files.is_(None))
    .limit(1)
)
_READY = (
    select(t.task)
    .where(IN_PROJECT, t.role == bindparam("of_role"), in_state("queued"), t.files.is_(None))
    .order_by(t.urgency, t.task)
    .limit(bindparam("most"))
)
_DUE = (
    select(t.task)
    .where(IN_PROJECT, t.due_at.is_not(None), t.due_at <= bindparam("until"), t.role == bindparam("of_role"))
    .limit(1)
)


def task_of(row: Any, needs: Sequence[str] = ()) -> Task:
    """Return the task of a row of `COLUMNS`."""
    task, role, task_id, state, urgency, *rest = row
    found = Task(task, role, task_id, State(state), TOP_PRIORITY - urgency, *rest)
    return replace(found, needs=needs) if needs else found


def find(connection: Connection, project: str, role: str, task_id: str) -> Task | None:
    """Return a task with what it still waits for; None where there is none of that name."""
    key = {"in_project": project, "of_role": role, "of_id": task_id}
    row = connection.execute(_FIND, key).first()
    if row is None:
        return None
    needs = [f"{role}/{task_id}" for role, task_id in connection.execute(_NEEDS, key)]
    return task_of(row, needs)


def in_state_of(
    connection: Connection,
    project: str,
    state: State,
    *,
    role: str | None = None,
    behind: tuple[int, int] = FIRST,
    most: int = 100,
) -> list[Task]:
    """Return tasks in a state, in the order in which they are or would be claimed, behind one of them."""
    given: dict[str, Any] = {"in_project": project, "of_state": state.value, "most": most}
    given |= {"behind_urgency": TOP_PRIORITY - behind[0], "behind_task": behind[1]}
    query, more = (_LIST, {}) if role is None else (_LIST_OF_ROLE, {"of_role": role})
    return [task_of(row) for row in connection.execute(query, given | more)]


def held_by(connection: Connection, project: str, holder: str, most: int = 100) -> list[Task]:
    """Return what a principal holds, the oldest claim first."""
    given = {"in_project": project, "of_holder": holder, "most": most}
    return [task_of(row) for row in connection.execute(_HELD, given)]


def count_held_by(connection: Connection, project: str, holder: str) -> int:
    """Return how many tasks a principal holds."""
    given = {"in_project": project, "of_holder": holder}
    return int(connection.execute(_COUNT_HELD, given).scalar_one())


def counts(connection: Connection, project: str) -> list[Count]:
    """Return how many tasks there are, by role and state."""
    rows = connection.execute(_COUNT, {"in_project": project})
    return [Count(role, State(state), int(count), int(failed)) for role, state, count, failed in rows]


def result_of(connection: Connection, task: int) -> Result | None:
    """Return what came of a task; None where nothing was stored."""
    row = connection.execute(_RESULT, {"of_task": task}).first()
    if row is None:
        return None
    result, artefacts, *rest = row
    return Result(json.loads(result), json.loads(artefacts), *rest)


def any_unsettled(connection: Connection, project: str) -> bool:
    """Say whether a project has a task of which time alone can make something else: claimed, delayed or blocked."""
    given = {"in_project": project}
    return any(connection.execute(query, given).first() is not None for query in (_TIMED, _BLOCKED))


def any_open(connection: Connection, project: str) -> bool:
    """Say whether a project has a task that has not ended."""
    return connection.execute(_OPEN, {"in_project": project}).first() is not None


def any_ready(connection: Connection, project: str, role: str, moment: str) -> bool:
    """Say whether a claim would find a task: one that is queued and needs no files, or whose moment has come."""
    given = {"in_project": project, "of_role": role}
    return (
        connection.execute(_QUEUED, given).first() is not None
        or connection.execute(_DUE, given | {"until": moment}).first() is not None
    )


def are_the_first(connection: Connection, project: str, role: str, count: int) -> bool:
    """Say whether so many new tasks of a role are all that are ready: its queue was empty.

    Those that need files do not count: it may be files that they wait for.
    """
    given = {"in_project": project, "of_role": role, "most": count + 1}
    return len(connection.execute(_READY, given).all()) <= count


def as_json(value: Any) -> str:
    """Return the stored form of a JSON value: one text for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
