"""Search: questions in, ranked hits out, each with an id by which the whole text is fetched.

Chunks are ranked, then lifted to their parents: a parent is as good as its best chunk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from securecontext.knowledge.archive import DOCUMENT, FACT
from securecontext.storage.analyser import query_tokens
from securecontext.storage.port import TextIndex
from securecontext.storage.tables import chunks, documents, facts
from securecontext.validators.input import one_line

CANDIDATES = 60
SNIPPET_CHARACTERS = 240


@dataclass(frozen=True, slots=True)
class Hit:
    """One result.

    Attributes:
        id: ``m<fact>`` or ``d<document>``: what `zc_search` takes in ``ids``.
        source: what names it; ``memory:<agent>:<key>`` for a fact.
        snippet: the part that fits the question, on one line.
        score: relevance within this search, the best is 1.
        trust: where the text comes from.
        provenance: how it is known.
        created_at: timestamp.
        archived: a fact that recall no longer shows.
        opening: the first characters of the whole text, to tell copies apart.
    """

    id: str
    source: str
    snippet: str
    score: float
    trust: str
    provenance: str
    created_at: str
    archived: bool
    opening: str


def search(
    connection: Connection,
    text: TextIndex,
    project: str,
    queries: Sequence[str],
    agents: Sequence[str] | None,
    limit: int,
) -> list[Hit]:
    """Return the best facts and documents for any of the questions, best first.

    Args:
        connection: a reader.
        text: the index that goes with it.
        project: id of the project.
        queries: questions in any form; no character has a meaning of its own.
        agents: notebooks whose facts may be found; None for all of them.
        limit: hits at most.
    """
    best: dict[int, float] = {}
    for query in queries:
        found = text.match(connection, project, query_tokens(query), CANDIDATES)
        top = max((m.score for m in found), default=0.0) or 1.0
        for match in found:
            best[match.chunk] = max(best.get(match.chunk, 0.0), match.score / top)
    if not best:
        return []
    parents = _parents(connection, project, best)
    words = _words(queries)
    hits: list[Hit] = []
    for start in range(
        0, len(parents), 2 * limit
    ):  # the first slice suffices, unless notebooks are closed to the caller
        hits += _lift(connection, parents[start : start + 2 * limit], agents, words)
        if len(hits) >= limit:
            break
    return sorted(hits, key=lambda h: (-h.score, h.id))[:limit]


@dataclass(frozen=True, slots=True)
class _Parent:
    """A fact or document with its best chunk."""

    kind: str
    id: int
    score: float
    start: int
    length: int


_CHUNKS = select(
    chunks.c.chunk, chunks.c.parent_kind, chunks.c.parent, chunks.c.start, chunks.c.length
).where(chunks.c.project == bindparam("in_project"), chunks.c.chunk.in_(bindparam("which", expanding=True)))
_FACTS = select(
    facts.c.fact,
    facts.c.agent,
    facts.c.key,
    facts.c.value,
    facts.c.state,
    facts.c.trust,
    facts.c.provenance,
    facts.c.created_at,
).where(facts.c.fact.in_(bindparam("which", expanding=True)), facts.c.state.in_(("active", "archived")))
_DOCUMENTS = select(
    documents.c.document,
    documents.c.source,
    documents.c.content,
    documents.c.trust,
    documents.c.provenance,
    documents.c.created_at,
).where(documents.c.document.in_(bindparam("which", expanding=True)))


def _parents(connection: Connection, project: str, best: dict[int, float]) -> list[_Parent]:
    """Return the parents of the chunks, best first: a parent is as good as its best chunk."""
    found: dict[tuple[str, int], _Parent] = {}
    for row in connection.execute(_CHUNKS, {"in_project": project, "which": list(best)}).all():
        parent = _Parent(row.parent_kind, row.parent, best[row.chunk], row.start, row.length)
        known = found.get((parent.kind, parent.id))
        if known is None or known.score < parent.score:
            found[(parent.kind, parent.id)] = parent
    return sorted(found.values(), key=lambda p: (-p.score, p.kind, p.id))


def _lift(
    connection: Connection, parents: Sequence[_Parent], agents: Sequence[str] | None, words: Sequence[str]
) -> list[Hit]:
    """Return the hits of some parents; facts of notebooks that are closed to the caller are left out."""
    out: list[Hit] = []
    of_facts = {p.id: p for p in parents if p.kind == FACT}
    if of_facts:
        for row in connection.execute(_FACTS, {"which": list(of_facts)}).all():
            if agents is None or row.agent in agents:
                source = f"memory:{row.agent}:{row.key}"
                out.append(
                    _hit("m", of_facts[row.fact], source, row.value, row, words, row.state == "archived")
                )
    of_documents = {p.id: p for p in parents if p.kind == DOCUMENT}
    if of_documents:
        for found in connection.execute(_DOCUMENTS, {"which": list(of_documents)}).all():
            out.append(_hit("d", of_documents[found.document], found.source, found.content, found, words))
    return out


def _hit(
    letter: str,
    parent: _Parent,
    source: str,
    whole: str,
    row: Any,
    words: Sequence[str],
    archived: bool = False,
) -> Hit:
    return Hit(
        id=f"{letter}{parent.id}",
        source=source,
        snippet=_snippet(whole[parent.start : parent.start + parent.length], words),
        score=parent.score,
        trust=row.trust,
        provenance=row.provenance,
        created_at=row.created_at,
        archived=archived,
        opening=whole[:200],
    )


def _words(queries: Sequence[str]) -> list[str]:
    """Return the words of the questions, longest first: what a snippet should show."""
    found = {w.lower() for q in queries for w in re.findall(r"\w{3,}", q[:2_000])}
    return sorted(found, key=len, reverse=True)[:32]


def _first_place(piece: str, words: Sequence[str]) -> int:
    """Return where the first of the words that occurs stands; 0 if none does."""
    if piece.isascii():
        folded = piece.lower()
        return next((at for at in map(folded.find, words) if at >= 0), 0)
    # Matched in the piece itself: a folded copy may be longer, and its offsets would be off.
    places = (re.search(re.escape(word), piece, re.IGNORECASE) for word in words)
    return next((place.start() for place in places if place is not None), 0)


def _snippet(piece: str, words: Sequence[str]) -> str:
    """Return a window of the piece around the first place where a longest possible word of the question stands."""
    if len(piece) <= SNIPPET_CHARACTERS:
        return one_line(piece, SNIPPET_CHARACTERS)
    at = _first_place(piece, words)
    start = max(0, min(at - 60, len(piece) - SNIPPET_CHARACTERS))
    if start:
        start = piece.find(" ", start, start + 30) + 1 or start
    window = piece[start : start + SNIPPET_CHARACTERS]
    return (
        ("…" if start else "")
        + " ".join(window.split())
        + ("…" if start + SNIPPET_CHARACTERS < len(piece) else "")
    )
