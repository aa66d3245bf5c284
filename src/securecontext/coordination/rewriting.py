"""Tasks that are stored already, read in the order of their arrival and rewritten without a secret."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from securecontext.coordination.tasks import IN_PROJECT, r, t
from securecontext.storage.tables import task_results, tasks


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
