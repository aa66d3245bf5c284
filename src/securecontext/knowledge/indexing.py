"""Chunks: a text cut into pieces with their words, as the full-text index knows them.

They belong to a fact or to a document, by its kind and id; a text of a sealed class has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert

from securecontext.contracts import require
from securecontext.contracts.session import has_a_moment
from securecontext.knowledge.chunks import split
from securecontext.storage.analyser import tokens
from securecontext.storage.port import TextIndex
from securecontext.storage.tables import chunks
from securecontext.types.classification import SEALED

FACT = "fact"
DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of a text with its words, ready to be indexed.

    Attributes:
        position: 0, 1, 2 … within the text.
        start: offset in the text, characters.
        length: characters.
        words: what the analyser made of title and chunk, space-separated.
    """

    position: int
    start: int
    length: int
    words: str


_INSERT_CHUNKS = insert(chunks).returning(chunks.c.chunk, chunks.c.position)
_DROP_CHUNKS_OF = (
    delete(chunks)
    .where(chunks.c.parent_kind == bindparam("of_kind"), chunks.c.parent == bindparam("of_parent"))
    .returning(chunks.c.chunk)
)


def pieces_of(title: str, content: str, classification: str | None = None) -> list[Piece]:
    """Cut a text into chunks and analyse them, the title's words with each; of a sealed class there are none.

    Takes seconds for a million characters.
    """
    if classification in SEALED:
        return []
    head = tokens(title)
    return [
        Piece(each.position, each.start, len(each.text), " ".join([*head, *tokens(each.text)]))
        for each in split(content)
    ]


@require(lambda parent_kind: parent_kind in (FACT, DOCUMENT), "a chunk belongs to a fact or a document")
@require(
    lambda pieces: len({piece.position for piece in pieces}) == len(pieces),
    "each piece has a place of its own",
)
@has_a_moment
def index(
    connection: Connection,
    text: TextIndex,
    *,
    project: str,
    parent_kind: str,
    parent: int,
    pieces: Sequence[Piece],
    session: str,
    moment: str,
) -> int:
    """Store and index the pieces of a fact or document; return how many."""
    if not pieces:
        return 0
    rows = [
        {
            "project": project,
            "parent_kind": parent_kind,
            "parent": parent,
            "position": piece.position,
            "start": piece.start,
            "length": piece.length,
            "tokens": piece.words,
            "session": session,
            "created_at": moment,
        }
        for piece in pieces
    ]
    words = {piece.position: piece.words for piece in pieces}
    inserted = connection.execute(_INSERT_CHUNKS, rows).all()
    text.add(connection, [(chunk, words[position]) for chunk, position in inserted])
    return len(rows)


def unindex(connection: Connection, text: TextIndex, parent_kind: str, parents: Sequence[int]) -> int:
    """Delete the chunks of some parents; return how many there were."""
    gone: list[int] = []
    for parent in parents:
        dropped = connection.execute(_DROP_CHUNKS_OF, {"of_kind": parent_kind, "of_parent": parent})
        gone += dropped.scalars().all()
    text.remove(connection, gone)
    return len(gone)
