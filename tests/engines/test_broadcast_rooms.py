"""Broadcasts, acknowledgements, channel keys and reservations over a real store, on both engines."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from securecontext.coordination import acknowledgements, broadcasts, channel_keys, messages, ownership
from securecontext.coordination.broadcasts import Sender
from securecontext.coordination.ownership import Holder
from securecontext.coordination.patterns import Pattern, names_of
from securecontext.storage import tables
from securecontext.storage.postgres import open_postgres
from securecontext.types.errors import Conflict, LimitReached, NotFound
from securecontext.types.ids import timestamp
from tests.engines.rooms_case import MOMENT, NOW
from tests.waiting import wait_until

LATER = timestamp(MOMENT + timedelta(hours=1))
BOSS = Sender("boss", "orchestrator", "agent:boss", "ses_1")


def say(rooms, kind="STATUS", sender=BOSS, to=(), project="p", moment=NOW, **given: Any) -> int:
    message = messages.compose(kind, {"summary": "hello", **given})
    return rooms.write(lambda c: broadcasts.say(c, project, sender, message, to, moment))


def heard(rooms, agent: str, project="p", **given: Any) -> list[int]:
    found = rooms.read(lambda c: broadcasts.replay(c, project, agent, **given))
    return [each.id for each in found]


def reserve(
    rooms, agent: str, *patterns: str, cause="broadcast:1", task="t", until=LATER, moment=NOW, project="p"
):
    holder = Holder(agent, f"agent:{agent}", "", cause, task)
    wanted = [Pattern.of(text) for text in patterns]
    rooms.write(lambda c: ownership.reserve(c, project, holder, wanted, until=until, moment=moment))


def live(rooms, moment=NOW, project="p") -> list[tuple[str, str]]:
    found = rooms.read(lambda c: ownership.live(c, project, moment))
    return [(each.agent, each.pattern.text) for each in found]


def test_a_broadcast_comes_back_as_it_was_said(rooms):
    new = say(rooms, "REJECT", task="parser", reason="no tests", importance=5)
    [found] = rooms.read(lambda c: broadcasts.replay(c, "p", "alice"))
    assert (found.id, found.agent, found.role, found.created_at, found.created_by, found.session) == (
        new, "boss", "orchestrator", NOW, "agent:boss", "ses_1",
    )  # fmt: skip
    assert found.message == messages.compose(
        "REJECT", {"summary": "hello", "task": "parser", "reason": "no tests", "importance": 5}
    )
    assert found.verified and not say_as_worker(rooms).verified


def say_as_worker(rooms):
    new = say(rooms, sender=Sender("bob", "worker", "agent:bob", "ses_2"))
    return rooms.read(lambda c: broadcasts.get(c, "p", new))


def test_t_b06_projects_hear_nothing_of_each_other(rooms):
    """T_B06: isolation of projects."""
    new = say(rooms)
    assert heard(rooms, "alice", project="q") == []
    with pytest.raises(NotFound):
        rooms.read(lambda c: broadcasts.get(c, "q", new))


def test_w_49_each_agent_has_acknowledgements_of_its_own_and_only_the_first_counts(rooms):
    first, second = say(rooms), say(rooms)
    assert rooms.write(lambda c: acknowledgements.acknowledge(c, "p", first, "alice", "s1", NOW))
    assert not rooms.write(lambda c: acknowledgements.acknowledge(c, "p", first, "alice", "s2", LATER))
    assert (heard(rooms, "alice"), heard(rooms, "bob")) == ([second], [first, second])
    [done] = rooms.read(lambda c: acknowledgements.of_broadcast(c, "p", first))
    assert (done.agent, done.session, done.at) == ("alice", "s1", NOW)


def test_what_is_for_others_and_what_one_said_oneself_is_not_open(rooms):
    own = say(rooms, sender=Sender("alice", "worker", "agent:alice", "s"))
    for_bob = say(rooms, to=["bob"])
    for_alice = say(rooms, to=["alice", "Bob"])
    assert heard(rooms, "alice") == [for_alice]
    assert heard(rooms, "bob") == [own, for_bob]  # names differ by case
    assert heard(rooms, "alice", only_open=False) == [own, for_bob, for_alice]
    assert rooms.read(lambda c: broadcasts.recipients_of(c, "p", for_alice)) == ["Bob", "alice"]


def test_a_replay_begins_where_it_is_told_to_and_ends_at_its_limit(rooms):
    made = [say(rooms, moment=timestamp(MOMENT + timedelta(minutes=n))) for n in range(4)]
    assert heard(rooms, "alice", after=made[0]) == made[1:]
    assert heard(rooms, "alice", since=timestamp(MOMENT + timedelta(minutes=2))) == made[2:]
    assert heard(rooms, "alice", most=2) == made[:2]
    assert rooms.read(lambda c: broadcasts.has_open(c, "p", "alice"))
    assert not rooms.read(lambda c: broadcasts.has_open(c, "p", "boss"))


def test_t_b01_ten_attempts_a_minute_and_agent(rooms):
    """T_B01: the limit, which is kept in the database."""

    def attempt(agent: str, seconds: float) -> None:
        moment = MOMENT + timedelta(seconds=seconds)
        rooms.write(lambda c: broadcasts.take_attempt(c, "p", agent, moment))

    for number in range(10):
        attempt("alice", number)
    for seconds in (10, 59.9):
        with pytest.raises(LimitReached) as caught:
            attempt("alice", seconds)
        assert caught.value.code == "broadcast_rate"
    attempt("bob", 11)
    attempt("alice", 60)  # the first one is a minute ago
    with pytest.raises(LimitReached):
        attempt("alice", 60.5)


def test_a_channel_key_takes_the_place_of_the_one_before(rooms):
    assert rooms.read(lambda c: channel_keys.read(c, "p")).state == "missing"
    for verifier, state in (("scrypt$x", "set"), (channel_keys.WAIVED, "waived"), ("scrypt$y", "set")):
        rooms.write(lambda c, v=verifier: channel_keys.keep(c, "p", v, "uid:1000", NOW))
        assert rooms.read(lambda c: channel_keys.read(c, "p")).state == state
    assert rooms.read(lambda c: channel_keys.read(c, "q")).state == "missing"


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": "'; DROP TABLE"},
        {"provenance": "extracted"},
        {"classification": "secret"},
        {"classification": None},
        {"trust": "trusted"},
        {"type": "set_key"},
        {"role": "root"},
        {"importance": 6},
    ],
)
def test_rt_s3_01_rt_s3_04_a_bad_label_of_a_broadcast_is_refused_by_the_database(engine, change):
    """RT-S3-01, RT-S3-03, RT-S3-04: SQL by way of the provenance, no class, a class that there is not."""
    row = {
        "project": "p", "type": "STATUS", "agent": "a", "role": "worker", "task": "", "importance": 3, "recipients": 0,
        "message": "{}", "created_at": NOW, "created_by": "agent:a", "session": "s",
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(tables.broadcasts), row)
    with engine.connect() as connection:
        [label] = connection.execute(tables.broadcasts.select()).all()
        assert (label.classification, label.provenance, label.trust) == ("internal", "UNKNOWN", "agent")
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(tables.broadcasts), {**row, **change})


# Reservations


def test_rt_s4_05_rt_s4_06_overlap_is_refused_and_what_is_apart_is_not(rooms):
    """RT-S4-05, RT-S4-06."""
    reserve(rooms, "alice", "src/parser", "docs/*.md", cause="broadcast:7")
    with pytest.raises(Conflict) as caught:
        reserve(rooms, "bob", "tests", "SRC/parser/lexer.py", cause="broadcast:8")
    assert (caught.value.code, caught.value.http_status) == ("files_reserved", 409)
    assert caught.value.details == {
        "holder": "alice", "overlapping_files": ["src/parser"], "conflicting_broadcast_id": 7,
    }  # fmt: skip
    assert live(rooms) == [("alice", "src/parser"), ("alice", "docs/*.md")], "all or nothing"
    reserve(rooms, "bob", "tests", "src/lexer", cause="broadcast:8")
    assert len(live(rooms)) == 4
    reserve(rooms, "bob", "src/parser", project="q")


def test_rt_s4_07_after_the_merge_the_files_are_free(rooms):
    """RT-S4-07."""
    reserve(rooms, "alice", "src/parser", task="parser")
    reserve(rooms, "bob", "docs", task="docs", cause="broadcast:2")
    assert rooms.write(lambda c: ownership.release_task(c, "p", "parser", by="agent:boss", moment=NOW)) == 1
    assert rooms.write(lambda c: ownership.release_task(c, "p", "parser", by="agent:boss", moment=NOW)) == 0
    reserve(rooms, "carol", "src/parser", cause="broadcast:3")
    assert live(rooms) == [("bob", "docs"), ("carol", "src/parser")]
    [ended] = rooms.read(lambda c: ownership.of_cause(c, "p", "broadcast:1"))
    assert (ended.released_at, ended.released_by) == (NOW, "agent:boss")


def test_a_reservation_ends_with_its_lease_and_lasts_with_signs_of_life(rooms):
    reserve(rooms, "alice", "src")
    assert live(rooms, moment=LATER) == []
    much_later = timestamp(MOMENT + timedelta(hours=3))
    renewed = rooms.write(
        lambda c: ownership.renew(c, "p", "alice", due=much_later, until=much_later, moment=NOW)
    )
    assert renewed == 1 and live(rooms, moment=LATER) == [("alice", "src")]
    with pytest.raises(Conflict):
        reserve(rooms, "bob", "src", moment=LATER, until=much_later)
    reserve(rooms, "bob", "src", moment=much_later, until=timestamp(MOMENT + timedelta(hours=9)))


def test_what_a_task_holds_is_not_renewed_by_talk_and_ends_with_the_task(rooms):
    reserve(rooms, "alice", "src", cause="task:build-1")
    much_later = timestamp(MOMENT + timedelta(hours=3))
    renew = {"due": much_later, "until": much_later, "moment": NOW}
    assert rooms.write(lambda c: ownership.renew(c, "p", "alice", **renew)) == 0
    with pytest.raises(Conflict) as caught:
        reserve(rooms, "bob", "src/x")
    assert caught.value.details["conflicting_task_id"] == "build-1"
    assert rooms.write(lambda c: ownership.release_cause(c, "p", "task:build-1", by="x", moment=NOW)) == 1
    assert live(rooms) == []


def test_a_request_is_noted_and_files_go_from_hand_to_hand(rooms):
    reserve(rooms, "alice", "src/parser", "docs")
    there = rooms.read(lambda c: ownership.live(c, "p", NOW))
    wanted = ownership.meeting(there, [Pattern.of("src")])
    rooms.write(lambda c: ownership.ask_for(c, wanted, asker="bob", moment=NOW))
    asked = rooms.read(lambda c: ownership.live(c, "p", NOW))
    assert [each.requested_by for each in asked] == ["bob", None]
    rooms.write(lambda c: ownership.give(c, asked[:1], agent="bob", until=LATER))
    [parser, docs] = rooms.read(lambda c: ownership.live(c, "p", NOW))
    assert (parser.agent, parser.principal, parser.requested_by, docs.agent) == (
        "bob",
        "agent:bob",
        None,
        "alice",
    )
    held = ownership.holding([parser, docs], names_of("docs/a.md"))
    assert held is not None and held.id == docs.id


def test_a_project_has_a_bounded_number_of_reservations(rooms, monkeypatch):
    monkeypatch.setattr(ownership, "MOST_LIVE", 3)
    reserve(rooms, "alice", "a", "b")
    with pytest.raises(LimitReached):
        reserve(rooms, "alice", "c", "d")
    reserve(rooms, "alice", "c")


def test_w_28_of_two_that_reserve_at_once_one_has_the_files(rooms):
    """W-28: there is no moment between the look and the insert."""
    start = threading.Barrier(8)
    won: list[str] = []

    def race(name: str) -> None:
        start.wait(30)
        try:
            reserve(rooms, name, "src/**", cause=f"broadcast:{name[1:]}")
            won.append(name)
        except Conflict:
            pass

    racers = [threading.Thread(target=race, args=(f"a{n}",)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert len(won) == 1 and live(rooms) == [(won[0], "src/**")]


def test_w_28_two_services_on_one_database_reserve_one_after_the_other(migrated_postgres_url):
    """W-28: the second waits for the first one's transaction, and then sees what it reserved."""
    engine = open_postgres(migrated_postgres_url)
    refused: list[str] = []

    def take(connection, agent: str) -> None:
        holder = Holder(agent, f"agent:{agent}", "", f"broadcast:{len(agent)}", "t")
        ownership.reserve(connection, "p", holder, [Pattern.of("src")], until=LATER, moment=NOW)

    def second() -> None:
        try:
            with engine.begin() as connection:
                take(connection, "bob")
        except Conflict as error:
            refused.append(error.details["holder"])

    def waits() -> bool:
        with engine.connect() as connection:
            found = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return connection.execute(text(found)).scalar_one() == 1

    with engine.begin() as connection:
        take(connection, "alice")
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(waits, "the second to wait for its turn")
    thread.join(30)
    assert refused == ["alice"]
    engine.dispose()
