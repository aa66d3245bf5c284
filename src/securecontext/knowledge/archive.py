"""The archive: documents under a source, each cut into chunks that the full-text index knows.

Facts of working memory have chunks too, so that search finds them, evicted ones included; their rows belong to the
room of memory, and only ids cross.

Texts of the classes confidential and restricted are stored sealed (`boundaries.keyring.bodies`) and have no chunks,
whose words would say what they say; search looks for them in another way (see ``sealed``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, ScalarSelect, bindparam, delete, func, insert, literal, or_, select, update

from securecontext.boundaries.keyring.bodies import (
    Bodies,
    Body,
    Place,
    document_place,
    is_plain,
    text_of,
    trouble_of,
)
from securecontext.contracts import require
from securecontext.contracts.agent import is_storable
from securecontext.contracts.session import has_a_moment
from securecontext.knowledge.indexing import DOCUMENT, Piece, index, pieces_of, unindex
from securecontext.storage.port import TextIndex
from securecontext.storage.tables import documents, is_sealed
from securecontext.types.classification import SEALED, kept
from securecontext.types.errors import ZcError


@dataclass(frozen=True, slots=True)
class Document:
    """One document of the archive; shown as ``d<id>``. Its body is the content, or why it cannot be read."""

    id: int
    kind: str
    source: str
    body: Body
    created_at: str
    provenance: str
    trust: str
    created_by: str
    session: str
    expires_at: str | None
    classification: str = "internal"

    @property
    def content(self) -> str:
        """The content.

        Raises:
            ZcError: it cannot be read; see `trouble`.
        """
        return text_of(self.body)

    @property
    def trouble(self) -> ZcError | None:
        """Why the content cannot be read; None where it can."""
        return trouble_of(self.body)

    def says(self, content: str) -> bool:
        """Say whether this is the content; one that cannot be read says nothing."""
        return self.body == content


@dataclass(frozen=True, slots=True)
class Draft:
    """A document before it is stored.

    Attributes:
        kind: ``text``, ``summary`` or ``broadcast``.
        source: what names it; a document of the same kind and source is replaced.
        classification: None to keep that of the document which it replaces.
        expires_at: timestamp after which it is dropped; None for never.
    """

    kind: str
    source: str
    content: str
    created_by: str
    session: str
    trust: str = "agent"
    provenance: str = "EXTRACTED"
    classification: str | None = None
    expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What `put` did.

    Attributes:
        document: id of the new document.
        replaced: documents that it took the place of.
        chunks: pieces of it in the index; a sealed text has none.
        classification: its class.
        concealed: what it replaced lay there as it is, and it is sealed: the traces of that have to go.
    """

    document: int
    replaced: int
    chunks: int
    classification: str = "internal"
    concealed: bool = False


COLUMNS = (
    documents.c.document,
    documents.c.kind,
    documents.c.source,
    documents.c.content,
    documents.c.created_at,
    documents.c.provenance,
    documents.c.trust,
    documents.c.created_by,
    documents.c.session,
    documents.c.expires_at,
    documents.c.classification,
)
_SAME = select(documents.c.document, documents.c.classification).where(
    documents.c.project == bindparam("in_project"),
    documents.c.kind == bindparam("of_kind"),
    documents.c.source == bindparam("of_source"),
)
_INSERT = insert(documents)
_SEAL = (
    update(documents).where(documents.c.document == bindparam("which")).values(content=bindparam("sealed"))
)
_LAST = (
    select(*COLUMNS)
    .where(documents.c.project == bindparam("in_project"), documents.c.kind == bindparam("of_kind"))
    .order_by(documents.c.created_at.desc(), documents.c.document.desc())
    .limit(1)
)
_COUNT = (
    select(documents.c.kind, func.count())
    .where(documents.c.project == bindparam("in_project"))
    .group_by(documents.c.kind)
)
_SEALED_CLASSES = (
    select(documents.c.classification, documents.c.created_by)
    .distinct()
    .where(documents.c.project == bindparam("in_project"), documents.c.kind == "text", is_sealed(documents))
)
_BY_IDS = select(*COLUMNS).where(
    documents.c.project == bindparam("in_project"),
    documents.c.document.in_(bindparam("ids", expanding=True)),
)


def document_of(row: Iterable[Any], project: str, bodies: Bodies) -> Document:
    """Return the document of a row of `COLUMNS`, its content opened where it is sealed."""
    found = Document(*row)
    stored: str = found.body  # type: ignore[assignment]  # as the column has it
    if is_plain(stored, found.classification):
        return found
    return replace(found, body=bodies.open(place_of(found, project), stored))


def place_of(document: Document, project: str) -> Place:
    """Return the place of a document's content."""
    labels, d = (document.created_by, document.trust, document.provenance), document
    return document_place(project, d.id, d.kind, d.source, labels, d.classification)


@require(
    lambda draft: draft.source.strip() and is_storable(draft.source) and is_storable(draft.content),
    "a document has a source, and texts that both engines hold",
)
@has_a_moment
def put(
    connection: Connection,
    text: TextIndex,
    bodies: Bodies,
    project: str,
    draft: Draft,
    moment: str,
    pieces: Sequence[Piece] | None = None,
) -> Stored:
    """Store a document and index it; one of the same kind and source is replaced.

    Args:
        connection: inside the writer's transaction.
        text: the index that goes with it.
        bodies: seals what is not stored as it is.
        project: id of the project.
        draft: the document.
        moment: timestamp.
        pieces: `pieces_of` its source and content, where they were made before the transaction.

    Raises:
        ZcError: it has to be sealed, and the data keys cannot be used.
    """
    wanted = {"in_project": project, "of_kind": draft.kind, "of_source": draft.source}
    old = {int(row[0]): row[1] for row in connection.execute(_SAME, wanted)}
    classification = kept(draft.classification, old.values())
    is_sealed = classification in SEALED
    drop(connection, text, list(old))
    inserted = connection.execute(
        _INSERT,
        {
            "project": project,
            "kind": draft.kind,
            "source": draft.source,
            "content": "" if is_sealed else draft.content,
            "created_at": moment,
            "expires_at": draft.expires_at,
            "provenance": draft.provenance,
            "trust": draft.trust,
            "classification": classification,
            "created_by": draft.created_by,
            "session": draft.session,
        },
    )
    new = int(inserted.inserted_primary_key[0])  # type: ignore[index]  # an insert of one row has it
    if is_sealed:
        labels = (draft.created_by, draft.trust, draft.provenance)
        place = document_place(project, new, draft.kind, draft.source, labels, classification)
        connection.execute(_SEAL, {"which": new, "sealed": bodies.seal(place, draft.content)})
        concealed = any(before not in SEALED for before in old.values())
        return Stored(new, len(old), 0, classification, concealed)
    made = index(
        connection,
        text,
        project=project,
        parent_kind=DOCUMENT,
        parent=new,
        pieces=pieces_of(draft.source, draft.content) if pieces is None else pieces,
        session=draft.session,
        moment=moment,
    )
    return Stored(new, len(old), made, classification)


def drop(connection: Connection, text: TextIndex, ids: Sequence[int]) -> None:
    """Delete documents with their chunks."""
    if ids:
        unindex(connection, text, DOCUMENT, ids)
        connection.execute(delete(documents).where(documents.c.document.in_(ids)))


def last(connection: Connection, bodies: Bodies, project: str, kind: str) -> Document | None:
    """Return the newest document of a kind, by its own time: what was brought in late may be old."""
    row = connection.execute(_LAST, {"in_project": project, "of_kind": kind}).first()
    return None if row is None else document_of(row, project, bodies)


def named(connection: Connection, bodies: Bodies, project: str, kind: str, source: str) -> Document | None:
    """Return the document of a kind under a source."""
    query = select(*COLUMNS).where(
        documents.c.project == project, documents.c.kind == kind, documents.c.source == source
    )
    row = connection.execute(query).first()
    return None if row is None else document_of(row, project, bodies)


def under(connection: Connection, bodies: Bodies, project: str, source: str) -> list[Document]:
    """Return the documents of every kind under a source, oldest first."""
    query = select(*COLUMNS).where(documents.c.project == project, documents.c.source == source)
    return [
        document_of(row, project, bodies) for row in connection.execute(query.order_by(documents.c.document))
    ]


def by_ids(connection: Connection, bodies: Bodies, project: str, ids: Sequence[int]) -> dict[int, Document]:
    """Return documents by id."""
    if not ids:
        return {}
    found = connection.execute(_BY_IDS, {"in_project": project, "ids": list(ids)})
    return {d.id: d for d in (document_of(row, project, bodies) for row in found)}


def every(connection: Connection, bodies: Bodies, project: str) -> list[Document]:
    """Return all documents of a project, oldest first."""
    query = select(*COLUMNS).where(documents.c.project == project).order_by(documents.c.document)
    return [document_of(row, project, bodies) for row in connection.execute(query)]


def counts(connection: Connection, project: str) -> dict[str, int]:
    """Return the number of documents by kind, out of the index of sources alone."""
    return {row[0]: int(row[1]) for row in connection.execute(_COUNT, {"in_project": project})}


def up_to(most: int, *kinds: str) -> ScalarSelect[int]:
    """Return a count of the documents of some kinds in the project ``in_project``; counting ends at so many."""
    # Not `in_`, whose list SQLAlchemy writes into the statement anew at each call.
    wanted = or_(*(documents.c.kind == kind for kind in kinds))
    found = select(literal(1)).where(documents.c.project == bindparam("in_project"), wanted)
    return select(func.count()).select_from(found.limit(most).subquery()).scalar_subquery()


def sealed_classes(connection: Connection, project: str) -> list[tuple[str, str]]:
    """Return the different pairs of class and author among the sealed texts, summaries left out."""
    found = connection.execute(_SEALED_CLASSES, {"in_project": project})
    return [(row.classification, row.created_by) for row in found]


def of_session(connection: Connection, project: str, session: str, by: str | None = None) -> list[int]:
    """Return the documents that a session stored; of one principal, or of every one."""
    query = select(documents.c.document).where(documents.c.project == project, documents.c.session == session)
    if by is not None:
        query = query.where(documents.c.created_by == by)
    return [int(row[0]) for row in connection.execute(query)]


def expired(connection: Connection, project: str, moment: str) -> list[int]:
    """Return the documents whose time is over."""
    query = select(documents.c.document).where(
        documents.c.project == project, documents.c.expires_at <= moment
    )
    return [int(row[0]) for row in connection.execute(query)]
