"""The plugin in the real Claude Code client: valid, installed and removed without trace, its hooks fire."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securecontext.cli.client_files import PLUGIN_ID
from securecontext.cli.install import Report, install_claude_code, uninstall_claude_code
from tests.acceptance.claude_client import Client, program
from tests.acceptance.fake_service import FakeService, Heard
from tests.acceptance.scripted_model import Call, Say, ScriptedModel
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
PLUGIN = REPOSITORY / "plugin"


@pytest.fixture
def client(tmp_path: Path, request: pytest.FixtureRequest) -> Client:
    return Client(tmp_path, program(lambda: request.getfixturevalue("tools")))


def recall(heard: Heard) -> bytes:
    """Answer like the service: recall at a start, a word for the summary before a compaction."""
    told = json.loads(heard.payload)
    if heard.event == "session-start":
        fact = f"RECALLED-AT-{told['source']}"
        context = {"hookEventName": "SessionStart", "additionalContext": fact}
        said = json.dumps({"hookSpecificOutput": context}).encode()
    elif heard.event == "pre-compact":
        said = b"KEEP-IN-THE-SUMMARY"
    else:
        said = b""
    return b"exit 0 %d 0\n" % len(said) + said


@pytest.fixture
def service(client: Client) -> Iterator[FakeService]:
    with FakeService(client.zc_home, recall) as running:
        yield running


def told(service: FakeService, event: str) -> list[dict[str, Any]]:
    return [json.loads(heard.payload) for heard in service.heard if heard.event == event]


def install(client: Client, scope: Any = "user") -> Report:
    return install_claude_code(
        scope=scope,
        project=client.project,
        home=client.zc_home,
        environment={**client.environment(), "ZC_CLAUDE": str(client.program)},
        python=Path(sys.executable),
    )


def uninstall(client: Client) -> Report:
    return uninstall_claude_code(home=client.zc_home, environment=client.environment(), client=client.program)


def settings(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def test_the_client_finds_plugin_and_marketplace_valid(client: Client) -> None:
    for folder in (PLUGIN, REPOSITORY):
        done = client.run("plugin", "validate", str(folder), "--strict")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("scope", ["user", "project"])
@pytest.mark.parametrize("before", [None, {}, {"model": "opus", "enabledPlugins": {"other@place": False}}])
def test_install_is_listed_and_uninstall_leaves_no_trace(
    client: Client, scope: str, before: dict[str, Any] | None
) -> None:
    shared = client.project / ".claude" / "settings.json"
    local = client.project / ".claude" / "settings.local.json"
    user = client.home / ".claude" / "settings.json"
    for path in (shared, local, user):
        if before is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(before))

    first = install(client, scope)
    listed = json.loads(client.run("plugin", "list", "--json").stdout)
    taken = {"user": "user", "project": "local"}[scope]
    assert [(p["id"], p["scope"], p["enabled"]) for p in listed] == [(PLUGIN_ID, taken, True)]
    assert settings(shared) == before
    assert first.action == "installed"
    assert (user in first.changed) and (before is None or first.backups)
    for copy in first.backups:
        assert copy.is_relative_to(client.zc_home / "backups")
        assert settings(copy) == before or copy.name.endswith(
            (".claude.json", "_plugins.json", "_marketplaces.json")
        )

    again = install(client, scope)
    assert again.action == "updated"
    assert len(json.loads(client.run("plugin", "list", "--json").stdout)) == 1

    gone = uninstall(client)
    assert gone.action == "uninstalled"
    assert json.loads(client.run("plugin", "list", "--json").stdout) == []
    assert [settings(path) for path in (user, shared, local)] == [before] * 3
    assert not (client.zc_home / "claude-code").exists()
    assert client.zc_home.is_dir()
    assert traces(client) == []
    assert uninstall(client).action == "nothing"


def traces(client: Client) -> list[str]:
    """Files of the client that still name the plugin; its own backups and conversations are the user's."""
    found = []
    for top in (client.home, client.project):
        for path in top.rglob("*"):
            inside = path.relative_to(top).as_posix()
            if path.is_relative_to(client.zc_home):
                continue
            if inside.startswith((".claude/projects/", ".claude/backups/")):
                continue
            if "securecontext" in inside or (path.is_file() and b"securecontext" in path.read_bytes()):
                found.append(inside)
    return found


def test_uninstall_after_a_session_leaves_no_trace(client: Client, service: FakeService) -> None:
    install(client)
    skill = Call("Skill", {"skill": "securecontext:securecontext"})
    steps = [Call("Bash", {"command": "true"}), skill, Say("bye")]
    with ScriptedModel({"dev": steps}) as model:
        client.model_url = model.url
        client.ask("go", tools="Bash,Skill")
        assert any("Launching skill" in text for r in model.requests("dev") for text in r.results)
    assert told(service, "tool-used")
    uninstall(client)
    assert traces(client) == []


def test_an_installation_for_another_data_folder_takes_over(client: Client, tmp_path: Path) -> None:
    install(client)
    other = tmp_path / "other data"
    taken = install_claude_code(
        project=client.project, home=other, environment=client.environment(), client=client.program
    )
    assert any("replaced" in note for note in taken.notes)
    [listed] = json.loads(client.run("plugin", "list", "--json").stdout)
    assert listed["mcpServers"]["zc-ctx"]["env"] == {"ZC_HOME": f"${{ZC_HOME:-{other}}}"}
    for home in (other, client.zc_home):
        uninstall_claude_code(home=home, environment=client.environment(), client=client.program)
    assert settings(client.home / ".claude" / "settings.json") is None
    assert traces(client) == []


def test_uninstall_works_without_the_client(client: Client) -> None:
    install(client)
    environment = {**client.environment(), "PATH": "/nowhere"}
    gone = uninstall_claude_code(home=client.zc_home, environment=environment)
    assert gone.client is None
    assert gone.action == "uninstalled"
    assert json.loads(client.run("plugin", "list", "--json").stdout) == []
    assert traces(client) == []


def test_every_hook_of_a_session_fires_and_the_recall_reaches_the_first_request(
    client: Client, service: FakeService
) -> None:
    install(client)
    steps = [Call("Bash", {"command": "echo hello"}), Call("Bash", {"command": "exit 3"}), Say("bye")]
    with ScriptedModel({"dev": steps}) as model:
        client.model_url = model.url
        assert client.ask("go") == "bye"
        assert "RECALLED-AT-startup" in model.requests("dev")[0].text
    events = [heard.event for heard in service.heard]
    assert events == ["session-start", "tool-used", "tool-failed", "stop", "session-end"]
    assert told(service, "session-start")[0]["source"] == "startup"
    assert told(service, "tool-used")[0]["tool_response"]["stdout"] == "hello"
    assert told(service, "tool-failed")[0]["error"] == "Exit code 3"
    assert told(service, "session-end")[0]["reason"] == "other"
    assert {heard.headers["project-path"] for heard in service.heard} == {str(client.project)}


def test_a_session_without_the_service_goes_on_and_is_spooled(client: Client) -> None:
    hooks_only = client.root / "plugin"
    shutil.copytree(PLUGIN, hooks_only)
    (hooks_only / ".mcp.json").unlink()  # the shim would start the service
    steps = [Call("Bash", {"command": "echo hello"}), Call("Bash", {"command": "exit 3"}), Say("bye")]
    with ScriptedModel({"dev": steps}) as model:
        client.model_url = model.url
        done = client.run(
            "-p",
            "go",
            "--plugin-dir",
            str(hooks_only),
            "--allowedTools",
            "Bash",
            "--verbose",
            "--output-format",
            "stream-json",
        )
    assert done.returncode == 0
    assert "SecureContext is not reachable" in done.stdout + done.stderr
    records = [json.loads(p.read_text()) for p in sorted((client.zc_home / "spool").glob("*.json"))]
    assert [r["event"] for r in records] == ["tool-used", "tool-failed", "stop", "session-end"]
    assert "hello" not in json.dumps(records)


def test_compact_asked_for_in_print_mode(client: Client, service: FakeService) -> None:
    install(client)
    steps = [Call("Bash", {"command": "echo hello"}), Say("one"), Say("two")]
    with ScriptedModel({"dev": steps}) as model:
        client.model_url = model.url
        client.ask("go")
        client.ask("/compact keep the numbers", "--continue")
        asked = [r for r in model.requests("dev", stepped=None) if not r.stepped]
        client.ask("on", "--continue")
        after = model.requests("dev")[-1].text
    assert told(service, "pre-compact")[0]["trigger"] == "manual"
    assert told(service, "pre-compact")[0]["custom_instructions"] == "keep the numbers"
    sources = [each["source"] for each in told(service, "session-start")]
    assert sources == ["startup", "resume", "compact", "resume"]
    # What the hook before a compaction prints is handed to whoever writes the summary.
    assert "KEEP-IN-THE-SUMMARY" in asked[0].text
    assert "RECALLED-AT-compact" in after
    assert "RECALLED-AT-startup" not in after


def test_compaction_that_the_client_decides_on_itself(client: Client, service: FakeService) -> None:
    install(client)
    client.extra = {"CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000", "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE": "50"}
    steps = [
        Call("Bash", {"command": "echo one"}),
        Call("Bash", {"command": "echo two"}, tokens=90_000),
        Say("bye"),
    ]
    with ScriptedModel({"dev": steps}) as model:
        client.model_url = model.url
        assert client.ask("go") == "bye"
        after = model.requests("dev")[-1].text
    assert [each["trigger"] for each in told(service, "pre-compact")] == ["auto"]
    assert [each["source"] for each in told(service, "session-start")] == ["startup", "compact"]
    assert "RECALLED-AT-compact" in after
    assert "RECALLED-AT-startup" not in after


def test_compact_clear_and_exit_typed_in_the_terminal(client: Client, service: FakeService) -> None:
    install(client)
    steps = [Say("FIRST-ANSWER"), Say("SECOND-ANSWER")]
    with ScriptedModel({"dev": steps}) as model:
        client.model_url = model.url
        with client.terminal() as terminal:
            wait_until(lambda: told(service, "session-start"), "the start")
            terminal.ready()
            terminal.say("go")
            terminal.sees("FIRST-ANSWER")
            wait_until(lambda: told(service, "stop"), "the end of the turn")
            terminal.say("/compact")
            wait_until(lambda: len(told(service, "session-start")) == 2, "the start after the compaction")
            terminal.sees("Compacted|compacted")
            terminal.say("on")
            terminal.sees("SECOND-ANSWER")
            wait_until(lambda: len(told(service, "stop")) == 2, "the end of the turn")
            terminal.say("/clear")
            wait_until(lambda: len(told(service, "session-start")) == 3, "the start after /clear")
            terminal.say("/exit")
            wait_until(lambda: len(told(service, "session-end")) == 2, "the end")
        assert "RECALLED-AT-compact" in model.requests("dev")[-1].text
    assert told(service, "pre-compact")[0]["trigger"] == "manual"
    assert [each["source"] for each in told(service, "session-start")] == ["startup", "compact", "clear"]
    assert [each["reason"] for each in told(service, "session-end")] == ["clear", "prompt_input_exit"]


@pytest.mark.parametrize("how", ["terminated", "window closed"])
def test_a_session_that_is_ended_from_outside_still_says_so(
    client: Client, service: FakeService, how: str
) -> None:
    install(client)
    with ScriptedModel({"dev": [Say("FIRST-ANSWER")]}) as model:
        client.model_url = model.url
        with client.terminal() as terminal:
            terminal.ready()
            terminal.say("go")
            terminal.sees("FIRST-ANSWER")
            if how == "terminated":
                os.kill(terminal.pid(), signal.SIGTERM)
            else:
                terminal.close()
            wait_until(lambda: told(service, "session-end"), "the end")
    assert told(service, "session-end")[0]["reason"] == "other"
