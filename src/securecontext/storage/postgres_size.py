"""How much of a shared database is one store's: its rows, as they lie in the tables."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, Connection, bindparam, func, select, text, union_all

from securecontext.storage import meta_rows, tables

_BY_PROJECT: Final = (tables.facts, tables.documents, tables.chunks, tables.events)
_BY_LOG: Final = (
    tables.ledger_entries,
    tables.ledger_bodies,
    tables.ledger_heads,
    tables.ledger_tiles,
    tables.ledger_checkpoints,
)


def _bytes(column: Column[Any], name: str) -> Any:
    rows = func.coalesce(func.sum(func.pg_column_size(text(f"{column.table.name}.*"))), 0)
    return select(rows.label("bytes")).select_from(column.table).where(column == bindparam(name))


_PARTS = union_all(
    *(_bytes(table.c.project, "of_project") for table in _BY_PROJECT),
    *(_bytes(table.c.log, "in_log") for table in _BY_LOG),
).subquery()
_SIZE = select(func.sum(_PARTS.c.bytes))


def size_of(connection: Connection, project: str) -> int:
    """Return the bytes of a project's rows and of the ledger that this store keeps, without indexes."""
    log = meta_rows.read(connection, "log") or ""
    return int(connection.execute(_SIZE, {"of_project": project, "in_log": log}).scalar_one())
