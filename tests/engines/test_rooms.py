"""The rooms over a real store on both engines: facts, archive, sessions, register, ledger and retries."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from securecontext.boundaries.ledger.tail import tail
from securecontext.boundaries.ledger.verdict import Status
from securecontext.boundaries.ledger.verify import verify
from securecontext.boundaries.policy import Principal, Standing
from securecontext.knowledge import archive, indexing
from securecontext.memory import changes, facts, sessions
from securecontext.memory.capacity import Capacity
from securecontext.operations.found import SearchOutput, render_found, shown
from securecontext.pipeline import replay
from securecontext.pipeline.call import Call
from securecontext.projects import register
from securecontext.projects.identity import locate
from securecontext.storage.port import Transaction
from securecontext.storage.tables import chunks, ledger_entries
from securecontext.types.errors import Conflict, NotFound
from securecontext.types.ledger import EntryDraft
from tests.engines.rooms_case import FULL, MOMENT, NOW

# Facts


def test_a_key_holds_its_newest_value_and_keeps_its_history(rooms):
    first = rooms.remember("db", "MySQL")
    second = rooms.remember("db", "PostgreSQL")
    assert second.gone == (first.fact,)
    assert rooms.held() == {"db": "PostgreSQL"}
    rows = rooms.read(lambda c: facts.history(c, rooms.bodies, project="p", agent="default", key="db"))
    assert [(f.value, f.state, f.replaced_by) for f in rows] == [
        ("MySQL", "replaced", second.fact), ("PostgreSQL", "active", None),
    ]  # fmt: skip


def test_the_same_value_again_writes_nothing(rooms):
    first = rooms.remember("db", "PostgreSQL")
    again = rooms.remember("db", "PostgreSQL")
    assert again.unchanged and again.fact == first.fact


def test_superseding_and_undoing_it(rooms):
    rooms.remember("queue", "RabbitMQ")
    rooms.remember("broker", "NATS", supersedes="queue")
    assert rooms.held() == {"broker": "NATS"}
    done = rooms.write(
        lambda c: changes.undo(c, rooms.bodies, project="p", agent="default", key="broker", capacity=FULL)
    )
    assert done.now is None and [f.key for f in done.back] == ["queue"]
    assert rooms.held() == {"queue": "RabbitMQ"}
    with pytest.raises(NotFound):
        rooms.remember("x", "y", supersedes="absent")


def test_undo_leaves_what_has_moved_on(rooms):
    rooms.remember("queue", "RabbitMQ")
    rooms.remember("broker", "NATS", supersedes="queue")
    rooms.remember("queue", "Kafka")
    done = rooms.write(
        lambda c: changes.undo(c, rooms.bodies, project="p", agent="default", key="broker", capacity=FULL)
    )
    assert done.back == () and rooms.held() == {"queue": "Kafka"}


def test_the_least_important_then_oldest_are_evicted_in_one_batch(rooms):
    small = Capacity(limit=5, from_sources=0, from_broadcasts=0, from_agents=0, target=4)
    for number, importance in enumerate((5, 1, 1, 3, 2)):
        moment = f"2026-03-01T12:00:0{number}.000000Z"
        words = "a pelican" if number == 1 else "something else"
        rooms.remember(f"k{number}", words, importance=importance, limit=small, moment=moment)
    done = rooms.remember("k5", "the last straw", limit=small, moment="2026-03-01T12:00:09.000000Z")
    assert done.count == 4 and len(done.archived) == 2
    assert sorted(rooms.held()) == ["k0", "k3", "k4", "k5"]
    assert rooms.found("pelican") == ["memory:default:k1"]


def test_forgetting_leaves_no_row(rooms):
    rooms.remember("db", "MySQL")
    rooms.remember("db", "PostgreSQL")

    def work(transaction: Transaction) -> tuple[int, ...]:
        connection = transaction.connection
        gone = changes.forget(connection, project="p", agent="default", key="db")
        indexing.unindex(connection, rooms.store.text, indexing.FACT, gone)
        rooms.store.text.scrub(connection)
        transaction.scrub_after_commit()
        return gone

    assert len(rooms.store.write(work)) == 2
    assert rooms.found("PostgreSQL") == []
    assert rooms.read(lambda c: c.execute(select(func.count()).select_from(chunks)).scalar()) == 0


def test_notebooks_and_projects_are_apart(rooms):
    rooms.remember("db", "shared pelican")
    rooms.remember("db", "pelican of alice", agent="alice")
    rooms.remember("db", "pelican elsewhere", project="q")
    assert (rooms.held(), rooms.held(agent="alice"), rooms.held("q")) == (
        {"db": "shared pelican"}, {"db": "pelican of alice"}, {"db": "pelican elsewhere"},
    )  # fmt: skip
    for most, counted in ((10, 2), (1, 1)):
        assert (
            rooms.read(lambda c, n=most: c.scalar(select(facts.agents_up_to(n)), {"in_project": "p"}))
            == counted
        )
    assert rooms.read(lambda c: facts.by_ids(c, rooms.bodies, "q", [1, 2])) == {}


def test_any_text_comes_back_as_it_went_in(rooms):
    for number, text in enumerate(
        ("'; DROP TABLE facts; --", "%s %(x)s :y ?", "ünï 🦆 \U0001f9d1\u200d\U0001f680", "\\ \" ' \n\t")
    ):
        rooms.remember(f"k{number}", text)
        assert rooms.held()[f"k{number}"] == text


# Archive


def test_a_document_is_replaced_found_and_dropped(rooms):
    rooms.put("a", "a pelican")
    done = rooms.put("a", "a walrus")
    rooms.put("b", "another walrus", expires_at="2026-03-02T00:00:00.000000Z")
    assert done.replaced == 1
    assert rooms.found("pelican") == []
    assert sorted(rooms.found("What about the walrus?")) == ["a", "b"]
    assert rooms.read(lambda c: archive.counts(c, "p")) == {"text": 2}
    assert (
        rooms.read(lambda c: c.scalar(select(archive.up_to(9, "text", "summary")), {"in_project": "p"})) == 2
    )
    assert rooms.read(lambda c: archive.expired(c, "p", NOW)) == []
    gone = rooms.read(lambda c: archive.expired(c, "p", "2026-03-03T00:00:00.000000Z"))
    rooms.write(lambda c: archive.drop(c, rooms.store.text, gone))
    assert rooms.found("walrus") == ["a"]


def test_search_keeps_to_its_project_and_its_notebooks(rooms):
    rooms.put("a", "pelican")
    rooms.put("b", "pelican", project="q")
    rooms.remember("own", "pelican", agent="alice")
    assert sorted(rooms.found("pelican")) == ["a", "memory:alice:own"]
    assert rooms.found("pelican", agents=["default"]) == ["a"]
    assert rooms.found("pelican", project="q") == ["b"]


def test_w_35_a_long_text_is_found_by_words_at_its_end(rooms):
    rooms.put("long", "The dashboard shows green. " * 400 + "At last the quokka meets a wallaby.")
    rooms.put("other", "The dashboard shows green.")
    assert rooms.found("where is the wallaby?") == ["long"]


def test_w_36_what_came_from_outside_is_labelled_wherever_it_is_found_and_keeps_its_lines(rooms):
    content = "# Straße\n\n- the pelican\n- \u9d5c\u9d98 und Größe\n\n\tindented = true\n"
    done = rooms.put("outside", content, trust="external")
    rooms.put("inside", "a pelican of our own")
    hits = rooms.hits("the pelican")
    assert {hit.source: hit.trust for hit in hits} == {"outside": "external", "inside": "agent"}
    out = SearchOutput(fence="f", hits=[shown(hit) for hit in hits])
    lines = {line.split(" ")[1]: line for line in render_found(out).split("\n") if " (2026" in line}
    assert "outside [external] (" in lines["outside"] and "[external]" not in lines["inside"]
    stored = rooms.read(lambda c: archive.by_ids(c, rooms.bodies, "p", [done.document]))[done.document]
    assert (stored.content, stored.trust) == (content, "external")
    assert rooms.found("\u9d5c\u9d98") == rooms.found("Größe") == ["outside"]


def test_w_36_scores_tell_the_better_hit_from_the_worse(rooms):
    rooms.put("both", "pelican walrus")
    rooms.put("one", "a pelican stands in the middle of a long sentence about the harbour")
    hits = rooms.hits("pelican walrus")
    assert [hit.source for hit in hits] == ["both", "one"]
    assert hits[0].score == 1 and 0 < hits[1].score < 1


def test_the_newest_summary_is_the_last_one(rooms):
    for number in range(3):
        draft = archive.Draft("summary", f"s{number}", f"summary {number}", "uid:1000", "s1")
        rooms.write(lambda c, draft=draft: archive.put(c, rooms.store.text, rooms.bodies, "p", draft, NOW))
    last = rooms.read(lambda c: archive.last(c, rooms.bodies, "p", "summary"))
    assert last is not None and last.content == "summary 2"


# Sessions


def report(rooms, kind, detail, session="s1", project="p"):
    rooms.write(
        lambda c: sessions.report(c, project=project, session=session, kind=kind, detail=detail, moment=NOW)
    )


def test_working_state_adds_up_and_a_checkpoint_brings_it_back(rooms):
    report(rooms, "plan", '["[pending] write"]')
    for number in range(20):
        report(rooms, "file_write", f"/p/{number}")
    report(rooms, "command", "make")
    report(rooms, "said", "done")
    report(rooms, "file_write", "/p/other", session="s2")
    state = rooms.read(lambda c: sessions.gather(c, "p", "s1"))
    assert state.files[0] == "/p/19" and len(state.files) == 15
    assert (state.plan, state.commands, state.last_words) == (("[pending] write",), ("make",), "done")
    report(rooms, sessions.CHECKPOINT, state.dump())
    found = rooms.read(lambda c: sessions.last_checkpoint(c, "p"))
    assert found is not None and found[1] == state
    assert [e.kind for e in rooms.read(lambda c: sessions.recent(c, "p", 3))] == [
        "file_write",
        "command",
        "file_write",
    ]


def test_trimming_keeps_the_newest_of_each_project(rooms):
    for number in range(6):
        report(rooms, "command", f"p{number}")
        report(rooms, "command", f"q{number}", project="q")
    assert rooms.write(lambda c: sessions.trim(c, "p", kept=4)) == 2
    assert [e.detail for e in rooms.read(lambda c: sessions.every(c, "p"))] == ["p2", "p3", "p4", "p5"]
    assert len(rooms.read(lambda c: sessions.every(c, "q"))) == 6
    assert rooms.write(lambda c: sessions.trim(c, "p", kept=4)) == 0
    assert rooms.write(lambda c: sessions.trim(c, "nowhere", kept=4)) == 0


# Register


def test_a_folder_has_one_project_and_keeps_it_when_it_moves(rooms, tmp_path):
    def enter(folder: Path, ident: str) -> str:
        place = locate(str(folder), home=tmp_path / "home", machine="m")
        return rooms.write(lambda c: register.enter(c, place, ident, NOW))

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert enter(tmp_path / "a", "prj_1") == enter(tmp_path / "a", "prj_x") == "prj_1"
    assert enter(tmp_path / "b", "prj_2") == "prj_2"
    place = locate(str(tmp_path / "a"), home=tmp_path / "home", machine="m")
    with pytest.raises(Conflict):
        rooms.write(lambda c: register.move(c, "prj_2", place, NOW))
    rooms.write(lambda c: register.merge(c, "prj_1", "prj_2"))
    assert enter(tmp_path / "a", "prj_x") == "prj_2"
    assert [e.id for e in rooms.read(register.every)] == ["prj_2"]
    rooms.write(lambda c: register.remove(c, "prj_2"))
    assert enter(tmp_path / "a", "prj_3") == "prj_3"


# Ledger and retries


def test_effect_and_entry_commit_together_and_verify(rooms):
    def job(transaction: Transaction) -> None:
        sessions.report(
            transaction.connection, project="p", session="s1", kind="command", detail="x", moment=NOW
        )
        transaction.record(EntryDraft("uid:1000", "s1", "", "call", {"operation": "x"}, {"value": "secret"}))

    for _ in range(3):
        rooms.store.write(job)
    verdict = rooms.read(lambda c: verify(c, "log_rooms", rooms.keyring))
    assert (verdict.status, verdict.entries) == (Status.OK, 4)
    rows = rooms.read(lambda c: tail(c, "log_rooms", 1))
    assert rows[0].body is not None and "secret" not in str(rows[0].body)

    def change(connection: Connection) -> None:
        connection.execute(ledger_entries.update().where(ledger_entries.c.seq == 2).values(kind="refusal"))

    rooms.write(change)
    assert rooms.read(lambda c: verify(c, "log_rooms", rooms.keyring)).status is Status.TAMPERED


def test_a_kept_answer_is_found_again_under_its_key_alone(rooms):
    call = Call(
        "call_1", "zc_x", {}, Principal("uid:1000", Standing.AGENT, "mcp", "s1"), MOMENT, None, "k" * 5_000
    )
    rooms.write(lambda c: replay.keep(c, call, "d" * 64, {"structured": {}, "text": "done"}))
    assert rooms.read(lambda c: replay.find(c, call, "d" * 64)) == {"structured": {}, "text": "done"}
    with pytest.raises(Conflict):
        rooms.read(lambda c: replay.find(c, call, "e" * 64))
    rooms.write(lambda c: replay.drop_old(c, "2026-03-02T00:00:00.000000Z"))
    assert rooms.read(lambda c: replay.find(c, call, "d" * 64)) is None
