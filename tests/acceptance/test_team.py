"""A team at the real service: broadcasts over HTTP and MCP alike, a wait that is woken, commits that are refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.service_case import INITIALIZE, World, call
from tests.acceptance.terminal import Terminal, operators_terminal
from tests.waiting import wait_until

ZC = [sys.executable, "-I", "-m", "securecontext"]
ASSIGN: dict[str, Any] = {
    "type": "ASSIGN", "agent_id": "boss", "to": ["alice"], "task": "write the parser", "summary": "two parts",
    "files": ["src/parser.py"], "importance": 5, "depends_on": ["lexer"], "acceptance_criteria": ["it parses"],
    "complexity_estimate": 3, "file_ownership_exclusive": ["src/parser.py", "docs/**/*.md"],
    "file_ownership_read_only": ["src"], "task_dependencies": [4], "required_skills": ["parsing"],
    "estimated_tokens": 9000,
}  # fmt: skip


class Team:
    """A project under git with a running service, and agents with tokens.

    Args:
        world: the data folder and what runs on it.
        operator: a terminal that is unlocked.
    """

    def __init__(self, world: World, operator: Terminal) -> None:
        self.world = world
        code, said = operator.zc("channel-key set --yes")
        assert code == 0, said
        self.key = said.strip()
        self.tokens: dict[str, str] = {}
        for agent, role in (("boss", "orchestrator"), ("alice", "developer"), ("bob", "worker")):
            code, said = operator.zc(f"token issue {agent} {role}")
            assert code == 0, said
            self.tokens[agent] = said.strip()
        self.url = wait_until(lambda: world.control(do="status")["http"], "the HTTP door")

    def http(self, agent: str, route: str, **given: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[agent]}"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60) as client:
            return client.post(f"/api/v1/{route}", json=given)

    def say(self, agent: str, **given: Any) -> httpx.Response:
        return self.http(agent, "broadcast", channel_key=self.key, **given)

    def commit(self, agent: str, *files: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Write files and commit them, as the agent's shell does."""
        folder = self.world.project
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(f"by {agent} {len(list(folder.rglob('*')))}")
        environment = {**self.world.env, "ZC_SESSION_TOKEN": self.tokens.get(agent, ""), **env}
        subprocess.run(["git", "add", *files], cwd=folder, env=environment, check=True)
        words = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-m", "x"]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        subprocess.run(["git", "reset", "-q"], cwd=folder, env=environment, check=True)
        return done


@pytest.fixture
def team(world: World) -> Iterator[Team]:
    world.env["ZC_HTTP_PORT"] = "0"
    subprocess.run(["git", "init", "-q"], cwd=world.project, check=True)
    with operators_terminal(world.env, world.project) as operator:
        made = Team(world, operator)
    yield made


def test_w_47_what_is_said_over_one_door_is_heard_whole_over_the_other(team: Team) -> None:
    """W-47: structured fields, the start of a replay and the id of an acknowledgement are the same at every door."""
    said = team.say("boss", **ASSIGN)
    assert said.status_code == 200, said.text
    new = said.json()["result"]["id"]

    async def alice() -> None:
        async with team.world.client(ZC_SESSION_TOKEN=team.tokens["alice"]) as client:
            heard = (await client.call_tool("zc_replay", {"from": "2020-01-01T00:00:00Z"})).structured_content
            assert heard is not None
            fence, [shown] = heard["fence"], heard["broadcasts"]
            bare = json.loads(
                json.dumps(shown["message"]).replace(f"[{fence} ", "").replace(f" {fence}]", "")
            )
            wanted = {k: v for k, v in ASSIGN.items() if k not in ("type", "agent_id", "importance")}
            assert (bare, shown["importance"], shown["type"]) == (wanted, 5, "ASSIGN")
            late = await client.call_tool("zc_replay", {"from": "2999-01-01T00:00:00Z"})
            assert "broadcasts" not in (late.structured_content or {})
            done = await client.call_tool("zc_ack", {"broadcast_id": new})
            assert not done.is_error

    asyncio.run(alice())
    assert "broadcasts" not in team.http("alice", "replay").json()["result"]
    trace = team.http("bob", "explain", broadcast_id=new).json()["result"]
    assert [each["agent"] for each in trace["acknowledged"]] == ["alice"]


def test_rt_s4_05_a_claimed_file_is_a_409_that_names_holder_and_files(team: Team) -> None:
    assert team.say("boss", **ASSIGN).status_code == 200
    other = {"type": "ASSIGN", "task": "other", "to": ["bob"], "file_ownership_exclusive": ["SRC/parser.py"]}
    refused = team.say("boss", **other)
    assert (refused.status_code, refused.json()["code"]) == (409, "files_reserved")
    details = refused.json()["details"]
    assert (details["holder"], details["overlapping_files"]) == ("alice", ["src/parser.py"])
    for agent, wrong, status in (
        ("bob", {**other, "file_ownership_exclusive": ["tests"]}, 403),
        ("boss", {**other, "file_ownership_exclusive": ["../x"]}, 400),
        ("boss", {"type": "set_key"}, 400),
        ("boss", {"type": "STATUS", "channel_key": "not the channel's key"}, 403),
    ):
        answer = team.http(agent, "broadcast", **{"channel_key": team.key, **wrong})
        assert answer.status_code == status, answer.text
    assert (
        team.http("bob", "replay", unacked_only=False).json()["result"]["broadcasts"][-1]["type"] == "ASSIGN"
    )


def test_a_waiting_agent_is_woken_and_the_end_of_the_service_keeps_nobody_waiting(team: Team) -> None:
    raw = team.world.raw("mcp/1", token=team.tokens["alice"])
    assert "result" in raw.ask(INITIALIZE)
    raw.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def waits(ident: int) -> None:
        raw.send(json.dumps(call(ident, "zc_replay", wait=50)).encode() + b"\n")
        assert raw.ask(call(ident + 100, "zc_status"))["id"] == ident + 100, "it holds up no other call"

    waits(1)
    team.say("boss", type="STATUS", summary="begin")
    heard = raw.line()
    [shown] = heard["result"]["structuredContent"]["broadcasts"]
    assert (heard["id"], shown["message"]) == (1, {"summary": "begin"})
    assert not raw.ask(call(2, "zc_ack", broadcast_id=shown["id"]))["result"]["isError"]
    waits(3)
    team.world.stop()
    last = raw.line()
    assert last["id"] == 3 and "broadcasts" not in last["result"]["structuredContent"]


def test_git_refuses_to_commit_what_another_agent_holds(team: Team) -> None:
    hook = [*ZC, "hooks", "git"]
    done = subprocess.run(
        hook, cwd=team.world.project, env=team.world.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert team.say("boss", **ASSIGN).status_code == 200
    refused = team.commit("bob", "free.txt", "src/parser.py")
    assert refused.returncode != 0 and "held by alice" in refused.stderr
    assert "file_held" in team.commit("nobody", "docs/deep/a.md").stderr
    assert team.commit("bob", "free.txt").returncode == 0
    assert team.commit("alice", "src/parser.py", "docs/b.md").returncode == 0
    # Without an answer it says so and lets pass, unless the user is strict.
    broken = {"ZC_HOME": str(team.world.project / "free.txt")}
    passed = team.commit("bob", "src/parser.py", **broken)
    assert passed.returncode == 0 and "not checked" in passed.stderr
    assert team.commit("bob", "src/parser.py", ZC_OWNERSHIP_STRICT="1", **broken).returncode != 0
    done = subprocess.run([*hook, "--remove"], cwd=team.world.project, env=team.world.env, check=False)
    assert done.returncode == 0 and not Path(team.world.project / ".git/hooks/pre-commit").exists()
    assert team.commit("bob", "src/parser.py").returncode == 0
