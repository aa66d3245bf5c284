"""Search in a large index: the rarest words choose the candidates, the common ones still count."""

from datetime import UTC, datetime

import pytest

from securecontext.storage import search_sqlite
from securecontext.storage.sqlite import SqliteStore

ROWS = 40


@pytest.fixture
def store(tmp_path):
    made = SqliteStore(tmp_path / "x.db", lambda: datetime(2026, 3, 1, tzinfo=UTC))
    yield made
    made.close()


@pytest.fixture
def large(store, monkeypatch):
    """Every row holds `common`, a quarter of them `frequent`; two hold `rare`."""
    monkeypatch.setattr(search_sqlite, "PLENTY", 10)

    def job(transaction):
        for row in range(1, ROWS + 1):
            words = ["common", "filler"] + ["frequent"] * (row % 4 == 3) + ["rare"] * (row in (7, 8))
            store.text.add(transaction.connection, [(row, " ".join(words))])

    store.write(job)
    return store


def found(store, *words, limit=60):
    with store.read() as connection:
        return [(m.chunk, round(m.score, 6)) for m in store.text.match(connection, "p", words, limit)]


def test_the_rare_word_chooses_and_the_frequent_one_decides_the_order(large):
    assert [row for row, _ in found(large, "common", "frequent", "rare")] == [7, 8]
    scores = dict(found(large, "common", "frequent", "rare"))
    assert scores[7] > scores[8] > 0


def test_words_that_all_are_common_are_found_all_the_same(large):
    assert {row for row, _ in found(large, "common")} == set(range(1, ROWS + 1))
    assert len(found(large, "common", "frequent")) == ROWS // 4  # the less common of the two chooses
    assert len(found(large, "common", "filler")) == ROWS


def test_words_that_nothing_holds_change_nothing(large):
    assert found(large, "absent", "missing") == []
    assert found(large, "absent", "rare", "common") == found(large, "rare", "common")
    assert found(large) == []
    assert found(large, 'quo"te', "rare") == found(large, "rare")


def test_the_limit_is_kept(large):
    assert [row for row, _ in found(large, "common", "rare", limit=1)] in ([7], [8])


def test_both_ways_of_ranking_agree_on_the_best(large, monkeypatch):
    quick = found(large, "common", "frequent", "rare")
    monkeypatch.setattr(search_sqlite, "PLENTY", 10_000)
    whole = found(large, "common", "frequent", "rare")
    assert [row for row, _ in whole[:2]] == [row for row, _ in quick]
    assert len(whole) == ROWS
