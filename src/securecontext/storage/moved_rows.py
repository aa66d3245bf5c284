"""The rows of one store, carried from its SQLite file into a database that holds many, and compared there.

Rows keep their order and get new numbers, since two files number theirs alike; what refers to a number follows it. The
ledger's bytes are carried as they are. What two tables hold is compared by the number of rows and the sum, modulo
2^256, of the SHA-256 of each: a digest that no order of rows changes, for engines sort text differently.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, select, text

from securecontext.storage import meta_rows, tables

Row = dict[str, Any]
AT_ONCE: Final = 1_000
_NUMBERED: Final = {"facts": "fact", "documents": "document", "tasks": "task", "broadcasts": "broadcast"}
"""Tables whose numbers others refer to: new ones are given before the rows are carried."""
_UNNAMED: Final = {
    "chunks": "chunk", "events": "event", "ledger_entries": "entry", "broadcast_attempts": "attempt",
    "reservations": "reservation",
}  # fmt: skip
"""Tables whose numbers stand for nothing but an order: the database gives new ones."""
_CAUSE: Final = "broadcast:"
_SEALED: Final = {"facts": "value", "documents": "content"}
_OF_PROJECT: Final = (tables.chunks, *tables.HELD)
_OF_LOG: Final = (
    tables.ledger_entries,
    tables.ledger_bodies,
    tables.ledger_heads,
    tables.ledger_tiles,
    tables.ledger_checkpoints,
    tables.ledger_sequencers,
)
_OF_MACHINE: Final = (tables.projects, tables.project_aliases, tables.tokens)
_BLOCK = text(
    "SELECT nextval(pg_get_serial_sequence(:table, :column)) FROM generate_series(1, :count) ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a table holds of a store: so many rows, and their digest."""

    rows: int = 0
    digest: int = 0

    def plus(self, row: Row) -> Content:
        """Return the content with one more row."""
        said = json.dumps(row, sort_keys=True, ensure_ascii=True, default=bytes.hex)
        number = int.from_bytes(hashlib.sha256(said.encode()).digest(), "big")
        return Content(self.rows + 1, (self.digest + number) % (1 << 256))


@dataclass(frozen=True, slots=True)
class Store:
    """One store that is moved.

    Attributes:
        project: its id; empty for the machine's.
        log: id of its ledger.
        reseal: gives a sealed text for the place of its new row: table, old row, new row → what is stored.
        opened: gives what a sealed text says: table, row → the text.
        left_out: names in ``meta`` that speak of row numbers; what they keep is found out anew.
    """

    project: str
    log: str
    reseal: Callable[[str, Row, Row], str]
    opened: Callable[[str, Row], str]
    left_out: frozenset[str] = frozenset()


class Numbers:
    """The new numbers of rows that others refer to, by their old ones.

    Args:
        of_table: gives those of a table.
    """

    def __init__(self, of_table: Callable[[Table], dict[int, int]]) -> None:
        self._new = {name: of_table(tables.metadata.tables[name]) for name in _NUMBERED}

    def of(self, table: Table, row: Row) -> Row:
        """Return a row with the numbers that it refers to; without its own where the database gives it one."""
        changed = _bare(table, row)
        match table.name:
            case "facts":
                replaced = row["replaced_by"]
                changed["replaced_by"] = None if replaced is None else self._new["facts"].get(replaced)
            case "chunks":
                parents = "facts" if row["parent_kind"] == "fact" else "documents"
                changed["parent"] = self._new[parents][row["parent"]]
            case "task_results":
                changed["task"] = self._new["tasks"][row["task"]]
            case "broadcast_recipients" | "broadcast_acks":
                changed["broadcast"] = self._new["broadcasts"][row["broadcast"]]
            case "reservations" if row["cause"].startswith(_CAUSE):
                said = int(row["cause"].removeprefix(_CAUSE))
                changed["cause"] = f"{_CAUSE}{self._new['broadcasts'].get(said, said)}"
        if table.name in _NUMBERED:
            own = _NUMBERED[table.name]
            changed[own] = self._new[table.name][row[own]]
        return changed


def tables_of(store: Store) -> tuple[Table, ...]:
    """Return the tables that hold rows of a store, in the order in which they are carried."""
    own = _OF_PROJECT if store.project else _OF_MACHINE
    return (*own, tables.idempotency, *_OF_LOG)


def copy(source: Connection, target: Connection, store: Store, told: Callable[[int], None]) -> None:
    """Carry every row of a store, in the target's transaction.

    Args:
        source: sees the file.
        target: has the store's name among its options (`meta_rows.STORE`).
        store: which one.
        told: is called with the number of rows that were carried since the last time.
    """
    numbers = Numbers(lambda table: _new_numbers(source, target, table) if store.project else {})
    for name, value in _said(
        source, store
    ).items():  # first: by it the database knows whose the ledger's rows are
        meta_rows.put(target, name, value)
    for table in tables_of(store):
        statement = insert(table)
        for batch in _batches(_rows(source, table)):
            moved = [numbers.of(table, row) for row in batch]
            if table.name in _SEALED:
                for old, new in zip(batch, moved, strict=True):
                    new[_SEALED[table.name]] = store.reseal(table.name, old, new)
            target.execute(statement, moved)
            told(len(moved))


def differences(source: Connection, target: Connection, store: Store) -> list[str]:
    """Return the tables whose content in the database is not that of the file, each with both numbers of rows."""
    numbers = Numbers(lambda table: _paired(source, target, store, table) if store.project else {})
    found = []
    for table in tables_of(store):
        here = _content(_told(table, old, numbers.of(table, old), store) for old in _rows(source, table))
        ours = _ours(source, target, table, store)
        there = _content(_told(table, row, _bare(table, row), store) for row in ours)
        if here != there:
            found.append(f"{table.name} ({here.rows} in the file, {there.rows} in the database)")
    if _said(source, store) != meta_rows.read_all(target):
        found.append("meta")
    return found


def _said(source: Connection, store: Store) -> dict[str, str]:
    """Return what a file says of itself, without what is left out."""
    return {name: value for name, value in meta_rows.read_all(source).items() if name not in store.left_out}


def _ours(source: Connection, target: Connection, table: Table, store: Store) -> Iterator[Row]:
    """Yield the rows of a store in the database; of the machine's tables, which all share, those that the file has."""
    rows = _rows(target, table, store)
    if store.project or table in _OF_LOG:
        return rows
    keys = [column.name for column in table.primary_key.columns]
    known = {tuple(row[name] for name in keys) for row in _rows(source, table)}
    return (row for row in rows if tuple(row[name] for name in keys) in known)


def _content(rows: Iterable[Row]) -> Content:
    content = Content()
    for row in rows:
        content = content.plus(row)
    return content


def _told(table: Table, at: Row, row: Row, store: Store) -> Row:
    """Return a row with what its sealed text says: sealed anew, the same text is other bytes."""
    if table.name not in _SEALED:
        return row
    return {**row, _SEALED[table.name]: store.opened(table.name, at)}


def _bare(table: Table, row: Row) -> Row:
    """Return a row without the number that the database gave it, where that stands for nothing."""
    dropped = _UNNAMED.get(table.name)
    return {name: value for name, value in row.items() if name != dropped}


def _rows(connection: Connection, table: Table, store: Store | None = None) -> Iterator[Row]:
    """Yield the rows of a table in the order of its key; in a shared database those of a store alone."""
    query = select(table).order_by(*table.primary_key.columns)
    if store is not None:
        query = _only(query, table, store)
    for row in connection.execution_options(yield_per=AT_ONCE).execute(query).mappings():
        yield dict(row)


def _only(query: Any, table: Table, store: Store) -> Any:
    if table in _OF_LOG:
        return query.where(table.c.log == store.log)
    if table is tables.idempotency:
        return query.where(table.c.scope.like(f"%/{store.project}/%"))
    return query.where(table.c.project == store.project) if store.project else query


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, AT_ONCE)):
        yield batch


def _new_numbers(source: Connection, target: Connection, table: Table) -> dict[int, int]:
    column = _NUMBERED[table.name]
    old = source.execute(select(table.c[column]).order_by(table.c[column])).scalars().all()
    given = {"table": table.name, "column": column, "count": len(old)}
    new = target.execute(_BLOCK, given).scalars().all() if old else []
    return dict(zip(old, new, strict=True))


def _paired(source: Connection, target: Connection, store: Store, table: Table) -> dict[int, int]:
    """Return the new numbers as they are in the database: rows kept their order."""
    key = table.c[_NUMBERED[table.name]]
    old = source.execute(select(key).order_by(key)).scalars().all()
    new = target.execute(_only(select(key).order_by(key), table, store)).scalars().all()
    return dict(zip(old, [*new, *([0] * (len(old) - len(new)))], strict=False))
