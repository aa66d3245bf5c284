"""Confidential and restricted texts against whoever reads or writes the database, and against other agents."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from dataclasses import replace

import pytest

from securecontext.boundaries.policy import Standing
from tests.house_case import AGENT, HOOK, PERSON, named
from tests.identity_case import with_operator

SECRET = "the wombat digs at midnight"
OTHER = replace(AGENT, name="agent:bob", session="ses_bob")


def write(house, statement, *values):
    """Change the project's file as another program does; return how many rows were changed."""
    connection = sqlite3.connect(house.app.stores.path(house.project.id))
    with connection:
        count = connection.execute(statement, values).rowcount
    connection.close()
    return count


def everywhere(house):
    """All that is said of the stored texts: recall, search, ids, lists, export."""
    said = [house.recall(), house.ask("session.start", {}, who=HOOK).text]
    said += [house.ask("zc_search", {"queries": ["wombat midnight pelican"]}).text]
    said += [house.ask("zc_search", {"ids": ["m1", "d1"]}).text]
    said += [house.ask(name, {}, who=PERSON).text for name in ("memory.list", "archive.list")]
    said += [house.ask("memory.export", {"sealed": True, "history": True}, who=PERSON).text]
    return "\n".join(said)


@pytest.fixture
def sealed(house):
    """A house with a sealed fact m1, a sealed document d1, and a plain fact beside them."""
    house.remember("pin", SECRET, 5, classification="confidential")
    house.do("zc_index", source="notes", content=f"{SECRET}, says the report", classification="confidential")
    house.remember("plain", "a plain pelican")
    return house


def test_rt_s1_11_no_word_of_a_sealed_text_is_in_any_file_whatever_is_done_with_it(house):
    house.remember("pin", "an early numbat, stored as it is")
    house.remember("pin", "the quokka hides", classification="restricted")
    house.remember("pin", "a walrus instead")
    house.do("zc_index", source="notes", content="a plain ocelot")
    house.do("zc_index", source="notes", content="an axolotl report", classification="confidential")
    house.ask("zc_search", {"queries": ["axolotl quokka"]})
    house.do("zc_summarize_session", summary="spoke of the capybara")
    house.ask("session.compacted", {"summary": "compacted: the dugong"}, who=HOOK)
    house.ask("session.turn", {"said": "I told you of the echidna"}, who=HOOK)
    house.ask("session.start", {}, who=replace(HOOK, standing=Standing.PERSON), key="again")
    house.ask("session.checkpoint", {"reason": "x", "ended": True}, who=HOOK)
    house.do("memory.edit", PERSON, key="pin", value="a fossa by hand")
    house.do("memory.undo", PERSON, key="pin")
    for word in ["numbat", "quokka", "walrus", "ocelot", "axolotl", "capybara", "dugong", "echidna", "fossa"]:
        assert word.encode() not in house.bytes_on_disk(), word
    assert "a walrus instead" in house.recall() and "compacted: the dugong" in house.recall()


@pytest.mark.parametrize("kind", ["fact", "document"])
@pytest.mark.only_in_files("looks at the bytes of the project's file")
def test_w_40_a_rising_class_leaves_no_trace_of_what_lay_there_as_it_is(house, kind):
    def store(text, **more):
        if kind == "fact":
            house.remember("pin", text, **more)
        else:
            house.do("zc_index", source="notes", content=text, **more)

    store("an early numbat")
    assert b"numbat" in house.bytes_on_disk()
    store("a walrus", classification="confidential")
    for word in (b"numbat", b"walrus"):
        assert word not in house.bytes_on_disk()


def test_the_ledger_has_nothing_to_test_guesses_against(house):
    house.remember("plain", SECRET)
    house.remember("pin", SECRET, classification="confidential")
    house.remember("pin", SECRET + "!")
    assert house.refused("zc_remember", key="x", value=SECRET, supersedes="absent") == "nothing_to_supersede"
    rows = house.sql("SELECT salt, body FROM ledger_bodies ORDER BY stream, seq")
    guessed = [
        text
        for salt, body in rows
        for text in (SECRET, SECRET + "!")
        if hmac.digest(salt, text.encode(), "sha256").hex().encode() in body
    ]
    assert guessed == [SECRET], "of the plain fact alone"


def test_an_unknown_class_is_refused_and_nothing_is_stored(house):
    for operation, arguments in (
        ("zc_remember", {"key": "a", "value": SECRET}),
        ("zc_index", {"source": "a", "content": SECRET}),
        ("zc_summarize_session", {"summary": SECRET}),
    ):
        for unknown in ("secret", "CONFIDENTIAL", ""):
            assert house.refused(operation, **arguments, classification=unknown) == "unknown_value"
    assert b"wombat" not in house.bytes_on_disk()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET value = substr(value, 1, length(value) - 1) || 'A' WHERE fact = 1",
        "UPDATE facts SET value = value || 'AAAA' WHERE fact = 1",
        "UPDATE facts SET value = replace(value, 'sealed/1 ', 'sealed/2 ') WHERE fact = 1",
        "UPDATE facts SET value = 'a forged wombat' WHERE fact = 1",
        "UPDATE facts SET value = x'00ff' WHERE fact = 1",
        "UPDATE facts SET key = 'account' WHERE fact = 1",
        "UPDATE facts SET trust = 'person' WHERE fact = 1",
        "UPDATE facts SET created_by = 'agent:bob' WHERE fact = 1",
        "UPDATE facts SET classification = 'restricted' WHERE fact = 1",
        "UPDATE facts SET fact = 77 WHERE fact = 1",
        "UPDATE documents SET source = 'other notes'",
        "UPDATE documents SET kind = 'summary'",
        "UPDATE documents SET content = (SELECT value FROM facts WHERE fact = 1)",
        "UPDATE facts SET value = (SELECT content FROM documents) WHERE fact = 1",
    ],
)
@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_w_10_an_edited_moved_or_relabelled_text_is_named_and_never_shown(sealed, statement):
    assert write(sealed, statement) == 1
    said = everywhere(sealed)
    assert "state_tampered" in said
    assert "a plain pelican" in said, "the others are shown"
    assert "sealed/" not in said and "forged" not in said
    table = "d1" if "documents SET" in statement else "m77" if "fact = 77" in statement else "m1"
    (found,) = sealed.read(table)
    assert found["text"] == "" and "state_tampered" in found["trouble"]


@pytest.mark.parametrize("classification", ["public", "internal"])
@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_w_10_a_restricted_row_relabelled_as_plain_is_named_and_never_shown(sealed, classification):
    write(sealed, "UPDATE facts SET classification = ? WHERE fact = 1", classification)
    write(sealed, "UPDATE documents SET classification = ?", classification)
    said = everywhere(sealed)
    assert said.count("state_tampered") >= 4
    assert "sealed/1" not in said and "\x01" not in said and "midnight" not in said
    assert sealed.ask("zc_forget", {"key": "pin"}).error is None
    assert sealed.ask("archive.forget", {"document": "d1"}, who=PERSON).error is None


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_a_text_of_another_agent_or_project_opens_here_as_little(house):
    house.remember("pin", SECRET, who=named("alice"), classification="confidential")
    house.remember("pin", "my own", who=named("bob"), classification="confidential")
    (value,) = house.sql("SELECT value FROM facts WHERE agent = 'alice'")[0]
    write(house, "UPDATE facts SET value = ? WHERE agent = 'bob'", value)
    assert "pin [confidential]: cannot be read (state_tampered)" in house.recall(named("bob"))
    write(house, "UPDATE facts SET agent = 'bob', key = 'pin2' WHERE agent = 'alice'")
    assert "midnight" not in house.recall(named("bob"))

    other = house.fresh_project("elsewhere")
    assert house.ask("zc_remember", {"key": "pin", "value": "x", "classification": "confidential"},
                     project=other).error is None  # fmt: skip
    connection = sqlite3.connect(house.app.stores.path(other.id))
    with connection:
        connection.execute("UPDATE facts SET value = ?", (value,))
    connection.close()
    answer = house.ask("zc_recall_context", project=other)
    assert "state_tampered" in answer.text and "midnight" not in answer.text


def test_rt_s3_02_a_restricted_text_is_hidden_from_every_other_agent(house):
    house.remember("pin", SECRET, classification="restricted")
    house.do("zc_index", source="notes", content=SECRET, classification="restricted")
    house.do("zc_summarize_session", summary=f"we know {SECRET}", classification="restricted")
    assert SECRET in house.recall() and len(house.search("wombat")) == 3
    assert SECRET in house.ask("memory.list", who=PERSON).text
    for asked in ({"queries": ["wombat midnight"]}, {"ids": ["m1"]}, {"ids": ["d1"]}, {"ids": ["d2"]}):
        answer = house.ask("zc_search", asked, who=OTHER)
        assert "midnight" not in answer.text and "pin" not in answer.text
    assert "pin" not in house.recall(OTHER) and "wombat" not in house.recall(OTHER)
    guess = house.ask("zc_remember", {"key": "pin", "value": SECRET}, who=OTHER)
    assert guess.structured.get("changed") is True, "nobody is told that they guessed it"


def test_a_person_who_corrects_a_restricted_text_leaves_it_to_its_creator(house):
    house.remember("pin", SECRET, who=OTHER, classification="restricted")
    house.do("memory.edit", PERSON, key="pin", value="the wombat digs at noon")
    assert "digs at noon" in house.recall(OTHER) and "wombat" not in house.recall()


def test_sealed_texts_are_seen_in_their_own_project_alone(house):
    house.remember("pin", SECRET, classification="confidential")
    other = house.fresh_project("elsewhere")
    found = house.ask("zc_search_global", {"queries": ["wombat"]}, project=other)
    assert "midnight" not in found.text and "own project alone" in found.text
    asked = {"ids": [f"{house.project.id}:m1"]}
    refused = house.ask("zc_search", asked, project=other)
    assert refused.error is not None and refused.error.code == "no_such_id"
    assert "midnight" in house.ask("zc_search", asked).text
    assert "midnight" in house.ask("zc_search_global", {"queries": ["wombat"]}).text


@pytest.mark.parametrize(("operation", "arguments", "who"), [
    ("zc_summarize_session", {"summary": "we know that the wombat digs"}, AGENT),
    ("session.compacted", {"summary": "we know that the wombat digs"}, HOOK),
])  # fmt: skip
def test_a_summary_takes_over_the_class_of_what_its_session_may_see(house, operation, arguments, who):
    def last():
        return house.do("archive.list", PERSON)["documents"][-1]["classification"]

    house.do(operation, who, **arguments)
    assert last() == "internal"
    house.remember("theirs", "x", who=OTHER, classification="restricted")
    house.do(operation, who, **arguments)
    assert last() == "internal", "it may not see that one"
    house.do("zc_index", source="notes", content="x", classification="confidential")
    house.do(operation, who, **arguments)
    assert last() == "confidential"
    house.remember("pin", "x", classification="restricted")
    house.do(operation, who, **arguments)
    assert last() == "restricted"
    house.do("zc_forget", key="pin")
    house.do("archive.forget", PERSON, document="notes")
    house.do(operation, who, **arguments)
    assert last() == "internal", "earlier summaries do not count"


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_a_planted_chunk_leads_to_no_sealed_text(sealed):
    sealed.remember("bait", "platypus")
    write(sealed, "UPDATE chunks SET parent = 1 WHERE chunk = (SELECT max(chunk) FROM chunks)")
    answer = sealed.ask("zc_search", {"queries": ["platypus"]})
    assert "sealed/1" not in answer.text and "m1 " not in answer.text


def test_destroyed_keys_are_said_for_each_text_and_recall_goes_on(sealed):
    (key,) = sealed.do("keys.status", PERSON)["data_keys"]
    operator = with_operator(sealed)
    sealed.do("keys.rotate", operator)
    sealed.remember("late", "a late quoll", classification="confidential")
    assert "midnight" in sealed.recall(), "a rotated key reads on"
    sealed.do("keys.destroy", operator, key_id=key["id"], confirm=True)
    text = sealed.recall()
    assert "pin [confidential]: cannot be read (key_destroyed)" in text
    assert "a late quoll" in text and "a plain pelican" in text
    assert "1 encrypted fact(s) cannot be read" in text
    found = sealed.ask("zc_search", {"queries": ["wombat quoll"]}).text
    assert "a late quoll" in found and "2 encrypted text(s) could not be read (2 key_destroyed)" in found
    first, second = sealed.read("m1", "m2")
    assert "key_destroyed" in first["trouble"] and second["text"] == "a plain pelican"
    assert sealed.refused("archive.show", PERSON, document="d1") == "key_destroyed"
    exported = sealed.do("memory.export", PERSON, sealed=True)
    assert exported["unreadable"] == 1 and len(exported["facts"]) == 2
    assert sealed.remember("pin", "set anew")["classification"] == "confidential"
    assert sealed.do("zc_forget", key="pin")["versions"] == 2


def test_an_unusable_file_of_keys_refuses_what_must_be_sealed_and_nothing_else(sealed):
    file = sealed.app.settings.home / "keys" / "data.keys"
    sealed.app.data_keys._held = None
    file.chmod(0o644)
    code = sealed.refused("zc_remember", key="new", value="a hidden wombat", classification="restricted")
    assert code == "key_file_unsafe"
    assert "new" not in sealed.shown() and "a plain pelican" in sealed.recall()
    assert sealed.remember("more", "another plain pelican")["changed"]
    file.chmod(0o600)
    assert "midnight" in sealed.recall()


def moved_in(house):
    """A second project beside the house's own, with a caller's way to ask there."""
    other = house.fresh_project("elsewhere")

    def ask(operation, who=AGENT, **arguments):
        return house.ask(operation, arguments, who=who, project=other)

    return other, ask


def merge(house, other):
    given = {"source": house.project.id, "target": other.id}
    return house.ask("project.merge", given, who=PERSON, project=None)


def test_a_merge_raises_what_stands_there_lower_and_tells_nothing_by_names(house):
    other, ask = moved_in(house)
    ask("zc_remember", key="same", value=SECRET)
    ask("zc_remember", key="both", value="another value")
    ask("zc_index", source="same notes", content=SECRET)
    ask("zc_index", source="both notes", content="another text")
    house.remember("same", SECRET, classification="confidential")
    house.remember("both", SECRET, classification="restricted")
    house.do("zc_index", source="same notes", content=SECRET, classification="confidential")
    house.do("zc_index", source="both notes", content=SECRET, classification="confidential")
    ask("zc_remember", key=f"both ({house.project.name[:16]})", value="in the way")
    assert merge(house, other).error is None
    shown = {f["key"]: f for f in ask("memory.list", PERSON).structured["facts"]}
    assert shown["same"]["classification"] == "confidential" and shown["same"]["value"] == SECRET
    (third,) = [key for key in shown if key not in ("same", "both", f"both ({house.project.name[:16]})")]
    assert shown[third]["value"] == SECRET
    assert hashlib.sha256(SECRET.encode()).hexdigest()[:8] not in third
    documents = ask("archive.list", PERSON).structured["documents"]
    assert sorted(d.get("classification", "internal") for d in documents) == [
        "confidential",
        "confidential",
        "internal",
    ]
    assert b"wombat" not in house.bytes_on_disk()


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_a_merge_counts_what_was_lost_with_its_key_and_refuses_what_is_broken(sealed):
    other, ask = moved_in(sealed)
    write(sealed, "UPDATE facts SET trust = 'person' WHERE fact = 1")
    refused = merge(sealed, other)
    assert refused.error is not None and refused.error.code == "state_tampered"
    assert "midnight" in sealed.ask("zc_search", {"ids": ["d1"]}).text, "nothing is lost"
    write(sealed, "UPDATE facts SET trust = 'agent' WHERE fact = 1")
    (key,) = sealed.do("keys.status", PERSON)["data_keys"]
    sealed.do("keys.destroy", with_operator(sealed), key_id=key["id"], confirm=True)
    merged = merge(sealed, other)
    assert merged.structured["lost"] == 2 and "2 texts were lost with their key" in merged.text
    assert [f["key"] for f in ask("memory.list", PERSON).structured["facts"]] == ["plain"]


def test_what_a_purged_session_replaced_counts_again_and_opens(house):
    house.remember("pin", SECRET, classification="confidential", who=replace(AGENT, session="before"))
    house.remember("pin", "a later pelican", who=replace(AGENT, session="after"))
    purged = house.do("zc_purge_session", with_operator(house), session="after")
    assert purged["back"] == ["pin"] and house.shown() == {"pin": SECRET}
    assert b"pelican" not in house.bytes_on_disk() and b"wombat" not in house.bytes_on_disk()
