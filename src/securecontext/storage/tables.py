"""Every table, once, for both engines.

On SQLite each project has a file and the machine has one; all files carry the same tables, and a file uses those
that concern it. On PostgreSQL one database carries all. Rows that belong to a project name it. Times are text as
`types.ids.timestamp` writes them. The full-text index is the one part that differs by engine: see ``search``.

Columns that every stored text carries from the start: ``provenance`` (how we know it), ``trust`` (where it came
from), ``classification`` (who may see it), ``created_by`` (the principal) and ``session``. Of the classes confidential
and restricted the text itself is stored sealed (`boundaries.keyring.bodies`) and has no chunks.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal,
    or_,
)

from securecontext.types.classification import CLASSIFICATIONS, SEALED

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowId = BigInteger().with_variant(Integer, "sqlite")
"""A surrogate key: SQLite's rowid, or a 64-bit identity."""

PROVENANCES = ("EXTRACTED", "INFERRED", "AMBIGUOUS", "UNKNOWN")
TRUSTS = ("agent", "person", "system", "imported", "external")
ROLES = ("orchestrator", "developer", "marketer", "researcher", "worker")
BROADCASTS = (
    "ASSIGN", "STATUS", "PROPOSED", "DEPENDENCY", "MERGE", "REJECT", "REVISE", "LAUNCH_ROLE", "RETIRE_ROLE",
)  # fmt: skip


def _one_of(name: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{name} IN ({', '.join(repr(v) for v in values)})", name=name)


def _origin() -> list[Column[str] | CheckConstraint]:
    """Return the columns that say where a stored text comes from and who may see it."""
    return [
        Column("provenance", String(16), nullable=False, server_default="UNKNOWN"),
        Column("trust", String(16), nullable=False, server_default="agent"),
        Column("classification", String(16), nullable=False, server_default="internal"),
        Column("created_by", String(200), nullable=False),
        Column("session", String(200), nullable=False),
        _one_of("provenance", PROVENANCES),
        _one_of("trust", TRUSTS),
        _one_of("classification", CLASSIFICATIONS),
    ]


def is_sealed(table: Table) -> ColumnElement[bool]:
    """Return the condition of rows whose text is sealed, as their index has it: a bound value would pass that by."""
    return or_(*(table.c.classification == literal(each, literal_execute=True) for each in SEALED))


def _sealed(table: Table, name: str, row: Column[int]) -> Index:
    """Index the rows whose text is sealed: search, which has no words of them, must find them among many others."""
    return Index(name, table.c.project, row, sqlite_where=is_sealed(table))


meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    comment="What a file is: its kind (machine or project), its project, its log.",
)

projects = Table(
    "projects",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("state", String(16), nullable=False, server_default="active"),
    Column("merged_into", String(64)),
    Column("created_at", String(32), nullable=False),
    Column("last_used_at", String(32), nullable=False),
    _one_of("state", ("active", "merged", "deleted")),
)

project_aliases = Table(
    "project_aliases",
    metadata,
    Column("alias", String(1100), primary_key=True, comment="kind:machine id:path, or predecessor:hash"),
    Column("project", String(64), ForeignKey("projects.project"), nullable=False, index=True),
    Column("created_at", String(32), nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("fact", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("agent", String(64), nullable=False, comment="the memory namespace"),
    Column("key", String(100), nullable=False),
    Column("value", Text, nullable=False),
    Column("importance", Integer, nullable=False),
    Column("state", String(16), nullable=False, server_default="active"),
    Column("replaced_by", RowId, comment="the newer fact: same key, or the one that supersedes it"),
    Column("created_at", String(32), nullable=False),
    *_origin(),
    CheckConstraint("importance BETWEEN 1 AND 5", name="importance"),
    _one_of("state", ("active", "archived", "replaced", "superseded")),
    sqlite_autoincrement=True,
)
ONE_ACTIVE = Index(
    "ux_facts_active",
    facts.c.project,
    facts.c.agent,
    facts.c.key,
    unique=True,
    sqlite_where=facts.c.state == "active",
)
"""Partial on both engines. `storage.postgres` adds its half: to name an option of that dialect imports all of it."""
Index("ix_facts_key", facts.c.project, facts.c.agent, facts.c.key)
SEALED_FACTS = _sealed(facts, "ix_facts_sealed", facts.c.fact)
Index("ix_facts_order", facts.c.project, facts.c.state, facts.c.agent, facts.c.importance, facts.c.created_at)

documents = Table(
    "documents",
    metadata,
    Column("document", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", String(500), nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32)),
    *_origin(),
    _one_of("kind", ("text", "summary", "broadcast")),
    sqlite_autoincrement=True,
)
Index("ix_documents_source", documents.c.project, documents.c.kind, documents.c.source)
SEALED_DOCUMENTS = _sealed(documents, "ix_documents_sealed", documents.c.document)

chunks = Table(
    "chunks",
    metadata,
    Column("chunk", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("parent_kind", String(16), nullable=False),
    Column("parent", RowId, nullable=False, comment="facts.fact or documents.document"),
    Column("position", Integer, nullable=False, comment="0, 1, 2 … within the parent"),
    Column("start", Integer, nullable=False, comment="offset of the chunk in the parent's text, characters"),
    Column("length", Integer, nullable=False, comment="characters"),
    Column("tokens", Text, nullable=False, comment="what the analyser made of the text, space-separated"),
    Column("session", String(200), nullable=False),
    Column("created_at", String(32), nullable=False),
    _one_of("parent_kind", ("fact", "document")),
    UniqueConstraint("parent_kind", "parent", "position"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("event", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("session", String(200), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("detail", Text, nullable=False, comment="one redacted line, or JSON for a checkpoint"),
    Column("created_at", String(32), nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_events_recent", events.c.project, events.c.event)
Index("ix_events_session", events.c.session, events.c.kind)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(300), primary_key=True, comment="principal and operation"),
    Column("key", String(200), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("response", Text, nullable=False, comment="JSON; a remembered value is never part of a response"),
    Column("created_at", String(32), nullable=False),
    sqlite_with_rowid=False,
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("entry", RowId, primary_key=True, autoincrement=True, comment="order of arrival, not evidence"),
    Column("log", String(64), nullable=False),
    Column("stream", String(500), nullable=False),
    Column("seq", BigInteger, nullable=False, comment="1, 2, 3 … within the stream"),
    Column("canonical", LargeBinary, nullable=False, comment="the truth: RFC 8785 bytes of the entry"),
    Column("mac", LargeBinary(32), nullable=False),
    Column("kid", String(64), nullable=False),
    Column("ts", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("principal", String(200), nullable=False),
    Column("claimed_agent", String(64), nullable=False),
    Column("body_digest", String(64), nullable=False),
    Column("prev", String(64), nullable=False),
    Column("leaf_index", BigInteger),
    UniqueConstraint("log", "stream", "seq"),
    sqlite_autoincrement=True,
)

LEAVES = Index(
    "ux_ledger_entries_leaf",
    ledger_entries.c.log,
    ledger_entries.c.leaf_index,
    unique=True,
    sqlite_where=ledger_entries.c.leaf_index.is_not(None),
)
UNSEQUENCED = Index(
    "ix_ledger_entries_unsequenced",
    ledger_entries.c.log,
    ledger_entries.c.entry,
    sqlite_where=ledger_entries.c.leaf_index.is_(None),
)
"""Both partial on both engines, as `ONE_ACTIVE` is."""

ledger_bodies = Table(
    "ledger_bodies",
    metadata,
    Column("log", String(64), primary_key=True),
    Column("stream", String(500), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary(16)),
    Column("body", LargeBinary),
    Column("purged_at", String(32)),
    sqlite_with_rowid=False,
)

ledger_heads = Table(
    "ledger_heads",
    metadata,
    Column("log", String(64), primary_key=True),
    Column("stream", String(500), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("head", String(64), nullable=False, comment="hex SHA-256(canonical || mac) of the newest entry"),
    Column(
        "mac",
        LargeBinary(32),
        nullable=False,
        comment="of the head, so that it cannot be moved without the key",
    ),
    sqlite_with_rowid=False,
)

ledger_tiles = Table(
    "ledger_tiles",
    metadata,
    Column("log", String(64), primary_key=True),
    Column(
        "level", Integer, primary_key=True, autoincrement=False, comment="0, 1 … : of tree level 8 * level"
    ),
    Column("tile", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False, comment="1 to 256 node hashes of 32 bytes, side by side"),
    sqlite_with_rowid=False,
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("log", String(64), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False, comment="leaves"),
    Column("kid", String(64), primary_key=True),
    Column("note", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    sqlite_with_rowid=False,
)

ledger_sequencers = Table(
    "ledger_sequencers",
    metadata,
    Column("log", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("fence", BigInteger, nullable=False, comment="grows with each new holder"),
    Column("expires_at", String(32), nullable=False),
    sqlite_with_rowid=False,
)

tokens = Table(
    "tokens",
    metadata,
    Column("token", String(64), primary_key=True, comment="its id; the token itself is nowhere"),
    Column("agent", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("project", String(64), nullable=False),
    Column("session", String(100), nullable=False),
    Column("issued_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("revoked_at", String(32)),
    Column("issued_by", String(200), nullable=False),
    _one_of("role", ROLES),
    sqlite_with_rowid=False,
)
Index("ix_tokens_project", tokens.c.project, tokens.c.agent)

rates = Table(
    "rates",
    metadata,
    Column("caller", String(300), primary_key=True, comment="principal and session"),
    Column("calls", Float, nullable=False, comment="what was left in the bucket"),
    Column("at", String(32), nullable=False, comment="when that was"),
    comment="How fast callers call all services of a database together. Used in the machine's rows.",
    sqlite_with_rowid=False,
)
Index("ix_rates_at", rates.c.at)

TASK_STATES = ("queued", "delayed", "blocked", "claimed", "done", "dead")
"""See `coordination.tasks.State`."""

tasks = Table(
    "tasks",
    metadata,
    Column("task", RowId, primary_key=True, autoincrement=True, comment="order of arrival"),
    Column("project", String(64), nullable=False),
    Column("role", String(64), nullable=False),
    Column("task_id", String(100), nullable=False),
    Column("payload", Text, nullable=False, comment="JSON object"),
    Column("urgency", Integer, nullable=False, comment="100 - priority: the claim's order is the index's"),
    Column("state", String(16), nullable=False),
    Column("not_before", String(32)),
    Column("due_at", String(32), comment="claimed: when the lease ends; delayed: when it may be claimed"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0", comment="grows with each claim"),
    Column("claimed_by", String(200)),
    Column("claimed_session", String(200)),
    Column("claimed_at", String(32)),
    Column("progress_at", String(32), comment="when the agent itself last said that it works on it"),
    Column("progress", Text),
    Column("reason", Text, comment="why the last attempt failed"),
    Column("created_at", String(32), nullable=False),
    Column("ended_at", String(32)),
    *_origin(),
    Column("files", Text, comment="JSON list of patterns that a claim reserves; NULL for none"),
    UniqueConstraint("project", "role", "task_id"),
    _one_of("state", TASK_STATES),
    CheckConstraint("urgency BETWEEN 0 AND 100", name="urgency"),
    CheckConstraint("attempts BETWEEN 0 AND max_attempts", name="attempts"),
    CheckConstraint(
        "state <> 'claimed' OR (due_at IS NOT NULL AND claimed_by IS NOT NULL AND fence >= 1)", name="lease"
    ),
    CheckConstraint("state <> 'done' OR fence >= 1", name="done"),
    sqlite_autoincrement=True,
)


def in_state(state: str) -> ColumnElement[bool]:
    """Return the condition of tasks in a state, as a partial index has it: a bound value would pass that by."""
    return tasks.c.state == literal(state, literal_execute=True)


READY_TASKS = Index(
    "ix_tasks_ready",
    tasks.c.project,
    tasks.c.role,
    tasks.c.urgency,
    tasks.c.task,
    sqlite_where=in_state("queued"),
)
DUE_TASKS = Index("ix_tasks_due", tasks.c.project, tasks.c.due_at, sqlite_where=tasks.c.due_at.is_not(None))
HELD_TASKS = Index(
    "ix_tasks_held",
    tasks.c.project,
    tasks.c.claimed_by,
    tasks.c.claimed_session,
    sqlite_where=in_state("claimed"),
)
BLOCKED_TASKS = Index(
    "ix_tasks_blocked", tasks.c.project, tasks.c.role, tasks.c.task_id, sqlite_where=in_state("blocked")
)
FILE_TASKS = Index(
    "ix_tasks_files",
    tasks.c.project,
    tasks.c.role,
    tasks.c.urgency,
    tasks.c.task,
    sqlite_where=in_state("queued") & tasks.c.files.is_not(None),
)
"""All five partial on both engines, as `ONE_ACTIVE` is."""

task_needs = Table(
    "task_needs",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("role", String(64), primary_key=True),
    Column("task_id", String(100), primary_key=True),
    Column("needs_role", String(64), primary_key=True),
    Column("needs_task_id", String(100), primary_key=True),
    comment="A task waits until what it needs is done; that may be enqueued later.",
    sqlite_with_rowid=False,
)
Index("ix_task_needs_needed", task_needs.c.project, task_needs.c.needs_role, task_needs.c.needs_task_id)

task_results = Table(
    "task_results",
    metadata,
    Column("task", RowId, primary_key=True, autoincrement=False),
    Column("project", String(64), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("result", Text, nullable=False, comment="JSON object"),
    Column("artefacts", Text, nullable=False, comment="JSON list of paths and references"),
    Column("created_at", String(32), nullable=False),
    *_origin(),
)
broadcasts = Table(
    "broadcasts",
    metadata,
    Column("broadcast", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("type", String(16), nullable=False),
    Column("agent", String(64), nullable=False, comment="who sent it, as its token says"),
    Column("role", String(16), nullable=False, comment="of the sender, when it sent it"),
    Column("task", String(500), nullable=False),
    Column("importance", Integer, nullable=False),
    Column("recipients", Integer, nullable=False, comment="how many are named; 0 for all of the project"),
    Column("message", Text, nullable=False, comment="JSON of its type's fields"),
    Column("created_at", String(32), nullable=False),
    *_origin(),
    _one_of("type", BROADCASTS),
    _one_of("role", (*ROLES, "operator")),
    CheckConstraint("importance BETWEEN 1 AND 5", name="importance"),
    sqlite_autoincrement=True,
)
Index("ix_broadcasts_order", broadcasts.c.project, broadcasts.c.broadcast)

broadcast_recipients = Table(
    "broadcast_recipients",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("broadcast", RowId, primary_key=True, autoincrement=False),
    Column("agent", String(64), primary_key=True),
    sqlite_with_rowid=False,
)

broadcast_acks = Table(
    "broadcast_acks",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("broadcast", RowId, primary_key=True, autoincrement=False),
    Column("agent", String(64), primary_key=True),
    Column("session", String(200), nullable=False),
    Column("created_at", String(32), nullable=False),
    sqlite_with_rowid=False,
)

broadcast_attempts = Table(
    "broadcast_attempts",
    metadata,
    Column("attempt", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("agent", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    comment="What the limit of broadcasts a minute is counted from; older rows are dropped.",
    sqlite_autoincrement=True,
)
Index("ix_broadcast_attempts_agent", broadcast_attempts.c.project, broadcast_attempts.c.agent)

channel_keys = Table(
    "channel_keys",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("verifier", String(300), nullable=False, comment="scrypt$N$r$p$salt$digest, or waived"),
    Column("created_at", String(32), nullable=False),
    Column("created_by", String(200), nullable=False),
    sqlite_with_rowid=False,
)

reservations = Table(
    "reservations",
    metadata,
    Column("reservation", RowId, primary_key=True, autoincrement=True),
    Column("project", String(64), nullable=False),
    Column("pattern", String(500), nullable=False, comment="files, from the working tree's top"),
    Column("agent", String(64), nullable=False, comment="who holds them"),
    Column("principal", String(200), nullable=False),
    Column("session", String(200), nullable=False, comment="of the holder; empty where it is not known"),
    Column("cause", String(600), nullable=False, comment="broadcast:<id>, or task:<id>"),
    Column("task", String(500), nullable=False, comment="for people"),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("released_at", String(32)),
    Column("released_by", String(200)),
    Column("requested_by", String(64), comment="the agent that asked last to have them"),
    Column("requested_at", String(32)),
    sqlite_autoincrement=True,
)
Index("ix_reservations_live", reservations.c.project, reservations.c.released_at, reservations.c.expires_at)
Index("ix_reservations_cause", reservations.c.project, reservations.c.cause)

HELD = (
    facts, documents, events, tasks, task_needs, task_results, broadcasts, broadcast_recipients, broadcast_acks,
    broadcast_attempts, channel_keys, reservations,
)  # fmt: skip
"""What a project holds, beside what finds it (``chunks``) and what answers retries."""
