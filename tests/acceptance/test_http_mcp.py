"""MCP over Streamable HTTP at the real service, with the official client, of both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.acceptance.http_service import HttpService, http_service
from tests.acceptance.service_case import INITIALIZE
from tests.engine import machine_rows

ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with http_service(tmp_path_factory.mktemp("http-mcp")) as running:
        yield running


@asynccontextmanager
async def official(service: HttpService, mode: str, **headers: str) -> Any:
    """The official client at ``/mcp``, with the token."""
    async with (
        httpx2.AsyncClient(headers=service.headers | headers, trust_env=False, timeout=30) as client,
        Client(streamable_http_client(f"{service.url}/mcp", http_client=client), mode=mode) as session,
    ):
        yield session


def entries(service: HttpService, limit: int) -> list[dict[str, Any]]:
    """The newest entries of the project's ledger."""
    person = service.person()
    try:
        found: list[dict[str, Any]] = person.call("audit.tail", {"limit": limit}).structured["entries"]
        return found
    finally:
        person.close()


@pytest.mark.parametrize(
    ("mode", "version"), [("legacy", "2025-11-25"), ("2026-07-28", "2026-07-28"), ("auto", "2026-07-28")]
)
def test_the_official_client_remembers_and_recalls(service: HttpService, mode: str, version: str) -> None:
    async def talk() -> tuple[str, list[str], Any, Any]:
        async with official(service, mode, **{"X-ZC-Agent": "builder"}) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            stored = await client.call_tool("zc_remember", {"key": f"by {mode}", "value": f"told in {mode}"})
            recalled = await client.call_tool("zc_recall_context", {})
            return client.protocol_version, tools, stored, recalled

    spoken, tools, stored, recalled = asyncio.run(talk())
    assert spoken == version
    assert {"zc_remember", "zc_recall_context", "zc_search"} <= set(tools)
    assert not stored.is_error
    assert stored.structured_content["key"] == f"by {mode}"
    assert f"told in {mode}" in recalled.content[0].text
    newest = entries(service, 2)
    assert [entry["operation"] for entry in newest] == ["zc_recall_context", "zc_remember"]
    assert {(entry["principal"], entry["agent"]) for entry in newest} == {("token:http", "builder")}
    assert len({entry["session"] for entry in newest}) == 1


@pytest.mark.parametrize(
    ("body", "number", "code"),
    [
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, "not_json_rpc"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, "not_json_rpc"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, "not_json_rpc"),
        (b'{"id":1,"method":"ping"}', -32600, "not_json_rpc"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602, "bad_params"),
        (b"{", -32700, "malformed_json"),
        (b"", -32700, "malformed_json"),
    ],
)
def test_what_is_no_message_has_a_code_and_an_entry(
    service: HttpService, body: bytes, number: int, code: str
) -> None:
    before = refused_with(service, code)
    with service.client(**ACCEPT, **{"Content-Type": "application/json"}) as client:
        answer = client.post("/mcp", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["data"]["code"]) == (number, code) and error["data"]["hint"]
    assert refused_with(service, code) == before + 1


def refused_with(service: HttpService, code: str) -> int:
    """How many entries of the machine's ledger say so."""
    bodies = machine_rows(service.home, "select body from ledger_bodies")
    return sum(f'"outcome":"{code}"' in repr(row) for row in bodies)


MODERN_HEADERS = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "code"),
    [
        ("POST", {}, PING, 400, "no_session"),
        ("POST", {"Mcp-Session-Id": "f" * 32}, PING, 404, "unknown_session"),
        ("POST", {"Accept": "text/html"}, INITIALIZE, 406, "not_acceptable"),
        ("GET", {"Mcp-Session-Id": "f" * 32}, None, 404, "unknown_session"),
        ("PATCH", {}, None, 405, "wrong_method"),
        ("GET", MODERN_HEADERS, None, 405, "wrong_method"),
        ("POST", MODERN_HEADERS | {"Accept": "text/html"}, PING, 406, "not_acceptable"),
        ("POST", MODERN_HEADERS, PING, 400, "bad_params"),
        ("POST", MODERN_HEADERS, {**PING, "params": {"_meta": ENVELOPE}}, 400, "header_mismatch"),
        (
            "POST",
            MODERN_HEADERS | {"Mcp-Method": "no/such"},
            {"jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {"_meta": ENVELOPE}},
            404,
            "unknown_method",
        ),
        (
            "POST",
            {"MCP-Protocol-Version": "1999-01-01", "Mcp-Method": "ping"},
            PING
            | {"params": {"_meta": ENVELOPE | {"io.modelcontextprotocol/protocolVersion": "1999-01-01"}}},
            400,
            "unsupported_protocol",
        ),
    ],
)
def test_what_the_protocol_refuses_has_a_code_and_an_entry(
    service: HttpService, method: str, headers: dict[str, str], body: Any, status: int, code: str
) -> None:
    before = refused_with(service, code)
    with service.client(**(ACCEPT | headers)) as client:
        answer = client.request(method, "/mcp", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["data"]["code"] == code and error["data"]["hint"]
    assert refused_with(service, code) == before + 1


def test_a_second_stream_of_a_session_is_refused_with_a_code(service: HttpService) -> None:
    with service.client(**ACCEPT) as client:
        headers = initialize(client)
        with client.stream("GET", "/mcp", headers=headers):
            second = client.get("/mcp", headers=headers)
    assert (second.status_code, second.json()["error"]["data"]["code"]) == (409, "stream_taken")


@pytest.mark.parametrize("headers", [{}, {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}])
def test_a_call_without_arguments_that_are_any_has_a_code(
    service: HttpService, headers: dict[str, str]
) -> None:
    params: dict[str, Any] = {"name": "zc_status", "arguments": [1]}
    with service.client(**ACCEPT, **headers) as client:
        if headers:
            params["_meta"] = ENVELOPE
            client.headers["Mcp-Name"] = "zc_status"
        else:
            hands = client.post("/mcp", json=INITIALIZE)
            client.headers["Mcp-Session-Id"] = hands.headers["mcp-session-id"]
            client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        said = client.post("/mcp", json=call).text
    (line,) = [line for line in said.splitlines() if '"error"' in line]
    error = json.loads(line.removeprefix("data: "))["error"]
    assert (error["code"], error["data"]["code"]) == (-32602, "bad_params")


def test_sessions_have_streams_of_their_own(service: HttpService) -> None:
    async def remember(key: str) -> None:
        async with official(service, "legacy") as client:
            await client.call_tool("zc_remember", {"key": key, "value": "x"})

    asyncio.run(remember("first"))
    asyncio.run(remember("second"))
    sessions = [entry["session"] for entry in entries(service, 2)]
    assert len(set(sessions)) == 2
    assert all(session.startswith("http-") and len(session) == 37 for session in sessions)


def test_an_agent_may_not_do_what_a_person_may(service: HttpService) -> None:
    async def talk() -> Any:
        async with official(service, "legacy") as client:
            return await client.call_tool("project.list", {})

    answer = asyncio.run(talk())
    assert answer.is_error
    assert answer.structured_content["error"]["code"] == "not_permitted"


def test_the_project_is_that_of_each_request(service: HttpService, tmp_path: Any) -> None:
    async def talk(project: str) -> Any:
        async with official(service, "2026-07-28", **{"X-ZC-Project": project}) as client:
            return await client.call_tool("zc_remember", {"key": "where", "value": project})

    assert not asyncio.run(talk(str(tmp_path))).is_error
    for project, code in (("relative", "relative_path"), ("", "no_project"), ("/no/such", "no_such_folder")):
        refused = asyncio.run(talk(project))
        assert refused.is_error
        assert refused.structured_content["error"]["code"] == code


def test_a_client_without_the_token_gets_nowhere(service: HttpService) -> None:
    async def talk() -> None:
        headers = {"Authorization": "Bearer wrong"}
        async with official(service, "legacy", **headers) as client:
            await client.list_tools()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(talk())
    assert [str(error) for error in leaves(caught.value)] == ["Server returned an error response"]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of nested groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def initialize(client: httpx.Client) -> dict[str, str]:
    """Open a session and return the headers of its requests."""
    opened = client.post(
        "/mcp",
        json={
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
    )
    headers = {"Mcp-Session-Id": opened.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}
    client.post("/mcp", headers=headers, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    return headers


def events(body: str) -> list[tuple[str, str]]:
    """Return (id, data) of the events of a stream."""
    found = []
    for block in body.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
        if "id" in fields:
            found.append((fields["id"], fields.get("data", "")))
    return found


def test_a_stream_is_resumed_by_its_own_session_alone(service: HttpService) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}

    def call(client: httpx.Client, headers: dict[str, str], key: str) -> list[tuple[str, str]]:
        params = {"name": "zc_remember", "arguments": {"key": key, "value": "x"}}
        return events(client.post("/mcp", headers=headers, json=asked | {"params": params}).text)

    with service.client(**ACCEPT) as client:
        mine, other = initialize(client), initialize(client)
        primed, answered = call(client, mine, "mine")
        call(client, other, "other")
        again = events(client.get("/mcp", headers=mine | {"Last-Event-ID": primed[0]}).text)
        foreign = events(client.get("/mcp", headers=other | {"Last-Event-ID": primed[0]}).text)
        unknown = events(client.get("/mcp", headers=mine | {"Last-Event-ID": "no number"}).text)
    assert primed[1] == ""
    assert again == [answered]
    assert json.loads(answered[1])["result"]["structuredContent"]["key"] == "mine"
    assert foreign == []
    assert unknown == []


def test_a_session_that_was_ended_is_gone(service: HttpService) -> None:
    with service.client(**ACCEPT) as client:
        headers = initialize(client)
        assert client.delete("/mcp", headers=headers).status_code == 200
        answer = client.post(
            "/mcp", headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        )
    assert answer.status_code == 404


def test_malformed_messages_leave_the_session_alive(service: HttpService) -> None:
    with service.client(**ACCEPT) as client:
        headers = initialize(client)
        for body in (b"{", b"[]", b'{"jsonrpc": "2.0"}', b"\xff"):
            answer = client.post("/mcp", headers=headers | {"Content-Type": "application/json"}, content=body)
            assert answer.status_code == 400
        alive = client.post("/mcp", headers=headers, json={"jsonrpc": "2.0", "id": 9, "method": "tools/list"})
    assert "zc_remember" in alive.text
