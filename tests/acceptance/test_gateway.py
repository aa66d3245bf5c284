"""A user's service as gateway: agents talk to it as ever, and their memory is kept by services elsewhere."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from securecontext.boundaries.policy import Role
from securecontext.types.errors import Unauthenticated
from tests.acceptance.certificates import Authority
from tests.acceptance.cluster_case import IMPATIENT, ZC, Cluster, cluster, hook
from tests.acceptance.loopback_proxy import network_to
from tests.acceptance.service_case import Pipe, World, call, piped

__all__ = ["cluster"]


@pytest.fixture
def gateway(tmp_path: Path, cluster: Cluster) -> Iterator[World]:
    """A user on another machine, as it were: a home of its own, and nothing in it but the upstreams' addresses."""
    made = World(tmp_path)
    made.env["ZC_API_URL"] = cluster.addresses
    yield made
    made.close()


def done(pipe: Pipe, tool: str, **arguments: Any) -> dict[str, Any]:
    result = pipe.ask(call(tool, tool, **arguments))["result"]
    assert not result.get("isError"), result
    return dict(result["structuredContent"])


def refused(pipe: Pipe, tool: str, **arguments: Any) -> dict[str, Any]:
    result = pipe.ask(call(tool, tool, **arguments))["result"]
    assert result.get("isError"), result
    return dict(result["structuredContent"]["error"])


def test_what_an_agent_remembers_through_a_gateway_is_kept_upstream(cluster: Cluster, gateway: World) -> None:
    with piped(gateway, ZC_SESSION_TOKEN=cluster.token("alice")) as pipe:
        pipe.initialize()
        done(pipe, "zc_remember", key="db", value="PostgreSQL 16", importance=5)
        answer = pipe.ask(call("recall", "zc_recall_context"))["result"]
        assert "PostgreSQL 16" in answer["content"][0]["text"]
    assert cluster.rows("SELECT agent, value FROM facts WHERE key = 'db'") == [("alice", "PostgreSQL 16")]
    assert not list((gateway.home / "projects").iterdir()), "nothing of it is stored here"


def test_tools_are_those_of_the_role(cluster: Cluster, gateway: World) -> None:
    names = {}
    for agent, role in (("lead", Role.ORCHESTRATOR), ("alice", Role.WORKER)):
        with piped(gateway, ZC_SESSION_TOKEN=cluster.token(agent, role)) as pipe:
            pipe.initialize()
            listed = pipe.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})["result"]["tools"]
            names[agent] = {tool["name"] for tool in listed}
    assert "zc_enqueue_task" in names["lead"] - names["alice"]
    assert "zc_claim_task" in names["alice"]


def test_a_refusal_comes_back_as_it_was(cluster: Cluster, gateway: World) -> None:
    with piped(gateway, ZC_SESSION_TOKEN=cluster.token("alice")) as pipe:
        pipe.initialize()
        error = refused(pipe, "zc_remember", key="k" * 101, value="v")
        assert (error["code"], error["details"]) == ("too_long", {"field": "key", "limit": 100})
        assert error["message"] and error["hint"]
        assert (
            refused(pipe, "zc_enqueue_task", task_id="t", role="worker", payload={})["code"]
            == "not_permitted"
        )
        assert (
            refused(pipe, "zc_complete_task", task_id="t", role="worker", fence=1)["code"] == "no_such_task"
        )


def test_a_page_is_fetched_by_the_upstream_where_its_operator_allows_it(
    cluster: Cluster, gateway: World
) -> None:
    with piped(gateway, ZC_SESSION_TOKEN=cluster.token("alice")) as pipe:
        pipe.initialize()
        error = refused(pipe, "zc_fetch", url="https://pages.fetch-case.org/")
    assert (error["code"], error["details"]["host"]) == ("egress_not_allowed", "pages.fetch-case.org")
    asked = "SELECT count(*) FROM ledger_bodies WHERE convert_from(body, 'UTF8') LIKE '%egress_not_allowed%'"
    assert cluster.rows(asked) == [(1,)], "refused, and entered, where the page would have been fetched"


def test_a_call_without_a_token_is_refused_with_the_next_step(cluster: Cluster, gateway: World) -> None:
    with piped(gateway) as pipe:
        pipe.initialize()
        error = refused(pipe, "zc_recall_context")
    assert error["code"] == "token_needed"
    assert "zc token issue" in error["hint"]


@pytest.mark.parametrize("token", ["zcst.bad", "zcst.bad\r\nX-Evil: 1"])
def test_what_is_no_token_is_sent_nowhere(gateway: World, token: str) -> None:
    with piped(gateway, ZC_SESSION_TOKEN=token) as pipe:
        assert "This is not a session token." in json.dumps(pipe.initialize())


def test_a_forged_token_is_refused_upstream(cluster: Cluster, gateway: World) -> None:
    real = cluster.token("alice")
    forged = real[:-4] + ("0000" if real[-4:] != "0000" else "1111")
    with piped(gateway, ZC_SESSION_TOKEN=forged) as pipe:
        pipe.initialize()
        assert refused(pipe, "zc_recall_context")["code"] == "token_wrong"


# On the way


@pytest.mark.parametrize(
    ("host", "trusted", "works"),
    [("::1", True, True), ("::1", False, False), ("upstream.example.org", True, False)],
    ids=["by our authority", "by an unknown one", "of another host"],
)
def test_a_certificate_is_checked(
    cluster: Cluster, tmp_path: Path, host: str, trusted: bool, works: bool
) -> None:
    authority = Authority(tmp_path / "authority")
    root = tmp_path / "user"
    root.mkdir()
    gateway = World(root)
    with network_to(cluster.nodes[0].port, authority.server(host)) as network:
        gateway.env["ZC_API_URL"] = network.url
        if trusted:
            gateway.env["ZC_API_CA"] = str(authority.file)
        gateway.serve(IMPATIENT)
        raw = gateway.raw("rpc/1", token=cluster.token("alice"))
        answer = raw.ask({"operation": "zc_recall_context", "arguments": {}})
        assert answer["ok"] is works
        if not works:
            assert answer["structured"]["error"]["code"] == "upstream_unreachable"
            assert "certificate that is not trusted" in answer["text"]
        gateway.close()


def test_an_agent_without_a_gateway_has_mcp_at_each_service(cluster: Cluster) -> None:
    headers = {"Authorization": f"Bearer {cluster.token('direct')}"}

    async def talk(url: str, tool: str, arguments: dict[str, Any]) -> str:
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            answer = await client.call_tool(tool, arguments)
            assert not answer.is_error, answer
            return str(answer.content[0].text)

    one, two = (node.url for node in cluster.nodes)
    asyncio.run(talk(one, "zc_remember", {"key": "port", "value": "said at the first"}))
    assert "said at the first" in asyncio.run(talk(two, "zc_recall_context", {}))


# What this machine does itself


def test_a_file_that_another_machines_agent_holds_is_not_written_here(
    cluster: Cluster, gateway: World
) -> None:
    """Paths are this machine's, links among them; reservations are known upstream, where that folder is not."""
    (gateway.project / "src").mkdir()
    (gateway.project / "alias").symlink_to("src")
    subprocess.run(["git", "init", "-q", str(gateway.project)], check=True)
    token = cluster.token("alice")
    with piped(gateway, ZC_SESSION_TOKEN=cluster.token("lead", Role.ORCHESTRATOR)) as lead:
        lead.initialize()
        absolute = str(gateway.project / "src" / "a.py")
        made = done(
            lead,
            "zc_broadcast",
            type="ASSIGN",
            task="a",
            to=["bob"],
            file_ownership_exclusive=[absolute, "alias/*.md"],
        )
        assert made["reserved"] == 2
        for name, denied in (
            ("src/a.py", True),
            ("alias/a.py", True),
            ("src/x.md", True),
            ("src/b.py", False),
        ):
            ran = hook(
                gateway,
                "pre-write",
                {"session_id": "s", "cwd": str(gateway.project), "tool_input": {"file_path": name}},
                ZC_SESSION_TOKEN=token,
            )
            assert (ran.returncode, '"deny"' in ran.stdout) == (0, denied), (name, ran)
        (gateway.project / "src" / "a.py").write_text("x")
        git = ["git", "-C", str(gateway.project)]
        subprocess.run([*git, "add", "src/a.py"], check=True)
        env = {**gateway.env, "ZC_SESSION_TOKEN": token}
        checked = subprocess.run(
            [ZC, "hooks", "check"], cwd=gateway.project, env=env, text=True, capture_output=True, check=False
        )
        assert checked.returncode == 5 and "file_held" in checked.stderr
        outside = refused(
            lead, "zc_broadcast", type="ASSIGN", task="b", file_ownership_exclusive=["/etc/passwd"]
        )
        assert outside["code"] == "files_elsewhere"
        done(lead, "zc_broadcast", type="MERGE", task="a")


def test_a_sessions_hooks_are_heard_upstream(cluster: Cluster, gateway: World) -> None:
    gateway.serve()
    done_upstream = "SELECT count(*) FROM events WHERE session = 'claude-hooked'"
    token = cluster.token("alice")
    started = hook(
        gateway, "session-start", {"session_id": "hooked", "source": "startup"}, ZC_SESSION_TOKEN=token
    )
    assert "additionalContext" in started.stdout
    used = {"session_id": "hooked", "tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "ls"}}
    assert hook(gateway, "tool-used", used, ZC_SESSION_TOKEN=token).returncode == 0
    assert cluster.rows(done_upstream)[0][0] > 0
    nameless = hook(gateway, "session-start", {"session_id": "other", "source": "startup"})
    assert nameless.returncode == 0 and "session token" in json.loads(nameless.stdout)["systemMessage"]


def test_the_doctor_and_the_status_say_which_upstream_is_in_use(cluster: Cluster, gateway: World) -> None:
    gateway.serve()
    for env, health in (({}, "note"), ({"ZC_SESSION_TOKEN": cluster.token("alice")}, "ok")):
        ran = subprocess.run(
            [ZC, "doctor", "--json"], cwd=gateway.project, env={**gateway.env, **env}, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        checks = json.loads(ran.stdout)["checks"]
        [found] = [each for each in checks if each["name"] == "upstream"]
        [sandbox] = [each for each in checks if each["name"] == "sandbox"]
        assert sandbox["detail"] == "no code is run: this service is a gateway"
        assert (found["health"], cluster.nodes[0].url in found["detail"]) == (health, True), found
    status = subprocess.run(
        [ZC, "service", "status"], env=gateway.env, text=True, capture_output=True, check=True
    )
    assert (
        f"Upstream: {cluster.nodes[0].url}, of {cluster.nodes[0].url}, {cluster.nodes[1].url}"
        in status.stdout
    )


def test_what_runs_on_this_machine_needs_no_token(gateway: World) -> None:
    gateway.serve()
    person = gateway.person()
    assert person.call("integrity.check", {}).structured["state"]
    assert person.call("audit.verify", {"machine": True, "full": True}).structured["status"] == "OK"
    assert gateway.control(do="status")["upstream"]["in_use"] == ""
    with pytest.raises(Unauthenticated) as caught:
        person.call("zc_status", {})
    assert caught.value.code == "token_needed"
    person.close()


def test_no_code_is_run_through_a_gateway(cluster: Cluster, gateway: World) -> None:
    code = {"language": "bash", "code": "touch ran"}
    with piped(gateway, ZC_SESSION_TOKEN=cluster.token("alice")) as pipe:
        pipe.initialize()
        assert refused(pipe, "zc_execute", **code)["code"] == "gateway_runs_no_code"
        batch = [{"label": "one", "command": "touch ran"}]
        assert refused(pipe, "zc_batch", commands=batch)["code"] == "gateway_runs_no_code"
        on_file = {"path": "data.csv", "language": "python", "code": "1"}
        assert refused(pipe, "zc_execute_file", **on_file)["code"] == "gateway_runs_no_code"
    assert not (gateway.project / "ran").exists()
    person = gateway.person()
    entries = person.call("audit.tail", {"machine": True, "limit": 10}).structured["entries"]
    assert [e["outcome"] for e in entries if e["operation"] == "zc_execute"] == ["gateway_runs_no_code"]
    assert person.call("sandbox.profiles", {}).structured["profiles"]
    person.close()
