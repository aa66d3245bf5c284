"""Any text makes a query that FTS5 accepts, and every token stored is found by itself."""

import sqlite3

from hypothesis import example, given
from hypothesis import strategies as st

from securecontext.storage.analyser import fts5_query, query_tokens, tokens

database = sqlite3.connect(":memory:")
database.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='unicode61 remove_diacritics 0')")

code = st.text(alphabet="abAB1_./-:'+ ()\"*^é漢", max_size=60)
anything = st.text(alphabet=st.characters(), max_size=80) | code


@given(anything)
def test_any_text_gives_tokens_of_letters_and_digits(text):
    assert all(token.isalnum() for token in tokens(text))


@given(anything)
def test_every_token_matches_itself_in_sqlite(text):
    found = tokens(text)
    database.execute("DELETE FROM t")
    database.execute("INSERT INTO t(x) VALUES (?)", (" ".join(found),))
    for token in set(found):
        assert (
            database.execute("SELECT count(*) FROM t WHERE t MATCH ?", (fts5_query([token]),)).fetchone()[0]
            == 1
        )


@given(anything)
@example("\u19b0/\u19b0")  # nothing that unicode61 knows, in two parts
def test_any_question_is_a_valid_query_or_none(text):
    query = fts5_query(query_tokens(text))
    if query:
        database.execute("SELECT rowid FROM t WHERE t MATCH ?", (query,)).fetchall()
    else:
        assert tokens(text) == []


@given(anything)
def test_what_is_stored_is_found_by_asking_for_it(text):
    asked = query_tokens(text)
    assert set(asked) == set(tokens(text))
    assert len(asked) == len(set(asked))
