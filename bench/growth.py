"""``python -m bench.growth``: by how many bytes each kind of call makes a database larger, on both engines.

A service in this process does about a thousand calls of each kind, its ledger is placed and signed as a service does by
itself, and what each table with its indexes takes before and after is asked of the engine: ``dbstat`` on SQLite,
``pg_total_relation_size`` on a PostgreSQL of its own, compacted. Prints the tables of docs/scaling.md.
"""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from tests.engines.postgres_server import PostgresServer, running_postgres

from bench.home import home
from bench.texts import sentence
from securecontext.app import App, database
from securecontext.app.checkpoints import EVERY_ENTRIES
from securecontext.boundaries.policy import Principal, Standing
from securecontext.pipeline.call import Call
from securecontext.pipeline.world import Project
from securecontext.settings import Settings
from securecontext.types.ids import new_id, now

CALLS = 1_024
CHECKPOINTS = 128
OBSERVED = "a tool call of the client, noted by its hook"
AGENT = Principal("uid:1000", Standing.AGENT, "mcp", "bench-growth")
HOOK = Principal("uid:1000", Standing.HOOK, "hook", "bench-growth")
PERSON = Principal("uid:1000", Standing.PERSON, "cli", "terminal")
DAY = (2_000, 100, 40, 5, 10)
"""How often an agent does each kind, in their order, on a day of work; docs/scaling.md reckons with it."""
CHECKPOINTS_A_DAY = 480
"""One a minute for eight hours, in the ledger of a project, however many agents write into it."""
LEDGER = ("ledger_entries", "ledger_bodies", "ledger_heads", "ledger_tiles", "ledger_checkpoints")
Sizes = dict[str, int]


@dataclass(frozen=True, slots=True)
class Grown:
    """What a kind of call added.

    Attributes:
        what: the kind.
        calls: how many there were.
        entries: of the ledger.
        ledger, rest: bytes of the ledger's tables and of the others.
        by_table: bytes of each.
    """

    what: str
    calls: int
    entries: int
    ledger: int
    rest: int
    by_table: Sizes


def sizes_of_file(file: Path) -> Sizes:
    """Return the bytes of each table with its indexes in a SQLite file."""
    database = sqlite3.connect(file)
    try:
        rows = database.execute(
            "SELECT coalesce(s.tbl_name, d.name), sum(d.pgsize) FROM dbstat d "
            "LEFT JOIN sqlite_schema s ON s.name = d.name GROUP BY 1"
        )
        return {str(name): int(size) for name, size in rows}
    finally:
        database.close()


def sizes_of_database(url: str) -> Sizes:
    """Return the bytes of each table with its indexes in a PostgreSQL database, compacted."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM FULL")
        rows = connection.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'securecontext'::regnamespace"
        ).fetchall()
        return {str(name): int(size) for name, size in rows}


class Place:
    """A service's rooms with one project, and what measures it."""

    def __init__(self, app: App, project: Project, sizes: Callable[[], Sizes]) -> None:
        self.app = app
        self.project = project
        self._sizes = sizes
        self._chance = random.Random(7)

    def do(self, who: Principal, operation: str, **arguments: Any) -> dict[str, Any]:
        """Walk a call, which must be done."""
        call = Call(new_id("call", 12), operation, arguments, who, now(), self.project, "")
        answer = self.app.corridor.walk(call)
        if answer.error is not None:
            raise RuntimeError(answer.text)
        return dict(answer.structured or {})

    def _entries(self) -> int:
        with self.app.store(self.project.id).read() as connection:
            return self.app.ledgers.size(connection)[0]

    def measured(self, what: str, calls: int, work: Callable[[int], object]) -> Grown:
        """Do the calls; sign the ledger every so many entries, as the service does."""
        before, entries = self._sizes(), self._entries()
        store = self.app.store(self.project.id)
        for number in range(calls):
            work(number)
            if number % EVERY_ENTRIES == EVERY_ENTRIES - 1:
                self.app.ledgers.checkpoint(store)
        self.app.ledgers.checkpoint(store)
        after = self._sizes()
        grown = {
            name: size - before.get(name, 0) for name, size in after.items() if size != before.get(name, 0)
        }
        ledger = sum(size for name, size in grown.items() if name in LEDGER)
        return Grown(what, calls, self._entries() - entries, ledger, sum(grown.values()) - ledger, grown)

    def every(self) -> Iterator[Grown]:
        """Measure each kind."""
        chance = self._chance
        self.do(PERSON, "zc_status")
        yield self.measured(OBSERVED, CALLS, self._observe)
        yield self.measured(
            "`zc_search`", CALLS, lambda n: self.do(AGENT, "zc_search", queries=[f"{sentence(chance)} {n}"])
        )
        yield self.measured(
            "`zc_remember`, some 130 characters", CALLS,
            lambda n: self.do(AGENT, "zc_remember", key=f"k{n % 80}", value=f"{sentence(chance)} {n}"),
        )  # fmt: skip
        text = [" ".join(sentence(chance) for _ in range(30)) for _ in range(CALLS // 4)]
        characters = sum(map(len, text)) // len(text)
        yield self.measured(
            f"`zc_index`, {characters:,} characters", CALLS // 4,
            lambda n: self.do(AGENT, "zc_index", source=f"s{n}", content=text[n]),
        )  # fmt: skip
        yield self.measured("a task: enqueued, claimed, completed with a result", CALLS // 2, self._task)
        yield self.measured("a checkpoint of one entry", CHECKPOINTS, self._checkpoint)

    def _observe(self, number: int) -> None:
        tool = ("Read", "Bash", "Edit", "Grep")[number % 4]
        file = f"/srv/work/test_{number}.py"
        more = {"command": f"pytest {file}"} if tool == "Bash" else {"file": file}
        self.do(HOOK, "session.observed", tool=tool, tool_use_id=f"toolu_{number:020d}", outcome="ok", **more)

    def _task(self, number: int) -> None:
        payload = {"do": sentence(self._chance)}
        self.do(PERSON, "zc_enqueue_task", task_id=f"t{number}", role="worker", payload=payload)
        (claimed,) = self.do(PERSON, "zc_claim_task", role="worker")["claims"]
        result = {"said": sentence(self._chance)}
        self.do(
            PERSON,
            "zc_complete_task",
            role="worker",
            task_id=claimed["task_id"],
            fence=claimed["fence"],
            result=result,
        )

    def _checkpoint(self, number: int) -> None:
        self._observe(number)
        self.app.ledgers.checkpoint(self.app.store(self.project.id))


@contextmanager
def place(root: Path, server: PostgresServer | None) -> Iterator[Place]:
    """Open a service's rooms on files, or on a database of their own."""
    name = "growth" if server else ""
    url = server.service_url(name) if server else None
    settings = Settings(
        home=root / (name or "files"), user_home=root, postgres_url=url, calls_per_second=1e6, quota_mb=1e6,
        all_secret_rules=False,
    )  # fmt: skip
    if server:
        server.create(name, owner="postgres")
        database.migrate(server.admin_url(name), url, [], database.keyring_of(settings))
    folder = root / f"project-{name or 'files'}"
    folder.mkdir()
    app = App(settings)
    try:
        project = app.find_project(str(folder), "")
        admin = server.admin_url(name) if server else ""
        file = settings.home / "projects" / f"{project.id}.db"
        yield Place(
            app, project, partial(sizes_of_database, admin) if server else partial(sizes_of_file, file)
        )
    finally:
        app.close()


def of_a_day(found: list[Grown]) -> tuple[int, int, int]:
    """Return the bytes that an agent's day adds to the ledger and to the rest, and those of a ledger's checkpoints."""
    *kinds, checkpoint = found
    ledger = sum(times * each.ledger // each.calls for times, each in zip(DAY, kinds, strict=True))
    rest = sum(times * each.rest // each.calls for times, each in zip(DAY, kinds, strict=True))
    entry = found[0].ledger // found[0].calls  # a checkpoint was measured with an entry of this kind in it
    return ledger, rest, CHECKPOINTS_A_DAY * (checkpoint.ledger // checkpoint.calls - entry)


def as_tables(found: dict[str, list[Grown]]) -> str:
    """Return what was measured as Markdown."""
    files, shared = found["SQLite"], found["PostgreSQL"]
    lines = [
        "| one of these | entries | SQLite: ledger | SQLite: rest | PostgreSQL: ledger | PostgreSQL: rest |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one, other in zip(files, shared, strict=True):
        sizes = [f"{size / one.calls:,.0f}" for size in (one.ledger, one.rest, other.ledger, other.rest)]
        lines.append(f"| {one.what} | {one.entries / one.calls:.0f} | {' | '.join(sizes)} |")
    lines += ["", "| an entry, by table | SQLite | PostgreSQL |", "|---|---:|---:|"]
    noted = [next(grown for grown in each if grown.what == OBSERVED) for each in (files, shared)]
    for table in LEDGER:
        sizes = [f"{grown.by_table.get(table, 0) / grown.entries:,.1f}" for grown in noted]
        lines.append(f"| `{table}` | {' | '.join(sizes)} |")
    lines += ["", "| a day, MB | SQLite | PostgreSQL |", "|---|---:|---:|"]
    days = [of_a_day(each) for each in (files, shared)]
    for row, what in enumerate(
        ("of an agent: ledger", "of an agent: rest", "of a project's ledger: checkpoints")
    ):
        lines.append(f"| {what} | " + " | ".join(f"{day[row] / 1e6:.2f}" for day in days) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    found: dict[str, list[Grown]] = {}
    with home() as at, running_postgres() as server:
        for name, database_server in (("SQLite", None), ("PostgreSQL", server)):
            with place(at.root, database_server) as here:
                found[name] = []
                for grown in here.every():
                    found[name].append(grown)
                    print(f"{name}: {grown.what}: {grown.by_table}", file=sys.stderr, flush=True)
    print(as_tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
