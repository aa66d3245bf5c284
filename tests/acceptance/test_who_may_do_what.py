"""Identity at the real service: every operation over every door, by everybody; and the operator at a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext.boundaries.policy import GRANTS, OPERATOR_ONLY, ROLE_GRANTS, Permission, Role, Standing
from securecontext.pipeline.operation import CATALOGUE, Operation
from tests.acceptance.service_case import World, world_in
from tests.acceptance.terminal import PHRASE, ZC, terminal
from tests.identity_case import arguments_of
from tests.waiting import wait_until

OPERATIONS = list(CATALOGUE.values())
ROUTES = [o for o in OPERATIONS if o.audience is not Standing.HOOK]
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass
class Place:
    """A running service, the token of its HTTP door, and session tokens.

    Attributes:
        world: the data folder and what runs on it.
        url: of the HTTP door.
        door_token: of the HTTP door.
        tokens: by role; and ``revoked``, ``other`` (of another project), ``wrong``.
    """

    world: World
    url: str
    door_token: str
    tokens: dict[str, str]

    def http(self, token: str | None, **headers: str) -> httpx.Client:
        shown = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=shown | headers, trust_env=False, timeout=30)


def asked(client: httpx.Client, operation: Operation[Any, Any]) -> tuple[int, str]:
    """Call an operation over REST; return the status and the code of a refusal."""
    answer = client.post(f"/api/v1{operation.route}", json=arguments_of(operation))
    return answer.status_code, answer.json().get("code", "")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield from _place(tmp_path_factory, stack)


def _place(tmp_path_factory: pytest.TempPathFactory, stack: contextlib.ExitStack) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("who")
    runtime = Path(tempfile.mkdtemp(prefix="zc-run-", dir="/tmp"))
    stack.callback(shutil.rmtree, runtime, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        patch.setenv("TMPDIR", str(runtime))
        world = stack.enter_context(world_in(root))
    world.env["ZC_HTTP_PORT"] = "0"
    other = root / "other"
    other.mkdir()
    with terminal(world.env, world.project) as person:
        assert person.zc("operator init", PHRASE, PHRASE)[0] == 0
        assert person.zc("operator unlock", PHRASE)[0] == 0
        assert person.zc("channel-key waive --yes")[0] == 0

        def issued(agent: str, role: str, more: str = "") -> str:
            code, said = person.zc(f"token issue {agent} {role} {more}")
            assert code == 0, said
            return said.strip()

        tokens = {str(role): issued(f"an-{role}", role) for role in Role}
        tokens["revoked"] = issued("gone", "orchestrator")
        assert person.zc("token revoke --agent-id gone --yes")[0] == 0
        tokens["other"] = issued("far", "orchestrator", f"--project {other}")
    tokens["wrong"] = tokens["worker"][:-1] + ("0" if tokens["worker"][-1] != "0" else "1")
    said = wait_until(lambda: _open(world), "the HTTP door")
    yield Place(world, said["http"], Path(said["token_file"]).read_text("ascii").strip(), tokens)


def _open(world: World) -> dict[str, Any] | None:
    said = world.control(do="status")
    return said if said["http"] else None


def rows() -> dict[str, frozenset[Permission]]:
    return {str(role): granted for role, granted in ROLE_GRANTS.items()}


def is_refused(code: str) -> bool:
    return code in ("not_permitted", "operator_locked")


# Every operation, every door


def test_rest_answers_as_the_matrix_says(place: Place) -> None:
    for role, granted in rows().items():
        with place.http(place.tokens[role]) as client:
            for operation in ROUTES:
                status, code = asked(client, operation)
                assert is_refused(code) == (operation.permission not in granted), (operation.name, role, code)
                assert (status == 403) is is_refused(code)


def test_w_24_rest_opens_nothing_without_a_token_that_counts(place: Place) -> None:
    paths = [f"/api/v1{o.route}" for o in ROUTES]
    paths += ["/mcp", "/openapi.json", "/api/v1/telemetry/tool_call", "/", "/dashboard", "/metrics"]
    expected = {"wrong": "token_wrong", "revoked": "token_revoked"}
    for kind in (None, "wrong", "revoked"):
        with place.http(kind and place.tokens[kind]) as client:
            for path in paths:
                answer = client.post(path, json={})
                found = (answer.status_code, answer.json()["code"])
                assert found == (401, expected.get(kind or "", "unauthenticated")), path


def test_rt_s2_03_missing_malformed_and_empty_tokens(place: Place) -> None:
    for value in (
        None,
        "",
        "Bearer",
        "Bearer zcst.",
        "Bearer zcst.a.b",
        "Basic zcst.a.b",
        "zcst.a.b",
    ):
        headers = {} if value is None else {"Authorization": value}
        with place.http(None, **headers) as client:
            answer = client.post("/api/v1/status", json={})
        assert answer.status_code == 401, value
        assert answer.headers["www-authenticate"] == "Bearer"


def test_rt_s2_05_a_token_of_another_project(place: Place) -> None:
    here = str(place.world.project)
    with place.http(place.tokens["other"], **{"X-ZC-Project": here}) as client:
        for operation in ROUTES:
            assert asked(client, operation) == (401, "token_of_other_project")
    with place.http(place.tokens["worker"]) as client:
        for path in ("/nowhere/at/all", "relative", str(place.world.root / "other"), "/"):
            answer = client.post("/api/v1/status", json={}, headers={"X-ZC-Project": path})
            assert (answer.status_code, answer.json()["code"]) == (401, "token_of_other_project"), path
        inside = client.post("/api/v1/status", json={}, headers={"X-ZC-Project": here})
        assert inside.status_code == 200


def test_rt_s2_02_the_token_of_a_for_a_row_of_b(place: Place) -> None:
    with place.http(place.tokens["worker"]) as client:
        fact = {"key": "k", "value": "v"}
        named = client.post("/api/v1/remember", json=fact, headers={"X-ZC-Agent": "bob"})
        argued = client.post("/api/v1/remember", json={**fact, "agent_id": "bob"})
    assert (named.status_code, named.json()["code"]) == (403, "token_of_other_agent")
    assert (argued.status_code, argued.json()["code"]) == (403, "other_agent")


def test_rt_s2_06_the_right_token_is_served_and_stands_in_the_ledger(place: Place) -> None:
    with place.http(place.tokens["developer"]) as client:
        stored = client.post("/api/v1/remember", json={"key": "mine", "value": "said over REST"})
    assert stored.status_code == 200 and stored.json()["ok"] is True
    person = place.world.person()
    try:
        newest = person.call("audit.tail", {"limit": 1}).structured["entries"][0]
        notes = person.call("memory.list", {"agent": "an-developer"}).structured["facts"]
        assert person.call("audit.verify", {}).structured["status"] != "TAMPERED"
    finally:
        person.close()
    assert (newest["principal"], newest["operation"], newest["outcome"]) == (
        "agent:an-developer", "zc_remember", "ok",
    )  # fmt: skip
    assert [fact["key"] for fact in notes] == ["mine"]


def test_the_socket_answers_as_the_matrix_says(place: Place) -> None:
    """At the agents' door and at the person's: a shown token is who one is."""
    asking: dict[tuple[str, str], frozenset[Permission]] = {
        ("mcp/1", ""): GRANTS[Standing.AGENT],
        ("rpc/1", ""): GRANTS[Standing.PERSON] - OPERATOR_ONLY,
    }
    for role, granted in rows().items():
        asking["mcp/1", role] = asking["rpc/1", role] = granted
    for (door, role), granted in asking.items():
        token = {"token": place.tokens[role]} if role else {}
        raw = place.world.raw(door, **token)
        if door == "mcp/1":
            raw.ask(HELLO)
        for operation in OPERATIONS:
            if door == "mcp/1":
                said = raw.ask(_tool_call(operation))["result"]
                structured, refused = said["structuredContent"], said["isError"]
            else:
                said = raw.ask({"operation": operation.name, "arguments": arguments_of(operation)})
                structured, refused = said["structured"], not said["ok"]
            code = structured["error"]["code"] if refused else ""
            assert is_refused(code) == (operation.permission not in granted), (
                door,
                role,
                operation.name,
                code,
            )


def _tool_call(operation: Operation[Any, Any]) -> dict[str, Any]:
    params = {"name": operation.name, "arguments": arguments_of(operation)}
    return {"jsonrpc": "2.0", "id": operation.name, "method": "tools/call", "params": params}


HELLO = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"},
    },
}


@pytest.mark.parametrize("kind", ["wrong", "revoked", "malformed"])
@pytest.mark.parametrize("door", ["mcp/1", "rpc/1"])
def test_w_19_a_connection_with_a_wrong_token_is_refused_whole(place: Place, door: str, kind: str) -> None:
    raw = place.world.raw(door, greeted=False, token=place.tokens.get(kind, "none"))
    assert raw.line()["structured"]["error"]["code"] == f"token_{kind}"
    assert raw.at_end()


# The official client


def test_the_official_client_sees_and_calls_what_its_role_may(place: Place) -> None:
    async def talk(token: str) -> tuple[list[str], list[str], bool]:
        async with place.world.client(ZC_SESSION_TOKEN=token) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            status = await client.call_tool("zc_verify_audit_chain", {})
        async with (
            httpx2.AsyncClient(
                headers={"Authorization": f"Bearer {token}"} if token else
                {"Authorization": f"Bearer {place.door_token}", "X-ZC-Project": str(place.world.project)},
                trust_env=False, timeout=30,
            ) as connection,
            Client(streamable_http_client(f"{place.url}/mcp", http_client=connection)) as client,
        ):  # fmt: skip
            over_http = [tool.name for tool in (await client.list_tools()).tools]
        return names, over_http, bool(status.is_error)

    tools = {o.name: o.permission for o in OPERATIONS if o.audience is Standing.AGENT}
    for role, granted in {"": GRANTS[Standing.AGENT], **rows()}.items():
        names, over_http, failed = asyncio.run(talk(place.tokens[role] if role else ""))
        assert names == over_http == [name for name, permission in tools.items() if permission in granted]
        assert failed is (Permission.LEDGER_VERIFY not in granted)


def test_w_20_an_orchestrator_issues_and_revokes_over_mcp(place: Place) -> None:
    async def talk() -> None:
        async with place.world.client(ZC_SESSION_TOKEN=place.tokens["orchestrator"]) as boss:
            issued = await boss.call_tool("zc_issue_token", {"agent_id": "hired", "role": "developer"})
            token = issued.structured_content["token"]
            async with place.world.client(ZC_SESSION_TOKEN=token) as hired:
                stored = await hired.call_tool("zc_remember", {"key": "first", "value": "day"})
                assert not stored.is_error
                await boss.call_tool("zc_revoke_token", {"agent_id": "hired"})
                after = await hired.call_tool("zc_remember", {"key": "second", "value": "day"})
                assert after.structured_content["error"]["code"] == "token_revoked"

    asyncio.run(talk())


def test_the_service_does_not_inherit_the_token_of_the_client_that_starts_it(place: Place) -> None:
    world = place.world
    world.stop()
    token = place.tokens["worker"]
    environment = {**world.env, "ZC_SESSION_TOKEN": token}
    command = [sys.executable, "-I", "-m", "securecontext", "status"]
    subprocess.run(command, env=environment, cwd=world.project, check=True, capture_output=True)
    assert token.encode() not in Path(f"/proc/{world.pid()}/environ").read_bytes()
    place.url = wait_until(lambda: _open(world), "the HTTP door")["http"]


# The operator


def test_the_operator_at_a_real_terminal(world: World) -> None:
    with terminal(world.env, world.project) as here, terminal(world.env, world.project) as there:
        code, said = here.zc("token issue alice developer")
        assert (code, "zc operator init" in said) == (4, True), said
        assert here.zc("operator init", PHRASE, PHRASE + "!")[0] == 2
        assert here.zc("operator init", "too short", "too short")[0] == 2
        assert here.zc("operator init", PHRASE, PHRASE)[0] == 0
        assert here.zc("operator unlock", "wrong but long enough")[0] == 4
        code, said = here.zc("operator unlock", PHRASE)
        assert code == 0 and PHRASE not in said
        code, said = here.zc("token issue alice developer")
        assert code == 0 and said.strip().startswith("zcst.")
        code, listed = here.zc("token list --json")
        assert [t["agent"] for t in json.loads(listed)["tokens"]] == ["alice"]
        # Another terminal, and a process that the unlocked terminal starts in a session of its own, as agents do:
        code, said = there.zc("token list")
        assert (code, "operator_locked" in said) == (4, True), said
        code, said = here.run(f"setsid --wait {ZC} token list")
        assert (code, "operator_locked" in said) == (4, True), said
        code, said = here.run(f"echo '{PHRASE}' | setsid --wait {ZC} operator unlock")
        assert (code, "no_terminal" in said) == (4, True), said
        assert there.zc("operator lock")[0] == 0
        assert here.zc("token list")[0] == 4
    world.stop()
    stored = b"\0".join(p.read_bytes() for p in world.home.rglob("*") if p.is_file())
    assert PHRASE.encode() not in stored
    assert b"wrong but long enough" not in stored
