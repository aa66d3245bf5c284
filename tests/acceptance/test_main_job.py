"""The main job with everything real: what one session remembers is in the next one's first request."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.acceptance.installed import RECALL, REMEMBER, SEARCH, SERVER, User, first, recalled, result
from tests.acceptance.scripted_model import Call, Say, ScriptedModel
from tests.waiting import wait_until

FACT = "PostgreSQL 16, because of row-level security"
KEEP = Call(REMEMBER, {"key": "decision.database", "value": FACT, "importance": 5})
TOKEN = "ghp_" + "a1B2c3D4e5" * 4
RECALL_CHARACTERS = 1_500 * 4
LISTED_CHARACTERS = 8_000


def test_what_one_session_remembers_is_in_the_first_request_of_the_next(dev: User) -> None:
    with ScriptedModel({"one": [KEEP, Say("kept")], "two": [Say("read")]}) as model:
        dev.model_url = model.url
        dev.ask("go", agent="one")
        dev.ask("go", agent="two")
    offered = {tool["name"] for tool in first(model, "one").body["tools"]}
    assert {REMEMBER, RECALL, SEARCH} <= offered, "these three are there without a search for tools"
    assert FACT not in first(model, "one").text
    [recall] = recalled(first(model, "two"))
    assert f"- ***** decision.database: {FACT}" in recall
    assert dev.facts() == {"decision.database": FACT}
    assert [e.kind for e in dev.entries("zc_remember")] == ["call"]
    assert dev.verified()


def test_a_tool_that_the_client_defers_is_found_and_used(dev: User) -> None:
    words = "Chose the engine; next: the schema."
    steps = [
        Call("ToolSearch", {"query": f"select:{SERVER}zc_summarize_session", "max_results": 5}),
        Call(SERVER + "zc_summarize_session", {"summary": words}),
        Say("bye"),
    ]
    with ScriptedModel({"one": steps, "two": [Say("read")]}) as model:
        dev.model_url = model.url
        dev.ask("go", agent="one")
        dev.ask("go", agent="two")
    assert re.search(rf"Last session's summary \(.*\): {re.escape(words)}", recalled(first(model, "two"))[0])


def test_resume_recalls_what_was_remembered_since_and_its_own_state(dev: User) -> None:
    newer = Call(REMEMBER, {"key": "found.meanwhile", "value": "by another session", "importance": 4})
    mine = [KEEP, Call("Bash", {"command": "echo MINE"}), Say("one"), Say("two")]
    theirs = [newer, Call("Bash", {"command": "echo THEIRS"}), Say("kept")]
    with ScriptedModel({"dev": mine, "other": theirs}) as model:
        dev.model_url = model.url
        session = "11111111-2222-4333-8444-555555555555"
        dev.ask("go", "--session-id", session)
        dev.ask("go", agent="other")
        dev.ask("on", "--resume", session)
    last = recalled(model.requests("dev")[-1])[-1]
    assert FACT in last
    assert "by another session" in last
    assert "- commands: echo MINE" in last, "a session gets its own working state back"
    starts = [e.arguments["source"] for e in dev.entries("session.start") if session in e.session]
    assert starts == ["startup", "resume"]


def test_clear_in_the_terminal_recalls_into_the_new_session(dev: User) -> None:
    with ScriptedModel({"dev": [KEEP, Say("FIRST-ANSWER"), Say("SECOND-ANSWER")]}) as model:
        dev.model_url = model.url
        with dev.terminal("--allowedTools", REMEMBER) as terminal:
            terminal.ready()
            terminal.say("go")
            terminal.sees("FIRST-ANSWER")
            terminal.say("/clear")
            wait_until(lambda: len(dev.entries("session.start")) == 2, "the start after /clear")
            terminal.say("on")
            terminal.sees("SECOND-ANSWER")
            terminal.say("/exit")
            wait_until(
                lambda: len(dev.rows("SELECT 1 FROM events WHERE kind = 'session_ended'")) == 2, "the end"
            )
    assert [e.arguments["source"] for e in dev.entries("session.start")] == ["startup", "clear"]
    [recall] = recalled(model.requests("dev")[-1])
    assert FACT in recall


def test_what_the_model_is_sent_for_our_results_is_lean_and_says_what_to_do(dev: User) -> None:
    steps = [
        KEEP,
        Call(REMEMBER, {"key": "token", "value": f"the token is {TOKEN}"}),
        Call(RECALL, {}),
        Call(SEARCH, {"queries": ["which database was chosen?"]}),
        Call(REMEMBER, {"key": "x", "value": "y", "importance": 9}),
        Call(REMEMBER, {"key": "x", "value": "y" * 4_001}),
        Call(SEARCH, {}),
        Say("bye"),
    ]
    with ScriptedModel({"dev": steps}) as model:
        dev.model_url = model.url
        dev.ask("go")
    kept, redacted, recall, hits, range_, long, empty = (result(model, "dev", n) for n in range(7))
    assert json.loads(kept) | {"id": "m0"} == {
        "key": "decision.database",
        "id": "m0",
        "importance": 5,
        "count": 1,
        "limit": 115,
        "changed": True,
    }
    [told] = json.loads(redacted)["redacted"]
    assert told["field"] == "value"
    assert TOKEN not in recall + hits + redacted
    assert recall.count(FACT) == 1
    assert hits.count(FACT) == 1
    assert len(recall) <= RECALL_CHARACTERS
    # A refusal arrives as a sentence with its code and the next step.
    assert "[out_of_range]" in range_ and "importance must be at most 5" in range_
    assert "[too_long]" in long and "4000" in long
    assert re.search(r"\[\w+\] \S+", empty)
    assert dev.files_with(TOKEN) == []


def test_a_full_memory_is_recalled_within_its_budget(dev: User) -> None:
    many = [
        Call(REMEMBER, {"key": f"fact.{n}", "value": f"number {n} " + "word " * 60, "importance": 1 + n % 5})
        for n in range(40)
    ]
    with ScriptedModel({"dev": [*many, Say("bye")], "two": [Call(RECALL, {}), Say("read")]}) as model:
        dev.model_url = model.url
        dev.ask("go")
        dev.ask("go", agent="two")
    [start] = recalled(first(model, "two"))
    asked = result(model, "two", 0)
    assert RECALL_CHARACTERS * 0.8 < len(start) <= RECALL_CHARACTERS
    assert len(asked) <= RECALL_CHARACTERS
    assert "more facts are stored: find them with zc_search" in start
    assert len(dev.facts()) == 40


def test_what_our_tools_cost_in_every_request(dev: User) -> None:
    with ScriptedModel({"dev": [Say("bye")]}) as model:
        dev.model_url = model.url
        dev.ask("go")
    ours: list[dict[str, Any]] = [
        t for t in first(model, "dev").body["tools"] if t["name"].startswith(SERVER)
    ]
    assert {tool["name"] for tool in ours} == {REMEMBER, RECALL, SEARCH}
    assert len(json.dumps(ours, ensure_ascii=False)) <= LISTED_CHARACTERS / 3
