"""The rooms of a project over a real store, on each engine in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from securecontext.boundaries import audit
from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.sight import Sight
from securecontext.knowledge import archive, indexing
from securecontext.knowledge.search import Hit, search
from securecontext.memory import changes, facts
from securecontext.memory.capacity import Capacity, capacity
from securecontext.storage.port import Store
from securecontext.storage.postgres import PostgresStore, open_postgres
from securecontext.storage.sqlite import SqliteStore
from tests.engines.fixtures import ENGINES

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = "2026-03-01T12:00:00.000000Z"
FULL = capacity(sources=0, broadcasts=0, agents=0)
ORIGIN = facts.Origin("uid:1000", "s1")
T = TypeVar("T")


class Rooms:
    """A store with a ledger, and the rooms' functions with what they all want filled in."""

    def __init__(self, store: Store, keyring: Keyring, folder: Path) -> None:
        self.store = store
        self.keyring = keyring
        self.keys = DataKeys(folder, keyring.root("encryption"), lambda: MOMENT)
        self.bodies = Bodies(StateEncryption(self.keys), keyring.root("encryption"))

    def write(self, work: Callable[[Connection], T]) -> T:
        return self.store.write(lambda transaction: work(transaction.connection))

    def read(self, work: Callable[[Connection], T]) -> T:
        with self.store.read() as connection:
            return work(connection)

    def remember(
        self, key: str, value: str, *, importance: int = 3, project: str = "p", agent: str = "default",
        supersedes: str | None = None, limit: Capacity = FULL, moment: str = NOW,
        classification: str | None = None,
    ) -> changes.Remembered:  # fmt: skip
        def work(connection: Connection) -> changes.Remembered:
            done = changes.remember(
                connection, self.bodies, project=project, agent=agent, key=key, value=value, importance=importance,
                supersedes=supersedes, capacity=limit, moment=moment,
                origin=replace(ORIGIN, classification=classification),
            )  # fmt: skip
            if not done.unchanged:
                indexing.unindex(connection, self.store.text, indexing.FACT, done.gone)
                indexing.index(
                    connection, self.store.text, project=project, parent_kind=indexing.FACT, parent=done.fact,
                    pieces=indexing.pieces_of(key, value, done.classification), session="s1", moment=moment,
                )  # fmt: skip
            return done

        return self.write(work)

    def undo(self, key: str) -> changes.Undone:
        given = {"project": "p", "agent": "default", "key": key, "capacity": FULL}
        return self.write(lambda c: changes.undo(c, self.bodies, **given))

    def held(self, project: str = "p", agent: str = "default") -> dict[str, str]:
        found = self.read(lambda c: facts.active(c, self.bodies, project=project, agents=[agent]))
        return {f.key: f.value for f in found}

    def put(self, source: str, content: str, project: str = "p", **more: Any) -> archive.Stored:
        draft = archive.Draft("text", source, content, "uid:1000", "s1", **more)
        return self.write(lambda c: archive.put(c, self.store.text, self.bodies, project, draft, NOW))

    def found(self, *queries: str, project: str = "p", agents: list[str] | None = None) -> list[str]:
        return [hit.source for hit in self.hits(*queries, project=project, agents=agents)]

    def hits(self, *queries: str, project: str = "p", agents: list[str] | None = None) -> list[Hit]:
        sight = Sight("uid:1000", None if agents is None else frozenset(agents))
        return self.read(lambda c: search(c, self.store.text, self.bodies, project, queries, sight, 10)).hits


@pytest.fixture(params=ENGINES)
def rooms(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rooms]:
    keyring = Keyring.open(tmp_path / "keys")

    def open_recorder(connection: Connection, moment: datetime) -> audit.Ledger:
        ledger = audit.Ledger("log_rooms", keyring)
        ledger.open_log(connection, moment)
        return ledger

    store: Store
    engine = None
    if request.param == "sqlite":
        store = SqliteStore(tmp_path / "rooms.db", lambda: MOMENT, open_recorder)
    else:
        engine = open_postgres(request.getfixturevalue("migrated_postgres_url"))
        store = PostgresStore(engine, "p", lambda: MOMENT, open_recorder)
    yield Rooms(store, keyring, tmp_path / "keys")
    store.close()
    if engine is not None:
        engine.dispose()
