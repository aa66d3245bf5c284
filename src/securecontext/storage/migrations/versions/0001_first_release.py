"""Everything of the first release: projects, memory, archive, chunks, events, idempotency keys and the ledger.

Full-text search is the twin part: SQLite gets its FTS5 table here; PostgreSQL's index comes with the migration that
opens that engine for the product. A row of ``chunks_fts`` has the ``chunk`` of its ``chunks`` row as ``rowid``.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table, its indexes and, on SQLite, the full-text table."""
    _meta()
    _projects()
    _project_aliases()
    _facts()
    _documents()
    _chunks()
    _events()
    _idempotency()
    _ledger_entries()
    _ledger_bodies()
    _ledger_heads()
    _ledger_tiles()
    _ledger_checkpoints()
    _ledger_sequencers()
    if op.get_context().dialect.name == "sqlite":
        _chunks_fts()


def downgrade() -> None:
    """Refuse: going back from the first revision is deleting the database."""
    raise NotImplementedError("The first revision has nothing before it.")


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
        comment="What a file is: its kind (machine or project), its project, its log.",
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("merged_into", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("last_used_at", sa.String(length=32), nullable=False),
        sa.CheckConstraint("state IN ('active', 'merged', 'deleted')", name=op.f("ck_projects_state")),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_projects")),
    )


def _project_aliases() -> None:
    op.create_table(
        "project_aliases",
        sa.Column(
            "alias",
            sa.String(length=1100),
            nullable=False,
            comment="kind:machine id:path, or predecessor:hash",
        ),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("fk_project_aliases_project")),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_project_aliases")),
    )
    op.create_index(op.f("ix_project_aliases_project"), "project_aliases", ["project"], unique=False)


def _facts() -> None:
    op.create_table(
        "facts",
        sa.Column("fact", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False, comment="the memory namespace"),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("importance", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column(
            "replaced_by",
            ROW_ID,
            nullable=True,
            comment="the newer fact: same key, or the one that supersedes it",
        ),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("provenance", sa.String(length=16), server_default="UNKNOWN", nullable=False),
        sa.Column("trust", sa.String(length=16), server_default="agent", nullable=False),
        sa.Column("classification", sa.String(length=16), server_default="internal", nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "classification IN ('public', 'internal', 'confidential', 'restricted')",
            name=op.f("ck_facts_classification"),
        ),
        sa.CheckConstraint(
            "provenance IN ('EXTRACTED', 'INFERRED', 'AMBIGUOUS', 'UNKNOWN')",
            name=op.f("ck_facts_provenance"),
        ),
        sa.CheckConstraint(
            "state IN ('active', 'archived', 'replaced', 'superseded')", name=op.f("ck_facts_state")
        ),
        sa.CheckConstraint(
            "trust IN ('agent', 'person', 'system', 'imported', 'external')", name=op.f("ck_facts_trust")
        ),
        sa.CheckConstraint("importance BETWEEN 1 AND 5", name=op.f("ck_facts_importance")),
        sa.PrimaryKeyConstraint("fact", name=op.f("pk_facts")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_facts_key", "facts", ["project", "agent", "key"], unique=False)
    op.create_index(
        "ix_facts_order", "facts", ["project", "state", "agent", "importance", "created_at"], unique=False
    )
    op.create_index(
        "ux_facts_active",
        "facts",
        ["project", "agent", "key"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("document", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=500), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=True),
        sa.Column("provenance", sa.String(length=16), server_default="UNKNOWN", nullable=False),
        sa.Column("trust", sa.String(length=16), server_default="agent", nullable=False),
        sa.Column("classification", sa.String(length=16), server_default="internal", nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "classification IN ('public', 'internal', 'confidential', 'restricted')",
            name=op.f("ck_documents_classification"),
        ),
        sa.CheckConstraint("kind IN ('text', 'summary', 'broadcast')", name=op.f("ck_documents_kind")),
        sa.CheckConstraint(
            "provenance IN ('EXTRACTED', 'INFERRED', 'AMBIGUOUS', 'UNKNOWN')",
            name=op.f("ck_documents_provenance"),
        ),
        sa.CheckConstraint(
            "trust IN ('agent', 'person', 'system', 'imported', 'external')", name=op.f("ck_documents_trust")
        ),
        sa.PrimaryKeyConstraint("document", name=op.f("pk_documents")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_documents_source", "documents", ["project", "kind", "source"], unique=False)


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("chunk", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("parent_kind", sa.String(length=16), nullable=False),
        sa.Column("parent", ROW_ID, nullable=False, comment="facts.fact or documents.document"),
        sa.Column("position", sa.Integer(), nullable=False, comment="0, 1, 2 … within the parent"),
        sa.Column(
            "start",
            sa.Integer(),
            nullable=False,
            comment="offset of the chunk in the parent's text, characters",
        ),
        sa.Column("length", sa.Integer(), nullable=False, comment="characters"),
        sa.Column(
            "tokens", sa.Text(), nullable=False, comment="what the analyser made of the text, space-separated"
        ),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.CheckConstraint("parent_kind IN ('fact', 'document')", name=op.f("ck_chunks_parent_kind")),
        sa.PrimaryKeyConstraint("chunk", name=op.f("pk_chunks")),
        sa.UniqueConstraint(
            "parent_kind", "parent", "position", name=op.f("uq_chunks_parent_kind_parent_position")
        ),
        sqlite_autoincrement=True,
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("event", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="one redacted line, or JSON for a checkpoint"),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("event", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_recent", "events", ["project", "event"], unique=False)
    op.create_index("ix_events_session", "events", ["session", "kind"], unique=False)


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(length=300), nullable=False, comment="principal and operation"),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "response",
            sa.Text(),
            nullable=False,
            comment="JSON; a remembered value is never part of a response",
        ),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency")),
        sqlite_with_rowid=False,
    )


def _ledger_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column(
            "entry", ROW_ID, autoincrement=True, nullable=False, comment="order of arrival, not evidence"
        ),
        sa.Column("log", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=500), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="1, 2, 3 … within the stream"),
        sa.Column(
            "canonical", sa.LargeBinary(), nullable=False, comment="the truth: RFC 8785 bytes of the entry"
        ),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("ts", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("claimed_agent", sa.String(length=64), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("prev", sa.String(length=64), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("log", "stream", "seq", name=op.f("uq_ledger_entries_log_stream_seq")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ux_ledger_entries_leaf",
        "ledger_entries",
        ["log", "leaf_index"],
        unique=True,
        sqlite_where=sa.text("leaf_index IS NOT NULL"),
        postgresql_where=sa.text("leaf_index IS NOT NULL"),
    )
    op.create_index(
        "ix_ledger_entries_unsequenced",
        "ledger_entries",
        ["log", "entry"],
        sqlite_where=sa.text("leaf_index IS NULL"),
        postgresql_where=sa.text("leaf_index IS NULL"),
    )


def _ledger_bodies() -> None:
    op.create_table(
        "ledger_bodies",
        sa.Column("log", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=500), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("purged_at", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("log", "stream", "seq", name=op.f("pk_ledger_bodies")),
        sqlite_with_rowid=False,
    )


def _ledger_heads() -> None:
    op.create_table(
        "ledger_heads",
        sa.Column("log", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=500), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "head",
            sa.String(length=64),
            nullable=False,
            comment="hex SHA-256(canonical || mac) of the newest entry",
        ),
        sa.Column(
            "mac",
            sa.LargeBinary(length=32),
            nullable=False,
            comment="of the head, so that it cannot be moved without the key",
        ),
        sa.PrimaryKeyConstraint("log", "stream", name=op.f("pk_ledger_heads")),
        sqlite_with_rowid=False,
    )


def _ledger_tiles() -> None:
    op.create_table(
        "ledger_tiles",
        sa.Column("log", sa.String(length=64), nullable=False),
        sa.Column(
            "level",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="0, 1 … : of tree level 8 * level",
        ),
        sa.Column("tile", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "hashes",
            sa.LargeBinary(),
            nullable=False,
            comment="1 to 256 node hashes of 32 bytes, side by side",
        ),
        sa.PrimaryKeyConstraint("log", "level", "tile", name=op.f("pk_ledger_tiles")),
        sqlite_with_rowid=False,
    )


def _ledger_checkpoints() -> None:
    op.create_table(
        "ledger_checkpoints",
        sa.Column("log", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False, comment="leaves"),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("log", "size", "kid", name=op.f("pk_ledger_checkpoints")),
        sqlite_with_rowid=False,
    )


def _ledger_sequencers() -> None:
    op.create_table(
        "ledger_sequencers",
        sa.Column("log", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False, comment="grows with each new holder"),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("log", name=op.f("pk_ledger_sequencers")),
        sqlite_with_rowid=False,
    )


def _chunks_fts() -> None:
    # Plain, not contentless: a forgotten chunk is deleted by its rowid alone, and `optimize` clears its pages.
    # The analyser has already folded case and accents, so the tokenizer must leave the tokens as they are.
    op.execute(
        "CREATE VIRTUAL TABLE chunks_fts USING fts5(tokens, tokenize = 'unicode61 remove_diacritics 0')"
    )
