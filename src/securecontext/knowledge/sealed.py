"""Search in sealed texts, of which no index has a word: they are opened, read with the analyser, and forgotten again.

The newest are read first, so many of them and no more; what was left out is counted and said. A text is as good as
its best chunk, and a chunk as good as the share of the question's words that it holds: the average of
``f / (f + 1/2)`` over the words, where ``f`` is how often a word stands in the chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select

from securecontext.boundaries.keyring.bodies import Bodies, Body, document_place, fact_place
from securecontext.boundaries.sight import Sight
from securecontext.knowledge.chunks import Chunk, split
from securecontext.storage.acting import SURVEY, raised
from securecontext.storage.analyser import tokens
from securecontext.storage.tables import documents, facts, is_sealed
from securecontext.types.errors import ZcError

MOST_TEXTS = 400
MOST_CHARACTERS = 400_000
"""What one search opens at most: about half a second of work."""
_HALF = 0.5
_COUNTING = ("active", "archived")


@dataclass(frozen=True, slots=True)
class SealedMatch:
    """A sealed text that holds words of a question, with its best chunk.

    Attributes:
        letter: ``m`` of a fact, ``d`` of a document.
        number: id of its row.
        row: its row, as the table has it.
        source: what names it.
        text: the whole text.
        chunk: its best chunk.
        score: share of the question's words, 0 to 1.
    """

    letter: str
    number: int
    row: Any
    source: str
    text: str = field(repr=False)
    chunk: Chunk = field(repr=False)
    score: float


@dataclass(slots=True)
class Looked:
    """What came of looking through sealed texts.

    Attributes:
        matches: those that hold words of a question, in no order.
        read: texts that were opened and read.
        left: texts that were not read: for want of room, or because they lie in another project.
        unreadable: codes of what stood in the way of the others, with their number.
    """

    matches: list[SealedMatch] = field(default_factory=list)
    read: int = 0
    left: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)


_FACTS = select(
    facts.c.fact, facts.c.agent, facts.c.state, facts.c.classification, facts.c.created_by, facts.c.created_at
).where(facts.c.project == bindparam("in_project"), is_sealed(facts))
_DOCUMENTS = select(
    documents.c.document, documents.c.classification, documents.c.created_by, documents.c.created_at
).where(documents.c.project == bindparam("in_project"), is_sealed(documents))
_FACT = select(facts).where(facts.c.fact == bindparam("which"))
_DOCUMENT = select(documents).where(documents.c.document == bindparam("which"))


def look(
    connection: Connection, bodies: Bodies, project: str, questions: Sequence[Sequence[str]], sight: Sight
) -> Looked:
    """Return what sealed texts of a project hold words of any of the questions.

    Args:
        connection: a reader.
        bodies: opens them.
        project: id of the project.
        questions: the tokens of each question.
        sight: what the caller may see; nothing else is opened, and from another project nothing at all.
    """
    out = Looked()
    if sight.elsewhere:
        with raised(connection, SURVEY):
            out.left = _count(connection, project)
        return out
    room = MOST_CHARACTERS
    wanted = _wanted(connection, project, sight)
    for letter, number in wanted[:MOST_TEXTS]:
        if room <= 0:
            break
        row = connection.execute(_FACT if letter == "m" else _DOCUMENT, {"which": number}).one()
        title, source, body = _opened(bodies, project, letter, row)
        if isinstance(body, ZcError):
            out.unreadable[body.code] += 1
            continue
        out.read += 1
        room -= len(body)
        found = _best(title, body, questions)
        if found is not None:
            out.matches.append(SealedMatch(letter, number, row, source, body, *found))
    out.left = len(wanted) - out.read - out.unreadable.total()
    return out


def _count(connection: Connection, project: str) -> int:
    here = {"in_project": project}
    held = sum(row.state in _COUNTING for row in connection.execute(_FACTS, here))
    return held + len(connection.execute(_DOCUMENTS, here).all())


def _wanted(connection: Connection, project: str, sight: Sight) -> list[tuple[str, int]]:
    """Return the texts that the caller may see, newest first."""
    here = {"in_project": project}
    found = [
        (row.created_at, "m", row.fact)
        for row in connection.execute(_FACTS, here)
        if row.state in _COUNTING and sight.sees_fact(row.agent, row.classification, row.created_by)
    ]
    found += [
        (row.created_at, "d", row.document)
        for row in connection.execute(_DOCUMENTS, here)
        if sight.sees(row.classification, row.created_by)
    ]
    return [(letter, number) for _, letter, number in sorted(found, reverse=True)]


def _opened(bodies: Bodies, project: str, letter: str, row: Any) -> tuple[str, str, Body]:
    """Return the title whose words count with the text's, the name of the source, and the text."""
    labels = (row.created_by, row.trust, row.provenance)
    if letter == "m":
        place = fact_place(project, row.fact, row.agent, row.key, labels, row.classification)
        return row.key, f"memory:{row.agent}:{row.key}", bodies.open(place, row.value)
    place = document_place(project, row.document, row.kind, row.source, labels, row.classification)
    return row.source, row.source, bodies.open(place, row.content)


def _best(title: str, text: str, questions: Sequence[Sequence[str]]) -> tuple[Chunk, float] | None:
    """Return the chunk with the largest share of a question's words; the words of the title count with each."""
    head = tokens(title)
    wanted = {word for asked in questions for word in asked}
    if wanted.isdisjoint(head) and wanted.isdisjoint(tokens(text)):
        return None  # as most are: cutting it into chunks costs more
    best: tuple[Chunk, float] | None = None
    for chunk in split(text):
        held = Counter([*head, *tokens(chunk.text)])
        score = max((share(held, asked) for asked in questions), default=0.0)
        if score > (best[1] if best else 0.0):
            best = (chunk, score)
    return best


def share(held: Counter[str], asked: Sequence[str]) -> float:
    """Return the share of a question's words that a chunk holds, 0 to 1, repeated ones a little more."""
    return sum(held[word] / (held[word] + _HALF) for word in asked) / len(asked) if asked else 0.0
