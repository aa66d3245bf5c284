"""The right to deletion through the corridor: what goes, what stays, and who may."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.house_case import AGENT, HOOK, PERSON, House, make_house, named
from tests.identity_case import holder, issue, with_operator

from securecontext.boundaries.policy import Principal, Role
from securecontext.settings import Settings

WORD = b"quetzalumbrella"
SECRET = WORD.decode()


@pytest.fixture
def operator(house: House) -> Principal:
    return with_operator(house)


@pytest.fixture
def alice(house: House, operator: Principal) -> Principal:
    """An agent with a session token: it has a session of its own, proved."""
    return holder(house, issue(house, operator))


def verified(house: House) -> dict[str, object]:
    return house.do("audit.verify", PERSON)


def fill(house: House, who: Principal) -> None:
    """A session that leaves its word everywhere it can: facts, documents, summary, ledger, kept answers."""
    house.remember("db", f"the value {SECRET} " * 20, who=who)
    house.ask("zc_remember", {"key": SECRET, "value": "x", "agent_id": "default"}, who=who, key="once")
    house.do("zc_index", who, source=f"about {SECRET}", content=f"text with {SECRET} " * 20)
    house.do("zc_summarize_session", who, summary=f"we talked of {SECRET}")
    house.do("zc_forget", who, key=f"{SECRET} once")
    house.search(SECRET, who=who)


def test_no_byte_of_what_a_session_stored_stays_on_the_disk_and_the_ledger_is_sound(house, alice) -> None:
    house.remember("kept", "of another session")
    fill(house, alice)
    assert WORD in house.bytes_on_disk()
    done = house.do("zc_purge_session", alice)
    assert (done["sessions"], done["facts"], done["documents"]) == ([alice.session], 2, 2)
    assert done["bodies"] == 6
    stored = house.bytes_on_disk()
    assert WORD not in stored and WORD[:-1] not in stored  # nor its stem in the index
    found = verified(house)
    assert (found["status"], found["purged"]) == ("OK", 6)
    assert house.shown() == {"kept": "of another session"}
    house.remember("goes on", "the session may go on", who=alice)
    assert verified(house)["status"] == "OK"


def test_the_purge_is_an_entry_that_names_what_was_purged_by_digests(house, alice) -> None:
    house.remember("zymurgy", "x", who=alice)
    house.do("zc_purge_session", alice)
    call, entry = house.entries(2)
    assert (call["kind"], call["operation"]) == ("call", "zc_purge_session")
    (run,) = entry["purged"]
    assert (entry["kind"], run["stream"], run["first"]) == ("purge", f"agent:alice/{alice.session}", 1)
    assert len(run["digest"]) == 64
    assert "zymurgy" not in str(entry)


def test_what_was_there_before_counts_again_and_is_found_again(house, alice) -> None:
    shared = {"who": alice, "agent_id": "default"}
    house.remember("db", "PostgreSQL, as the earlier session said")
    house.remember("queue", "wolverine")
    house.remember("db", "changed", **shared)
    house.remember("db", "changed twice", **shared)
    house.remember("broker", "NATS", supersedes="queue", **shared)
    assert house.do("zc_purge_session", alice)["back"] == ["queue", "db"]
    assert house.shown() == {"db": "PostgreSQL, as the earlier session said", "queue": "wolverine"}
    assert [hit["source"] for hit in house.search("wolverine")] == ["memory:default:queue"]
    assert house.search("changed") == []


def test_a_newer_value_of_another_session_stays(house, alice) -> None:
    house.remember("db", "first")
    house.remember("db", "mine", who=alice, agent_id="default")
    house.remember("db", "last")
    house.do("zc_purge_session", alice)
    assert house.shown() == {"db": "last"}
    house.do("memory.undo", PERSON, key="db")
    assert house.shown() == {"db": "first"}, "history is linked past what was purged"


def test_events_that_hooks_reported_of_the_clients_session_go_with_it(house, alice) -> None:
    hook = replace(HOOK, name=alice.name)
    house.do("session.observed", hook, tool="Bash", tool_use_id="t1", outcome="ok", command=f"echo {SECRET}")
    done = house.do("zc_purge_session", replace(alice, client_session=hook.session))
    assert (done["sessions"], done["events"]) == ([alice.session, hook.session], 1)
    assert WORD not in house.bytes_on_disk()
    assert verified(house)["status"] == "OK"


def test_an_agent_cannot_purge_which_tools_the_client_saw_it_use(house, alice, operator) -> None:
    hook = replace(HOOK, name=alice.name)
    house.do("session.observed", hook, tool="Bash", tool_use_id="t1", outcome="ok", command=f"echo {SECRET}")
    done = house.do("zc_purge_session", replace(alice, client_session=hook.session))
    seen = [e["arguments"]["tool"] for e in house.entries(20) if e["kind"] == "observed"]
    assert (seen, done["kept"]) == (["Bash"], 1)
    house.do("zc_purge_session", operator, session=hook.session)
    assert [e for e in house.entries(20) if e["kind"] == "observed" and "arguments" in e] == []
    assert verified(house)["status"] == "OK"


def test_the_machines_own_ledger_is_purged_too(house, operator) -> None:
    house.do("integrity.check", PERSON)
    before = house.do("audit.verify", PERSON, machine=True)["purged"]
    house.do("zc_purge_session", operator, session=PERSON.session)
    found = house.do("audit.verify", PERSON, machine=True)
    assert found["status"] == "OK" and found["purged"] > before


# Who may


def test_an_agent_cannot_purge_what_it_was_refused(house, alice, operator) -> None:
    house.refused("zc_remember", alice, key="k", value="x" * 4_001)
    house.refused("audit.tail", alice)
    house.remember("db", "x", who=alice)
    assert house.do("zc_purge_session", alice)["kept"] == 2
    assert {e["outcome"] for e in house.entries(20) if e["kind"] == "refusal"} == {
        "too_long",
        "not_permitted",
    }
    house.do("zc_purge_session", operator, session=alice.session)
    assert [e for e in house.entries(20) if e["kind"] == "refusal" and "outcome" in e] == []
    assert verified(house)["status"] == "OK"


@pytest.mark.parametrize(
    "who",
    [AGENT, named("other", "s2"), replace(PERSON, terminal="another"), HOOK],
    ids=["the same without a token", "agent", "person", "hook"],
)
def test_nobody_purges_a_session_without_a_token_or_the_operator(house, operator, who) -> None:
    house.remember("db", "x")
    assert house.refused("zc_purge_session", who, session="s1") in ("not_permitted", "operator_locked")
    assert house.shown() == {"db": "x"} and verified(house)["purged"] == 0


def test_without_an_operator_the_next_step_is_told(house) -> None:
    answer = house.ask("zc_purge_session", {"session": "s1"}, who=PERSON)
    assert answer.error is not None and answer.error.code == "operator_not_set_up"
    assert "zc operator init" in answer.error.hint


def test_w_27_an_agent_that_claims_anothers_session_purges_nothing_of_it(house, alice, operator) -> None:
    bob = holder(house, issue(house, operator, "bob"))
    house.remember("hers", "x", who=alice)
    hook = replace(HOOK, name=alice.name, session="claude-9")
    house.do("session.observed", hook, tool="Bash", tool_use_id="t", outcome="ok", command="ls")
    done = house.do("zc_purge_session", replace(bob, client_session="claude-9"))
    assert (done["facts"], done["events"], done["bodies"]) == (0, 0, 0)
    assert house.refused("zc_purge_session", bob, session=alice.session) == "not_permitted"
    assert house.do("zc_purge_session", alice)["facts"] == 1


def test_an_orchestrator_purges_any_session_of_its_project(house, operator) -> None:
    house.remember("db", "x")
    chief = holder(house, issue(house, operator, "chief", Role.ORCHESTRATOR))
    assert house.do("zc_purge_session", chief, session="s1")["facts"] == 1
    elsewhere = house.fresh_project("elsewhere")
    answer = house.ask("zc_purge_session", {"session": "s1"}, who=chief, project=elsewhere)
    assert answer.error is not None and answer.error.code == "token_of_other_project"


def test_a_retry_of_a_purge_is_answered_and_not_done_again(house, alice) -> None:
    house.remember("db", "x", who=alice)
    first = house.ask("zc_purge_session", {}, who=alice, key="k1")
    house.remember("later", "y", who=alice)
    again = house.ask("zc_purge_session", {}, who=alice, key="k1")
    assert again.structured == first.structured and house.shown() == {"later": "y"}


# Retention


def test_retention_purges_old_bodies_as_the_system_and_leaves_memory_alone(tmp_path) -> None:
    house = make_house(tmp_path)
    house.app.close()
    house.app = type(house.app)(
        Settings(home=tmp_path / "zc", user_home=tmp_path, ledger_days=30.0), lambda: house.moment
    )
    try:
        house.remember(SECRET, "kept in memory")
        house.app.tidy()
        assert verified(house)["purged"] == 0
        house.moment += timedelta(days=31)
        house.remember("young", "x")
        house.app.tidy()
        house.app.tidy()
        found = verified(house)
        assert found["status"] == "OK" and found["purged"] >= 1
        entry = next(e for e in house.entries(20) if e["kind"] == "purge")
        assert (entry["stream"], entry["operation"]) == ("system/retention", "retention")
        assert set(house.shown()) == {SECRET, "young"}
        assert any(e["kind"] == "call" and e.get("operation") == "zc_remember" for e in house.entries(20))
    finally:
        house.app.close()
