"""What the tests of corridor, rooms and operations share: a real App in a folder of its own, and callers for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from securecontext.app import App
from securecontext.boundaries.policy import Principal, Role, Standing
from securecontext.pipeline.call import Answer, Call
from securecontext.pipeline.operation import CATALOGUE
from securecontext.pipeline.world import Project
from securecontext.settings import Settings
from securecontext.types.ids import new_id
from tests.engine import address
from tests.engines.fixtures import admin_of, let_in
from tests.engines.shared_case import rows_of_project

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
AGENT = Principal("uid:1000", Standing.AGENT, "mcp", "s1")
PERSON = Principal("uid:1000", Standing.PERSON, "cli", "terminal")
HOOK = Principal("uid:1000", Standing.HOOK, "hook", "claude-1")


def named(agent: str, session: str = "s1") -> Principal:
    """An agent that claims a name."""
    return Principal("uid:1000", Standing.AGENT, "mcp", session, agent)


def in_role(role: Role, agent: str = "alice", project: str = "prj_x", token: str = "tok_x") -> Principal:
    """An agent as its session token names it; by default one that was never entered."""
    return Principal(
        f"agent:{agent}",
        Standing.AGENT,
        "mcp",
        "ses_x",
        agent=agent,
        role=role,
        project=project,
        token=token,
    )


@dataclass
class House:
    """An App, one project in it, and a clock that moves a second with each call."""

    app: App
    project: Project
    moment: datetime = START

    def ask(
        self,
        operation: str,
        arguments: dict[str, Any] | None = None,
        *,
        who: Principal = AGENT,
        project: Project | str | None = "",
        key: str = "",
    ) -> Answer:
        """Walk a call through the corridor and return its answer, refusals included."""
        self.moment += timedelta(seconds=1)
        where = self.project if isinstance(project, str) else project
        call = Call(new_id("call", 12), operation, arguments or {}, who, self.moment, where, key)
        return self.app.corridor.walk(call)

    def do(self, operation: str, who: Principal = AGENT, /, **arguments: Any) -> dict[str, Any]:
        """Walk a call that must be done and return its structured answer, what stands at its default filled in."""
        answer = self.ask(operation, arguments, who=who)
        assert answer.error is None, answer.text
        output = CATALOGUE[operation].output.model_validate(answer.structured)
        return output.model_dump(mode="json", exclude_none=True)

    def refused(self, operation: str, who: Principal = AGENT, /, **arguments: Any) -> str:
        """Walk a call that must be refused and return the code."""
        answer = self.ask(operation, arguments, who=who)
        assert answer.error is not None, answer.text
        return answer.error.code

    def remember(self, key: str, value: str, importance: int = 3, who: Principal = AGENT, **more: Any) -> Any:
        return self.do("zc_remember", who, key=key, value=value, importance=importance, **more)

    def recall(self, who: Principal = AGENT, **arguments: Any) -> str:
        return str(self.do("zc_recall_context", who, **arguments)["text"])

    def search(self, *queries: str, who: Principal = AGENT, limit: int = 10) -> list[dict[str, Any]]:
        """The hits, their snippets without the marks of the fence around them."""
        answer = self.do("zc_search", who, queries=list(queries), limit=limit)
        return [{**hit, "snippet": bare(hit["snippet"], answer["fence"])} for hit in answer["hits"]]

    def read(self, *ids: str, who: Principal = AGENT) -> list[dict[str, Any]]:
        """Whole texts by their ids, as they were stored: without the marks of the fence around them."""
        answer = self.do("zc_search", who, ids=list(ids))
        texts: list[dict[str, Any]] = answer["texts"]
        for text in texts:
            text["text"] = (
                text["text"].removeprefix(f"[{answer['fence']} ").removesuffix(f" {answer['fence']}]")
            )
        return texts

    def shown(self) -> dict[str, str]:
        """The active facts by key, as a person's list has them."""
        return {f["key"]: f["value"] for f in self.do("memory.list", PERSON)["facts"]}

    def entries(self, limit: int = 10) -> list[dict[str, Any]]:
        """The newest entries of the project's ledger, newest first: kind, principal, body and so on."""
        with self.app.store(self.project.id).read() as connection:
            return [
                {"kind": r.kind, "agent": r.claimed_agent, "stream": r.stream, **(r.body or {})}
                for r in self.app.ledgers.tail(connection, limit)
            ]

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the project's rows as an outsider does."""
        if self.app.settings.postgres_url is not None:
            return rows_of_project(
                admin_of(self.app.settings.postgres_url), self.project.id, statement, *values
            )
        connection = sqlite3.connect(self.app.stores.path(self.project.id))
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def sql_write(self, statement: str) -> None:
        """Change the project's rows behind the product's back."""
        self.app.store(self.project.id).write(
            lambda each: each.connection.exec_driver_sql(statement) and None
        )

    def bytes_on_disk(self) -> bytes:
        """Every byte that is stored anywhere under the data folder: databases, their logs, markers."""
        home = self.app.settings.home
        return b"\0".join(p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file())

    def fresh_project(self, name: str) -> Project:
        """Return a second project, in a folder of its own."""
        folder = self.app.settings.home.parent / name
        folder.mkdir(exist_ok=True)
        return self.app.find_project(str(folder), "")


def bare(text: str, fence: str) -> str:
    """A stored text without the marks of the fence around it."""
    return text.removeprefix(f"[{fence} ").removesuffix(f" {fence}]")


def make_house(root: Path, postgres_url: str | None = None) -> House:
    """Return a house below a folder, whose data lies in it, or in a database."""
    folder = root / "work"
    folder.mkdir(parents=True)
    made: list[House] = []
    if postgres_url is not None:
        let_in(postgres_url, root / "zc")
    settings = Settings(home=root / "zc", user_home=root, postgres_url=postgres_url, postgres_connections=8)
    app = App(settings, lambda: made[0].moment if made else START)
    made.append(House(app, app.find_project(str(folder), "")))
    return made[0]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with address() as url:
        made = make_house(tmp_path / "house", url or None)
        yield made
        made.app.close()
