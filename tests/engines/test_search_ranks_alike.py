"""Search by words finds the same on both engines, in the same order where no two texts are as good."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from securecontext.storage.analyser import tokens
from securecontext.storage.port import Match, Store, Transaction
from securecontext.storage.postgres import PostgresStore, open_postgres
from securecontext.storage.sqlite import SqliteStore
from securecontext.storage.tables import chunks

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "locomo"
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
MADE_UP = [
    a + b for a in ("pel", "cor", "van", "tos", "mir", "lun") for b in ("ican", "vid", "tage", "ter", "el")
]


@pytest.fixture
def stores(tmp_path: Path, migrated_postgres_url: str) -> Iterator[dict[str, Store]]:
    engine = open_postgres(migrated_postgres_url)
    made: dict[str, Store] = {
        "sqlite": SqliteStore(tmp_path / "words.db", lambda: MOMENT),
        "postgres": PostgresStore(engine, "p", lambda: MOMENT),
    }
    yield made
    for store in made.values():
        store.close()
    engine.dispose()


def fill(store: Store, project: str, texts: Sequence[str]) -> dict[int, int]:
    """Index texts; return which text each chunk is."""
    analysed = [" ".join(tokens(text)) for text in texts]

    def job(transaction: Transaction) -> dict[int, int]:
        made = {}
        for number, words in enumerate(analysed):
            row = {
                "project": project, "parent_kind": "document", "position": 0, "start": 0, "length": len(words),
                "parent": sum(map(ord, project)) * 10_000 + number, "tokens": words, "session": "s", "created_at": "x",
            }  # fmt: skip
            chunk = transaction.connection.execute(insert(chunks).returning(chunks.c.chunk), row).scalar_one()
            store.text.add(transaction.connection, [(chunk, words)])
            made[chunk] = number
        return made

    return store.write(job)


def asked(store: Store, project: str, question: str) -> list[Match]:
    with store.read() as connection:
        return store.text.match(connection, project, tokens(question), 10)


def ndcg(found: Sequence[int], gold: set[int]) -> float:
    """Return nDCG at 10 with one gain for each text that is gold."""
    gain = sum(1 / math.log2(place + 2) for place, text in enumerate(found[:10]) if text in gold)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(10, len(gold))))


def test_made_up_texts_get_the_same_scores_and_order(stores: dict[str, Store]) -> None:
    chance = random.Random(11)
    texts = [" ".join(chance.choices(MADE_UP, k=chance.randint(3, 60))) for _ in range(300)]
    which = {name: fill(store, "p", texts) for name, store in stores.items()}
    elsewhere = [" ".join(chance.choices(MADE_UP, k=5)) for _ in range(50)]
    fill(stores["postgres"], "other", elsewhere)
    for _ in range(40):
        question = " ".join(chance.sample(MADE_UP, k=chance.randint(1, 4)))
        found = {name: asked(store, "p", question) for name, store in stores.items()}
        scores = {name: [match.score for match in each] for name, each in found.items()}
        assert scores["postgres"] == pytest.approx(scores["sqlite"], rel=1e-9)
        assert len(scores["sqlite"]) == 10
        if len(set(scores["sqlite"])) == 10:  # texts that are equally good may stand in any order
            order = {name: [which[name][match.chunk] for match in each][:9] for name, each in found.items()}
            assert order["postgres"] == order["sqlite"]


def test_another_projects_words_are_neither_found_nor_counted(stores: dict[str, Store]) -> None:
    fill(stores["postgres"], "p", ["pelican feeds", "corvid"])
    before = asked(stores["postgres"], "p", "pelican")
    fill(stores["postgres"], "other", ["pelican " * 9] * 30)
    assert asked(stores["postgres"], "p", "pelican") == before
    assert len(before) == 1
    assert asked(stores["postgres"], "nobody", "pelican") == []


def test_on_development_data_both_are_as_good(stores: dict[str, Store]) -> None:
    if not DATA.is_dir():
        pytest.skip("the LoCoMo conversations are not beside the repository: ../shared/data/locomo")
    talk = json.loads((DATA / "locomo_dev5.json").read_text(encoding="utf-8"))[0]
    turns = [
        turn
        for name, session in talk["conversation"].items()
        if name.startswith("session_") and isinstance(session, list)
        for turn in session
    ]
    number = {turn["dia_id"]: place for place, turn in enumerate(turns)}
    questions = [
        (qa["question"], {number[e] for e in qa["evidence"] if e in number})
        for qa in talk["qa"]
        if qa["category"] in (1, 2, 3, 4)
    ]
    quality = {}
    for name, store in stores.items():
        which = fill(store, "p", [f"{turn['speaker']}: {turn['text']}" for turn in turns])
        each = [
            ndcg([which[match.chunk] for match in asked(store, "p", question)], gold)
            for question, gold in questions
            if gold
        ]
        quality[name] = sum(each) / len(each)
    assert abs(quality["postgres"] - quality["sqlite"]) < 0.01
    assert quality["sqlite"] > 0.4
