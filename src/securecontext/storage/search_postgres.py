"""Full-text search on PostgreSQL: the analyser's tokens as lexemes, ranked by BM25 as FTS5 computes it.

The tokens of a chunk stand in its row and are taken as they are: no parser or dictionary of the server's comes
between, so both engines match the same words. An index finds the rows (`postgres_rights`); they are ranked here, with
the statistics of the project they are in, since the server's own ``ts_rank`` knows no rarity of words ::

    score = Σ idf(t) · f · (k1 + 1) / (f + k1 · (1 - b + b · length / mean length))
    idf(t) = ln((N - n + 0.5) / (n + 0.5))

https://www.sqlite.org/fts5.html#the_bm25_function ; https://www.postgresql.org/docs/current/textsearch-controls.html
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from securecontext.storage.analyser import MOST_TERMS
from securecontext.storage.port import Match

_K1: Final = 1.2
_B: Final = 0.75
_LEAST_IDF: Final = 1e-6
"""All three as FTS5 has them."""
_LEXEMES: Final = "array_to_tsvector(array_remove(string_to_array(tokens, ' '), ''))"
_STATISTICS = text(
    "SELECT count(*), coalesce(sum(cardinality(string_to_array(tokens, ' '))), 0) FROM chunks WHERE project = :project"
)
_FOUND = text(
    f"SELECT chunk, tokens FROM chunks WHERE project = :project AND {_LEXEMES} @@ CAST(:query AS tsquery)"  # noqa: S608
)


class PostgresTextIndex:
    """The `TextIndex` of a PostgreSQL database."""

    def add(self, connection: Connection, chunks: Sequence[tuple[int, str]]) -> None:
        """Do nothing: the chunk's row holds its tokens."""

    def remove(self, connection: Connection, chunks: Sequence[int]) -> None:
        """Do nothing: the tokens go with the chunk's row."""

    def match(self, connection: Connection, project: str, tokens: Sequence[str], limit: int) -> list[Match]:
        """Return the best chunks of a project that hold any of the tokens, best first."""
        terms = list(dict.fromkeys(token for token in tokens[:MOST_TERMS] if token))
        query = " | ".join(_lexeme(term) for term in terms)
        if not query:
            return []
        rows = connection.execute(_FOUND, {"project": project, "query": query}).all()
        if not rows:
            return []
        size, words = connection.execute(_STATISTICS, {"project": project}).one()
        found = [(int(row.chunk), Counter(row.tokens.split(" "))) for row in rows]
        return ranked(found, terms, int(size), int(words) / size)[:limit]

    def scrub(self, connection: Connection) -> None:
        """Do nothing: the index keeps no word that its rows do not have, but for what the server has yet to vacuum."""


def ranked(
    found: Sequence[tuple[int, Counter[str]]], terms: Sequence[str], size: int, mean: float
) -> list[Match]:
    """Return matches, best first.

    Args:
        found: every chunk that holds a term, with its words.
        terms: what is asked for, each once.
        size: chunks of the project.
        mean: words of a chunk of the project, on average.
    """
    held = {term: sum(term in words for _, words in found) for term in terms}
    weights = {t: max(_LEAST_IDF, math.log((size - n + 0.5) / (n + 0.5))) for t, n in held.items()}
    out: list[Match] = []
    for chunk, words in found:
        norm = _K1 * (1 - _B + _B * words.total() / mean)
        score = sum(weight * words[t] * (_K1 + 1) / (words[t] + norm) for t, weight in weights.items())
        out.append(Match(chunk, score))
    return sorted(out, key=lambda match: (-match.score, match.chunk))


def _lexeme(token: str) -> str:
    r"""Quote a token for a tsquery: ``'`` and ``\`` are doubled within quotes."""
    return "'" + token.replace("\\", "\\\\").replace("'", "''") + "'"
