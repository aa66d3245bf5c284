"""How fast callers call, where several services share a database.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the table and its index."""
    op.create_table(
        "rates",
        sa.Column("caller", sa.String(length=300), nullable=False, comment="principal and session"),
        sa.Column("calls", sa.Float(), nullable=False, comment="what was left in the bucket"),
        sa.Column("at", sa.String(length=32), nullable=False, comment="when that was"),
        sa.PrimaryKeyConstraint("caller", name=op.f("pk_rates")),
        comment="How fast callers call all services of a database together. Used in the machine's rows.",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_rates_at", "rates", ["at"])


def downgrade() -> None:
    """Take the table away: every bucket is full again."""
    op.drop_table("rates")
