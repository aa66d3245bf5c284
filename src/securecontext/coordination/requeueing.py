"""Bringing tasks back by hand: dead ones, and those that somebody holds who does not get on."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, update

from securecontext.coordination import task_files
from securecontext.coordination.leases import no_such_task
from securecontext.coordination.tasks import IN_PROJECT, OF_KEY, State, find, t
from securecontext.storage.tables import in_state, tasks
from securecontext.types.errors import Conflict

_AGAIN = (
    update(tasks)
    .where(OF_KEY, t.state == bindparam("old_state"))
    .values(state=State.QUEUED.value, due_at=None, attempts=0, ended_at=None)
    .returning(t.task)
)
_ALL_DEAD = (
    update(tasks)
    .where(IN_PROJECT, in_state("dead"))
    .values(state=State.QUEUED.value, due_at=None, attempts=0, ended_at=None)
    .returning(t.role)
)


def requeue(
    connection: Connection, project: str, role: str, task_id: str, *, by: str, moment: str
) -> tuple[State, list[str]]:
    """Queue a dead task anew with all its attempts, or take a claimed one, and its files, from its holder.

    Returns:
        Where it stood, and the roles that have tasks to offer now, one a task.

    Raises:
        NotFound: ``no_such_task``.
        Conflict: ``not_requeued``: it waits already, or is done.
    """
    there = find(connection, project, role, task_id)
    if there is None:
        raise no_such_task(role, task_id)
    given = {
        "in_project": project,
        "of_role": role,
        "of_id": task_id,
        "old_state": there.state.value,
    }
    if there.state in (State.DEAD, State.CLAIMED) and connection.execute(_AGAIN, given).first() is not None:
        freed = task_files.release(connection, project, [(role, task_id)], by=by, moment=moment)
        return there.state, [role, *freed]
    raise Conflict(
        "not_requeued",
        f"The task {role}/{task_id} is {there.state}: there is nothing to bring back.",
        "See `zc queue list`.",
        state=str(there.state),
    )


def requeue_dead(connection: Connection, project: str) -> list[str]:
    """Queue every dead task of a project anew; return the roles, one a task."""
    return list(connection.execute(_ALL_DEAD, {"in_project": project}).scalars())
