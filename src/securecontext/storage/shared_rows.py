"""The rows of one project in a database that holds many: whether there are any, and their removal."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, literal, or_, select, update

from securecontext.storage import tables
from securecontext.storage.meta_rows import SEPARATOR

_HELD: Final = (tables.chunks, tables.facts, tables.documents, tables.events)
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
_BLANK = (
    update(tables.ledger_bodies)
    .where(tables.ledger_bodies.c.log.in_(_LOGS))
    .values(salt=None, body=None, purged_at=bindparam("now"))
)
"""The service's login may not delete an entry: what is left of a ledger is that there were entries, and when."""


def _under(project: str) -> dict[str, object]:
    prefix = f"{project}@"
    return {"under": prefix, "length": len(prefix)}


def are_there(connection: Connection, project: str) -> bool:
    """Say whether anything of a project is in the database, but for the register's word of it."""
    return bool(connection.execute(_THERE, {"of_project": project, **_under(project)}).scalar())


def remove(connection: Connection, project: str, moment: str) -> None:
    """Delete everything of a deleted project: memory, archive, answers, and what its ledgers say was done."""
    for statement in _DROP_ROWS:
        connection.execute(statement, {"of_project": project})
    connection.execute(_DROP_ANSWERS, {"answers": f"%{SEPARATOR}{project}{SEPARATOR}%"})
    connection.execute(_BLANK, {"now": moment, **_under(project)})
    connection.execute(_DROP_META, _under(project))
