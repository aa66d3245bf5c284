"""What a store says of itself: rows of ``meta``, by name.

A SQLite file is one store, and its names stand as they are. In a PostgreSQL database all stores share the table, so
that the connections of a store carry who they are (`STORE`), and each name begins with that: two stores, or two
services that look at one project, never read each other's rows.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from securecontext.storage.tables import meta

STORE: Final = "zc_store"
"""The execution option of a connection that names its store: ``<machine, or project id>@<signer id>``."""
SEPARATOR: Final = "/"

_READ = select(meta.c.value).where(meta.c.name == bindparam("wanted"))
_UPDATE = update(meta).where(meta.c.name == bindparam("wanted")).values(value=bindparam("new_value"))
_INSERT = insert(meta)
_DELETE = delete(meta).where(meta.c.name == bindparam("wanted"))
_UNDER = select(meta.c.name, meta.c.value).where(
    func.substr(meta.c.name, 1, bindparam("length")) == bindparam("under")
)
_ALL = select(meta.c.name, meta.c.value)


def prefix_of(connection: Connection) -> str:
    """Return what the names of this connection's store begin with; empty where the store has a file of its own."""
    store = connection.get_execution_options().get(STORE, "")
    return f"{store}{SEPARATOR}" if store else ""


def read(connection: Connection, name: str) -> str | None:
    """Return the value under a name; None where there is none."""
    found = connection.execute(_READ, {"wanted": prefix_of(connection) + name}).scalar()
    return None if found is None else str(found)


def read_all(connection: Connection) -> dict[str, str]:
    """Return every row of the store, values by name."""
    prefix = prefix_of(connection)
    under = {"under": prefix, "length": len(prefix)}
    rows = connection.execute(_UNDER, under) if prefix else connection.execute(_ALL)
    return {name.removeprefix(prefix): value for name, value in rows}


def put(connection: Connection, name: str, value: str) -> None:
    """Write a value under a name, whatever was there."""
    full = prefix_of(connection) + name
    if connection.execute(_UPDATE, {"wanted": full, "new_value": value}).rowcount == 0:
        connection.execute(_INSERT, {"name": full, "value": value})


def drop(connection: Connection, name: str) -> None:
    """Remove what is under a name, if anything is."""
    connection.execute(_DELETE, {"wanted": prefix_of(connection) + name})
