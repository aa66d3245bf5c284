"""Documents that are stored already, read in the order of their arrival and rewritten without a secret."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, bindparam, select, update

from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.knowledge.archive import COLUMNS, Document, document_of, place_of
from securecontext.knowledge.indexing import DOCUMENT, index, pieces_of, unindex
from securecontext.storage.port import TextIndex
from securecontext.storage.tables import documents
from securecontext.types.classification import SEALED

_AFTER = (
    select(*COLUMNS)
    .where(documents.c.project == bindparam("in_project"), documents.c.document > bindparam("after"))
    .order_by(documents.c.document)
    .limit(bindparam("most"))
)


def documents_after(
    connection: Connection, bodies: Bodies, project: str, after: int, most: int
) -> list[Document]:
    """Return the documents of a project after a row."""
    rows = connection.execute(_AFTER, {"in_project": project, "after": after, "most": most})
    return [document_of(row, project, bodies) for row in rows]


def rewrite(
    connection: Connection,
    text: TextIndex,
    bodies: Bodies,
    project: str,
    old: Document,
    source: str,
    content: str,
) -> None:
    """Replace a document's source and content, and what the index has of it.

    Raises:
        ZcError: the content has to be sealed, and the data keys cannot be used.
    """
    stored = content
    if old.classification in SEALED:  # the source is part of what it is sealed for
        stored = bodies.seal(place_of(replace(old, source=source), project), content)
    changed = update(documents).where(documents.c.document == old.id)
    connection.execute(changed.values(source=source, content=stored))
    index_again(
        connection,
        text,
        project,
        DOCUMENT,
        old.id,
        source,
        content,
        old.classification,
        old.session,
        old.created_at,
    )


def index_again(
    connection: Connection,
    text: TextIndex,
    project: str,
    parent_kind: str,
    parent: int,
    title: str,
    content: str,
    classification: str,
    session: str,
    moment: str,
) -> None:
    """Index a text anew where it is in the index: one that is sealed, and a fact that another one replaced, is not."""
    if unindex(connection, text, parent_kind, [parent]):
        index(
            connection,
            text,
            project=project,
            parent_kind=parent_kind,
            parent=parent,
            pieces=pieces_of(title, content, classification),
            session=session,
            moment=moment,
        )
