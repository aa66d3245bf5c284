"""Search: questions in, ranked hits out, each with an id by which the whole text is fetched.

Chunks are ranked, then lifted to their parents: a parent is as good as its best chunk. Sealed texts have no chunks and
are looked through by themselves (see ``sealed``). Where both are found, the best chunk of the index is worth what it
would be worth in a sealed text, the share of the question's words in it, and the others of the index follow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, select

from securecontext.boundaries.keyring.bodies import Bodies, is_plain
from securecontext.boundaries.sight import Sight
from securecontext.knowledge.indexing import DOCUMENT, FACT
from securecontext.knowledge.sealed import Looked, SealedMatch, look, share
from securecontext.storage.analyser import query_tokens
from securecontext.storage.port import Match, TextIndex
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
        classification: its class.
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
    classification: str = "internal"


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, best first, and what came of looking through sealed texts."""

    hits: list[Hit]
    sealed: Looked


def search(
    connection: Connection,
    text: TextIndex,
    bodies: Bodies,
    project: str,
    queries: Sequence[str],
    sight: Sight,
    limit: int,
) -> Found:
    """Return the best facts and documents for any of the questions, best first.

    Args:
        connection: a reader.
        text: the index that goes with it.
        bodies: opens sealed texts.
        project: id of the project.
        queries: questions in any form; no character has a meaning of its own.
        sight: what the caller may see.
        limit: hits at most.
    """
    asked = [query_tokens(query) for query in queries]
    matched = [text.match(connection, project, each, CANDIDATES) for each in asked]
    looked = look(connection, bodies, project, asked, sight)
    worth = _worth(connection, asked, matched) if looked.matches else [1.0] * len(asked)
    best: dict[int, float] = {}
    for found, whole in zip(matched, worth, strict=True):
        top = max((m.score for m in found), default=0.0) or 1.0
        for match in found:
            best[match.chunk] = max(best.get(match.chunk, 0.0), whole * match.score / top)
    words = _words(queries)
    hits = [_sealed_hit(match, words) for match in looked.matches]
    parents = _parents(connection, project, best) if best else []
    lifted: list[Hit] = []
    for start in range(
        0, len(parents), 2 * limit
    ):  # the first slice suffices, unless notebooks are closed to the caller
        lifted += _lift(connection, parents[start : start + 2 * limit], sight, words)
        if len(lifted) >= limit:
            break
    hits = sorted([*hits, *lifted], key=lambda h: (-h.score, h.id))[:limit]
    whole = hits[0].score if hits and looked.matches else 1.0
    return Found([replace(hit, score=hit.score / whole) for hit in hits] if whole < 1.0 else hits, looked)


def _worth(
    connection: Connection, asked: Sequence[Sequence[str]], matched: Sequence[Sequence[Match]]
) -> list[float]:
    """Return for each question what share of its words stands in the best chunk of the index."""
    out = []
    for question, found in zip(asked, matched, strict=True):
        best = max(found, key=lambda match: match.score, default=None)
        held = connection.execute(_WORDS, {"which": best.chunk}).scalar() if best else None
        out.append(share(Counter((held or "").split()), question))
    return out


def _sealed_hit(match: SealedMatch, words: Sequence[str]) -> Hit:
    return Hit(
        id=f"{match.letter}{match.number}",
        source=match.source,
        snippet=_snippet(match.chunk.text, words),
        score=match.score,
        trust=match.row.trust,
        provenance=match.row.provenance,
        created_at=match.row.created_at,
        archived=match.letter == "m" and match.row.state == "archived",
        opening=match.text[:200],
        classification=match.row.classification,
    )


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
_WORDS = select(chunks.c.tokens).where(chunks.c.chunk == bindparam("which"))
_FACTS = select(
    facts.c.fact,
    facts.c.agent,
    facts.c.key,
    facts.c.value,
    facts.c.state,
    facts.c.trust,
    facts.c.provenance,
    facts.c.created_at,
    facts.c.classification,
    facts.c.created_by,
).where(facts.c.fact.in_(bindparam("which", expanding=True)), facts.c.state.in_(("active", "archived")))
_DOCUMENTS = select(
    documents.c.document,
    documents.c.source,
    documents.c.content,
    documents.c.trust,
    documents.c.provenance,
    documents.c.created_at,
    documents.c.classification,
    documents.c.created_by,
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
    connection: Connection, parents: Sequence[_Parent], sight: Sight, words: Sequence[str]
) -> list[Hit]:
    """Return the hits of some parents; what is closed to the caller is left out.

    So is a text that is sealed: it has no chunks of its own, and whoever wrote one into the database has none opened.
    """
    out: list[Hit] = []
    of_facts = {p.id: p for p in parents if p.kind == FACT}
    if of_facts:
        for row in connection.execute(_FACTS, {"which": list(of_facts)}).all():
            seen = sight.sees_fact(row.agent, row.classification, row.created_by)
            if seen and is_plain(row.value, row.classification):
                source = f"memory:{row.agent}:{row.key}"
                out.append(
                    _hit("m", of_facts[row.fact], source, row.value, row, words, row.state == "archived")
                )
    of_documents = {p.id: p for p in parents if p.kind == DOCUMENT}
    if of_documents:
        for found in connection.execute(_DOCUMENTS, {"which": list(of_documents)}).all():
            seen = sight.sees(found.classification, found.created_by)
            if seen and is_plain(found.content, found.classification):
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
        classification=row.classification,
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
