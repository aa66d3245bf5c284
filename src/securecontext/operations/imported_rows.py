"""What the predecessor's rows become here: a pure translation into drafts that fit, with a count of what was changed.

Nothing is cut: a fact that is too large for a fact becomes a document, a document that is too large becomes several.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import Final

from securecontext.boundaries import limits
from securecontext.boundaries.policy import SHARED_NAMESPACE
from securecontext.contracts.agent import AGENT_ID_LIMIT
from securecontext.storage.predecessor import OldBroadcast, OldDocument, OldFact
from securecontext.storage.tables import PROVENANCES
from securecontext.validators.input import is_blank, mend
from securecontext.validators.secrets import redact

_NAME_ROOM: Final = 440
"""Characters of a document's source that are kept as its name: what is left of the limit is for our marks."""
_NOT_IN_AGENT: Final = re.compile(r"[^A-Za-z0-9._:@-]+")
_CONFIGURATION: Final = "set_key"
"""The one type of broadcast that is no word between agents."""


@dataclass(slots=True)
class Tally:
    """What happened to the rows of one file.

    Attributes:
        facts: facts that were imported.
        documents: documents and summaries that were imported.
        broadcasts: broadcasts that were imported.
        unchanged: rows that had been imported before, or stand here with the same text.
        renamed: rows that were stored beside one of ours that has their name.
        redacted: secrets that were replaced.
        mended: characters that no stored text may hold, replaced by spaces.
        moved: facts that were too large for a fact and became documents.
        archived: facts that were more than a notebook holds; search finds them.
        refused: rows that were not imported: they have no name, no text, or are configuration.
    """

    facts: int = 0
    documents: int = 0
    broadcasts: int = 0
    unchanged: int = 0
    renamed: int = 0
    redacted: int = 0
    mended: int = 0
    moved: int = 0
    archived: int = 0
    refused: int = 0

    def add(self, other: Tally) -> None:
        """Add another tally's counts."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact that fits."""

    agent: str
    key: str
    value: str
    importance: int
    created_at: str
    provenance: str


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document that fits."""

    kind: str
    source: str
    content: str
    trust: str
    created_at: str
    provenance: str


def fact(row: OldFact, moment: str, tally: Tally) -> NewFact | list[NewDocument]:
    """Return what a fact becomes; an empty list where it has no key or no value."""
    key, value = _line(row.key, tally), _block(row.value, tally)
    if is_blank(key) or is_blank(value):
        tally.refused += 1
        return []
    agent = _agent(row.agent)
    created, known = _time(row.created_at, moment), _provenance(row.provenance)
    if len(key) > limits.KEY_CHARACTERS or len(value) > limits.VALUE_CHARACTERS:
        tally.moved += 1
        return _documents("text", f"memory:{agent}:{key}", value, "imported", created, known)
    return NewFact(agent, key, value, min(max(row.importance, 1), 5), created, known)


def document(row: OldDocument, moment: str, tally: Tally) -> list[NewDocument]:
    """Return what a document becomes; an empty list where it has no source or no text."""
    source, content = _line(row.source, tally), _block(row.content, tally)
    if is_blank(source) or is_blank(content):
        tally.refused += 1
        return []
    kind = "summary" if row.summary else "text"
    trust = "external" if row.external else "imported"
    created = _time(row.created_at, moment)
    return _documents(kind, source, content, trust, created, _provenance(row.provenance))


def broadcast(row: OldBroadcast, moment: str, tally: Tally) -> list[NewDocument]:
    """Return what a broadcast becomes: its fields as text."""
    if row.type == _CONFIGURATION or not (row.id and row.type):
        tally.refused += 1
        return []
    lines = [f"{row.type} by {row.agent or 'unknown'}" + (f" at {row.created_at}" if row.created_at else "")]
    lines += [f"{name.replace('_', ' ')}: {text}" for name, text in row.words]
    for name, texts in row.lists:
        lines += [f"{name.replace('_', ' ')}:", *(f"- {text}" for text in texts)]
    source, content = _line(f"broadcast:{row.id}:{row.type}", tally), _block("\n".join(lines), tally)
    return _documents("broadcast", source, content, "imported", _time(row.created_at, moment), "UNKNOWN")


def short_digest(text: str) -> str:
    """Return eight hexadecimal digits that tell two texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _documents(
    kind: str, source: str, content: str, trust: str, created: str, provenance: str
) -> list[NewDocument]:
    if len(source) > _NAME_ROOM:
        content = f"{source}\n\n{content}"
        source = f"{source[: _NAME_ROOM - 12]}… {short_digest(source)}"
    size = limits.CONTENT_CHARACTERS
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    pieces = [piece for piece in pieces if not is_blank(piece)]
    return [
        NewDocument(
            kind,
            source if len(pieces) == 1 else f"{source} (part {number} of {len(pieces)})",
            piece,
            trust,
            created,
            provenance,
        )
        for number, piece in enumerate(pieces, 1)
    ]


def _line(raw: str, tally: Tally) -> str:
    return _clean(raw.strip(), False, tally).strip()


def _block(raw: str, tally: Tally) -> str:
    return _clean(raw, True, tally)


def _clean(raw: str, multiline: bool, tally: Tally) -> str:
    text, mended = mend(raw, multiline=multiline)
    found = redact(text)
    tally.mended += mended
    tally.redacted += len(found.findings)
    return found.text


def _agent(raw: str) -> str:
    """Return a notebook's name: the agent's, in the alphabet of ours."""
    name = _NOT_IN_AGENT.sub("-", redact(raw.strip()).text).lstrip("._:@-")[:AGENT_ID_LIMIT]
    return name or SHARED_NAMESPACE


def _time(created_at: str, moment: str) -> str:
    """Return when the row says it was made; what says nothing, or the future, is as old as the import."""
    return min(created_at, moment) if created_at else moment


def _provenance(raw: str) -> str:
    return raw if raw in PROVENANCES else "UNKNOWN"
