"""Why a search ranks as it does: each hit with what its best chunk scored by words, before and after normalising.

Shows whoever asks what `search` would show them, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.boundaries.sight import Sight
from securecontext.knowledge.indexing import DOCUMENT, FACT
from securecontext.knowledge.search import CANDIDATES, Hit, search
from securecontext.storage.analyser import query_tokens
from securecontext.storage.port import TextIndex
from securecontext.storage.tables import chunks

_LETTERS = {FACT: "m", DOCUMENT: "d"}
_CHUNKS = select(chunks.c.chunk, chunks.c.parent_kind, chunks.c.parent, chunks.c.length).where(
    chunks.c.project == bindparam("in_project"), chunks.c.chunk.in_(bindparam("which", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Explained:
    """A hit and where its place comes from.

    Attributes:
        hit: as the search gives it; its score is the normalised one, the best hit's is 1.
        raw: BM25 of its best chunk, unbounded; None for a sealed text, which no index holds.
        length: characters of that chunk; None likewise.
    """

    hit: Hit
    raw: float | None
    length: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Hits, best first, and the words that were looked for: the question as the index knows it."""

    words: list[str]
    hits: list[Explained]


def explain(
    connection: Connection,
    text: TextIndex,
    bodies: Bodies,
    project: str,
    query: str,
    sight: Sight,
    limit: int,
) -> Explanation:
    """Return how one question is ranked; the arguments are those of `search.search`."""
    words = query_tokens(query)
    scores = {match.chunk: match.score for match in text.match(connection, project, words, CANDIDATES)}
    best: dict[str, tuple[float, int]] = {}
    if scores:
        for row in connection.execute(_CHUNKS, {"in_project": project, "which": list(scores)}):
            name = f"{_LETTERS.get(row.parent_kind, '?')}{row.parent}"
            best[name] = max(best.get(name, (0.0, 0)), (scores[row.chunk], row.length))
    found = search(connection, text, bodies, project, [query], sight, limit).hits
    return Explanation(list(words), [Explained(hit, *best.get(hit.id, (None, None))) for hit in found])
