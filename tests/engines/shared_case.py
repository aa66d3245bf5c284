"""Looks at one project's rows in a database that holds many, with the words in which a file is asked."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

_BY_PROJECT = ("facts", "documents", "chunks", "events")
_BY_LOG = ("ledger_entries", "ledger_bodies", "ledger_heads", "ledger_tiles", "ledger_checkpoints")


def _scoped(project: str) -> str:
    """Return the beginning of a query in which each table has the rows of one project alone."""
    logs = f"(SELECT value FROM securecontext.meta WHERE name LIKE '{project}@%%/log')"
    parts = [f"{t} AS (SELECT * FROM securecontext.{t} WHERE project = '{project}')" for t in _BY_PROJECT]
    parts += [f"{t} AS (SELECT * FROM securecontext.{t} WHERE log IN {logs})" for t in _BY_LOG]
    return f"WITH {', '.join(parts)} "


def rows_of_project(url: str, project: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query, written for a project's file, finds of that project in a database.

    Of the project ``machine`` there are the machine's ledgers.
    """
    with psycopg.connect(url, options="-c search_path=securecontext") as connection:
        asked: Any = _scoped(project) + query.replace("%", "%%").replace("?", "%s")
        return connection.execute(asked, values).fetchall()


def project_named(url: str, name: str) -> str:
    """Return the id of the one project of a name."""
    with psycopg.connect(url, options="-c search_path=securecontext") as connection:
        [[project]] = connection.execute("SELECT project FROM projects WHERE name = %s", [name]).fetchall()
    return str(project)


def tables_with(url: str, mark: str) -> list[str]:
    """Return which tables hold a text, in words or in bytes."""
    with psycopg.connect(url, options="-c search_path=securecontext") as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'securecontext'"
        ).fetchall()
        found = []
        for (name,) in sorted(names):
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
            held = (value for row in rows for value in row)
            texts = (
                each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in held
            )
            if any(mark in each for each in texts):
                found.append(name)
        return found
