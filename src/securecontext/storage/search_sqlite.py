"""Full-text search on SQLite: FTS5 over the analyser's tokens, ranked by FTS5's own BM25.

The table holds tokens that the analyser made, so FTS5's tokenizer only has to split at spaces. It keeps a removed
word in its pages until they are merged (``secure_delete`` does not reach them), therefore `scrub`.
Format: https://www.sqlite.org/fts5.html
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from securecontext.storage.analyser import fts5_query
from securecontext.storage.port import Match


class SqliteTextIndex:
    """The `TextIndex` of an SQLite file."""

    def add(self, connection: Connection, chunk: int, tokens: str) -> None:
        """Index the tokens of one chunk."""
        connection.exec_driver_sql("INSERT INTO chunks_fts (rowid, tokens) VALUES (?, ?)", (chunk, tokens))

    def remove(self, connection: Connection, chunks: Sequence[int]) -> None:
        """Take chunks out of the index."""
        for chunk in chunks:
            connection.exec_driver_sql("DELETE FROM chunks_fts WHERE rowid = ?", (chunk,))

    def match(self, connection: Connection, project: str, tokens: Sequence[str], limit: int) -> list[Match]:
        """Return the best chunks that hold any of the tokens; a file holds one project, so it is not filtered."""
        query = fts5_query(list(tokens))
        if not query:
            return []
        rows = connection.exec_driver_sql(
            "SELECT rowid, rank FROM chunks_fts WHERE chunks_fts MATCH ? ORDER BY rank LIMIT ?",
            (query, limit),
        )
        return [Match(chunk, -rank) for chunk, rank in rows.all()]

    def scrub(self, connection: Connection) -> None:
        """Merge the index into one segment: removed words leave their pages."""
        connection.exec_driver_sql("INSERT INTO chunks_fts (chunks_fts) VALUES ('optimize')")
