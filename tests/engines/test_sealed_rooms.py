"""Confidential and restricted texts in the rooms, on both engines: sealed where they lie, whole where they are read."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from securecontext.boundaries.keyring.bodies import MARK
from securecontext.boundaries.sight import Sight
from securecontext.knowledge import archive, sealed
from securecontext.knowledge.search import search
from securecontext.memory import facts
from securecontext.storage.tables import chunks, documents
from securecontext.storage.tables import facts as fact_rows
from securecontext.types.errors import Expired, Tampered

SECRET = "the wombat digs at midnight"


def stored(rooms) -> list[tuple[Any, ...]]:
    query = select(fact_rows.c.fact, fact_rows.c.value, fact_rows.c.classification, fact_rows.c.state)
    return [tuple(row) for row in rooms.read(lambda c: c.execute(query.order_by(fact_rows.c.fact)).all())]


def held_facts(rooms) -> list[facts.Fact]:
    return rooms.read(lambda c: facts.active(c, rooms.bodies, project="p", agents=["default"]))


@pytest.mark.parametrize("classification", ["confidential", "restricted"])
def test_a_sealed_fact_lies_in_no_column_and_comes_back_whole(rooms, classification):
    done = rooms.remember("pin", SECRET, classification=classification)
    ((_, value, known, _),) = stored(rooms)
    assert value.startswith(MARK) and "wombat" not in value and known == classification
    assert rooms.read(lambda c: c.execute(select(chunks)).all()) == []
    assert rooms.held() == {"pin": SECRET} and done.classification == classification
    assert rooms.found("when does the wombat dig?") == ["memory:default:pin"]


def test_no_statement_is_ever_given_the_text(rooms):
    given: list[str] = []

    def note(_connection, _cursor, _statement, parameters, _context, _many) -> None:
        given.append(str(parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        rooms.remember("pin", SECRET, classification="confidential")
        rooms.remember("pin", SECRET + " again")
        rooms.remember("pin", SECRET, classification="restricted")
        rooms.put("notes", SECRET, classification="restricted")
        rooms.undo("pin")
        rooms.held()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert any("pin" in each for each in given) and not any("wombat" in each for each in given)


@pytest.mark.parametrize("classification", ["public", "internal"])
def test_other_classes_are_stored_as_they_are(rooms, classification):
    rooms.remember("pin", SECRET, classification=classification)
    rooms.put("notes", SECRET, classification=classification)
    assert [row[1:3] for row in stored(rooms)] == [(SECRET, classification)]
    assert rooms.read(lambda c: c.scalar(select(documents.c.content))) == SECRET


def test_a_class_is_kept_until_another_one_is_given(rooms):
    rooms.remember("pin", "one", classification="restricted")
    assert rooms.remember("pin", "two").classification == "restricted"
    assert rooms.remember("other", "three", supersedes="pin").classification == "restricted"
    assert rooms.remember("pin", "four").classification == "restricted", "what stood under the key was"
    assert rooms.remember("pin", "five", classification="internal").classification == "internal"
    assert rooms.remember("pin", "six").classification == "internal"
    assert rooms.put("notes", "one", classification="confidential").classification == "confidential"
    assert rooms.put("notes", "two").classification == "confidential"
    assert rooms.put("notes", "three", classification="public").classification == "public"


def test_a_rising_class_seals_the_earlier_values_too(rooms):
    rooms.remember("pin", "an early pelican")
    rooms.remember("pin", "a later pelican", classification="confidential")
    done = rooms.remember("pin", SECRET, classification="restricted")
    assert not done.concealed, "nothing lay there as it is any more"
    assert {row[2] for row in stored(rooms)} == {"restricted"}
    assert "pelican" not in str(stored(rooms))
    back = rooms.undo("pin")
    assert back.now is not None and back.now.value == "a later pelican"
    assert rooms.remember("pin", "new", classification="restricted").unchanged is False
    history = rooms.read(lambda c: facts.history(c, rooms.bodies, project="p", agent="default", key="pin"))
    assert [fact.value for fact in history] == ["an early pelican", "a later pelican", "new"]


def test_the_same_value_again_writes_nothing_but_a_new_class_does(rooms):
    first = rooms.remember("pin", SECRET, classification="confidential")
    assert rooms.remember("pin", SECRET).fact == first.fact
    assert rooms.remember("pin", SECRET, classification="restricted").unchanged is False


def test_a_document_is_sealed_and_its_index_has_no_word_of_it(rooms):
    rooms.put("notes", "a plain pelican")
    done = rooms.put("notes", SECRET, classification="confidential")
    assert (done.replaced, done.chunks, done.concealed) == (1, 0, True)
    assert rooms.found("pelican") == []
    assert rooms.found("wombat") == ["notes"]
    (found,) = rooms.read(lambda c: archive.every(c, rooms.bodies, "p"))
    assert found.content == SECRET and found.classification == "confidential"
    assert rooms.read(lambda c: archive.named(c, rooms.bodies, "p", "text", "notes")).says(SECRET)
    assert rooms.read(lambda c: archive.under(c, rooms.bodies, "p", "notes"))[0].says(SECRET)


def test_sealed_and_plain_hits_stand_on_one_scale(rooms):
    rooms.put("both", "pelican walrus")
    rooms.put("weak", "a pelican stands in the middle of a long sentence about the harbour")
    rooms.put("sealed one", "only a pelican", classification="confidential")
    rooms.remember("sealed both", "pelican and walrus", classification="confidential")
    hits = rooms.hits("pelican walrus")
    assert {hit.source for hit in hits[:2]} == {"both", "memory:default:sealed both"}
    assert hits[0].score == 1 and hits[-1].score < 1
    assert {h.source: h.classification for h in hits}["sealed one"] == "confidential"


def test_a_search_opens_so_many_texts_and_says_what_it_left_out(rooms, monkeypatch):
    monkeypatch.setattr(sealed, "MOST_TEXTS", 2)
    for number in range(4):
        moment = f"2026-03-01T12:00:0{number}.000000Z"
        rooms.remember(f"k{number}", f"wombat {number}", classification="confidential", moment=moment)
    sight = Sight("uid:1000", None)
    looked = rooms.read(lambda c: sealed.look(c, rooms.bodies, "p", [["wombat"]], sight))
    assert sorted(match.source for match in looked.matches) == ["memory:default:k2", "memory:default:k3"]
    assert (looked.read, looked.left) == (2, 2)
    rooms.keys.destroy(rooms.keys.report().data_keys[0].id)
    looked = rooms.read(lambda c: sealed.look(c, rooms.bodies, "p", [["wombat"]], sight))
    assert (looked.read, dict(looked.unreadable), looked.left) == (0, {"key_destroyed": 2}, 2)


def test_a_search_reads_no_text_after_so_many_characters(rooms, monkeypatch):
    monkeypatch.setattr(sealed, "MOST_CHARACTERS", 10)
    for number in range(3):
        moment = f"2026-03-01T12:00:0{number}.000000Z"
        rooms.remember(f"k{number}", f"wombat {number}", classification="confidential", moment=moment)
    sight = Sight("uid:1000", None)
    looked = rooms.read(lambda c: sealed.look(c, rooms.bodies, "p", [["wombat"]], sight))
    assert (looked.read, looked.left) == (2, 1)


def test_a_destroyed_key_takes_its_texts_and_nothing_else(rooms):
    rooms.remember("old", SECRET, classification="confidential")
    rooms.put("old notes", SECRET, classification="confidential")
    (key,) = rooms.keys.report().data_keys
    rooms.keys.rotate()
    rooms.remember("new", "a new wombat", classification="confidential")
    assert rooms.held() == {"old": SECRET, "new": "a new wombat"}, "rotation reads what was before"
    rooms.keys.destroy(key.id)
    known = {fact.key: fact for fact in held_facts(rooms)}
    assert known["new"].value == "a new wombat"
    with pytest.raises(Expired) as refused:
        known["old"].value  # noqa: B018 - reading is what is refused
    assert refused.value.code == known["old"].trouble.code == "key_destroyed"
    found = rooms.read(
        lambda c: search(c, rooms.store.text, rooms.bodies, "p", ["wombat"], Sight("uid:1000", None), 10)
    )
    assert [hit.source for hit in found.hits] == ["memory:default:new"]
    assert dict(found.sealed.unreadable) == {"key_destroyed": 2}
    assert rooms.remember("old", SECRET).unchanged is False, "what cannot be read stands in nobody's way"
    assert {fact.key for fact in held_facts(rooms) if fact.trouble} == set()


def test_a_text_opens_in_its_own_row_alone(rooms):
    first = rooms.remember("a", "wombat of a", classification="confidential").fact
    second = rooms.remember("b", "wombat of b", classification="confidential").fact
    rows = {row[0]: row[1] for row in stored(rooms)}

    def swap(connection):
        for fact, value in ((first, rows[second]), (second, rows[first])):
            connection.execute(update(fact_rows).where(fact_rows.c.fact == fact).values(value=value))

    rooms.write(swap)
    assert [type(fact.trouble) for fact in held_facts(rooms)] == [Tampered, Tampered]
    assert rooms.found("wombat") == []
    assert rooms.read(lambda c: facts.by_ids(c, rooms.bodies, "p", [first]))[first].trouble is not None
