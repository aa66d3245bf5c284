"""What our own rules let pass before the others were there is taken out afterwards, wherever it was stored."""

import json
import sqlite3

import pytest

from securecontext.app.rescan import AT_ONCE, MARK, Mark
from securecontext.boundaries.keyring.bodies import MARK as MARK_OF_SEALED
from securecontext.memory import sessions
from securecontext.memory.sessions import WorkingState
from securecontext.storage.analyser import tokens
from securecontext.validators.secrets import wear
from tests.house_case import PERSON, house
from tests.rules_case import all_rules, engine_of_rules, hugging_face, own_rules

__all__ = ["all_rules", "engine_of_rules", "house", "own_rules"]

TOKEN = hugging_face()
GONE = "[REDACTED:huggingface_access_token]"


@pytest.fixture
def early(house, own_rules):
    """A house in which our own rules work alone so far."""
    house.app.secret_rules.state = "ready"
    return house


def rescan(house, rules="r1", let_pass=lambda: None):
    house.app.secret_rules._name = rules
    house.app.secret_rules.rescan(let_pass)


def note(house, kind, detail):
    given = {"session": "s1", "kind": kind, "detail": detail, "moment": "2026-03-01T12:00:00.000000Z"}
    house.app.store(house.project.id).write(
        lambda transaction: sessions.report(transaction.connection, project=house.project.id, **given)
    )


def mark(house):
    ((value,),) = house.sql("SELECT value FROM meta WHERE name = ?", MARK)
    return Mark(**json.loads(value))


def test_a_fact_a_document_and_an_event_lose_what_was_let_pass(early, engine_of_rules):
    early.remember("where", f"the model is loaded with {TOKEN} at night")
    early.do("zc_index", source="notes.md", content=f"# Models\n\nLogin: {TOKEN}\n")
    for kind, detail in (
        ("command", f"login {TOKEN} (done)"),
        ("checkpoint", WorkingState(commands=(TOKEN,)).dump()),
    ):
        note(early, kind, detail)
    assert TOKEN in early.recall()
    wear(engine=engine_of_rules)
    rescan(early)
    assert early.shown() == {"where": f"the model is loaded with {GONE} at night"}
    assert early.search("Models login")[0]["snippet"].endswith(GONE)
    assert [detail for (detail,) in early.sql("SELECT detail FROM events ORDER BY event")] == [
        f"login {GONE} (done)",
        WorkingState(commands=(GONE,)).dump(),
    ]
    assert TOKEN.encode() not in early.bytes_on_disk()


def test_what_was_taken_out_is_no_longer_found_and_the_rest_is(early, engine_of_rules):
    early.remember("where", f"kestrel {TOKEN} at night")
    (words,) = [found for found in tokens(TOKEN) if len(found) > 30]
    known = "SELECT count(*) FROM chunks_fts WHERE chunks_fts MATCH ?"
    assert early.sql(known, words) == [(1,)]
    wear(engine=engine_of_rules)
    rescan(early)
    assert early.sql(known, words) == [(0,)]
    assert len(early.search("kestrel night")) == 1


def test_what_is_stored_sealed_is_opened_mended_and_sealed_again(early, engine_of_rules):
    early.remember(f"of {TOKEN}", f"the model is loaded with {TOKEN}", classification="confidential")
    early.do("zc_index", source="n.md", content=f"# Login\n\n{TOKEN}", classification="confidential")
    early.remember("other", "stays", classification="confidential")
    (before,) = early.sql("SELECT value FROM facts WHERE key = 'other'")
    wear(engine=engine_of_rules)
    rescan(early)
    assert early.shown() == {f"of {GONE}": f"the model is loaded with {GONE}", "other": "stays"}
    assert early.sql("SELECT value FROM facts WHERE key = 'other'") == [before]
    stored = early.sql("SELECT value FROM facts UNION SELECT content FROM documents")
    assert len(stored) == 3 and all(value.startswith(MARK_OF_SEALED) for (value,) in stored)
    (document,) = early.do("archive.list", PERSON)["documents"]
    assert early.read(document["id"])[0]["text"] == f"# Login\n\n{GONE}"


def test_a_chunk_that_somebody_planted_brings_no_sealed_word_into_the_index(early, engine_of_rules):
    early.remember("where", f"kestrel with {TOKEN}", classification="confidential")
    early.remember("bait", "platypus")
    connection = sqlite3.connect(early.app.stores.path(early.project.id))
    with connection:
        assert connection.execute("UPDATE chunks SET parent = 1").rowcount == 1
    connection.close()
    wear(engine=engine_of_rules)
    rescan(early)
    assert early.shown()["where"] == f"kestrel with {GONE}"
    assert b"kestrel" not in early.bytes_on_disk()


def test_a_text_that_cannot_be_opened_stays_as_it_is_and_is_in_nobodys_way(early, engine_of_rules):
    early.remember("sealed", f"with {TOKEN}", classification="confidential")
    early.remember("plain", f"with {TOKEN}")
    (sealed,) = early.sql("SELECT value FROM facts WHERE key = 'sealed'")
    key = early.do("keys.status", PERSON)["data_keys"][0]["id"]
    early.app.data_keys.destroy(key)
    wear(engine=engine_of_rules)
    rescan(early)
    assert early.sql("SELECT value FROM facts WHERE key = 'sealed'") == [sealed]
    assert early.sql("SELECT value FROM facts WHERE key = 'plain'") == [(f"with {GONE}",)]


def test_earlier_values_lose_it_too(early, engine_of_rules):
    early.remember("k", f"first {TOKEN}")
    early.remember("k", "second")
    wear(engine=engine_of_rules)
    rescan(early)
    assert TOKEN.encode() not in early.bytes_on_disk()
    assert [value for (value,) in early.sql("SELECT value FROM facts ORDER BY fact")] == [
        f"first {GONE}",
        "second",
    ]


def test_names_that_become_one_stay_apart(early, engine_of_rules):
    other = hugging_face(2)
    early.remember(f"of {TOKEN}", "one")
    early.remember(f"of {other}", "two")
    wear(engine=engine_of_rules)
    rescan(early)
    assert sorted(early.shown().values()) == ["one", "two"]
    assert all(key.startswith(f"of {GONE}") for key in early.shown())


def test_an_entry_says_what_was_taken_out_and_never_the_value(early, engine_of_rules):
    early.remember("where", f"loaded with {TOKEN}")
    wear(engine=engine_of_rules)
    rescan(early)
    entry = early.entries(1)[0]
    assert (entry["operation"], entry["outcome"], entry["stream"]) == (
        "secrets.rescan",
        "ok",
        "system/secrets",
    )
    assert entry["arguments"] == {"facts": 1, "documents": 0, "events": 0, "broadcasts": 0}
    (told,) = entry["redacted"]
    assert (told["field"], told["type"]) == ("value", "huggingface_access_token")
    assert early.do("audit.verify", PERSON)["status"] == "OK"


def test_what_is_clean_is_left_as_it_is_and_enters_nothing(early, engine_of_rules):
    early.remember("a", "PostgreSQL 16")
    before = early.entries(1)
    wear(engine=engine_of_rules)
    rescan(early)
    assert early.entries(1) == before
    assert mark(early) == Mark("r1", fact=1, caught_up=True)


def test_what_arrives_later_is_passed_once_more_and_nothing_is_read_twice(early, engine_of_rules):
    early.remember("a", "one")
    wear(engine=engine_of_rules)
    rescan(early)
    wear(engine=Silent())  # a call that was cleaned before the rules came, and commits after
    early.remember("late", f"with {TOKEN}")
    seen = Counting(engine_of_rules)
    wear(engine=seen)
    rescan(early)
    assert TOKEN.encode() not in early.bytes_on_disk()
    assert not any("one" in text for text in seen.texts)
    seen.texts.clear()
    rescan(early)
    assert seen.texts == []


def test_other_rules_read_everything_again(early, engine_of_rules):
    early.remember("a", f"with {TOKEN}")
    wear(engine=Silent())
    rescan(early, "r1")
    assert TOKEN in early.recall()
    wear(engine=engine_of_rules)
    rescan(early, "r1")
    assert TOKEN.encode() in early.bytes_on_disk()
    rescan(early, "r2")
    assert TOKEN.encode() not in early.bytes_on_disk()
    assert mark(early).rules == "r2"


def test_a_service_that_ends_leaves_off_between_two_batches_and_goes_on_at_the_next_start(
    early, engine_of_rules
):
    for number in range(AT_ONCE + 10):
        early.do(
            "zc_index", source=f"{number}.md", content=f"page {number} {TOKEN if number > AT_ONCE else ''}"
        )
    wear(engine=engine_of_rules)
    looks = []

    def let_pass():
        looks.append(1)
        if len(looks) == 2:
            early.app.secret_rules.close()

    rescan(early, let_pass=let_pass)
    rescan(early, let_pass=let_pass)
    assert mark(early).document == AT_ONCE
    assert TOKEN.encode() in early.bytes_on_disk()
    early.app.secret_rules._closed = False
    rescan(early)
    assert TOKEN.encode() not in early.bytes_on_disk()


class Silent:
    """Rules that find nothing."""

    def hits(self, text):
        return ()


class Counting:
    """Rules that note what they read."""

    def __init__(self, engine):
        self.engine = engine
        self.texts = []

    def hits(self, text):
        self.texts.append(text)
        return self.engine.hits(text)


def test_a_task_its_progress_and_its_result_lose_what_was_let_pass(early, engine_of_rules):
    given = {"role": "worker", "payload": {TOKEN: [f"log in with {TOKEN}", 7]}}
    for task_id in ("t", "u"):
        early.do("zc_enqueue_task", PERSON, task_id=task_id, **given)
    early.do("zc_claim_task", PERSON, role="worker", count=2)
    held = {"role": "worker", "fence": 1}
    early.do("zc_heartbeat_task", PERSON, task_id="t", progress=f"used {TOKEN}", **held)
    early.do(
        "zc_complete_task", PERSON, task_id="t", result={"key": TOKEN}, artefacts=[f"s3://{TOKEN}"], **held
    )
    early.do("zc_fail_task", PERSON, task_id="u", reason=f"{TOKEN} is refused", **held)
    assert TOKEN.encode() in early.bytes_on_disk()
    wear(engine=engine_of_rules)
    rescan(early)
    assert TOKEN.encode() not in early.bytes_on_disk()
    (payload,) = {row[0] for row in early.sql("SELECT payload FROM tasks")}
    assert json.loads(payload) == {GONE: [f"log in with {GONE}", 7]}
    assert json.loads(early.sql("SELECT result FROM task_results")[0][0]) == {"key": GONE}
    entries = [e for e in early.entries(20) if e["operation"] == "secrets.rescan"]
    assert [e["arguments"] for e in entries] == [{"tasks": 2}]
    rescan(early)
    assert len([e for e in early.entries(20) if e["operation"] == "secrets.rescan"]) == 1
