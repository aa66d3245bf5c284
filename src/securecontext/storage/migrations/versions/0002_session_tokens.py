"""Session tokens: which were issued, and which were revoked. Used in the machine's file.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the table and its index."""
    op.create_table(
        "tokens",
        sa.Column(
            "token", sa.String(length=64), nullable=False, comment="its id; the token itself is nowhere"
        ),
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=100), nullable=False),
        sa.Column("issued_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.Column("revoked_at", sa.String(length=32), nullable=True),
        sa.Column("issued_by", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "role IN ('orchestrator', 'developer', 'marketer', 'researcher', 'worker')",
            name=op.f("ck_tokens_role"),
        ),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_tokens")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tokens_project", "tokens", ["project", "agent"])


def downgrade() -> None:
    """Take the table away; tokens that were issued are then unknown, and refused."""
    op.drop_table("tokens")
