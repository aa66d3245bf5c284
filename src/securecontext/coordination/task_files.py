"""Files of tasks: whoever claims a task has its files to itself, from the transaction of the claim to that of its end.

A task whose files meet what is reserved already, for whomever, is passed over until they are free. No clock ends such
a reservation: it is released with the lease, by whatever ends that, so that nobody else has the files while a holder
can still say that it goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from securecontext.coordination import ownership
from securecontext.coordination.ownership import MOST_LIVE, Holder
from securecontext.coordination.patterns import Pattern, Taken
from securecontext.coordination.tasks import IN_PROJECT, t
from securecontext.storage.locks import alone
from securecontext.storage.tables import in_state

LOOKED_AT: Final = 1_000
"""Tasks with files that one claim looks at, the most urgent first."""
OPERATOR: Final = "operator"
_AGENT: Final = "agent:"

_waiting = select(t.task, t.role, t.files).where(IN_PROJECT, in_state("queued"), t.files.is_not(None))
_WAITING = _waiting.order_by(t.role, t.urgency, t.task).limit(LOOKED_AT)
_WAITING_OF_ROLE = _waiting.where(t.role == bindparam("of_role")).order_by(t.urgency, t.task).limit(LOOKED_AT)
_ANY_OF_ROLE = (
    select(t.task)
    .where(IN_PROJECT, in_state("queued"), t.files.is_not(None), t.role == bindparam("of_role"))
    .limit(1)
)


def cause_of(role: str, task_id: str) -> str:
    """Return what the reservations of a task are for."""
    return f"{ownership.OF_TASK}{role}/{task_id}"


def patterns_of(files: str | None) -> list[Pattern]:
    """Return the patterns of a task as it is stored."""
    return [] if files is None else [Pattern.of(each) for each in json.loads(files)]


def any_waiting(connection: Connection, project: str, role: str) -> bool:
    """Say whether a queued task of a role needs files, free or not."""
    given = {"in_project": project, "of_role": role}
    return connection.execute(_ANY_OF_ROLE, given).first() is not None


def any_free(connection: Connection, project: str, role: str, moment: str) -> bool:
    """Say whether a task of a role waits for nothing any more, its files neither."""
    rows = _rows(connection, project, role)
    return bool(rows and _free(rows, _taken(connection, project, moment), 1))


def free(connection: Connection, project: str, role: str, most: int, moment: str) -> list[int]:
    """Return tasks whose files nobody holds, as many as one claim may hand out together, the most urgent first.

    Until the transaction ends nobody else reserves files in the project.

    Args:
        connection: in a transaction that writes.
        project: the project.
        role: whose queue.
        most: how many.
        moment: now, a timestamp.
    """
    alone(connection, ownership.lock_of(project))
    taken = _taken(connection, project, moment)
    return _free(_rows(connection, project, role), taken, most, room=MOST_LIVE - taken.count)


def reserve(
    connection: Connection,
    project: str,
    key: tuple[str, str],
    files: str,
    by: tuple[str, str],
    *,
    until: str,
    moment: str,
) -> None:
    """Reserve the files of a task that `free` named, for who has claimed it.

    Args:
        connection: of the transaction of the claim.
        project: the project.
        key: role and id.
        files: as they are stored.
        by: principal and session.
        until: timestamp of the lease's end, for people.
        moment: now, a timestamp.
    """
    principal, session = by
    agent = principal.removeprefix(_AGENT) if principal.startswith(_AGENT) else OPERATOR
    holder = Holder(agent, principal, session, cause_of(*key), "/".join(key))
    ownership.enter(connection, project, holder, patterns_of(files), until=until, moment=moment)


def release(
    connection: Connection, project: str, ended: Iterable[tuple[str, str]], *, by: str, moment: str
) -> list[str]:
    """Let go what tasks held, given as role and id.

    Returns:
        The roles that have tasks whose files are free, one a task; none where nothing was held.
    """
    released = sum(
        ownership.release_cause(connection, project, cause_of(*key), by=by, moment=moment) for key in ended
    )
    return _freed(connection, project, moment) if released else []


def held_up(connection: Connection, project: str, moment: str) -> Counter[str]:
    """Return how many queued tasks wait for files that are reserved, by role."""
    taken = _taken(connection, project, moment)
    return Counter(role for _, role, files in _rows(connection, project) if _meets(taken, files))


def _freed(connection: Connection, project: str, moment: str) -> list[str]:
    taken = _taken(connection, project, moment)
    return [role for _, role, files in _rows(connection, project) if not _meets(taken, files)]


def _rows(connection: Connection, project: str, role: str | None = None) -> Sequence[Any]:
    if role is None:
        return connection.execute(_WAITING, {"in_project": project}).all()
    return connection.execute(_WAITING_OF_ROLE, {"in_project": project, "of_role": role}).all()


def _taken(connection: Connection, project: str, moment: str) -> Taken:
    return Taken(each.pattern for each in ownership.live(connection, project, moment))


def _meets(taken: Taken, files: str) -> bool:
    return any(taken.meets(each) for each in patterns_of(files))


def _free(rows: Sequence[Any], taken: Taken, most: int, room: int = MOST_LIVE) -> list[int]:
    """Choose the first tasks that meet neither what is taken nor one another."""
    chosen: list[int] = []
    for task, _, files in rows:
        patterns = patterns_of(files)
        if len(patterns) > room or any(taken.meets(each) for each in patterns):
            continue
        chosen.append(task)
        if len(chosen) == most:
            break
        room -= len(patterns)
        for each in patterns:
            taken.add(each)
    return chosen
