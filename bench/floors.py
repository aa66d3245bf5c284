"""What the bare minimum costs on this machine at this moment: what the figures are held against."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy

from securecontext.storage import tables

BARE = [sys.executable, "-I", "-S", "-c", "import _socket"]


def milliseconds(work: Callable[[], object], times: int) -> list[float]:
    """Return how long each run of ``work`` took."""
    out = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        out.append((time.perf_counter() - begun) * 1000)
    return out


def bare_start() -> float:
    """Return the milliseconds from start to exit of an interpreter that imports nothing but ``_socket``."""
    return milliseconds(lambda: subprocess.run(BARE, stdin=subprocess.DEVNULL, check=True), 1)[0]


def _database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def raw_inserts(folder: Path, times: int) -> list[float]:
    """Return the milliseconds of single inserts of 500 bytes, each committed and synced."""
    connection = _database(folder / "floor-insert.db")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")

    def insert() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t (b) VALUES (?)", ("x" * 500,))
        connection.execute("COMMIT")

    try:
        return milliseconds(insert, times)
    finally:
        connection.close()


def raw_chain(folder: Path, seconds: float, batch: int) -> float:
    """Return the rows a second of chained inserts into the ledger's tables: JSON, HMAC, hash; so many a commit, synced.

    No port, no heads, no contracts, one stream and one thread: what the same rows cost at least.
    """
    path = folder / "floor-chain.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine, tables=[tables.ledger_entries, tables.ledger_bodies])
    engine.dispose()
    connection = _database(path)
    entries = (
        "INSERT INTO ledger_entries (log, stream, seq, canonical, mac, kid, ts, kind, principal, claimed_agent, "
        "body_digest, prev) VALUES ('log', 'uid:0/bench', ?, ?, ?, 'sig.0', ?, 'call', 'uid:0', '', ?, ?)"
    )
    bodies = "INSERT INTO ledger_bodies (log, stream, seq, salt, body) VALUES ('log', 'uid:0/bench', ?, ?, ?)"
    key, prev, done = b"k" * 32, "", 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        rows, kept = [], []
        ts = datetime.now(UTC).isoformat()
        for number in range(done, done + batch):
            salt = os.urandom(16)
            body = json.dumps(
                {"arguments": {}, "operation": "zc_status", "outcome": "ok"}, sort_keys=True
            ).encode()
            digest = hashlib.sha256(salt + body).hexdigest()
            data = json.dumps(
                {"body_digest": digest, "claimed_agent": "", "kid": "sig.0", "kind": "call", "log": "log", "prev": prev,
                 "principal": "uid:0", "seq": number, "stream": "uid:0/bench", "ts": ts, "v": 1}
            ).encode()  # fmt: skip
            mac = hmac.digest(key, data, "sha256")
            rows.append((number, data, mac, ts, digest, prev))
            kept.append((number, salt, body))
            prev = hashlib.sha256(data + mac).hexdigest()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(entries, rows)
        connection.executemany(bodies, kept)
        connection.execute("COMMIT")
        done += batch
    rate = done / (time.perf_counter() - begun)
    connection.close()
    return rate


def raw_search(folder: Path, texts: Sequence[str], questions: Sequence[str]) -> list[float]:
    """Return the milliseconds of plain FTS5 queries over the same texts: the words of each question, OR-ed."""
    connection = _database(folder / "floor-search.db")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?)", ((text,) for text in texts))
    connection.execute("COMMIT")
    out = []
    try:
        for question in questions:
            query = " OR ".join(f'"{word}"' for word in question.strip("?").split())
            begun = time.perf_counter()
            connection.execute(
                "SELECT text FROM t WHERE t MATCH ? ORDER BY rank LIMIT 10", (query,)
            ).fetchall()
            out.append((time.perf_counter() - begun) * 1000)
        return out
    finally:
        connection.close()


def raw_echo(times: int) -> list[float]:
    """Return the milliseconds of a round trip of 300 bytes to another process over a unix socket."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        try:
            ours.close()
            while data := theirs.recv(4096):
                theirs.sendall(data)
        finally:
            os._exit(0)
    theirs.close()

    def round_trip() -> None:
        ours.sendall(b"x" * 300)
        got = 0
        while got < 300:
            got += len(ours.recv(4096))

    try:
        return milliseconds(round_trip, times)
    finally:
        ours.close()
        os.waitpid(child, 0)
