"""Full-text search on PostgreSQL: the analyser's tokens as lexemes, ranked by ``ts_rank``.

The tokens of a chunk stand in its row and are taken as they are: no parser or dictionary of the server's comes
between, so both engines match the same words, and nothing is kept beside the row. Ranking differs: ``ts_rank``
knows no rarity of words. https://www.postgresql.org/docs/current/textsearch-controls.html
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from securecontext.storage.port import Match

_MATCH = text(
    "SELECT chunk, ts_rank(lexemes, query) AS score"
    " FROM (SELECT chunk, array_to_tsvector(array_remove(string_to_array(tokens, ' '), '')) AS lexemes"
    "       FROM chunks WHERE project = :project) AS words, CAST(:query AS tsquery) AS query"
    " WHERE lexemes @@ query ORDER BY score DESC, chunk LIMIT :limit"
)


class PostgresTextIndex:
    """The `TextIndex` of a PostgreSQL database."""

    def add(self, connection: Connection, chunks: Sequence[tuple[int, str]]) -> None:
        """Do nothing: the chunk's row holds its tokens."""

    def remove(self, connection: Connection, chunks: Sequence[int]) -> None:
        """Do nothing: the tokens go with the chunk's row."""

    def match(self, connection: Connection, project: str, tokens: Sequence[str], limit: int) -> list[Match]:
        """Return the best chunks of a project that hold any of the tokens, best first."""
        query = " | ".join(_lexeme(token) for token in tokens if token)
        if not query:
            return []
        rows = connection.execute(_MATCH, {"project": project, "query": query, "limit": limit})
        return [Match(int(row.chunk), float(row.score)) for row in rows]

    def scrub(self, connection: Connection) -> None:
        """Do nothing: there is no index beside the rows."""


def _lexeme(token: str) -> str:
    r"""Quote a token for a tsquery: ``'`` and ``\`` are doubled within quotes."""
    return "'" + token.replace("\\", "\\\\").replace("'", "''") + "'"
