"""The work queue: tasks, what they wait for, and what came of them.

Revision: 0004
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _origin(table: str) -> list[Any]:
    return [
        sa.Column("provenance", sa.String(length=16), server_default="UNKNOWN", nullable=False),
        sa.Column("trust", sa.String(length=16), server_default="agent", nullable=False),
        sa.Column("classification", sa.String(length=16), server_default="internal", nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("session", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "provenance IN ('EXTRACTED', 'INFERRED', 'AMBIGUOUS', 'UNKNOWN')",
            name=op.f(f"ck_{table}_provenance"),
        ),
        sa.CheckConstraint(
            "trust IN ('agent', 'person', 'system', 'imported', 'external')", name=op.f(f"ck_{table}_trust")
        ),
        sa.CheckConstraint(
            "classification IN ('public', 'internal', 'confidential', 'restricted')",
            name=op.f(f"ck_{table}_classification"),
        ),
    ]


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "tasks",
        sa.Column("task", _ROW, autoincrement=True, nullable=False, comment="order of arrival"),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=100), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column(
            "urgency",
            sa.Integer(),
            nullable=False,
            comment="100 - priority: the claim's order is the index's",
        ),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("not_before", sa.String(length=32), nullable=True),
        sa.Column(
            "due_at",
            sa.String(length=32),
            nullable=True,
            comment="claimed: when the lease ends; delayed: when it may be claimed",
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column(
            "fence", sa.BigInteger(), server_default="0", nullable=False, comment="grows with each claim"
        ),
        sa.Column("claimed_by", sa.String(length=200), nullable=True),
        sa.Column("claimed_session", sa.String(length=200), nullable=True),
        sa.Column("claimed_at", sa.String(length=32), nullable=True),
        sa.Column(
            "progress_at",
            sa.String(length=32),
            nullable=True,
            comment="when the agent itself last said that it works on it",
        ),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="why the last attempt failed"),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("ended_at", sa.String(length=32), nullable=True),
        *_origin("tasks"),
        sa.CheckConstraint(
            "state IN ('queued', 'delayed', 'blocked', 'claimed', 'done', 'dead')",
            name=op.f("ck_tasks_state"),
        ),
        sa.CheckConstraint("urgency BETWEEN 0 AND 100", name=op.f("ck_tasks_urgency")),
        sa.CheckConstraint("attempts BETWEEN 0 AND max_attempts", name=op.f("ck_tasks_attempts")),
        sa.CheckConstraint(
            "state <> 'claimed' OR (due_at IS NOT NULL AND claimed_by IS NOT NULL AND fence >= 1)",
            name=op.f("ck_tasks_lease"),
        ),
        sa.CheckConstraint("state <> 'done' OR fence >= 1", name=op.f("ck_tasks_done")),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_tasks")),
        sa.UniqueConstraint("project", "role", "task_id", name=op.f("uq_tasks_project_role_task_id")),
        sqlite_autoincrement=True,
    )
    for name, columns, where in (
        ("ix_tasks_ready", ["project", "role", "urgency", "task"], "state = 'queued'"),
        ("ix_tasks_due", ["project", "due_at"], "due_at IS NOT NULL"),
        ("ix_tasks_held", ["project", "claimed_by", "claimed_session"], "state = 'claimed'"),
        ("ix_tasks_blocked", ["project", "role", "task_id"], "state = 'blocked'"),
    ):
        op.create_index(name, "tasks", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "task_needs",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=100), nullable=False),
        sa.Column("needs_role", sa.String(length=64), nullable=False),
        sa.Column("needs_task_id", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint(
            "project", "role", "task_id", "needs_role", "needs_task_id", name=op.f("pk_task_needs")
        ),
        comment="A task waits until what it needs is done; that may be enqueued later.",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_needs_needed", "task_needs", ["project", "needs_role", "needs_task_id"])
    op.create_table(
        "task_results",
        sa.Column("task", _ROW, autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("artefacts", sa.Text(), nullable=False, comment="JSON list of paths and references"),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        *_origin("task_results"),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_task_results")),
    )


def downgrade() -> None:
    """Take the tables away; tasks that nobody has finished are lost with them."""
    op.drop_table("task_results")
    op.drop_table("task_needs")
    op.drop_table("tasks")
