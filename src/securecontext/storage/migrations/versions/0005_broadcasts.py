"""Broadcasts: what agents tell one another and acknowledge, the keys of channels, and whose files are whose.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = (
    "broadcasts",
    "broadcast_recipients",
    "broadcast_acks",
    "broadcast_attempts",
    "channel_keys",
    "reservations",
)


def upgrade() -> None:
    """Create the tables and their indexes."""
    _broadcasts()
    _broadcast_recipients()
    _broadcast_acks()
    _broadcast_attempts()
    _channel_keys()
    _reservations()


def downgrade() -> None:
    """Take the tables away, and with them what was said; the ledger still knows that it was."""
    for name in reversed(TABLES):
        op.drop_table(name)


def _broadcasts() -> None:
    op.create_table(
        "broadcasts",
        sa.Column("broadcast", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False, comment="who sent it, as its token says"),
        sa.Column("role", sa.String(length=16), nullable=False, comment="of the sender, when it sent it"),
        sa.Column("task", sa.String(length=500), nullable=False),
        sa.Column("importance", sa.Integer(), nullable=False),
        sa.Column(
            "recipients", sa.Integer(), nullable=False, comment="how many are named; 0 for all of the project"
        ),
        sa.Column("message", sa.Text(), nullable=False, comment="JSON of its type's fields"),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("provenance", sa.String(length=16), server_default="UNKNOWN", nullable=False),
        sa.Column("trust", sa.String(length=16), server_default="agent", nullable=False),
        sa.Column("classification", sa.String(length=16), server_default="internal", nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "classification IN ('public', 'internal', 'confidential', 'restricted')",
            name=op.f("ck_broadcasts_classification"),
        ),
        sa.CheckConstraint(
            "provenance IN ('EXTRACTED', 'INFERRED', 'AMBIGUOUS', 'UNKNOWN')",
            name=op.f("ck_broadcasts_provenance"),
        ),
        sa.CheckConstraint(
            "role IN ('orchestrator', 'developer', 'marketer', 'researcher', 'worker', 'operator')",
            name=op.f("ck_broadcasts_role"),
        ),
        sa.CheckConstraint(
            "trust IN ('agent', 'person', 'system', 'imported', 'external')", name=op.f("ck_broadcasts_trust")
        ),
        sa.CheckConstraint(
            "type IN ('ASSIGN', 'STATUS', 'PROPOSED', 'DEPENDENCY', 'MERGE', 'REJECT', 'REVISE', "
            "'LAUNCH_ROLE', 'RETIRE_ROLE')",
            name=op.f("ck_broadcasts_type"),
        ),
        sa.CheckConstraint("importance BETWEEN 1 AND 5", name=op.f("ck_broadcasts_importance")),
        sa.PrimaryKeyConstraint("broadcast", name=op.f("pk_broadcasts")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_broadcasts_order", "broadcasts", ["project", "broadcast"])


def _broadcast_recipients() -> None:
    op.create_table(
        "broadcast_recipients",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("broadcast", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("project", "broadcast", "agent", name=op.f("pk_broadcast_recipients")),
        sqlite_with_rowid=False,
    )


def _broadcast_acks() -> None:
    op.create_table(
        "broadcast_acks",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("broadcast", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("project", "broadcast", "agent", name=op.f("pk_broadcast_acks")),
        sqlite_with_rowid=False,
    )


def _broadcast_attempts() -> None:
    op.create_table(
        "broadcast_attempts",
        sa.Column("attempt", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("attempt", name=op.f("pk_broadcast_attempts")),
        comment="What the limit of broadcasts a minute is counted from; older rows are dropped.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_broadcast_attempts_agent", "broadcast_attempts", ["project", "agent"])


def _channel_keys() -> None:
    op.create_table(
        "channel_keys",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column(
            "verifier", sa.String(length=300), nullable=False, comment="scrypt$N$r$p$salt$digest, or waived"
        ),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_channel_keys")),
        sqlite_with_rowid=False,
    )


def _reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("reservation", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column(
            "pattern", sa.String(length=500), nullable=False, comment="files, from the working tree's top"
        ),
        sa.Column("agent", sa.String(length=64), nullable=False, comment="who holds them"),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column(
            "session",
            sa.String(length=200),
            nullable=False,
            comment="of the holder; empty where it is not known",
        ),
        sa.Column("cause", sa.String(length=600), nullable=False, comment="broadcast:<id>, or task:<id>"),
        sa.Column("task", sa.String(length=500), nullable=False, comment="for people"),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.Column("released_at", sa.String(length=32), nullable=True),
        sa.Column("released_by", sa.String(length=200), nullable=True),
        sa.Column(
            "requested_by",
            sa.String(length=64),
            nullable=True,
            comment="the agent that asked last to have them",
        ),
        sa.Column("requested_at", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("reservation", name=op.f("pk_reservations")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reservations_cause", "reservations", ["project", "cause"])
    op.create_index("ix_reservations_live", "reservations", ["project", "released_at", "expires_at"])
