"""The paths, methods, fields and status codes that programs know, at the real service, with a team at work."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from securecontext.http.paths import PATHS
from securecontext.pipeline.operation import CATALOGUE, Effects
from tests.acceptance.service_case import World
from tests.acceptance.terminal import operators_terminal
from tests.acceptance.test_http_door import refused
from tests.acceptance.test_team import Team
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Agents that know the channel's key, and the holder of the door's token, all of one project."""
    folder = tmp_path_factory.mktemp("paths")
    runtime = Path(tempfile.mkdtemp(prefix="zc-run-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:  # a test's own places are not there yet
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        patch.setenv("TMPDIR", str(folder))
        world = World(folder)
    world.env["ZC_HTTP_PORT"] = "0"
    subprocess.run(["git", "init", "-q"], cwd=world.project, check=True)
    try:
        with operators_terminal(world.env, world.project) as operator:
            made = Team(world, operator)
        yield made
    finally:
        world.close()
        shutil.rmtree(runtime, ignore_errors=True)


class Program:
    """A program of the user's, which holds the door's token and names the project in its requests."""

    def __init__(self, team: Team) -> None:
        file = wait_until(lambda: team.world.control(do="status")["token_file"], "the token")
        headers = {"Authorization": f"Bearer {Path(file).read_text().strip()}"}
        self.project = str(team.world.project)
        self.client = httpx.Client(base_url=team.url, headers=headers, trust_env=False, timeout=60)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(f"/api/v1/{path}", params={"projectPath": self.project, **query})

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/api/v1/{path}", json={"projectPath": self.project, **body})


@pytest.fixture(scope="module")
def program(team: Team) -> Iterator[Program]:
    made = Program(team)
    yield made
    made.client.close()


def done(answer: httpx.Response) -> dict[str, Any]:
    """Check that a call was done, and return the whole answer."""
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["ok"] is True
    return found


def agent(team: Team, name: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {team.tokens[name]}"}
    return httpx.Client(base_url=team.url, headers=headers, trust_env=False, timeout=60)


def test_memory_by_the_known_paths(program: Program) -> None:
    before = done(program.get("recall", agentId="keeper"))["count"]
    stored = done(program.post("remember", key="db", value="PostgreSQL 16", importance=4, agentId="keeper"))
    assert (stored["count"], stored["max"]) == (before + 1, stored["result"]["limit"])
    recalled = done(program.get("recall", agentId="keeper", role="developer"))
    assert "PostgreSQL 16" in recalled["text"] and recalled["max"] == stored["max"]
    assert "PostgreSQL 16" not in done(program.get("recall"))["text"], "another notebook"
    assert done(program.get("status", agentId="keeper"))["result"]["notebook"] == "keeper"
    assert done(program.post("forget", key="db", agentId="keeper"))["deleted"] is True
    assert done(program.post("forget", key="db", agentId="keeper"))["deleted"] is False
    assert done(program.post("summarize", summary="the paths were tried"))["result"]["id"]


def test_the_archive_by_the_known_paths(program: Program) -> None:
    assert done(program.post("index", content="Retries use backoff.", source="notes"))["source"] == "notes"
    for answer in (
        program.post("search", queries=["backoff"], limit=5, agentId="keeper"),
        program.post("search-global", queries=["backoff"], limit=1),
        program.get("explain", query="backoff", depth="L1"),
    ):
        found = done(answer)
        assert [hit["source"] for hit in found["results"]] == ["notes"]
        assert found["results"] == found["result"]["hits"]


def test_broadcasts_by_the_known_paths(team: Team, program: Program) -> None:
    with agent(team, "boss") as boss, agent(team, "alice") as alice:
        said = [
            done(
                boss.post(
                    "/api/v1/broadcast",
                    json={
                        "projectPath": program.project,
                        "agentId": "boss",
                        "channel_key": team.key,
                        "type": "STATUS",
                        "summary": f"round {number}",
                    },
                )
            )["message"]
            for number in range(3)
        ]
        assert [each["type"] for each in said] == ["STATUS"] * 3
        heard = done(alice.post("/api/v1/replay", json={"fromId": said[0]["id"]}))["broadcasts"]
        assert [each["id"] for each in heard] == [said[1]["id"], said[2]["id"]]
        assert done(alice.post("/api/v1/ack", json={"id": said[1]["id"], "agentId": "alice"}))["result"][
            "first"
        ]
        refused(alice.post("/api/v1/ack", json={"id": said[1]["id"], "agentId": "bob"}), 403, "other_sender")
    newest = done(program.get("broadcasts", limit=2, sinceId=said[0]["id"], type="STATUS", agentId="boss"))
    assert [each["id"] for each in newest["broadcasts"]] == [said[2]["id"], said[1]["id"]]
    assert done(program.get("broadcasts", type="REJECT"))["broadcasts"] == []
    refused(program.get("broadcasts", limit="many"), 400, "wrong_type")


def test_a_list_goes_on_where_the_page_before_ended(team: Team, program: Program) -> None:
    for number in range(5):
        assert team.say("bob", type="STATUS", summary=f"page {number}").status_code == 200
    first = done(program.get("broadcasts", limit=2, agentId="bob"))["result"]
    assert team.say("bob", type="STATUS", summary="came between").status_code == 200
    second = done(program.get("broadcasts", limit=2, agentId="bob", cursor=first["next"]))["result"]
    third = done(program.get("broadcasts", limit=2, agentId="bob", cursor=second["next"]))["result"]
    shown = [each["id"] for page in (first, second, third) for each in page["broadcasts"]]
    assert len(shown) == 5 and shown == sorted(shown, reverse=True) and "next" not in third
    for cursor in ("x", "bm8", first["next"] + "A"):
        refused(program.get("broadcasts", cursor=cursor), 400, "bad_cursor")


def test_rt_s4_05_files_that_somebody_holds_are_a_409_that_names_them(team: Team) -> None:
    given = {"type": "ASSIGN", "task": "parser", "file_ownership_exclusive": ["src/x.py"]}
    first = team.say("boss", to=["alice"], **given)
    assert first.status_code == 200
    problem = refused(team.say("boss", to=["bob"], **given), 409, "files_reserved")
    assert problem["overlapping_files"] == ["src/x.py"]
    assert problem["conflicting_broadcast_id"] == first.json()["result"]["id"]
    assert problem["holder"] == "alice"
    assert team.say("boss", type="MERGE", task="parser").status_code == 200


def test_w_19_a_token_in_the_body_says_who_speaks_and_a_wrong_one_is_refused(
    team: Team, program: Program
) -> None:
    """W-19: whoever shows no token, or a wrong one, does not speak; a token binds the name."""
    said = {"type": "STATUS", "summary": "by hand", "channel_key": team.key}
    spoken = done(program.post("broadcast", **said, agentId="bob", session_token=team.tokens["bob"]))
    shown = done(program.get("broadcasts", limit=1))["broadcasts"][0]
    assert (shown["id"], shown["agent"], shown["verified"]) == (spoken["message"]["id"], "bob", False)
    refused(program.post("broadcast", **said, agentId="bob"), 403, "operator_locked")
    refused(
        program.post("broadcast", **said, agentId="boss", session_token=team.tokens["bob"]),
        403,
        "other_sender",
    )
    wrong = program.post("broadcast", **said, session_token=team.tokens["bob"][:-1] + "x")
    refused(wrong, 401, "token_malformed")
    assert wrong.headers["www-authenticate"] == "Bearer"
    refused(program.post("broadcast", **said, session_token=7), 400, "wrong_type")
    refused(program.post("remember", key="a", value="b", session_token="x"), 400, "unknown_argument")
    with agent(team, "alice") as alice:
        both = alice.post("/api/v1/broadcast", json={**said, "session_token": team.tokens["bob"]})
    refused(both, 403, "two_tokens")


def test_the_ledger_and_the_queue_by_the_known_paths(team: Team, program: Program) -> None:
    chain = done(program.get("chain"))
    assert chain["totalRows"] > 5 and chain["brokenAt"] is None
    with agent(team, "boss") as boss, agent(team, "bob") as bob:
        for number in range(3):
            task = {"task_id": f"t{number}", "role": "worker", "payload": {}}
            done(boss.post("/api/v1/enqueue-task", json=task))
        done(bob.post("/api/v1/claim-task", json={}))
        counts = done(bob.get("/api/v1/queue/stats-by-role"))["byRole"]
        assert counts["worker"] == {"queued": 2, "claimed": 1, "done": 0, "failed": 0}
    assert done(program.get("queue/stats-by-role"))["byRole"] == counts
    assert done(program.get("queue/in-flight", claimed_by="bob"))["count"] == 1
    assert done(program.get("queue/in-flight", claimed_by="alice"))["count"] == 0
    assert done(program.get("queue/in-flight"))["count"] == 1


def test_w_20_tokens_and_keys_by_the_known_paths_need_who_may(team: Team, program: Program) -> None:
    """W-20: nobody gets a token, ends one or sets a key but an orchestrator, or the operator at a terminal."""
    refused(program.post("issue-token", agentId="eve", role="orchestrator"), 403, "operator_locked")
    refused(program.post("revoke-token", agentId="alice"), 403, "operator_locked")
    refused(program.post("set-key", key="a key of sixteen characters"), 403, "operator_locked")
    with agent(team, "bob") as bob:
        for path, body in (
            ("issue-token", {"agentId": "eve", "role": "worker"}),
            ("revoke-token", {"agentId": "alice"}),
            ("set-key", {"key": "a key of sixteen characters"}),
        ):
            refused(bob.post(f"/api/v1/{path}", json=body), 403, "not_permitted")
    with agent(team, "boss") as boss:
        issued = done(boss.post("/api/v1/issue-token", json={"agentId": "carol", "role": "worker"}))["token"]
        assert done(boss.post("/api/v1/verify-token", json={"token": issued}))["payload"]["aid"] == "carol"
        refused(
            boss.post("/api/v1/set-key", json={"key": "a key of sixteen characters"}), 403, "not_permitted"
        )
        assert done(boss.post("/api/v1/revoke-token", json={"agentId": "carol"}))["revoked"] == 1
    gone = done(program.post("verify-token", token=issued))
    assert (gone["valid"], gone["payload"], gone["result"]["reason"]) == (False, None, "token_revoked")
    assert done(program.post("verify-token", token="zcst.nothing"))["valid"] is False


def test_a_thing_is_said_once(program: Program, tmp_path: Path) -> None:
    refused(program.post("remember", key="a", value="b", agentId="x", agent_id="x"), 400, "repeated_field")
    refused(program.get("recall", agentId=["x", "y"]), 400, "repeated_query")
    refused(program.get("recall", nothing=1), 400, "unknown_argument")
    refused(program.client.get("/api/v1/recall"), 400, "no_project")
    two = program.client.post(
        "/api/v1/remember",
        headers={"X-ZC-Project": str(tmp_path)},
        json={"key": "a", "value": "b", "projectPath": program.project},
    )
    refused(two, 400, "said_twice")


def test_a_session_token_names_its_project_and_no_other(team: Team, tmp_path: Path) -> None:
    with agent(team, "alice") as alice:
        other = alice.post("/api/v1/remember", json={"key": "a", "value": "b", "projectPath": str(tmp_path)})
        refused(other, 401, "token_of_other_project")
        refused(
            alice.get("/api/v1/recall", params={"projectPath": str(tmp_path)}), 401, "token_of_other_project"
        )
        mine = alice.get("/api/v1/recall", params={"projectPath": str(team.world.project)})
        assert mine.status_code == 200


def test_w_04_every_spelling_of_a_path_leads_to_one_project(team: Team, program: Program) -> None:
    """W-04: by field, query and header, through a link and with a way back, at this door and at the other."""
    done(program.post("remember", key="spelt", value="once"))
    link = team.world.root / "link"
    link.symlink_to(team.world.project)
    for spelling in (f"{program.project}/", f"{program.project}/../project", str(link), f"{link}/."):
        assert "spelt" in done(program.get("recall", projectPath=spelling))["text"], spelling
        head = program.client.post("/api/v1/recall-context", headers={"X-ZC-Project": spelling}, json={})
        assert "spelt" in done(head)["text"], spelling
    refused(program.get("recall", projectPath=program.project.replace("/", "\\")), 400, "relative_path")
    assert "spelt" in team.world.person(link).call("zc_recall_context", {}).text

    async def over_mcp() -> str:
        async with team.world.client() as client:
            return str((await client.call_tool("zc_recall_context", {})).structured_content)

    assert "spelt" in asyncio.run(over_mcp())


def test_every_line_leads_to_an_operation_and_a_get_only_reads() -> None:
    assert len({(path.method, path.path) for path in PATHS}) == len(PATHS)
    for path in PATHS:
        operation = CATALOGUE[path.operation]
        arguments = set(operation.given.model_json_schema().get("properties", {}))
        assert set(path.names.values()) <= arguments, path
        assert path.method == "POST" or operation.effects is Effects.READS, path
