"""A user's service as gateway: agents talk to it as ever, and their memory is kept by services elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securecontext.boundaries.policy import Role
from tests.acceptance.cluster_case import Cluster, running_cluster
from tests.acceptance.service_case import Pipe, World, call, piped
from tests.engines.fixtures import ready_database
from tests.engines.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, _ready_template: str
) -> Iterator[Cluster]:
    """Two services on one database, for the tests of this module."""
    with (
        ready_database(postgres_server, _ready_template) as url,
        running_cluster(tmp_path_factory.mktemp("cluster"), url) as made,
    ):
        yield made


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
