"""Sealed texts: an index of the facts and documents whose class has them stored sealed.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: tuple[str, ...] | None = None
depends_on: str | None = None

_SEALED = sa.text("classification = 'confidential' OR classification = 'restricted'")


def upgrade() -> None:
    """Create the indexes. No text changes: no release stored one of these classes."""
    for name, table, row in (
        ("ix_facts_sealed", "facts", "fact"),
        ("ix_documents_sealed", "documents", "document"),
    ):
        op.create_index(name, table, ["project", row], sqlite_where=_SEALED, postgresql_where=_SEALED)


def downgrade() -> None:
    """Take the indexes away; what is sealed stays sealed."""
    op.drop_index("ix_documents_sealed", "documents")
    op.drop_index("ix_facts_sealed", "facts")
