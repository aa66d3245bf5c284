"""Tasks may name files that whoever claims them has to itself.

Revision: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None

_WAITING = "state = 'queued' AND files IS NOT NULL"


def upgrade() -> None:
    """Add the column and its index."""
    op.add_column(
        "tasks",
        sa.Column(
            "files",
            sa.Text(),
            nullable=True,
            comment="JSON list of patterns that a claim reserves; NULL for none",
        ),
    )
    op.create_index(
        "ix_tasks_files",
        "tasks",
        ["project", "role", "urgency", "task"],
        sqlite_where=sa.text(_WAITING),
        postgresql_where=sa.text(_WAITING),
    )


def downgrade() -> None:
    """Take both away; tasks are handed out without regard to files again."""
    op.drop_index("ix_tasks_files", "tasks")
    op.drop_column("tasks", "files")
