"""The security contracts hold, and what breaks them is refused, entered, taken back, and stops nothing."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from securecontext.boundaries import audit, chain
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.policy import Permission, Principal, Standing
from securecontext.contracts import security
from securecontext.contracts.agent import is_agent_id, is_message, is_storable
from securecontext.contracts.security import create_secure_agent_context, is_gapless
from securecontext.contracts.session import is_moment, is_session_name
from securecontext.knowledge import archive, indexing
from securecontext.memory import changes, facts, sessions
from securecontext.memory.capacity import Capacity, capacity, choose_evicted
from securecontext.pipeline.callers import introduce
from securecontext.pipeline.operation import CATALOGUE, Context, Effects, Input, Output, operation
from securecontext.projects import register
from securecontext.types.errors import ContractBroken
from securecontext.types.ids import timestamp
from securecontext.types.ledger import stream_of
from securecontext.types.security import (
    AgentId,
    AuditTrail,
    SecureAgentContext,
    SecurityContext,
    ValidatedInput,
)
from securecontext.validators.input import validate_agent_id
from tests.house_case import AGENT, PERSON, House, house

__all__ = ["house"]
REPOSITORY = Path(__file__).resolve().parents[2]
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = timestamp(MOMENT)
GROUNDS = SecurityContext("uid:1000", "s1", "mcp", frozenset({"memory.read"}), MOMENT)


def broken(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """Return what a call says that breaks a contract."""
    with pytest.raises(ContractBroken) as caught:
        call(*arguments, **named)
    assert caught.value.code == "contract_broken"
    return caught.value.message


# Values


def test_an_agent_that_acts_is_named_stands_on_grounds_and_is_recorded() -> None:
    made = create_secure_agent_context(AgentId("dev-1"), GROUNDS)
    assert made == SecureAgentContext(
        AgentId("dev-1"), GROUNDS, AuditTrail("uid:1000", "s1", "dev-1", "uid:1000/s1")
    )


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/../b", "é", "a" * 65, "a\n", None, 7])
def test_no_agent_acts_under_a_name_that_is_none(name: Any) -> None:
    assert "precondition" in broken(create_secure_agent_context, name, GROUNDS)


@pytest.mark.parametrize(
    "change",
    [
        {"principal": ""},
        {"principal": " "},
        {"session": ""},
        {"door": ""},
        {"principal": "uid:1\n"},
        {"session": "\ud800"},
        {"rights": frozenset()},
        {"moment": datetime(2026, 3, 1)},
        {"until": MOMENT},
        {"until": MOMENT - timedelta(seconds=1)},
        {"until": datetime(2027, 3, 1)},
    ],
    ids=str,
)
def test_no_agent_acts_on_grounds_that_are_none(change: dict[str, Any]) -> None:
    grounds = replace(GROUNDS, **change)
    assert not grounds.is_valid()
    assert "valid grounds" in broken(create_secure_agent_context, AgentId("dev"), grounds)


def test_grounds_last_until_their_end() -> None:
    assert replace(GROUNDS, until=MOMENT + timedelta(microseconds=1)).is_valid()


def test_no_agent_acts_whose_deeds_the_ledger_could_not_name() -> None:
    long = replace(GROUNDS, principal="x" * 201)
    assert long.is_valid()
    assert "postcondition" in broken(create_secure_agent_context, AgentId("dev"), long)
    assert "postcondition" in broken(
        create_secure_agent_context, AgentId("dev"), replace(GROUNDS, session="x" * 201)
    )


@pytest.mark.parametrize(
    "trail",
    [
        AuditTrail("", "s", "", "/s"),
        AuditTrail("p", "", "", "p/"),
        AuditTrail("p", "s", "", "p/t"),
        AuditTrail("a/b", "c", "", "a/b/c"),
        AuditTrail("p", "s", "a\0", "p/s"),
        AuditTrail("p", "s", "a" * 65, "p/s"),
    ],
)
def test_a_trail_that_is_not_its_own_or_does_not_fit_is_incomplete(trail: AuditTrail) -> None:
    assert not trail.is_complete()
    assert AuditTrail("a/b", "c", "", stream_of("a/b", "c")).is_complete()


def test_a_validated_input_is_made_by_a_validator_alone() -> None:
    made = validate_agent_id("dev")
    assert (made.value, made.checks) == ("dev", ("alphabet",))
    with pytest.raises(TypeError):
        ValidatedInput("anything", ("alphabet",))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ValidatedInput("anything", ("alphabet",), object())
    with pytest.raises((TypeError, ValueError)):
        replace(made, value="anything")
    with pytest.raises(TypeError):
        ValidatedInput.vouched("anything")
    with pytest.raises(FrozenInstanceError):
        made.value = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "x" * 201}, {"name": "a\nb"}, {"session": ""}, {"session": "a b"},
     {"session": "s" * 101}, {"claimed_agent": "a b"}, {"claimed_agent": "x" * 65}],
    ids=str,
)  # fmt: skip
def test_a_principal_can_always_be_named_in_the_ledger(change: dict[str, str]) -> None:
    assert "invariant" in broken(replace, AGENT, **change)


def test_a_value_under_an_invariant_is_copied_and_pickled_as_before() -> None:
    assert copy.deepcopy(AGENT) == AGENT == pickle.loads(pickle.dumps(AGENT))


def test_predicates() -> None:
    assert is_agent_id("a" * 64) and not is_agent_id("a" * 65)
    assert is_session_name("predecessor:abc") and not is_session_name("a/b")
    assert is_moment(NOW) and not is_moment("2026-03-01T12:00:00Z") and not is_moment(NOW + "\n")
    assert is_storable("é\n") and not is_storable("\0") and not is_storable("\ud800")
    assert is_message("hi") and not any(
        is_message(t) for t in ("", " ", "e\u0301", "a\u200b", "x" * 4001, "\x1b")
    )


def test_a_streams_places_have_no_gap() -> None:
    def at(stream: str, seq: int) -> audit.Appended:
        return audit.Appended(stream, seq, NOW, "")

    assert is_gapless([])
    assert is_gapless([at("a", 7), at("b", 1), at("a", 8), at("b", 2)])
    assert not is_gapless([at("a", 7), at("a", 9)])
    assert not is_gapless([at("a", 7), at("b", 8), at("a", 7)])


def test_an_append_that_loses_or_disorders_drafts_is_found() -> None:
    @dataclass
    class Draft:
        stream: str

    @security.places_every_draft
    @security.leaves_no_gap
    def append(drafts: list[Draft], places: list[audit.Appended]) -> list[audit.Appended]:
        return places

    one, two = audit.Appended("a", 1, NOW, ""), audit.Appended("b", 1, NOW, "")
    assert append([Draft("a"), Draft("b")], [one, two]) == [one, two]
    assert "place" in broken(append, [Draft("a"), Draft("b")], [one])
    assert "place" in broken(append, [Draft("a"), Draft("b")], [two, one])
    assert "gap" in broken(append, [Draft("a"), Draft("a")], [one, one])


def test_the_head_of_a_stream_never_goes_back(tmp_path: Path) -> None:
    ledger = audit.Ledger("log", Keyring.open(tmp_path / "keys"))
    ledger._committed["a/b"] = audit.Head(5, "0" * 64)
    ledger._pending["a/b"] = audit.Head(5, "1" * 64)
    assert "never goes back" in broken(ledger.committed)


def test_capacities() -> None:
    for limit, target in ((0, 0), (5, 6), (5, -1)):
        assert "invariant" in broken(Capacity, limit, 0, 0, 0, target)
    assert "not negative" in broken(capacity, sources=-1, broadcasts=0, agents=0)
    assert choose_evicted([], Capacity(5, 0, 0, 0, 4)) == []


def test_roots_and_keys_are_whole(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path / "keys")
    assert "key is whole" in broken(chain.head_mac, b"short", "log", "a/b", 1, "0" * 64)
    assert "whole salt" in broken(chain.secret_digest, b"", "text")
    one = keyring._roots["ledger"]
    short = {**keyring._roots, "ledger": replace(one, secret=b"x" * 63)}
    assert "whole" in broken(Keyring, tmp_path, short)
    same = dict.fromkeys(("ledger", "encryption", "tokens", "skills"), one)
    assert "four roots" in broken(Keyring, tmp_path, same)
    assert "four roots" in broken(Keyring, tmp_path, {"ledger": one})


# Operations on state


def _remember(connection: Any, **change: Any) -> Any:
    given: dict[str, Any] = {
        "project": "p", "agent": "default", "key": "k", "value": "v", "importance": 3, "supersedes": None,
        "origin": facts.Origin("uid:1000", "s1"), "capacity": capacity(sources=0, broadcasts=0, agents=0),
        "moment": NOW,
    }  # fmt: skip
    return changes.remember(connection, None, **{**given, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"agent": "a b"},
        {"key": " "},
        {"key": "a\0"},
        {"value": "\ud800"},
        {"importance": 0},
        {"importance": 6},
        {"state": "replaced"},
        {"moment": "yesterday"},
    ],
    ids=str,
)
def test_no_room_of_memory_takes_what_no_validator_lets_by(change: dict[str, Any]) -> None:
    assert "precondition" in broken(_remember, None, **change)


def test_no_room_of_sessions_archive_and_register_takes_it_either() -> None:
    event = {"project": "p", "session": "s", "kind": "command", "detail": "make", "moment": NOW}
    for change in ({"session": "a b"}, {"kind": "a kind"}, {"detail": "\0"}, {"moment": ""}):
        broken(sessions.report, None, **{**event, **change})
    broken(sessions.trim, None, "p", 0)
    draft = archive.Draft("text", "source", "content", "uid:1000", "s")
    for bad in ({"source": ""}, {"source": "\0"}, {"content": "\ud800"}):
        broken(archive.put, None, None, None, "p", replace(draft, **bad), NOW)
    broken(archive.put, None, None, None, "p", draft, "now")
    piece = indexing.Piece(0, 0, 1, "a")
    named = {"project": "p", "parent_kind": "fact", "parent": 1, "session": "s", "moment": NOW}
    assert "place of its own" in broken(indexing.index, None, None, pieces=[piece, piece], **named)
    assert "into itself" in broken(register.merge, None, "prj_1", "prj_1")
    assert "moment" in broken(register.enter, None, None, "prj_1", "today")


def test_no_caller_comes_in_whom_the_ledger_could_not_name(house: House) -> None:
    assert introduce(house.app, Standing.AGENT, "mcp", 1000, {"session": "s1"}).principal.name == "uid:1000"
    assert "unrecorded" in broken(introduce, house.app, Standing.AGENT, "http", "t" * 201, {})
    assert "grounds" in broken(introduce, house.app, "nobody", "mcp", 1000, {})
    assert "grounds" in broken(introduce, house.app, Standing.AGENT, "", 1000, {"session": "s1"})


# What becomes of a broken contract


class TryInput(Input):
    text: str = ""


class TryOutput(Output):
    said: str = ""


@pytest.fixture
def careless() -> Iterator[Callable[..., str]]:
    """Declares operations that have an effect and then break a contract, for one test."""
    known = set(CATALOGUE)

    def make(name: str, breaks: Callable[[Context], Any], effects: Effects = Effects.WRITES) -> str:
        def run(context: Context, given: TryInput) -> TryOutput:
            if effects is Effects.WRITES:
                context.connection.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
            breaks(context)
            return TryOutput()

        run.__annotations__ = {"context": Context, "given": TryInput, "return": TryOutput}
        run.__doc__ = "Try."
        render: Callable[[TryOutput], str] = lambda out: "done"  # noqa: E731 - an argument
        operation(name, permission=Permission.MEMORY_WRITE, effects=effects, render=render)(run)
        return name

    yield make
    for name in set(CATALOGUE) - known:
        del CATALOGUE[name]


BREAKS: dict[str, Callable[[Context], Any]] = {
    "precondition": lambda context: _remember(context.connection, importance=9),
    "postcondition": lambda context: create_secure_agent_context(
        AgentId("dev"), replace(GROUNDS, principal="x" * 201)
    ),
    "invariant": lambda context: Capacity(1, 0, 0, 0, 2),
}


@pytest.mark.parametrize("effects", [Effects.READS, Effects.WRITES])
@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_contract_is_entered_as_a_failure_refused_taken_back_and_stops_nothing(
    house: House, careless: Callable[..., str], kind: str, effects: Effects, caplog: pytest.LogCaptureFixture
) -> None:
    house.remember("before", "stands")
    with caplog.at_level(logging.ERROR):
        answer = house.ask(careless("try.careless", BREAKS[kind], effects))
    assert isinstance(answer.error, ContractBroken)
    assert kind in answer.text
    entry = house.entries(1)[0]
    assert (entry["kind"], entry["operation"], entry["outcome"]) == (
        "failure",
        "try.careless",
        "contract_broken",
    )
    assert any(record.exc_info and record.exc_info[0] is ContractBroken for record in caplog.records)
    assert house.sql("SELECT * FROM meta WHERE name = 'half'") == []
    house.remember("after", "works")
    assert house.shown() == {"before": "stands", "after": "works"}
    assert house.do("audit.verify", PERSON)["status"] == "OK"


def test_a_key_that_storage_does_not_forget_is_not_said_to_be_forgotten(house: House) -> None:
    """The table keeps a row that is deleted: the postcondition of forgetting finds it, and all is as it was."""
    house.remember("secret", "kept")
    outsider = sqlite3.connect(house.app.stores.path(house.project.id))
    outsider.execute("CREATE TRIGGER keeps BEFORE DELETE ON facts BEGIN SELECT RAISE(IGNORE); END")
    outsider.commit()
    outsider.close()
    answer = house.ask("zc_forget", {"key": "secret"})
    assert isinstance(answer.error, ContractBroken) and "no row is left" in answer.text
    assert house.entries(1)[0]["kind"] == "failure"
    assert house.shown() == {"secret": "kept"}
    assert [hit["id"] for hit in house.search("kept")] == ["m1"]  # its chunks were taken back too


def test_a_broken_contract_harms_no_call_of_the_same_batch(
    house: House, careless: Callable[..., str]
) -> None:
    from threading import Barrier, Thread

    name = careless("try.careless", BREAKS["precondition"])
    answers: list[Any] = []
    begin = Barrier(8)

    def call(number: int) -> None:
        begin.wait()
        if number % 2:
            answers.append(house.app.corridor.walk(_call(house, name, {}, number)))
        else:
            given = {"key": f"k{number}", "value": "v"}
            answers.append(house.app.corridor.walk(_call(house, "zc_remember", given, number)))

    threads = [Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.error is None for answer in answers) == [False] * 4 + [True] * 4
    kinds = [entry["kind"] for entry in house.entries(8)]
    assert sorted(kinds) == ["call"] * 4 + ["failure"] * 4
    assert sorted(house.shown()) == ["k0", "k2", "k4", "k6"]


def _call(house: House, name: str, given: dict[str, Any], number: int) -> Any:
    from securecontext.pipeline.call import Call

    who = Principal("uid:1000", Standing.AGENT, "mcp", f"s{number}")
    return Call(f"call_{number}", name, given, who, house.moment, house.project)


OPTIMISED = """
import json, sys
from dataclasses import replace
from pathlib import Path
assert False, "-O removes this"
from tests.contracts import test_security as t
from tests.house_case import AGENT, make_house
from securecontext.boundaries.policy import Permission
from securecontext.pipeline.operation import CATALOGUE, Context, Effects, operation
from securecontext.types.errors import ContractBroken

house = make_house(Path(sys.argv[1]))
out = {"debug": __debug__}
for kind, breaks in t.BREAKS.items():
    def run(context, given, breaks=breaks):
        context.connection.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
        breaks(context)
        return t.TryOutput()
    run.__annotations__ = {"context": Context, "given": t.TryInput, "return": t.TryOutput}
    run.__doc__ = "Try."
    operation(f"try.{kind}", permission=Permission.MEMORY_WRITE, effects=Effects.WRITES, render=lambda out: "d")(run)
    answer = house.ask(f"try.{kind}")
    entry = house.entries(1)[0]
    out[kind] = [answer.error.code, entry["kind"], len(house.sql("SELECT * FROM meta WHERE name = 'half'"))]
try:
    replace(AGENT, session="a b")
except ContractBroken:
    out["principal"] = "refused"
house.remember("after", "works")
out["shown"] = house.shown()
house.app.close()
print(json.dumps(out))
"""


def test_all_of_it_holds_when_python_optimises(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-c", OPTIMISED, str(tmp_path / "house")],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "debug": False,
        **{kind: ["contract_broken", "failure", 0] for kind in BREAKS},
        "principal": "refused",
        "shown": {"after": "works"},
    }
