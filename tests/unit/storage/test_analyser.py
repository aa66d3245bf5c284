"""The analyser: what becomes of identifiers, scripts and stop-words, and that FTS5 agrees."""

import sqlite3

import pytest

from securecontext.storage.analyser import MOST_TERMS, fts5_query, query_tokens, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getUserName", ["get", "user", "name", "getusername"]),
        ("HTTPServer2", ["http", "server", "2", "httpserver2"]),
        ("max_retry_count", ["max", "retri", "count", "maxretrycount"]),
        ("src/app.py", ["src", "app", "py", "srcapppy"]),
        ("e-mail", ["e", "mail", "email"]),
        ("the user's running tests", ["user", "run", "test"]),
        ("don\u2019t cache", ["cach"]),
        ("café", ["cafe"]),
        ("Straße", ["strass"]),
        ("検索器", ["検索", "索器"]),
        ("東", ["東"]),
        ("Привет ёлка", ["привет", "елка"]),
        ("हिन्दी", ["हनद"]),
        ("to be or not to be", ["to", "be", "or", "not", "to", "be"]),
        ("\U0001f600 ?! \ud800", []),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


def test_a_question_loses_repetitions_but_keeps_its_order():
    assert query_tokens("cache the cache, then Flush") == ["cach", "flush"]


def test_composed_and_decomposed_text_are_the_same():
    assert tokens("cafe\u0301 \u304b\u3099\u3044") == tokens("caf\u00e9 \u304c\u3044")


def test_a_query_is_quoted_and_bounded():
    assert fts5_query(["a", "b"]) == '"a" OR "b"'
    assert fts5_query([]) == ""
    assert fts5_query(['x" OR "y']) == ""
    assert fts5_query(str(i) for i in range(1000)).count(" OR ") == MOST_TERMS - 1


def test_every_letter_and_digit_of_unicode_is_one_token_for_fts5():
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='unicode61 remove_diacritics 0')")
        database.execute("CREATE VIRTUAL TABLE seen USING fts5vocab(t, instance)")
        made = {point: tokens(chr(point)) for point in range(0x110000) if chr(point).isalnum()}
        rows = [(point, f"a{found[0]}b") for point, found in made.items() if found]
        database.executemany("INSERT INTO t(rowid, x) VALUES (?, ?)", rows)
        count = dict(database.execute("SELECT doc, count(*) FROM seen GROUP BY doc"))
    assert len(rows) > 130_000
    assert [hex(point) for point, _ in rows if count.get(point) != 1] == []
