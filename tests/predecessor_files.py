"""Builds files as the predecessor left them, in several ages of its schema, and proves that nobody touched them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

PROVENANCE = (
    "provenance TEXT NOT NULL DEFAULT 'UNKNOWN' "
    "CHECK(provenance IN ('EXTRACTED','INFERRED','AMBIGUOUS','UNKNOWN'))"
)
NEWEST = f"""
CREATE TABLE schema_migrations (id INTEGER PRIMARY KEY, description TEXT, applied_at TEXT);
CREATE VIRTUAL TABLE knowledge USING fts5(source, content, created_at UNINDEXED, tokenize='porter unicode61');
CREATE TABLE source_meta (source TEXT PRIMARY KEY, source_type TEXT NOT NULL DEFAULT 'internal',
  retention_tier TEXT NOT NULL DEFAULT 'internal', created_at TEXT NOT NULL, l0_summary TEXT, l1_summary TEXT,
  {PROVENANCE});
CREATE TABLE working_memory (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, value TEXT NOT NULL,
  importance INTEGER DEFAULT 3, agent_id TEXT NOT NULL DEFAULT 'default', created_at TEXT NOT NULL, {PROVENANCE},
  UNIQUE(key, agent_id));
CREATE TABLE broadcasts (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, agent_id TEXT NOT NULL, task TEXT,
  files TEXT, state TEXT, summary TEXT, depends_on TEXT, reason TEXT, importance INTEGER DEFAULT 3,
  created_at TEXT NOT NULL, session_token_id TEXT, prev_hash TEXT NOT NULL DEFAULT 'genesis', row_hash TEXT,
  acked_at TEXT, acceptance_criteria TEXT, complexity_estimate INTEGER, file_ownership_exclusive TEXT,
  file_ownership_read_only TEXT, task_dependencies TEXT, required_skills TEXT, estimated_tokens INTEGER);
CREATE TABLE project_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
OLDEST = """
CREATE VIRTUAL TABLE knowledge USING fts5(source, content, tokenize='porter unicode61');
CREATE TABLE working_memory (key TEXT, value TEXT);
CREATE TABLE broadcasts (id INTEGER PRIMARY KEY, type TEXT, agent_id TEXT, task TEXT, created_at TEXT);
CREATE TABLE db_meta (key TEXT PRIMARY KEY, value TEXT);
"""
WHEN = "2025-03-04T05:06:07.890Z"


def name_of(path: str) -> str:
    """Return the name that the predecessor gave to the file of a project at this path."""
    return hashlib.sha256(path.encode()).hexdigest()[:16] + ".db"


class Builder:
    """Writes one file; leaving the block closes it like a process that was killed: its log stays beside it."""

    def __init__(self, path: Path, schema: str = NEWEST, wal: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        if wal:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA wal_autocheckpoint = 0")
        self.db.executescript(schema)

    def fact(self, key: object, value: object, **columns: object) -> None:
        """Insert a row of working memory."""
        self.row("working_memory", key=key, value=value, **{"created_at": WHEN, **columns})

    def document(self, source: object, content: object, **meta: object) -> None:
        """Insert a row of the archive, with its row of source_meta."""
        self.row("knowledge", source=source, content=content, created_at=WHEN)
        self.row("source_meta", source=source, **{"created_at": WHEN, **meta})

    def broadcast(self, kind: str, agent: str = "worker", **columns: object) -> None:
        """Insert a broadcast; lists become JSON."""
        values = {k: json.dumps(v) if isinstance(v, list) else v for k, v in columns.items()}
        self.row("broadcasts", type=kind, agent_id=agent, created_at=WHEN, **values)

    def row(self, table: str, **columns: object) -> None:
        """Insert any row."""
        marks = ", ".join("?" * len(columns))
        self.db.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(columns.values())
        )

    def close(self, killed: bool = False) -> Path:
        """Close the file; a killed writer leaves -wal and -shm behind."""
        kept = {}
        if killed:
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                kept[part] = part.read_bytes()
        self.db.close()
        for part, content in kept.items():
            part.write_bytes(content)
        return self.path


@dataclass(frozen=True, slots=True)
class Witness:
    """What lay in a folder: names, bytes, times, modes."""

    seen: dict[str, tuple[bytes, int, int, int]]

    @classmethod
    def of(cls, folder: Path) -> Witness:
        """Return what lies in a folder and below."""
        out = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            found = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            out[str(name)] = (content, found.st_mtime_ns, found.st_ino, found.st_mode)
        return cls(out)
