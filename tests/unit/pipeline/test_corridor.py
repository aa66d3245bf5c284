"""The seven steps, through a real App: what commits together, what is an entry, and what never leaves."""

import json
import logging
import sqlite3
from datetime import datetime

import pytest
from tests.house_case import AGENT, HOOK, PERSON, named

from securecontext.boundaries.limits import Gate, Limits
from securecontext.boundaries.policy import Permission, Policy, Principal, Standing
from securecontext.contracts import require
from securecontext.pipeline.call import Call
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.operation import CATALOGUE, Context, Effects, Input, Output, operation
from securecontext.types.errors import Conflict, ContractBroken, NotFound, Unavailable

MARK = "quetzal-umbrella"


class TryInput(Input):
    text: str = ""


class TryOutput(Output):
    said: str = ""


def given_nothing(context: Context, given: TryInput) -> TryOutput:
    """Do nothing."""
    return TryOutput()


@pytest.fixture
def declare():
    """Declares operations for one test."""
    known = set(CATALOGUE)

    def make(function, *, effects=Effects.WRITES, **more):
        function.__annotations__ = {"context": Context, "given": TryInput, "return": TryOutput}
        function.__doc__ = function.__doc__ or "Try."
        name = f"try.{function.__name__}"
        more.setdefault("render", lambda out: out.said or "done")
        operation(name, permission=Permission.MEMORY_WRITE, effects=effects, **more)(function)
        return name

    yield make
    for name in set(CATALOGUE) - known:
        del CATALOGUE[name]


def _facts(house):
    return house.sql("SELECT key FROM facts ORDER BY fact")


def test_a_call_is_an_entry_with_what_was_asked_and_how_it_ended(house):
    house.remember("db", MARK, 5)
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["operation"], entry["outcome"], entry["door"]) == (
        "call", "zc_remember", "ok", "mcp",
    )  # fmt: skip
    assert entry["stream"] == "uid:1000/s1"
    assert (entry["arguments"]["key"], entry["arguments"]["importance"]) == ("db", 5)
    assert entry["arguments"]["value"]["length"] == len(MARK)
    assert set(entry["arguments"]["value"]) == {"digest", "length"}


def test_no_remembered_value_is_in_the_ledger(house):
    house.remember("db", MARK)
    house.do("zc_search", queries=[MARK])
    house.recall()
    house.do("zc_summarize_session", summary=f"about {MARK}")
    house.do("zc_index", source="notes", content=f"{MARK} in a document")
    for table in ("ledger_entries", "ledger_bodies", "ledger_heads", "idempotency", "events"):
        assert MARK not in str(house.sql(f"SELECT * FROM {table}")), table
    assert MARK in str(house.sql("SELECT value FROM facts"))


@pytest.mark.only_in_files("makes a table of its own, which the login of a service may not")
def test_a_refusal_takes_back_its_effect_and_is_an_entry(house, declare):
    def half(context, given):
        context.connection.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
        raise Conflict("half_way", "Half way.", "Stop.")

    assert house.refused(declare(half)) == "half_way"
    assert house.sql("SELECT * FROM meta WHERE name = 'half'") == []
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["operation"], entry["outcome"]) == ("refusal", "try.half", "half_way")


def test_a_refusal_does_not_disturb_the_call_before_and_after(house):
    house.remember("a", "1")
    assert house.refused("zc_remember", key="b", value="2", supersedes="absent") == "nothing_to_supersede"
    house.remember("c", "3")
    assert house.shown() == {"a": "1", "c": "3"}


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("zc_remember", {"key": "k"}, "missing_argument"),
        ("zc_remember", {"key": "k", "value": "v", "importance": 6}, "out_of_range"),
        ("memory.list", {}, "not_permitted"),
        ("audit.tail", {}, "not_permitted"),
        ("session.turn", {}, "not_permitted"),
    ],
)
def test_a_refusal_before_the_transaction_is_an_entry_too(house, name, arguments, code):
    assert house.refused(name, **arguments) == code
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["operation"], entry["outcome"]) == ("refusal", name, code)
    assert entry["arguments"] == {}


def test_w_27_another_agents_notebook_refused_is_an_entry(house):
    assert house.refused("zc_remember", key="k", value=MARK, agent_id="other") == "other_agent"
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["arguments"]["agent_id"]) == ("refusal", "other")
    assert _facts(house) == []


def test_an_unknown_operation_is_an_entry_with_a_digest_of_its_name_alone(house):
    assert house.refused(f"zc_{MARK}") == "unknown_operation"
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["operation"], entry["outcome"]) == (
        "refusal",
        "unknown",
        "unknown_operation",
    )
    assert entry["arguments"]["operation"]["length"] == len(MARK) + 3
    assert MARK.encode() not in house.bytes_on_disk()


def test_an_unknown_operation_with_any_name_is_refused_and_entered(house):
    for name in ("", "x" * 100_000, "a\0b", "\ud800", "../../etc/passwd", "zc_remember; DROP TABLE facts"):
        assert house.refused(name) == "unknown_operation"
        assert house.entries(1)[0]["outcome"] == "unknown_operation"


def test_a_call_without_a_project_is_refused_by_name_in_the_machines_ledger(house):
    answer = house.ask("zc_recall_context", project=None)
    assert answer.error is not None and answer.error.code == "no_project"
    with house.app.machine.read() as connection:
        row = house.app.ledgers.tail(connection, 1)[0]
    assert row.body is not None
    assert (row.kind, row.body["operation"], row.body["outcome"]) == (
        "refusal", "zc_recall_context", "no_project",
    )  # fmt: skip


@pytest.mark.parametrize("effects", [Effects.READS, Effects.WRITES])
def test_a_defect_is_told_as_ours_logged_with_its_trace_and_the_service_goes_on(
    house, declare, caplog, effects
):
    def broken(context, given):
        raise ZeroDivisionError(MARK)

    with caplog.at_level(logging.ERROR):
        answer = house.ask(declare(broken, effects=effects))
    assert isinstance(answer.error, ContractBroken)
    assert answer.error.code == "internal_error"
    assert MARK not in answer.text + json.dumps(answer.structured)
    assert "Traceback" not in answer.text
    assert any(r.exc_info and r.exc_info[0] is ZeroDivisionError for r in caplog.records)
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["operation"], entry["outcome"]) == (
        "failure",
        "try.broken",
        "internal_error",
    )
    house.remember("next", "works")
    assert house.shown() == {"next": "works"}
    assert house.do("audit.verify", PERSON)["status"] == "OK"


def test_a_defect_in_a_writing_operation_leaves_no_half_effect(house, declare):
    def broken(context, given):
        context.connection.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
        raise ZeroDivisionError

    house.ask(declare(broken))
    assert house.sql("SELECT * FROM meta WHERE name = 'half'") == []


@pytest.mark.only_in_files("makes a table of its own, which the login of a service may not")
def test_a_defect_while_preparing_or_rendering_is_answered_too(house, declare):
    def fail(*arguments):
        raise ZeroDivisionError

    def prepares(context, given):
        return TryOutput()

    def renders(context, given):
        context.connection.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
        return TryOutput()

    assert house.refused(declare(prepares, prepare=fail)) == "internal_error"
    assert house.refused(declare(renders, render=fail)) == "internal_error"
    assert house.sql("SELECT * FROM meta WHERE name = 'half'") == []


def test_a_broken_contract_is_refused_as_a_failure(house, declare):
    @require(lambda number: number > 0, "the number is positive")
    def strict(number):
        return number

    def careless(context, given):
        strict(-1)
        return TryOutput()

    answer = house.ask(declare(careless))
    assert isinstance(answer.error, ContractBroken)
    assert "the number is positive" in answer.text
    assert house.entries(1)[0]["outcome"] == "contract_broken"


def test_a_refusal_that_no_ledger_can_take_is_still_an_answer(house, caplog):
    class NoWorld:
        machine = property(lambda self: self.store(""))

        def store(self, project):
            raise Unavailable("disk_full", "Full.", "Free room.")

    corridor = Corridor(NoWorld(), Policy(), Gate(Limits()))  # type: ignore[arg-type]
    call = Call("call_1", "zc_remember", {}, AGENT, house.moment, house.project)
    with caplog.at_level(logging.ERROR):
        answer = corridor.walk(call)
    assert answer.error is not None and answer.error.code == "missing_argument"
    assert "could not be entered" in caplog.text

    class BrokenWorld(NoWorld):
        def store(self, project):
            raise ZeroDivisionError

    answer = Corridor(BrokenWorld(), Policy(), Gate(Limits())).walk(call)  # type: ignore[arg-type]
    assert answer.error is not None and answer.error.code == "missing_argument"


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_a_project_that_is_gone_is_refused_and_the_machines_ledger_has_it(house):
    house.remember("k", "v")
    house.do("project.delete", PERSON, project=house.project.id, confirm=True)
    answer = house.ask("zc_remember", {"key": "k", "value": "v"})
    assert answer.error is not None and answer.error.code == "project_gone"
    assert not house.app.stores.path(house.project.id).exists()
    with house.app.machine.read() as connection:
        row = house.app.ledgers.tail(connection, 1)[0]
    assert row.body is not None and row.body["outcome"] == "project_gone"


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_a_read_has_its_entry_before_its_answer(house, declare):
    seen = []

    def watch(out):
        return "done"

    def reads(context, given):
        return TryOutput()

    name = declare(reads, effects=Effects.READS, render=watch)
    answer = house.ask(name)
    assert answer.error is None
    connection = sqlite3.connect(house.app.stores.path(house.project.id))
    seen = [json.loads(r[0])["operation"] for r in connection.execute("SELECT body FROM ledger_bodies")]
    connection.close()
    assert seen[-1] == name


def test_a_read_whose_entry_cannot_be_made_is_not_answered(house, declare, monkeypatch):
    house.remember("db", MARK)
    store = house.app.store(house.project.id)

    def full(job):
        raise Unavailable("disk_full", "The disk is full.", "Free room.")

    monkeypatch.setattr(store, "write", full)
    answer = house.ask("zc_recall_context")
    assert answer.error is not None and answer.error.code == "disk_full"
    assert MARK not in answer.text


def test_a_poll_has_no_entry(house, declare):
    def polls(context, given):
        return TryOutput()

    before = len(house.entries(50))
    house.ask(declare(polls, effects=Effects.READS, recorded=False))
    assert len(house.entries(50)) == before


@pytest.mark.only_in_files("makes a table of its own, which the login of a service may not")
def test_what_comes_after_is_done_once_the_effect_is_durable_and_not_for_a_refusal(house, declare):
    seen = []

    def later(world, out):
        seen.append(house.sql("SELECT value FROM meta WHERE name = 'here'"))

    def effect(context, given):
        context.connection.exec_driver_sql("INSERT INTO meta VALUES ('here', 'yes')")
        return TryOutput()

    def refuses(context, given):
        raise Conflict("no", "No.", "No.")

    house.ask(declare(effect, after=later))
    house.ask(declare(refuses, after=later))
    assert seen == [[("yes",)]]


# Retries


def test_a_retry_gets_the_same_answer_and_nothing_happens_twice(house):
    arguments = {"key": "k", "value": "v"}
    first = house.ask("zc_remember", arguments, key="once")
    rows = len(house.entries(50))
    second = house.ask("zc_remember", arguments, key="once")
    assert (second.structured, second.text) == (first.structured, first.text)
    assert len(_facts(house)) == 1
    assert len(house.entries(50)) == rows


def test_a_retry_after_the_world_moved_on_changes_nothing(house):
    house.ask("zc_remember", {"key": "k", "value": "old"}, key="once")
    house.remember("k", "new")
    house.ask("zc_remember", {"key": "k", "value": "old"}, key="once")
    assert house.shown() == {"k": "new"}


def test_a_key_used_for_another_call_is_a_conflict(house):
    house.ask("zc_remember", {"key": "k", "value": "v"}, key="once")
    answer = house.ask("zc_remember", {"key": "k", "value": "w"}, key="once")
    assert isinstance(answer.error, Conflict)
    assert answer.error.code == "idempotency_key_reused"
    assert house.shown() == {"k": "v"}


def test_a_key_belongs_to_its_operation_and_its_principal(house):
    other = Principal("uid:1001", Standing.AGENT, "mcp", "s1")
    house.ask("zc_remember", {"key": "k", "value": "v"}, key="once")
    assert house.ask("zc_forget", {"key": "k"}, key="once").error is None
    assert house.ask("zc_remember", {"key": "k", "value": "w"}, who=other, key="once").error is None
    assert house.shown() == {"k": "w"}


def test_two_agents_that_use_one_key_mean_two_calls(house):
    arguments = {"key": "k", "value": "v"}
    for who in (named("alice"), named("bob"), named("alice")):
        assert house.ask("zc_remember", arguments, who=who, key="once").error is None
    listed = house.do("memory.list", PERSON)["facts"]
    assert [(f["agent"], f["key"]) for f in listed] == [("alice", "k"), ("bob", "k")]


def test_a_retried_call_is_answered_before_anything_is_prepared(house, declare):
    prepared = []

    def prepare(world, asker, given):
        if prepared:
            raise NotFound("gone", "It was done already.", "No.")
        prepared.append(given)

    def effect(context, given):
        return TryOutput()

    name = declare(effect, prepare=prepare)
    first = house.ask(name, key="once")
    again = house.ask(name, key="once")
    assert first.error is None and again.structured == first.structured
    assert house.ask(name, key="another").error is not None


def test_a_refused_call_may_be_retried_under_its_key(house):
    arguments = {"key": "b", "value": "2", "supersedes": "a"}
    assert house.ask("zc_remember", arguments, key="once").error is not None
    house.remember("a", "1")
    assert house.ask("zc_remember", arguments, key="once").error is None


@pytest.mark.parametrize("key", ["x" * 10_000, "a\0b", "\ud800", "'; --"])
def test_a_key_may_be_anything(house, key):
    arguments = {"key": "k", "value": "v"}
    first = house.ask("zc_remember", arguments, key=key)
    assert first.error is None
    assert house.ask("zc_remember", arguments, key=key).structured == first.structured
    assert all(len(row[0]) <= 200 for row in house.sql("SELECT key FROM idempotency"))


def test_what_is_kept_of_a_call_cannot_be_guessed_from_its_arguments(house):
    import hashlib

    arguments = {"key": "k", "value": "v"}
    house.ask("zc_remember", arguments, key="once")
    [(key, digest)] = house.sql("SELECT key, request_digest FROM idempotency")
    guess = json.dumps(["zc_remember", arguments], sort_keys=True)
    assert key != "once"
    assert digest != hashlib.sha256(guess.encode()).hexdigest()


def test_kept_answers_go_after_a_day(house):
    from datetime import timedelta

    house.ask("zc_remember", {"key": "k", "value": "v"}, key="once")
    house.moment += timedelta(hours=23)
    house.app.tidy()
    assert len(house.sql("SELECT * FROM idempotency")) == 1
    house.moment += timedelta(hours=2)
    house.app.tidy()
    assert house.sql("SELECT * FROM idempotency") == []


# What identifies a caller fits the ledger


def test_the_longest_names_a_door_lets_in_fit_an_entry(house):
    who = Principal("uid:4294967294", Standing.AGENT, "mcp", "s" * 100, "a" * 64)
    house.do("zc_remember", who, key="k" * 100, value="v")
    entry = house.entries(1)[0]
    assert (entry["agent"], entry["outcome"]) == ("a" * 64, "ok")
    assert house.do("audit.verify", PERSON)["status"] == "OK"


def test_a_secret_in_an_argument_that_may_be_absent_is_not_in_the_ledger(house):
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    house.remember("plain", "v")
    house.ask("zc_remember", {"key": "k", "value": "v", "supersedes": secret})
    house.ask("zc_recall_context", {"agent_id": secret})
    house.ask("zc_search", {"ids": [secret]})
    assert secret.encode() not in house.bytes_on_disk()


def test_arguments_of_any_size_are_refused_before_they_reach_the_ledger(house):
    for name, arguments in (
        ("zc_recall_context", {"agent_id": "a" * 1_000_000}),
        ("zc_search", {"ids": ["m" * 1_000_000]}),
        ("zc_remember", {"key": "k", "value": "v" * 10_000_000}),
    ):
        assert house.refused(name, **arguments) == "too_long"
    assert max(len(row[0]) for row in house.sql("SELECT body FROM ledger_bodies")) < 5_000


@pytest.mark.parametrize("who", [AGENT, HOOK])
def test_only_a_person_manages(house, who):
    for name in ("memory.list", "memory.export", "memory.import", "project.list", "audit.verify"):
        assert (
            house.refused(name, who, **({"facts": []} if name == "memory.import" else {})) == "not_permitted"
        )


def test_the_machines_ledger_needs_no_project_and_its_projects_one(house):
    def asked(arguments):
        call = Call("call_1", "audit.verify", arguments, PERSON, house.moment, None)
        return house.app.corridor.walk(call)

    before = asked({"machine": True}).structured["entries"]
    done = asked({"machine": True})
    assert (done.error, done.structured["entries"]) == (None, before + 1), "it is an entry of that ledger"
    for arguments in ({}, {"machine": False}, {"database": "/no/such"}):
        assert asked(arguments).error.code == "no_project"


def test_too_many_calls_of_one_session_under_way_are_refused(house, declare):
    corridor = Corridor(house.app, Policy(), Gate(Limits(calls_in_flight=1)))
    inner = []

    def nested(context, given):
        call = Call("call_2", "zc_status", {}, AGENT, datetime.now().astimezone(), house.project)
        inner.append(corridor.walk(call))
        return TryOutput()

    name = declare(nested, effects=Effects.READS)
    outer = corridor.walk(Call("call_1", name, {}, AGENT, house.moment, house.project))
    assert outer.error is None
    assert inner[0].error is not None and inner[0].error.code == "too_many_calls"
    assert corridor.walk(Call("call_3", "zc_status", {}, AGENT, house.moment, house.project)).error is None
