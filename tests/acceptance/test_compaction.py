"""Compaction with everything real: the working state is kept before it and given back after it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from tests.acceptance.installed import REMEMBER, User, first, recalled
from tests.acceptance.scripted_model import Call, Say, ScriptedModel, Step
from tests.waiting import wait_until

SUMMARY = "We chose GROMIT as the name; next: the logo."
WRAPPED = f"<analysis>\nNOT-FOR-KEEPING\n</analysis>\n\n<summary>\n{SUMMARY}\n</summary>"
TASKS = "select:TaskCreate,TaskUpdate"


def work(project: Path) -> list[Step]:
    """Return steps that leave a plan, a changed file, commands and an error behind."""
    return [
        Call("ToolSearch", {"query": TASKS, "max_results": 5}),
        Call("TaskCreate", {"subject": "draw the logo", "description": "as a picture"}),
        Call("TaskCreate", {"subject": "choose a name", "description": "a short one"}),
        Call("TaskUpdate", {"taskId": "2", "status": "completed"}),
        Call("Write", {"file_path": str(project / "name.txt"), "content": "GROMIT"}),
        Call("Bash", {"command": "wc -c name.txt"}),
        Call("Bash", {"command": "exit 3"}),
    ]


def check_state(recall: str, project: Path) -> None:
    """Check that a recall holds all of the working state."""
    assert "Working state at " in recall
    assert "- plan: [pending] draw the logo; [completed] choose a name" in recall
    assert f"- files changed: {project / 'name.txt'}" in recall
    assert "- commands: wc -c name.txt" in recall
    assert "- errors: Bash `exit 3`: Exit code 3" in recall


def test_compact_asked_for_in_print_mode(dev: User) -> None:
    steps = [*work(dev.project), Say("one"), Say("two")]
    session = ("--session-id", str(uuid.uuid4()))
    with ScriptedModel({"dev": steps, "next": [Say("read")]}) as model:
        model.summary = WRAPPED
        dev.model_url = model.url
        dev.ask("go", *session)
        dev.ask("/compact keep the numbers", "--resume", session[1])
        asked = [r for r in model.requests("dev", stepped=None) if "keep the numbers" in r.text]
        dev.ask("on", "--resume", session[1])
        dev.ask("go", agent="next")
    # What a hook prints before a compaction would be handed to whoever writes the summary: ours prints nothing.
    assert "keep the numbers" in asked[0].text
    ending = json.dumps(asked[0].body["messages"][-1])
    assert "Additional Instructions:" in ending
    assert "SecureContext" not in ending
    after = recalled(model.requests("dev")[-1])
    check_state(after[0], dev.project)
    assert SUMMARY not in "".join(after), "the client has its own summary in the context already"
    [reason] = [e.arguments for e in dev.entries("session.checkpoint") if "ended" not in e.arguments]
    assert reason == {"reason": "compaction: manual"}
    starts = [e.arguments["source"] for e in dev.entries("session.start")]
    assert starts == ["startup", "resume", "compact", "resume", "startup"]
    # The client's summary is in the archive, bare, and the next session starts from it.
    assert dev.rows("SELECT content, kind, provenance FROM documents") == [(SUMMARY, "summary", "INFERRED")]
    [recall] = recalled(first(model, "next"))
    assert f"): {SUMMARY}\n" in recall
    check_state(recall, dev.project)
    assert dev.files_with("NOT-FOR-KEEPING") == []


def test_compaction_that_the_client_decides_on_itself(dev: User) -> None:
    dev.extra = dev.extra | {
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000",
        "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE": "50",
    }
    steps = [*work(dev.project), Call("Bash", {"command": "echo last"}, tokens=90_000), Say("bye")]
    with ScriptedModel({"dev": steps}) as model:
        model.summary = WRAPPED
        dev.model_url = model.url
        dev.ask("go")
    [recall] = recalled(model.requests("dev")[-1])
    assert "- commands: echo last; wc -c name.txt" in recall
    assert "- plan: [pending] draw the logo; [completed] choose a name" in recall
    [checkpoint] = [e.arguments for e in dev.entries("session.checkpoint") if "ended" not in e.arguments]
    assert checkpoint == {"reason": "compaction: auto"}
    assert dev.rows("SELECT content FROM documents") == [(SUMMARY,)]


def test_compact_in_the_terminal(dev: User) -> None:
    mine = [
        Call(REMEMBER, {"key": "name", "value": "GROMIT", "importance": 5}),
        Call("Bash", {"command": "echo MINE"}),
        Say("FIRST-ANSWER"),
        Say("SECOND-ANSWER"),
    ]
    with ScriptedModel({"dev": mine}) as model:
        model.summary = WRAPPED
        dev.model_url = model.url
        with dev.terminal("--allowedTools", f"Bash,{REMEMBER}") as terminal:
            terminal.ready()
            terminal.say("go")
            terminal.sees("FIRST-ANSWER")
            terminal.say("/compact")
            wait_until(lambda: dev.entries("session.compacted"), "the summary in the archive")
            terminal.say("on")
            terminal.sees("SECOND-ANSWER")
            terminal.say("/exit")
            wait_until(
                lambda: len(dev.rows("SELECT 1 FROM events WHERE kind = 'session_ended'")) == 1, "the end"
            )
    recall = recalled(model.requests("dev")[-1])[-1]
    assert "- ***** name: GROMIT" in recall
    assert "- commands: echo MINE" in recall
    sources = [e.arguments["source"] for e in dev.entries("session.start")]
    assert sources == ["startup", "compact"]
