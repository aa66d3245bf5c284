"""The work queue: a task goes in once, and out to one agent at a time.

A claim is one statement: it picks, locks, leases and returns. On PostgreSQL it passes over rows that another service
is just claiming (``FOR UPDATE SKIP LOCKED`` in a CTE); on SQLite whoever writes is alone. Each claim of a task raises
its fence, and what is said of a claimed task counts only with the newest fence: see ``leases``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    exists,
    literal,
    or_,
    select,
    text,
    update,
)

from securecontext.contracts.task import claims_within_bounds, hands_out_leases, names_a_role
from securecontext.coordination import dependencies, task_files
from securecontext.coordination.leases import LEASE
from securecontext.coordination.retries import ATTEMPTS
from securecontext.coordination.tasks import IN_PROJECT, TOP_PRIORITY, Origin, State, as_json, find, t
from securecontext.storage.tables import in_state, tasks
from securecontext.types.ids import timestamp


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task before it is enqueued.

    Attributes:
        payload: a JSON object.
        priority: 0 to 100, higher first.
        not_before: timestamp before which it is not handed out; None for at once.
        needs: tasks that must be done first, as (role, id).
        max_attempts: how often it is tried.
        files: patterns, as `patterns.Pattern` has them, that whoever claims it has to itself.
    """

    role: str
    task_id: str
    payload: Mapping[str, Any]
    priority: int = 0
    not_before: str | None = None
    needs: Sequence[dependencies.Key] = ()
    max_attempts: int = ATTEMPTS
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a task that was to be enqueued.

    Attributes:
        inserted: False where one of that project, role and id was there already, which stays as it is.
        differs: whether that one has another payload, or other files.
        state: where it stands now.
    """

    inserted: bool
    differs: bool
    state: State


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that was just claimed; see `tasks.Task`. ``until`` is the end of the lease, a timestamp."""

    task: int
    role: str
    task_id: str
    payload: str
    priority: int
    attempts: int
    fence: int
    until: str
    created_by: str
    trust: str
    files: str | None = None


# Written out, because SQLAlchemy says ON CONFLICT through each dialect alone, and a file does without the other one.
_ENQUEUE = text(
    "INSERT INTO tasks (project, role, task_id, payload, urgency, state, not_before, due_at, max_attempts,"
    " created_at, provenance, trust, created_by, session, files)"
    " VALUES (:project, :role, :task_id, :payload, :urgency, :state, :not_before, :due_at, :max_attempts,"
    " :created_at, 'EXTRACTED', :trust, :created_by, :session, :files)"
    " ON CONFLICT (project, role, task_id) DO NOTHING RETURNING task"
)


def _claiming(among: ColumnElement[bool]) -> Update:
    """Return the claim of what is queued and among these."""
    picked = (
        select(t.task)
        .where(IN_PROJECT, t.role == bindparam("of_role"), in_state("queued"), among)
        .order_by(t.urgency, t.task)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    return (
        update(tasks)
        .where(t.task.in_(select(picked.c.task)))
        .values(
            state=State.CLAIMED.value,
            fence=t.fence + 1,
            attempts=t.attempts + 1,
            claimed_by=bindparam("by"),
            claimed_session=bindparam("in_session"),
            claimed_at=bindparam("now"),
            progress_at=bindparam("now"),
            progress=None,
            due_at=bindparam("until"),
        )
        .returning(
            t.task, t.role, t.task_id, t.payload, t.urgency, t.attempts, t.fence, t.due_at, t.created_by,
            t.trust, t.files,
        )
    )  # fmt: skip


_with_files = tasks.alias("with_files")
_NONE_NEEDS_FILES = ~exists(
    select(_with_files.c.task).where(
        _with_files.c.project == bindparam("in_project"),
        _with_files.c.role == bindparam("of_role"),
        _with_files.c.state == literal(State.QUEUED.value, literal_execute=True),
        _with_files.c.files.is_not(None),
    )
)
_CLAIM = _claiming(t.files.is_(None))
_CLAIM_SIMPLY = _claiming(and_(t.files.is_(None), _NONE_NEEDS_FILES))
"""Where no task of the role needs files, which one statement finds out and claims by."""
_CLAIM_WITH_FILES = _claiming(or_(t.files.is_(None), t.task.in_(bindparam("free", expanding=True))))


def enqueue(connection: Connection, project: str, new: NewTask, origin: Origin, moment: datetime) -> Enqueued:
    """Put a task into the queue of its role, once.

    Raises:
        InvalidInput: ``dependency_cycle``.
    """
    key = (new.role, new.task_id)
    payload, files = as_json(new.payload), as_json(sorted(set(new.files))) if new.files else None
    needs = sorted(set(new.needs))
    free = True
    if needs:
        dependencies.refuse_cycle(connection, project, key, needs)
        free = dependencies.all_done(connection, project, needs)
    now = timestamp(moment)
    later = new.not_before is not None and new.not_before > now
    state = State.BLOCKED if not free else State.DELAYED if later else State.QUEUED
    row = {
        "project": project,
        "role": new.role,
        "task_id": new.task_id,
        "payload": payload,
        "urgency": TOP_PRIORITY - new.priority,
        "state": state.value,
        "not_before": new.not_before,
        "due_at": new.not_before if state is State.DELAYED else None,
        "max_attempts": new.max_attempts,
        "created_at": now,
        "trust": origin.trust,
        "created_by": origin.created_by,
        "session": origin.session,
        "files": files,
    }
    if connection.execute(_ENQUEUE, row).first() is None:
        there = find(connection, project, *key)
        assert there is not None  # noqa: S101 - for the type checker: it is what the row came into conflict with
        return Enqueued(False, (there.payload, there.files) != (payload, files), there.state)
    if needs:
        dependencies.enter(connection, project, key, needs)
    return Enqueued(True, False, state)


@names_a_role
@claims_within_bounds
@hands_out_leases
def _hand_out(
    connection: Connection, project: str, role: str, holder: Origin, count: int, moment: str, until: str
) -> list[Claimed]:
    given: dict[str, Any] = {
        "in_project": project,
        "of_role": role,
        "most": count,
        "by": holder.created_by,
        "in_session": holder.session,
        "now": moment,
        "until": until,
    }
    rows = connection.execute(_CLAIM_SIMPLY, given).all()
    if not rows and task_files.any_waiting(connection, project, role):
        free = task_files.free(connection, project, role, count, moment)
        if free:
            rows = connection.execute(_CLAIM_WITH_FILES, given | {"free": free}).all()
        else:
            rows = connection.execute(_CLAIM, given).all()
    claimed = [
        Claimed(
            row.task,
            row.role,
            row.task_id,
            row.payload,
            TOP_PRIORITY - row.urgency,
            row.attempts,
            row.fence,
            row.due_at,
            row.created_by,
            row.trust,
            row.files,
        )
        for row in rows
    ]
    for each in claimed:
        if each.files is not None:
            key, by = (each.role, each.task_id), (holder.created_by, holder.session)
            task_files.reserve(connection, project, key, each.files, by, until=until, moment=moment)
    return sorted(claimed, key=lambda each: (-each.priority, each.task))


def claim(
    connection: Connection,
    project: str,
    role: str,
    holder: Origin,
    moment: datetime,
    *,
    count: int = 1,
    lease: timedelta = LEASE,
) -> list[Claimed]:
    """Lease the next tasks of a role: highest priority first, oldest first within; fewer where there are no more.

    A task whose files are reserved, for whomever, is passed over; those of the others are the holder's with the lease.

    Args:
        connection: in a transaction that writes.
        project: the project.
        role: whose queue.
        holder: who claims, and in which session; its leases are renewed while that is connected.
        moment: now, by the clock of the transaction.
        count: tasks at most.
        lease: how long each is the holder's without a sign of life.
    """
    return _hand_out(
        connection, project, role, holder, count, moment=timestamp(moment), until=timestamp(moment + lease)
    )
