"""W-34: raw text used to reach FTS5, and most natural questions found nothing."""

import sqlite3

import pytest

from securecontext.storage.analyser import fts5_query, query_tokens, tokens

ANSWER = (
    "We use the user's retry-policy in src/net/client.py: C++ workers back off 2.5 seconds, then give up."
)


@pytest.fixture
def index():
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='unicode61 remove_diacritics 0')")
    rows = ["The dashboard shows green when the chain is whole.", ANSWER, "Lunch is at noon."]
    database.executemany("INSERT INTO t(x) VALUES (?)", [(" ".join(tokens(row)),) for row in rows])
    yield database
    database.close()


@pytest.mark.parametrize(
    "question",
    [
        "What is our retry policy?",
        "src/net/client",
        "who calls client.py",
        "retry-policy",
        "what's the user's retry?",
        "C++ workers",
        'how do "workers" back off',
        "(workers) [back] {off}",
        "workers AND seconds OR lunchless NOT chainless NEAR(back off, 2)",
        "AND retry",
        "NOT retry",
        "retr* policy*",
        "^workers",
        "x:workers",
        "-workers",
        "\U0001f525 workers \U0001f525\U0001f525",
        "'; DROP TABLE t; -- workers",
        'unbalanced " quote and ( workers',
    ],
)
def test_w_34_natural_questions_find_their_answer(index, question):
    query = fts5_query(query_tokens(question))
    rows = index.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank", (query,)).fetchall()
    assert rows[0] == (2,)


def test_w_34_raw_questions_are_what_fts5_refuses(index):
    with pytest.raises(sqlite3.OperationalError):
        index.execute("SELECT rowid FROM t WHERE t MATCH ?", ("What is our retry policy?",)).fetchall()
