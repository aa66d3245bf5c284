"""Documents that are stored already, read in the order of their arrival and rewritten without a secret.

Texts of a class that is stored sealed are not looked at here: what lies in their rows is no text.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, or_, select, update

from securecontext.knowledge import archive
from securecontext.storage.port import TextIndex
from securecontext.storage.tables import documents


class StoredDocument(NamedTuple):
    """What of a document may hold a secret, and what its place in the index needs."""

    id: int
    source: str
    content: str
    session: str
    created_at: str


_AFTER = (
    select(
        documents.c.document,
        documents.c.source,
        documents.c.content,
        documents.c.session,
        documents.c.created_at,
    )
    .where(
        documents.c.project == bindparam("in_project"),
        documents.c.document > bindparam("after"),
        or_(documents.c.classification == "public", documents.c.classification == "internal"),
    )
    .order_by(documents.c.document)
    .limit(bindparam("most"))
)


def documents_after(connection: Connection, project: str, after: int, most: int) -> list[StoredDocument]:
    """Return the documents of a project after a row."""
    given = {"in_project": project, "after": after, "most": most}
    return [StoredDocument(*row) for row in connection.execute(_AFTER, given)]


def rewrite(
    connection: Connection, text: TextIndex, project: str, old: StoredDocument, source: str, content: str
) -> None:
    """Replace a document's source and content, and what the index has of it."""
    changed = update(documents).where(documents.c.document == old.id)
    connection.execute(changed.values(source=source, content=content))
    index_again(
        connection, text, project, archive.DOCUMENT, old.id, source, content, old.session, old.created_at
    )


def index_again(
    connection: Connection,
    text: TextIndex,
    project: str,
    parent_kind: str,
    parent: int,
    title: str,
    content: str,
    session: str,
    moment: str,
) -> None:
    """Index a text anew where it is in the index: a fact that another one replaced is not."""
    if archive.unindex(connection, text, parent_kind, [parent]):
        archive.index(
            connection,
            text,
            project=project,
            parent_kind=parent_kind,
            parent=parent,
            pieces=archive.pieces_of(title, content),
            session=session,
            moment=moment,
        )
