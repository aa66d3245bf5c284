"""What a project's file gives up once the project went into another: all that it holds, but not its ledger."""

from __future__ import annotations

from sqlalchemy import delete

from securecontext.projects import census
from securecontext.storage.port import TextIndex, Transaction
from securecontext.storage.tables import HELD, chunks, idempotency
from securecontext.types.ledger import EntryDraft


def empty(transaction: Transaction, *, text: TextIndex, project: str, target: str) -> None:
    """Delete what a merged project held, so that what is forgotten in the other one lies nowhere else.

    Args:
        transaction: of the merged project's own file.
        text: its full-text index.
        project: the one that was merged.
        target: the one that goes on.
    """
    connection = transaction.connection
    gone = delete(chunks).where(chunks.c.project == project).returning(chunks.c.chunk)
    text.remove(connection, connection.execute(gone).scalars().all())
    text.scrub(connection)
    for table in HELD:
        connection.execute(delete(table).where(table.c.project == project))
    answers = idempotency.c.scope.like(f"%/{project}/%")  # a project's id holds no wildcard
    connection.execute(delete(idempotency).where(answers))
    census.note_merged(connection, target)
    body = {"operation": "project.merge", "outcome": "ok", "arguments": {"target": target}}
    transaction.record(EntryDraft("system", "projects", "", "call", body))
    transaction.scrub_after_commit()
