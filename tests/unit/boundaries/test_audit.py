import json
from dataclasses import replace
from datetime import datetime

import pytest

from securecontext.boundaries import chain
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.ledger.tail import tail
from securecontext.boundaries.ledger.verdict import Status
from securecontext.types.errors import Conflict, ContractBroken, InvalidInput, Tampered
from tests.ledger_case import LOG, MOMENT, draft


def test_entries_of_several_streams_keep_their_order_and_places(case):
    places = case.append(draft("b"), draft("a"), draft("b"), draft("a"), draft("b"))
    assert [(place.stream[-1], place.seq) for place in places] == [
        ("b", 1),
        ("a", 1),
        ("b", 2),
        ("a", 2),
        ("b", 3),
    ]
    assert case.append(draft("b"))[0].seq == 4
    assert case.verify().status == "OK"


def test_an_empty_batch_writes_nothing(case):
    assert case.append() == []
    assert case.verify().entries == 1


def test_a_log_is_opened_once(case):
    assert [(row.stream, row.seq, row.kind) for row in tail(case.connection, LOG, 9)] == [
        ("system/log", 1, "created")
    ]
    assert case.ledger.open_log(case.connection, MOMENT) == []
    assert Ledger(LOG, case.keyring).open_log(case.connection, MOMENT) == []
    case.connection.rollback()


def test_a_log_emptied_under_a_running_service_is_not_opened_again(filled):
    for table in ("ledger_entries", "ledger_bodies", "ledger_heads"):
        filled.sql(f"DELETE FROM {table}")
    with pytest.raises(Tampered), filled.connection.begin():
        filled.ledger.open_log(filled.connection, MOMENT)


def test_a_secret_never_reaches_the_database(case):
    """RT-S0-10."""
    body = {"operation": "zc_remember", "arguments": {"key": "k", "value": "hunter2"}}
    case.append(draft(body=body, secrets={"value": "hunter2"}), draft(secrets={"other": "hunter2"}))
    stored = case.rows("SELECT * FROM ledger_entries") + case.rows("SELECT * FROM ledger_bodies")
    assert not any(
        b"hunter2" in (cell if isinstance(cell, bytes) else str(cell).encode())
        for row in stored
        for cell in row
    )
    newest, before, _ = tail(case.connection, LOG, 3)
    assert newest.body["arguments"]["other"]["length"] == 7
    assert before.body["arguments"]["key"] == "k"
    assert before.body["arguments"]["value"]["digest"] != newest.body["arguments"]["other"]["digest"]
    assert body["arguments"]["value"] == "hunter2", "the caller's draft is left as it was"


def test_every_entry_has_a_salt_of_its_own(case):
    case.append(*[draft() for _ in range(20)])
    assert len({row[0] for row in case.rows("SELECT salt FROM ledger_bodies")}) == 21


def test_a_rollback_leaves_the_stream_where_it_was(case):
    case.append(draft())
    transaction = case.connection.begin()
    case.ledger.append(case.connection, [draft(), draft()], MOMENT)
    transaction.rollback()
    case.ledger.rolled_back()
    assert case.append(draft())[0].seq == 2
    assert case.verify().status == "OK"


def test_several_appends_in_one_transaction_chain(case):
    with case.connection.begin():
        first = case.ledger.append(case.connection, [draft()], MOMENT)
        second = case.ledger.append(case.connection, [draft()], MOMENT)
    case.ledger.committed()
    assert (first[0].seq, second[0].seq) == (1, 2)
    assert case.verify().status == "OK"


def test_a_commit_that_nobody_knows_of_is_found_and_followed(case):
    case.append(draft())
    with case.connection.begin():
        case.ledger.append(case.connection, [draft()], MOMENT)
    case.ledger.rolled_back()  # the writer lost the connection and could not tell
    assert case.append(draft())[0].seq == 3
    assert case.verify().status == "OK"


def test_two_ledgers_on_one_stream_never_fork(case):
    other = Ledger(LOG, case.keyring)
    for turn in range(6):
        ledger = other if turn % 2 else case.ledger
        with case.connection.begin():
            assert ledger.append(case.connection, [draft()], MOMENT)[0].seq == turn + 1
        ledger.committed()
    assert case.verify().status == "OK"


def test_a_batch_goes_on_behind_a_faster_writer_in_the_streams_where_there_was_one(case):
    names = ("s1", "s2", "s3")
    case.append(*[draft(name) for name in names])
    other = Ledger(case.log, case.keyring)
    with case.connection.begin():
        other.append(case.connection, [draft("s2"), draft("s2")], MOMENT)
    places = case.append(*[draft(name) for name in names], draft("s2"))
    assert [(place.stream, place.seq) for place in places] == [
        ("uid:1000/s1", 2), ("uid:1000/s2", 4), ("uid:1000/s3", 2), ("uid:1000/s2", 5),
    ]  # fmt: skip
    assert case.verify().status is Status.OK


def test_a_second_first_entry_is_a_conflict_not_a_fork(case):
    other = Ledger(LOG, case.keyring)
    stale = other._load(case.connection, "uid:1000/s1")
    assert stale is None
    case.connection.rollback()
    case.append(draft())
    other._load = lambda *_: None  # the look came before the other writer's commit
    with pytest.raises(Conflict) as refused, case.connection.begin():
        other.append(case.connection, [draft()], MOMENT)
    assert refused.value.code == "ledger_stream_moved"
    assert case.verify().status == "OK"


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE ledger_heads SET seq = 4, "
        "head = (SELECT prev FROM ledger_entries WHERE stream = 'uid:1000/s1' AND seq = 5)",
        "UPDATE ledger_heads SET head = 'x'",
        "DELETE FROM ledger_heads",
        "UPDATE ledger_heads SET seq = 7",
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_changed_head_is_refused_by_a_running_and_by_a_new_service(filled, attack, restarted):
    filled.sql(
        attack + " WHERE stream = 'uid:1000/s1'" if "UPDATE" in attack or "DELETE" in attack else attack
    )
    ledger = Ledger(LOG, filled.keyring) if restarted else filled.ledger
    with pytest.raises(Tampered) as refused, filled.connection.begin():
        ledger.append(filled.connection, [draft("s1")], MOMENT)
    assert refused.value.code == "ledger_head_mismatch"
    assert filled.rows("SELECT max(seq) FROM ledger_entries") == [(5,)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_heads SET mac = zeroblob(32)",
        "UPDATE ledger_entries SET mac = zeroblob(32) WHERE seq = 5",
    ],
)
def test_a_new_service_checks_the_head_that_it_continues(filled, statement):
    filled.sql(statement)
    with pytest.raises(Tampered), filled.connection.begin():
        Ledger(LOG, filled.keyring).append(filled.connection, [draft("s1")], MOMENT)


def test_a_stream_cut_back_with_its_head_is_noticed_by_the_running_service(case):
    case.append(draft())
    kept = case.rows("SELECT seq, head, mac FROM ledger_heads WHERE stream = 'uid:1000/s1'")[0]
    case.append(draft())
    case.sql("DELETE FROM ledger_entries WHERE stream = 'uid:1000/s1' AND seq = 2")
    case.sql("DELETE FROM ledger_bodies WHERE stream = 'uid:1000/s1' AND seq = 2")
    case.sql(
        "UPDATE ledger_heads SET seq = :seq, head = :head, mac = :mac WHERE stream = 'uid:1000/s1'",
        seq=kept[0], head=kept[1], mac=kept[2],
    )  # fmt: skip
    with pytest.raises(Tampered), case.connection.begin():
        case.ledger.append(case.connection, [draft()], MOMENT)


@pytest.mark.parametrize(
    "change",
    [
        {"principal": "p" * 201},
        {"session": "s" * 201},
        {"claimed_agent": "a" * 65},
        {"principal": "a\0b"},
        {"session": "a\nb"},
        {"claimed_agent": "\x7f"},
        {"claimed_agent": "\ud800"},
        {"body": {"a": float("nan")}},
        {"body": {"a": "\ud800"}},
        {"secrets": {"a": "\ud800"}},
    ],
)
def test_what_cannot_be_stored_as_it_is_is_refused_and_nothing_is_written(case, change):
    with pytest.raises(InvalidInput), case.connection.begin():
        case.ledger.append(case.connection, [draft(), replace(draft(), **change)], MOMENT)
    case.ledger.rolled_back()
    assert case.verify().entries == 1
    assert case.append(draft())[0].seq == 1


def test_an_unknown_kind_and_a_naive_moment_are_our_own_defects(case):
    with pytest.raises(ContractBroken):
        case.ledger.append(case.connection, [draft(kind="other")], MOMENT)
    with pytest.raises(ContractBroken):
        case.ledger.append(case.connection, [draft(body={"arguments": []}, secrets={"a": "b"})], MOMENT)
    with pytest.raises(ContractBroken):
        case.ledger.append(case.connection, [draft()], datetime(2026, 1, 1))


def test_tail_is_newest_first_and_pages(filled):
    rows = tail(filled.connection, LOG, 4)
    assert [row.entry for row in rows] == sorted((row.entry for row in rows), reverse=True)
    older = tail(filled.connection, LOG, 100, before=rows[-1].entry)
    assert len(older) == 7
    only = tail(filled.connection, LOG, 100, stream="uid:1000/s2")
    assert [row.body["n"] for row in only] == [4, 3, 2, 1, 0]
    assert [row.hash for row in only[1:]] == [
        json.loads(data)["prev"]
        for (data,) in filled.connection.exec_driver_sql(
            "SELECT canonical FROM ledger_entries WHERE stream = 'uid:1000/s2' AND seq > 1 ORDER BY seq DESC"
        )
    ]
    assert tail(filled.connection, "another", 5) == []


def test_tail_shows_an_entry_whose_body_is_gone_or_unreadable(filled):
    filled.sql("UPDATE ledger_bodies SET body = NULL WHERE seq = 4")
    filled.sql("UPDATE ledger_bodies SET body = x'ff' WHERE seq = 5")
    assert [row.body for row in tail(filled.connection, LOG, 4)] == [None] * 4


def test_the_first_entry_follows_the_genesis(case):
    assert case.rows("SELECT prev FROM ledger_entries") == [(chain.genesis(LOG, "system/log"),)]
