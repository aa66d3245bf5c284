"""The HTTP door against its predecessor's holes: every route asks for the token, and no header grants anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext.boundaries.policy import GRANTS, Standing
from securecontext.pipeline.operation import CATALOGUE
from tests.acceptance.http_service import HttpService, http_service
from tests.acceptance.service_case import World, call
from tests.acceptance.test_http_mcp import official
from tests.engine import machine_rows
from tests.identity_case import arguments_of

OPEN = "/health"
FORBIDDEN = sorted(o.name for o in CATALOGUE.values() if o.permission not in GRANTS[Standing.AGENT])
"""What no agent may do, whatever it says of itself."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with http_service(tmp_path_factory.mktemp("http-traps")) as running:
        yield running


@pytest.fixture(scope="module")
def routes(service: HttpService) -> list[tuple[str, str]]:
    """Every method and path of the service's own document, with the paths that are not in it."""
    with service.client() as client:
        document = client.get("/openapi.json").json()
    listed = [
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete", "head", "options")
    ]
    assert len(listed) > 20 and ("GET", OPEN) in listed
    more = [("GET", "/openapi.json"), ("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/")]
    return listed + more + [("GET", "/docs"), ("GET", "/redoc"), ("POST", "/api/v1/no/such")]


def body_of(path: str) -> dict[str, Any]:
    """A call that would be done, were it let in."""
    route = path.removeprefix("/api/v1")
    return next((o.example for o in CATALOGUE.values() if o.route == route), {})


def codes(
    service: HttpService, routes: list[tuple[str, str]], **headers: str
) -> dict[tuple[str, str], tuple[int, str]]:
    """Ask each route; return status and code of each answer."""
    found = {}
    with service.stranger() as client:
        for method, path in routes:
            answer = client.request(
                method, path, headers=headers, json=body_of(path) if method == "POST" else None
            )
            said = answer.json() if answer.content else {}
            found[method, path] = (answer.status_code, str(said.get("code", "")))
    return found


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer 0", "Bearer {wrong}", "Basic {token}", "{token}", "Bearer {token}x"],
)
def test_w_19_a_request_without_the_token_or_with_a_wrong_one_is_refused_on_every_route(
    service: HttpService, routes: list[tuple[str, str]], authorization: str
) -> None:
    token = service.token
    wrong = ("0" if token[0] != "0" else "1") + token[1:]
    headers = {"Authorization": authorization.format(token=token, wrong=wrong)} if authorization else {}
    closed = [route for route in routes if route[1] != OPEN]
    found = codes(service, closed, **headers)
    assert {route: said for route, said in found.items() if said != (401, "unauthenticated")} == {}


def test_w_24_every_path_of_the_services_own_document_but_health_refuses_without_a_token(
    service: HttpService, routes: list[tuple[str, str]]
) -> None:
    found = codes(service, routes)
    assert [route for route, (status, _) in found.items() if status != 401] == [("GET", OPEN)]
    with service.client() as client:
        document = client.get("/openapi.json").json()
    unguarded = [
        path
        for path, item in document["paths"].items()
        for said in item.values()
        if said.get("security", document["security"]) == []
    ]
    assert unguarded == [OPEN], "the document says the same"
    with service.client() as client:
        assert "stolen" not in client.post("/api/v1/memory/list", json={}).text


def test_w_23_a_foreign_host_is_refused_on_every_route(
    service: HttpService, routes: list[tuple[str, str]]
) -> None:
    for host in ("evil.example.com", f"evil.example.com:{service.port}", f"10.0.0.7:{service.port}"):
        found = codes(service, routes, **service.headers, Host=host)
        assert {route: said for route, said in found.items() if said != (403, "foreign_host")} == {}


def test_w_23_a_foreign_origin_is_refused_on_every_route(
    service: HttpService, routes: list[tuple[str, str]]
) -> None:
    for origin in ("http://evil.example.com", "null", f"https://127.0.0.1:{service.port}"):
        found = codes(service, routes, **service.headers, Origin=origin)
        assert {route: said for route, said in found.items() if said != (403, "foreign_origin")} == {}


# Claims


CLAIMS = ("orchestrator", "admin", "root", "person", "system", "uid:0")


@pytest.mark.parametrize("claim", CLAIMS)
def test_w_20_a_claimed_role_or_name_grants_an_agent_no_permission(world: World, claim: str) -> None:
    world.serve()
    agent = claim.replace(":", "-")
    raw = world.raw("mcp/1", agent=agent, role=claim, model=claim, standing="person", door="cli", uid="0")
    raw.ask(
        {
            "jsonrpc": "2.0",
            "id": "hello",
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": claim, "version": "0"},
            },
        }
    )
    raw.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    assert len(FORBIDDEN) > 10
    found = {}
    for name in FORBIDDEN:
        answer = raw.ask(
            {**call(name, name), "params": {"name": name, "arguments": arguments_of(CATALOGUE[name])}}
        )["result"]
        found[name] = answer["isError"] and answer["structuredContent"]["error"]["code"]
    assert found == dict.fromkeys(FORBIDDEN, "not_permitted")
    other = raw.ask(call("o", "zc_recall_context", agent_id="somebody-else"))["result"]
    assert other["structuredContent"]["error"]["code"] == "other_agent"


@pytest.mark.parametrize("claim", CLAIMS)
def test_w_20_nor_do_the_headers_of_a_request(service: HttpService, claim: str) -> None:
    claims = {
        "X-ZC-Agent": claim.replace(":", "-"),
        "X-ZC-Role": claim,
        "X-ZC-Standing": "person",
        "X-ZC-Door": "cli",
        "X-Forwarded-User": "root",
        "X-Remote-User": "root",
    }

    async def talk() -> list[Any]:
        async with official(service, "legacy", **claims) as client:
            return [await client.call_tool(name, arguments_of(CATALOGUE[name])) for name in FORBIDDEN]

    answers = asyncio.run(talk())
    assert all(answer.is_error for answer in answers)
    found = [answer.structured_content["error"]["code"] for answer in answers]
    assert found == ["not_permitted"] * len(FORBIDDEN)
    with service.stranger() as client:
        assert client.post("/api/v1/status", headers=claims, json={}).status_code == 401


# Proxies


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9, 127.0.0.1",
    "X-Forwarded-Host": "evil.example.com",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": 'for=203.0.113.9;host=evil.example.com;proto=https;by="_hidden"',
}


def test_w_25_what_a_proxy_would_say_changes_no_answer_and_no_entry(tmp_path: Path) -> None:
    def ask(service: HttpService, **headers: str) -> list[Any]:
        host = f"127.0.0.1:{service.port}"
        with service.client(**headers) as client, service.stranger() as stranger:
            answers = [
                client.post("/api/v1/recall-context", json={"agent_id": "default"}),
                client.post("/api/v1/forget", json={"key": "absent"}),
                client.get("/health"),
                stranger.post("/api/v1/status", headers=headers, json={}),
                client.post("/api/v1/status", headers={"Host": "evil.example.com"}, json={}),
                client.post("/api/v1/status", headers={"Origin": "https://evil.example.com"}, json={}),
                client.post(
                    "/api/v1/status", headers={"X-Forwarded-Host": host, "Host": "evil.example"}, json={}
                ),
            ]
            newest = client.post("/api/v1/audit/tail", json={"limit": 1}).json()["result"]["entries"][0]
        seen = [(a.status_code, a.json().get("code"), sorted(a.headers)) for a in answers]
        return [*seen, newest["principal"], newest["session"], newest["body"]["door"]]

    with http_service(tmp_path / "a") as service:
        assert ask(service, **FORWARDED) == ask(service)


def test_w_25_a_strangers_flood_is_one_strangers_whatever_addresses_it_names(tmp_path: Path) -> None:
    with http_service(tmp_path / "a") as service:
        with service.stranger() as client:
            for number in range(20):
                address = f"198.51.100.{number}"
                headers = {
                    "X-Forwarded-For": address,
                    "X-Real-IP": address,
                    "Forwarded": f"for={address}",
                }
                answer = client.post("/api/v1/status", headers=headers, json={})
                assert answer.status_code == 401
        rows = machine_rows(service.home, "SELECT stream FROM ledger_entries WHERE kind = 'refusal'")
        bodies = repr(machine_rows(service.home, "SELECT body FROM ledger_bodies"))
    assert rows == [("door:http/refusals",)] * 10
    assert "198.51.100" not in bodies


def test_w_25_it_is_loopback_that_answers_and_nothing_else(service: HttpService) -> None:
    assert httpx.URL(service.url).host == "127.0.0.1"
    lines = Path(f"/proc/{service.process.pid}/net/tcp").read_text().splitlines()[1:]
    lines += Path(f"/proc/{service.process.pid}/net/tcp6").read_text().splitlines()[1:]
    port = f"{service.port:04X}"
    bound = {
        line.split()[1] for line in lines if line.split()[1].endswith(f":{port}") and line.split()[3] == "0A"
    }
    assert bound == {f"0100007F:{port}"}
