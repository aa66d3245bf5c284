"""Tasks that are stored already: rewritten without a secret, or without all that a session brought in."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, select, update

from securecontext.coordination import task_files
from securecontext.coordination.tasks import IN_PROJECT, State, r, t
from securecontext.storage.tables import in_state, task_results, tasks

PURGED = "what it was to do was purged"
PURGER = "system"


class StoredTask(NamedTuple):
    """What of a task may hold a secret; payload, result and artefacts are JSON."""

    id: int
    payload: str
    progress: str | None
    reason: str | None
    result: str | None
    artefacts: str | None


_AFTER = (
    select(t.task, t.payload, t.progress, t.reason, r.result, r.artefacts)
    .select_from(tasks.outerjoin(task_results, r.task == t.task))
    .where(IN_PROJECT, t.task > bindparam("after"))
    .order_by(t.task)
    .limit(bindparam("most"))
)
_REWRITE = (
    update(tasks)
    .where(t.task == bindparam("of_task"))
    .values(
        payload=bindparam("new_payload"), progress=bindparam("new_progress"), reason=bindparam("new_reason")
    )
)
_REWRITE_RESULT = (
    update(task_results)
    .where(r.task == bindparam("of_task"))
    .values(result=bindparam("new_result"), artefacts=bindparam("new_artefacts"))
)


def tasks_after(connection: Connection, project: str, after: int, most: int) -> list[StoredTask]:
    """Return the tasks of a project after a row, of every state."""
    rows = connection.execute(_AFTER, {"in_project": project, "after": after, "most": most})
    return [StoredTask(*row) for row in rows]


def rewrite_task(connection: Connection, new: StoredTask) -> None:
    """Replace the texts of a task."""
    connection.execute(
        _REWRITE,
        {
            "of_task": new.id,
            "new_payload": new.payload,
            "new_progress": new.progress,
            "new_reason": new.reason,
        },
    )
    if new.result is not None:
        given = {"of_task": new.id, "new_result": new.result, "new_artefacts": new.artefacts}
        connection.execute(_REWRITE_RESULT, given)


def withdraw(connection: Connection, project: str, session: str, by: str | None, moment: str) -> int:
    """Blank what a session said in tasks and delete their results; what it had enqueued and is not done is dead.

    That there was such a task, and who claimed it, stays.

    Args:
        connection: in a transaction that writes.
        project: the project.
        session: its name.
        by: the principal whose part; None for every one's.
        moment: now, a timestamp.

    Returns:
        How many tasks were blanked and results deleted.
    """
    enqueued = IN_PROJECT & (t.session == session)
    worked = IN_PROJECT & (t.claimed_session == session)
    results = (r.project == project) & (r.session == session)
    if by is not None:
        enqueued, worked = enqueued & (t.created_by == by), worked & (t.claimed_by == by)
        results = results & (r.created_by == by)
    given = {"in_project": project}
    ended = t.state == State.DONE.value
    blank = (
        update(tasks)
        .where(enqueued)
        .values(
            payload="{}",
            files=None,
            state=case((ended, t.state), else_=State.DEAD.value),
            due_at=None,
            reason=case((ended, t.reason), else_=PURGED),
            ended_at=case((ended, t.ended_at), else_=moment),
        )
    )
    named = select(t.role, t.task_id).where(enqueued, in_state("claimed"))
    held = [(role, task_id) for role, task_id in connection.execute(named, given)]
    connection.execute(update(tasks).where(worked).values(progress=None, reason=None), given)
    task_files.release(connection, project, held, by=by or PURGER, moment=moment)
    return (
        connection.execute(blank, given).rowcount
        + connection.execute(delete(task_results).where(results)).rowcount
    )
