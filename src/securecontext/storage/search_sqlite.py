"""Full-text search on SQLite: FTS5 over the analyser's tokens, ranked by FTS5's own BM25.

The table holds tokens that the analyser made, so FTS5's tokenizer only has to split at spaces. It keeps a removed
word in its pages until they are merged (``secure_delete`` does not reach them), therefore `scrub`.
Format: https://www.sqlite.org/fts5.html

FTS5 computes BM25 for every row that holds any of the words, so a question's commonest word, which says least, costs
most. In a large index the rarest words therefore choose the candidates, and what the others add to the score is
computed for the candidates alone: idf × f × (k1 + 1) / (f + k1), BM25 without its correction for length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from securecontext.storage.analyser import MOST_TERMS, fts5_query
from securecontext.storage.port import Match

VOCABULARY: Final = "CREATE VIRTUAL TABLE temp.chunks_vocabulary USING fts5vocab(main, chunks_fts, row)"
"""Gives each connection the number of rows that hold a word. https://www.sqlite.org/fts5.html#the_fts5vocab_virtual_table_module"""
PLENTY: Final = 2_000
"""Rows that are ranked whatever the words are, at a microsecond or two each; beyond it the rarest words choose."""
_K1: Final = 1.2
_LEAST_IDF: Final = 1e-6
"""Both as FTS5 has them."""


class SqliteTextIndex:
    """The `TextIndex` of an SQLite file."""

    def add(self, connection: Connection, chunks: Sequence[tuple[int, str]]) -> None:
        """Index the tokens of chunks."""
        connection.exec_driver_sql("INSERT INTO chunks_fts (rowid, tokens) VALUES (?, ?)", list(chunks))

    def remove(self, connection: Connection, chunks: Sequence[int]) -> None:
        """Take chunks out of the index."""
        if chunks:
            connection.exec_driver_sql(
                "DELETE FROM chunks_fts WHERE rowid = ?", [(chunk,) for chunk in chunks]
            )

    def match(self, connection: Connection, project: str, tokens: Sequence[str], limit: int) -> list[Match]:
        """Return the best chunks that hold any of the tokens; a file holds one project, so it is not filtered."""
        terms = tokens[:MOST_TERMS]
        size = int(connection.exec_driver_sql("SELECT count(*) FROM chunks_fts_docsize").scalar_one())
        if size <= PLENTY or len(terms) < 2:
            return _ranked(connection, terms, limit)
        held = _rows_holding(connection, terms)
        rare, common = _parted(held)
        found = _ranked(connection, rare, limit)
        if not common or not found:
            return found
        weights = {term: max(_LEAST_IDF, _idf(size, held[term])) for term in common}
        return _with_common(connection, found, weights)

    def scrub(self, connection: Connection) -> None:
        """Merge the index into one segment: removed words leave their pages."""
        connection.exec_driver_sql("INSERT INTO chunks_fts (chunks_fts) VALUES ('optimize')")


def _ranked(connection: Connection, terms: Sequence[str], limit: int) -> list[Match]:
    query = fts5_query(terms)
    if not query:
        return []
    rows = connection.exec_driver_sql(
        "SELECT rowid, rank FROM chunks_fts WHERE chunks_fts MATCH ? ORDER BY rank LIMIT ?", (query, limit)
    )
    return [Match(chunk, -rank) for chunk, rank in rows.all()]


def _rows_holding(connection: Connection, terms: Sequence[str]) -> dict[str, int]:
    """Return how many rows hold each of the terms; those that none holds are left out."""
    marks = ", ".join("?" * len(terms))
    rows = connection.exec_driver_sql(
        f"SELECT term, doc FROM temp.chunks_vocabulary WHERE term IN ({marks})",  # noqa: S608 - marks alone
        tuple(terms),
    )
    return {term: int(doc) for term, doc in rows.all()}


def _parted(held: dict[str, int]) -> tuple[list[str], list[str]]:
    """Return the rarest terms, which together are held by no more than `PLENTY` rows (or one), and the others."""
    rare: list[str] = []
    room = PLENTY
    for term in sorted(held, key=held.__getitem__):
        room -= held[term]
        if room < 0 and rare:
            break
        rare.append(term)
    return rare, [term for term in held if term not in rare]


def _idf(size: int, held: int) -> float:
    return math.log((size - held + 0.5) / (held + 0.5))


def _with_common(connection: Connection, found: Sequence[Match], weights: dict[str, float]) -> list[Match]:
    """Return matches, best first, with what the common words add to their scores."""
    marks = ", ".join("?" * len(found))
    rows = connection.exec_driver_sql(
        f"SELECT rowid, tokens FROM chunks_fts WHERE rowid IN ({marks})",  # noqa: S608 - marks alone
        tuple(match.chunk for match in found),
    )
    words = {chunk: tokens.split(" ") for chunk, tokens in rows.all()}
    out: list[Match] = []
    for match in found:
        times = {term: words[match.chunk].count(term) for term in weights}
        more = sum(weights[term] * f * (_K1 + 1) / (f + _K1) for term, f in times.items())
        out.append(Match(match.chunk, match.score + more))
    return sorted(out, key=lambda match: -match.score)
