"""What a task waits for: no task waits for itself by any way, and one whose needs are all done is let go.

A task may need another that is enqueued later. So a cycle is looked for along the names, not the rows; and whoever
enqueues with needs does so alone, or two services could each close half of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, case, exists, insert, or_, select, update

from securecontext.coordination.tasks import IN_PROJECT, State, n, t
from securecontext.storage.locks import alone
from securecontext.storage.tables import in_state, task_needs, tasks
from securecontext.types.errors import InvalidInput

Key = tuple[str, str]
"""Role and id."""

_INSERT = insert(task_needs)
_DONE = (
    select(t.state)
    .where(IN_PROJECT, t.role == bindparam("of_role"), t.task_id == bindparam("of_id"))
    .with_for_update()  # it is not completed unseen while its dependant is being enqueued
)
_reached = (
    select(n.needs_role, n.needs_task_id)
    .where(
        n.project == bindparam("in_project"), n.role == bindparam("of_role"), n.task_id == bindparam("of_id")
    )
    .cte("reached", recursive=True)
)
_step = task_needs.alias("step")
_reached = _reached.union(
    select(_step.c.needs_role, _step.c.needs_task_id).join(
        _reached,
        and_(_step.c.role == _reached.c.needs_role, _step.c.task_id == _reached.c.needs_task_id),
    ).where(_step.c.project == bindparam("in_project"))
)  # fmt: skip
_REACHES = (
    select(_reached.c.needs_role)
    .where(
        _reached.c.needs_role == bindparam("target_role"), _reached.c.needs_task_id == bindparam("target_id")
    )
    .limit(1)
)

_mine, _needed = task_needs.alias("mine"), tasks.alias("needed")
_UNFINISHED = exists(
    select(_mine.c.task_id)
    .select_from(
        _mine.outerjoin(
            _needed,
            and_(
                _needed.c.project == _mine.c.project,
                _needed.c.role == _mine.c.needs_role,
                _needed.c.task_id == _mine.c.needs_task_id,
            ),
        )
    )
    .where(
        _mine.c.project == t.project,
        _mine.c.role == t.role,
        _mine.c.task_id == t.task_id,
        or_(_needed.c.state.is_(None), _needed.c.state != State.DONE.value),
    )
)
_LATER = and_(t.not_before.is_not(None), t.not_before > bindparam("now"))
_RELEASE = (
    update(tasks)
    .where(IN_PROJECT, in_state("blocked"), ~_UNFINISHED)
    .values(
        state=case((_LATER, State.DELAYED.value), else_=State.QUEUED.value),
        due_at=case((_LATER, t.not_before), else_=None),
    )
    .returning(t.role)
)
_DEPENDANTS = (
    select(t.task)
    .select_from(
        task_needs.join(tasks, and_(t.project == n.project, t.role == n.role, t.task_id == n.task_id))
    )
    .where(
        n.project == bindparam("in_project"),
        n.needs_role == bindparam("of_role"),
        n.needs_task_id == bindparam("of_id"),
        in_state("blocked"),
    )
    .order_by(t.task)
)
_RELEASE_ONE = _RELEASE.where(t.task == bindparam("of_task"))


def refuse_cycle(connection: Connection, project: str, key: Key, needs: Sequence[Key]) -> None:
    """Refuse needs that lead back to the task itself. Nobody else enqueues with needs until the transaction ends.

    Raises:
        InvalidInput: ``dependency_cycle``.
    """
    alone(connection, f"task needs of {project}")
    for role, task_id in needs:
        given = {
            "in_project": project, "of_role": role, "of_id": task_id, "target_role": key[0], "target_id": key[1],
        }  # fmt: skip
        if (role, task_id) == key or connection.execute(_REACHES, given).first() is not None:
            raise InvalidInput(
                "dependency_cycle",
                f"The task would wait for itself by way of {role}/{task_id}.",
                "Leave that dependency out; nothing was enqueued.",
                field="depends_on",
            )


def all_done(connection: Connection, project: str, needs: Sequence[Key]) -> bool:
    """Say whether all of these tasks are done; until the transaction ends none of them changes."""
    done = True
    for role, task_id in sorted(needs):
        row = connection.execute(_DONE, {"in_project": project, "of_role": role, "of_id": task_id}).first()
        done = done and row is not None and row.state == State.DONE
    return done


def enter(connection: Connection, project: str, key: Key, needs: Sequence[Key]) -> None:
    """Store what a task needs."""
    connection.execute(
        _INSERT,
        [
            {
                "project": project, "role": key[0], "task_id": key[1], "needs_role": role, "needs_task_id": task_id,
            }
            for role, task_id in needs
        ],
    )  # fmt: skip


def release(connection: Connection, project: str, done: Key | None, moment: str) -> list[str]:
    """Let go what waited for a task that is done now, and for nothing else any more; return the roles, one a task.

    Args:
        connection: in a transaction that writes.
        project: the project.
        done: the task; None to look at every task that waits.
        moment: now, a timestamp.
    """
    given = {"in_project": project, "now": moment}
    if done is None:
        return list(connection.execute(_RELEASE, given).scalars())
    named = {"in_project": project, "of_role": done[0], "of_id": done[1]}
    released: list[str] = []
    for task in connection.execute(_DEPENDANTS, named).scalars().all():
        released += connection.execute(_RELEASE_ONE, given | {"of_task": task}).scalars()
    return released
