"""Only the ledger's module and the migrations write ledger rows: who else could, could write history anew."""

from __future__ import annotations

import ast
import re

import pytest

from securecontext.storage.tables import metadata
from tests.house.source import dotted, imported_as, parsed, resolved

ALLOWED = re.compile(
    r"src/securecontext/(boundaries/(audit|ledger/(heads|sequencer|tiles|purge))\.py|storage/migrations/.*)"
)
TABLES = sorted(name for name in metadata.tables if name.startswith("ledger_"))
TABLE = f"({'|'.join(TABLES)})"
VERBS = ("insert", "update", "delete", "drop", "bulk_insert")
SQL = re.compile(
    rf"\b(insert\s+(or\s+\w+\s+)?into|replace\s+into|update(\s+or\s+\w+)?|delete\s+from|truncate(\s+table)?|"
    rf"drop\s+table(\s+if\s+exists)?|alter\s+table|merge\s+into|copy)\s+[\"'`\[]?{TABLE}",
    re.IGNORECASE,
)


def _is_table(node: ast.expr, names: dict[str, str]) -> bool:
    return re.fullmatch(TABLE, resolved(node, names).rpartition(".")[2]) is not None


def writes(tree: ast.Module) -> list[str]:
    """Return what in a module writes to a ledger table: ``line: what``."""
    names = imported_as(tree)
    for node in ast.walk(tree):  # entries = tables.ledger_entries
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_table(value, names):
                names[name] = resolved(value, names)
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=table, attr=verb)) if verb in VERBS and _is_table(
                table, names
            ):
                found.append(f"{node.lineno}: {dotted(table)}.{verb}()")
            case ast.Call(func=function, args=[table, *_]) if dotted(function).rpartition(".")[
                2
            ] in VERBS and _is_table(table, names):
                found.append(f"{node.lineno}: {dotted(function)}({dotted(table)})")
            case ast.Constant(value=str(said)) if SQL.search(said):
                found.append(f"{node.lineno}: {said.strip()[:60]}")
            case ast.JoinedStr(values=parts):
                said = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "ledger_" for part in parts
                )
                if SQL.search(said):
                    found.append(f"{node.lineno}: {said.strip()[:60]}")
    return found


def test_only_the_ledger_writes_ledger_rows() -> None:
    found = {
        path: where for path, tree in parsed("src") if not ALLOWED.fullmatch(path) and (where := writes(tree))
    }
    assert found == {}


def test_there_are_ledger_tables_to_protect() -> None:
    assert {"ledger_entries", "ledger_bodies", "ledger_heads"} <= set(TABLES)


@pytest.mark.parametrize(
    "code",
    [
        "ledger_entries.insert()",
        "tables.ledger_heads.update().values(seq=1)",
        "from securecontext.storage.tables import ledger_entries as rows\nrows.delete()",
        "from sqlalchemy import insert\ninsert(ledger_bodies)",
        "import sqlalchemy as sa\nsa.update(tables.ledger_bodies)",
        "entries = tables.ledger_entries\nconnection.execute(entries.insert(), rows)",
        "connection.execute(text('DELETE FROM ledger_entries'))",
        "connection.exec_driver_sql('insert or replace\\n into ledger_heads VALUES (1)')",
        "connection.exec_driver_sql(f'UPDATE ledger_entries SET {column} = 1')",
        "sql = 'drop table if exists \"ledger_entries\"'",
    ],
)
def test_a_write_elsewhere_would_be_noticed(code: str) -> None:
    assert writes(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "select(ledger_entries).where(ledger_entries.c.seq > 1)",
        "facts.insert()",
        "text('SELECT canonical FROM ledger_entries')",
        "digest.update(ledger_line)",
    ],
)
def test_reading_is_free(code: str) -> None:
    assert writes(ast.parse(code)) == []
