"""What becomes of stored broadcasts: deleted with their session, brought into another project, rewritten.

Nothing here says anything new; see ``broadcasts`` for what is said and heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from securecontext.storage.tables import broadcast_acks, broadcast_recipients, broadcasts, reservations

_OF_SESSION = select(broadcasts.c.broadcast).where(
    broadcasts.c.project == bindparam("in_project"), broadcasts.c.session == bindparam("in_session")
)
_OF_ONE = _OF_SESSION.where(broadcasts.c.created_by == bindparam("of_principal"))
_DROPS = tuple(
    delete(table).where(table.c.project == bindparam("in_project"), table.c.broadcast == bindparam("which"))
    for table in (broadcast_recipients, broadcast_acks, broadcasts)
)
_DROP_RESERVED = delete(reservations).where(
    reservations.c.project == bindparam("in_project"), reservations.c.cause == bindparam("of_cause")
)
_AFTER = (
    select(broadcasts.c.broadcast, broadcasts.c.message, broadcasts.c.task)
    .where(broadcasts.c.project == bindparam("in_project"), broadcasts.c.broadcast > bindparam("after"))
    .order_by(broadcasts.c.broadcast)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class StoredBroadcast:
    """The texts of a broadcast as they are stored: the JSON of its message, and its task."""

    id: int
    message: str
    task: str


def drop_of_session(connection: Connection, project: str, session: str, by: str | None = None) -> int:
    """Delete what a session said, of one principal or of every one, and what that reserved; return how many."""
    given = {"in_project": project, "in_session": session, "of_principal": by}
    found = connection.execute(_OF_SESSION if by is None else _OF_ONE, given).scalars().all()
    for which in found:
        for drop in _DROPS:
            connection.execute(drop, {"in_project": project, "which": which})
        connection.execute(_DROP_RESERVED, {"in_project": project, "of_cause": f"broadcast:{which}"})
    return len(found)


@dataclass(frozen=True, slots=True)
class Carried:
    """Broadcasts of a project on their way into another, as rows by name; reservations and keys stay behind."""

    broadcasts: Sequence[dict[str, Any]]
    recipients: Sequence[dict[str, Any]]
    acks: Sequence[dict[str, Any]]


def every(connection: Connection, project: str) -> Carried:
    """Return all broadcasts of a project, oldest first, with whom they were for and who has acknowledged them."""
    said, named, heard = (
        [dict(row._mapping) for row in connection.execute(select(table).where(table.c.project == project))]
        for table in (broadcasts, broadcast_recipients, broadcast_acks)
    )
    return Carried(sorted(said, key=lambda row: int(row["broadcast"])), named, heard)


def copy_rows(connection: Connection, project: str, carried: Carried) -> None:
    """Insert broadcasts of another project under new ids; those that were brought before stand there already."""
    there = {_same(row) for row in every(connection, project).broadcasts}
    ids: dict[int, int] = {}
    for row in carried.broadcasts:
        if _same(row) in there:
            continue
        new = {name: value for name, value in row.items() if name != "broadcast"} | {"project": project}
        inserted = connection.execute(insert(broadcasts), new).inserted_primary_key
        ids[row["broadcast"]] = int(inserted[0])  # type: ignore[index]  # an insert of one row has it
    for table, rows in ((broadcast_recipients, carried.recipients), (broadcast_acks, carried.acks)):
        moved = [
            {**row, "project": project, "broadcast": ids[row["broadcast"]]}
            for row in rows
            if row["broadcast"] in ids
        ]
        if moved:
            connection.execute(insert(table), moved)


def _same(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["created_by"], row["session"], row["created_at"], row["message"]


def broadcasts_after(connection: Connection, project: str, after: int, most: int) -> list[StoredBroadcast]:
    """Return the texts of a project's broadcasts after a row."""
    rows = connection.execute(_AFTER, {"in_project": project, "after": after, "most": most})
    return [StoredBroadcast(*row) for row in rows]


def rewrite(connection: Connection, project: str, which: int, message: str, task: str) -> None:
    """Replace the texts of a broadcast, and the words of its task where it has reserved files."""
    here = (broadcasts.c.project == project) & (broadcasts.c.broadcast == which)
    connection.execute(update(broadcasts).where(here).values(message=message, task=task))
    cause = (reservations.c.project == project) & (reservations.c.cause == f"broadcast:{which}")
    connection.execute(update(reservations).where(cause).values(task=task))
