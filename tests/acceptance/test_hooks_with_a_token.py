"""Hooks of a session that has a token, at the real service: who stands in the ledger, and what a dead token gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service_case import World
from tests.acceptance.terminal import Terminal, operators_terminal
from tests.unit.hooks.test_entry import ENTRY, PAYLOAD


@pytest.fixture
def operator(world: World) -> Iterator[Terminal]:
    with operators_terminal(world.env, world.project) as made:
        yield made


def issued(operator: Terminal, agent: str, role: str = "developer") -> str:
    code, said = operator.zc(f"token issue {agent} {role}")
    assert code == 0, said
    return said.strip()


def hook(world: World, event: str, payload: dict[str, Any] | None = None, **env: str) -> str:
    """Run the hook as the client does; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ENTRY), event],
        input=json.dumps({"session_id": "s-1", **(payload or {})}).encode(),
        env={**world.env, "CLAUDE_PROJECT_DIR": str(world.project), **env},
        cwd=world.project,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def newest(world: World, operation: str = "session.observed") -> dict[str, Any]:
    person = world.person()
    try:
        entries = person.call("audit.tail", {"limit": 20}).structured["entries"]
    finally:
        person.close()
    return dict(next(entry for entry in entries if entry["operation"] == operation))


def test_what_tools_did_is_observed_under_the_agent_of_the_token(world: World, operator: Terminal) -> None:
    token = issued(operator, "alice")
    hook(world, "tool-used", PAYLOAD, ZC_SESSION_TOKEN=token, ZC_AGENT_ID="alice")
    entry = newest(world)
    assert (entry["kind"], entry["principal"], entry["outcome"], entry["session"], entry["agent"]) == (
        "observed", "agent:alice", "ok", "claude-s-1", "",
    )  # fmt: skip
    hook(world, "tool-used", {**PAYLOAD, "tool_use_id": "toolu_2"}, ZC_AGENT_ID="alice")
    entry = newest(world)
    assert entry["principal"].startswith("uid:") and entry["agent"] == "alice"  # a label, and no more


def test_a_session_with_a_token_is_told_its_own_notebook(world: World, operator: Terminal) -> None:
    token = issued(operator, "alice")
    raw = world.raw("rpc/1", token=token)
    said = raw.ask({"operation": "zc_remember", "arguments": {"key": "bird", "value": "the pelican flies"}})
    assert said["ok"]
    assert "the pelican flies" in hook(world, "session-start", ZC_SESSION_TOKEN=token)
    assert "the pelican flies" not in hook(world, "session-start")


@pytest.mark.parametrize("kind", ["revoked", "wrong", "malformed", "of another"])
def test_a_hook_with_a_dead_token_is_never_taken_for_its_agent(
    world: World, operator: Terminal, kind: str
) -> None:
    token, named = issued(operator, "alice"), "alice"
    match kind:
        case "revoked":
            assert operator.zc("token revoke --agent-id alice --yes")[0] == 0
        case "wrong":
            token = token[:-1] + ("0" if token[-1] != "0" else "1")
        case "malformed":
            token = "none"
        case _:
            named = "bob"
    shown = {"ZC_SESSION_TOKEN": token, "ZC_AGENT_ID": named}
    hook(world, "tool-used", PAYLOAD, **shown)
    entry = newest(world)
    assert entry["principal"].startswith("uid:") and entry["agent"] == ""  # it happened, and is nobody's
    told = json.loads(hook(world, "session-start", **shown))
    assert set(told) == {"systemMessage"} and re.search("token", told["systemMessage"])
    for event in ("stop", "pre-compact", "session-end"):
        assert hook(world, event, **shown) == ""


def test_w_22_no_token_lies_anywhere_after_hooks_have_shown_it(world: World) -> None:
    with operators_terminal(world.env, world.project) as operator:
        token = issued(operator, "alice")
    for event in ("session-start", "tool-used", "stop"):
        hook(world, event, PAYLOAD, ZC_SESSION_TOKEN=token)
    world.stop()
    hook(world, "tool-used", {**PAYLOAD, "tool_use_id": "toolu_9"}, ZC_SESSION_TOKEN=token)
    assert list((world.home / "spool").glob("*.json"))
    stored = b"\0".join(file.read_bytes() for file in Path(world.home).rglob("*") if file.is_file())
    for part in token.split(".")[1:]:
        assert part.encode() not in stored
