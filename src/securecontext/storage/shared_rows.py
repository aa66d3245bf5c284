"""The rows of one project in a database that holds many: whether there are any, and their removal."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, literal, or_, select

from securecontext.storage import tables
from securecontext.storage.meta_rows import SEPARATOR

_HELD: Final = (tables.chunks, *tables.HELD)
_OF_PROJECT: Final = func.substr(tables.meta.c.name, 1, bindparam("length")) == bindparam("under")
_THERE = select(
    or_(
        *(select(literal(1)).where(table.c.project == bindparam("of_project")).exists() for table in _HELD),
        select(literal(1)).where(_OF_PROJECT).exists(),
    )
)
_DROP_ROWS = tuple(delete(table).where(table.c.project == bindparam("of_project")) for table in _HELD)
_DROP_ANSWERS = delete(tables.idempotency).where(tables.idempotency.c.scope.like(bindparam("answers")))
_DROP_META = delete(tables.meta).where(_OF_PROJECT)
_LOGS = select(tables.meta.c.value).where(_OF_PROJECT, tables.meta.c.name.like("%/log"))


def _under(project: str) -> dict[str, object]:
    prefix = f"{project}@"
    return {"under": prefix, "length": len(prefix)}


def are_there(connection: Connection, project: str) -> bool:
    """Say whether anything of a project is in the database, but for the register's word of it."""
    return bool(connection.execute(_THERE, {"of_project": project, **_under(project)}).scalar())


def logs_of(connection: Connection, project: str) -> list[str]:
    """Return the ids of the ledgers that all services keep of a project."""
    return list(connection.execute(_LOGS, _under(project)).scalars())


def remove(connection: Connection, project: str) -> None:
    """Delete everything of a deleted project but its ledgers: memory, archive, answers, what its stores say."""
    for statement in _DROP_ROWS:
        connection.execute(statement, {"of_project": project})
    connection.execute(_DROP_ANSWERS, {"answers": f"%{SEPARATOR}{project}{SEPARATOR}%"})
    connection.execute(_DROP_META, _under(project))
