"""Full-text search on PostgreSQL: the analyser's tokens, ranked by BM25 as FTS5 computes it.

The tokens of a chunk stand in its row and are taken as they are: no parser or dictionary of the server's comes
between, so both engines match the same words. The rows that hold one are ranked here, with the statistics of the
project they are in, since the server's own ``ts_rank`` knows no rarity of words ::

    score = Σ idf(t) · f · (k1 + 1) / (f + k1 · (1 - b + b · length / mean length))
    idf(t) = ln((N - n + 0.5) / (n + 0.5))

https://www.sqlite.org/fts5.html#the_bm25_function ; https://www.postgresql.org/docs/current/textsearch-controls.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from securecontext.storage.analyser import MOST_TERMS
from securecontext.storage.port import Match

_K1: Final = 1.2
_B: Final = 0.75
_LEAST_IDF: Final = 1e-6
"""All three as FTS5 has them."""
FEW: Final = 1_000
"""Chunks of a project up to which its statistics are asked for each time; beyond it once a fiftieth of it is new."""
BESIDE_THE_TABLES: Final = ("CREATE INDEX IF NOT EXISTS ix_chunks_project ON chunks (project, chunk)",)
"""Made after each migration: SQLite's files hold one project each."""
_NEWEST = text("SELECT coalesce(max(chunk), 0) FROM chunks WHERE project = :project")
_STATISTICS = text(
    "SELECT count(*), coalesce(sum(length(tokens) - length(replace(tokens, ' ', '')) + 1), 0)"
    " FROM chunks WHERE project = :project"
)
_FOUND = text(
    "SELECT chunk, tokens FROM chunks WHERE project = :project AND (' ' || tokens || ' ') LIKE ANY(:words)"
)
"""Reads each chunk of the project, some microseconds apiece: an index over words is of no use under row-level security,
whose policies come before every operator that the server does not know to be leakproof."""


class Statistics(NamedTuple):
    """What is known of a project's chunks: how many there are, their words on average, and the newest one then."""

    size: int
    mean: float
    newest: int


class PostgresTextIndex:
    """The `TextIndex` of a PostgreSQL database."""

    def __init__(self) -> None:
        self._known: dict[str, Statistics] = {}

    def add(self, connection: Connection, chunks: Sequence[tuple[int, str]]) -> None:
        """Do nothing: the chunk's row holds its tokens."""

    def remove(self, connection: Connection, chunks: Sequence[int]) -> None:
        """Do nothing: the tokens go with the chunk's row."""

    def match(self, connection: Connection, project: str, tokens: Sequence[str], limit: int) -> list[Match]:
        """Return the best chunks of a project that hold any of the tokens, best first."""
        terms = list(dict.fromkeys(token for token in tokens[:MOST_TERMS] if token))
        if not terms:
            return []
        words = [f"% {_literally(term)} %" for term in terms]
        rows = connection.execute(_FOUND, {"project": project, "words": words}).all()
        if not rows:
            return []
        found = [(int(chunk), held.split(" ")) for chunk, held in rows]
        return ranked(found, terms, self._statistics(connection, project))[:limit]

    def scrub(self, connection: Connection) -> None:
        """Do nothing: there is no index beside the rows."""

    def _statistics(self, connection: Connection, project: str) -> Statistics:
        newest = int(connection.execute(_NEWEST, {"project": project}).scalar_one())
        known = self._known.get(project)
        if known is None or known.size < FEW or not 0 <= newest - known.newest < known.size // 50:
            size, words = connection.execute(_STATISTICS, {"project": project}).one()
            known = self._known[project] = Statistics(int(size), int(words) / max(1, int(size)), newest)
        return known


def ranked(
    found: Sequence[tuple[int, list[str]]], terms: Sequence[str], statistics: Statistics
) -> list[Match]:
    """Return matches, best first.

    Args:
        found: every chunk that holds a term, with its words.
        terms: what is asked for, each once.
        statistics: of the project.
    """
    counted = [(chunk, len(words), [words.count(term) for term in terms]) for chunk, words in found]
    held = [sum(1 for _, _, times in counted if times[at]) for at in range(len(terms))]
    weights = [max(_LEAST_IDF, math.log((statistics.size - n + 0.5) / (n + 0.5))) for n in held]
    out: list[Match] = []
    for chunk, length, times in counted:
        norm = _K1 * (1 - _B + _B * length / statistics.mean)
        score = sum(w * f * (_K1 + 1) / (f + norm) for w, f in zip(weights, times, strict=True) if f)
        out.append(Match(chunk, score))
    return sorted(out, key=lambda match: (-match.score, match.chunk))


def _literally(term: str) -> str:
    """Return a term as a pattern of LIKE that means itself."""
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
