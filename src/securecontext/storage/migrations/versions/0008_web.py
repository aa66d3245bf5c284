"""Pages of the web: how many a project may fetch a day, and where its documents come from.

Revision: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "fetch_budgets",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False, comment="of UTC"),
        sa.Column(
            "used", sa.Integer(), nullable=False, comment="pages that were fetched, or are being fetched"
        ),
        sa.CheckConstraint("used >= 0", name=op.f("ck_fetch_budgets_used")),
        sa.PrimaryKeyConstraint("project", "day", name=op.f("pk_fetch_budgets")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fetched_pages",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column(
            "url_digest",
            sa.String(length=64),
            nullable=False,
            comment="hex SHA-256 of the URL as it was asked for",
        ),
        sa.Column("url", sa.Text(), nullable=False, comment="where it came from in the end"),
        sa.Column("source", sa.String(length=500), nullable=False, comment="of its document in the archive"),
        sa.Column("etag", sa.String(length=400), nullable=False),
        sa.Column("last_modified", sa.String(length=400), nullable=False),
        sa.Column(
            "content_digest",
            sa.String(length=64),
            nullable=False,
            comment="hex SHA-256 of the bytes of the page",
        ),
        sa.Column(
            "text_digest",
            sa.String(length=64),
            nullable=False,
            comment="hex SHA-256 of the document's text",
        ),
        sa.Column("flags", sa.Text(), nullable=False, comment="JSON: class of injection -> how often"),
        sa.Column("fetched_at", sa.String(length=32), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("project", "url_digest", name=op.f("pk_fetched_pages")),
        comment="Where documents from the web come from, and what their servers said of them.",
    )


def downgrade() -> None:
    """Take the tables away; the documents stay."""
    op.drop_table("fetched_pages")
    op.drop_table("fetch_budgets")
