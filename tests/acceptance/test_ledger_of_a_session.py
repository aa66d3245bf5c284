"""What the ledger holds of a real session's tool calls: each one once, failures as failures, no content, no secret."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from pathlib import Path

from tests.acceptance.installed import REMEMBER, SEARCH, SECONDS, User
from tests.acceptance.scripted_model import Call, Say, ScriptedModel, Step
from tests.waiting import wait_until

MARK = "INSIDE-OF-A-FILE-7313"
TOKEN = "ghp_" + "k9X2m4Q8w6" * 4
KILL = Call(
    "Bash", {"command": "kill -9 $(zc service status --json | sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p')"}
)


def test_every_tool_call_of_the_client_is_observed(dev: User) -> None:
    file, book = str(dev.project / "a.txt"), str(dev.project / "b.ipynb")
    cells = {"cells": [{"cell_type": "code", "id": "c1", "metadata": {}, "outputs": [], "source": ["1"]}]}
    (dev.project / "b.ipynb").write_text(
        json.dumps(cells | {"metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    skill = Call("Skill", {"skill": "securecontext:securecontext"})
    steps: list[Step] = [
        Call("Write", {"file_path": file, "content": MARK}),
        Call("Read", {"file_path": file}),
        Call("Edit", {"file_path": file, "old_string": MARK, "new_string": f"{MARK}-again"}),
        Call("Bash", {"command": f"cat {file}; export GITHUB_TOKEN={TOKEN}"}),
        Call("Bash", {"command": f"echo {TOKEN} >&2; exit 3"}),
        Call("Read", {"file_path": "/nowhere/at/all"}),
        skill,
        Call("ToolSearch", {"query": "select:TaskCreate,NotebookEdit", "max_results": 5}),
        Call("TaskCreate", {"subject": f"rotate {TOKEN}", "description": MARK}),
        Call("Read", {"file_path": book}),
        Call("NotebookEdit", {"notebook_path": book, "cell_id": "c1", "new_source": f"# {MARK}"}),
        Call(REMEMBER, {"key": "k", "value": "v"}),
        Say("bye"),
    ]
    tools = "Bash,Write,Read,Edit,Skill,TaskCreate,NotebookEdit,ToolSearch," + REMEMBER
    with ScriptedModel({"dev": steps}) as model:
        dev.model_url = model.url
        dev.ask("go", tools=tools)
    seen = [(o["tool"], o["outcome"]) for o in dev.observed()]
    expected = [
        (step.tool, "failed" if n in (4, 5) else "ok")
        for n, step in enumerate(steps)
        if isinstance(step, Call) and step.tool != REMEMBER
    ]
    assert seen == expected
    used = [o["tool_use_id"] for o in dev.observed()]
    assert len(set(used)) == len(used)
    assert all(ident.startswith("toolu_") for ident in used)
    assert {e.kind for e in dev.entries("session.observed")} == {"observed"}
    assert [e.kind for e in dev.entries("zc_remember")] == ["call"]
    assert dev.files_with(MARK) == []
    assert dev.files_with(TOKEN) == []
    assert dev.files_with("[REDACTED:github_pat]"), "the commands are kept, with the secret taken out"
    changed = [d for (d,) in dev.rows("SELECT detail FROM events WHERE kind = 'file_write'")]
    assert changed == [file, file, book]
    assert dev.verified()


def test_the_service_killed_between_two_calls(dev: User) -> None:
    steps = [
        Call(REMEMBER, {"key": "before", "value": "acknowledged before"}),
        KILL,
        Call("Write", {"file_path": str(dev.project / "away.txt"), "content": MARK}),
        Call("Bash", {"command": f"ls; export GITHUB_TOKEN={TOKEN}"}),
        Call("Bash", {"command": "false"}),
        Call("Bash", {"command": f"cp -r '{dev.zc_home}/spool' spooled"}),
        Call(REMEMBER, {"key": "after", "value": "acknowledged after"}),
        Call(SEARCH, {"queries": ["acknowledged"]}),
        Say("bye"),
    ]
    with ScriptedModel({"dev": steps}) as model:
        dev.model_url = model.url
        dev.ask("go")
        sent = model.requests("dev")[-1].text
    assert "service_away" not in sent
    assert dev.facts() == {"before": "acknowledged before", "after": "acknowledged after"}
    # What was noted while nobody was there holds names, ids and paths.
    notes = [json.loads(p.read_text()) for p in sorted((dev.project / "spooled").glob("*.json"))]
    assert [(n["event"], n["tool_name"]) for n in notes] == [
        ("tool-used", "Bash"),
        ("tool-used", "Write"),
        ("tool-used", "Bash"),
        ("tool-failed", "Bash"),
    ]
    assert all(set(n).isdisjoint({"tool_input", "tool_response", "command", "error"}) for n in notes)
    wait_until(lambda: not list((dev.zc_home / "spool").glob("*.json")), "the empty spool")
    observed = dev.observed()
    count = Counter(o["tool_use_id"] for o in observed)
    assert set(count.values()) == {1}
    assert [o["outcome"] for o in observed if "spooled_at" in o] == ["ok", "ok", "ok", "failed", "ok"]
    assert (str(dev.project / "away.txt"),) in dev.rows("SELECT detail FROM events WHERE kind = 'file_write'")
    assert dev.files_with(MARK) == []
    assert dev.files_with(TOKEN) == []
    assert dev.verified()


def test_the_service_killed_during_a_call(dev: User) -> None:
    stop = str(KILL.input["command"]).replace("kill -9", "kill -STOP")
    steps = [
        Call(REMEMBER, {"key": "before", "value": "acknowledged before"}),
        Call("Bash", {"command": stop}),
        Call(REMEMBER, {"key": "during", "value": "asked of a service that is about to die"}),
        Call(SEARCH, {"queries": ["about to die"]}),
        Say("bye"),
    ]
    assert dev.zc("status").returncode == 0
    service = dev.service_pid()
    with ScriptedModel({"dev": steps}) as model:
        dev.model_url = model.url
        with dev.session("go") as session:
            wait_until(lambda: state(service) == "T", "the stopped service")
            shim = shim_of(session.pid)
            read = bytes_read(shim)
            # Nothing answers now, so what the shim reads next is the call, and then it waits for the answer.
            wait_until(lambda: bytes_read(shim) > read and state(shim) == "S", "the call under way")
            os.kill(service, signal.SIGKILL)
            assert session.wait(SECONDS) == 0
        sent = model.requests("dev")[-1].text
    assert "service_away" not in sent
    assert dev.facts() == {
        "before": "acknowledged before",
        "during": "asked of a service that is about to die",
    }
    assert [e.body["outcome"] for e in dev.entries("zc_remember")] == ["ok", "ok"]
    assert dev.verified()


def state(pid: int) -> str:
    """Return a process's state as the kernel names it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def bytes_read(pid: int) -> int:
    """Return how many bytes a process has read."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def shim_of(client: int) -> int:
    """Return the process id of a client's shim."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == client and b"shim.py" in words:
            return int(folder.name)
    raise AssertionError("the client has no shim")


def test_a_note_of_a_call_that_was_entered_already_is_not_entered_again(alone: User) -> None:
    session = str(uuid.uuid4())
    steps = [Call("Bash", {"command": "true"}), Say("bye")]
    with ScriptedModel({"dev": steps}) as model:
        alone.model_url = model.url
        alone.ask("go", "--session-id", session)
    assert alone.zc("service", "stop").returncode == 0
    [seen] = alone.observed()
    note = {
        "event": "tool-used",
        "ts": 1.0,
        "session_id": session,
        "tool_name": "Bash",
        "cwd": str(alone.project),
        "project_path": str(alone.project),
    }
    spool = alone.zc_home / "spool"
    spool.mkdir(exist_ok=True)
    (spool / "1-1.json").write_text(json.dumps(note | {"tool_use_id": seen["tool_use_id"]}))
    (spool / "2-2.json").write_text(json.dumps(note | {"tool_use_id": "toolu_unseen"}))
    (spool / "3-3.json").write_text(json.dumps(note | {"project_path": str(alone.root / "gone")}))
    (spool / "4-4.json").write_text("{ no note")
    assert alone.zc("status").returncode == 0
    wait_until(lambda: not list(spool.glob("*.json")), "the empty spool")
    assert [o["tool_use_id"] for o in alone.observed()] == [seen["tool_use_id"], "toolu_unseen"]
    assert sorted(p.name for p in spool.iterdir()) == ["3-3.bad", "4-4.bad"]
    assert alone.rows("SELECT count(*) FROM ledger_entries WHERE kind = 'refusal'") == [(0,)]
    assert alone.verified()
