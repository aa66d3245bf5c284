"""The HTTP door of the real service: every route, every refusal, and MCP over Streamable HTTP."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext.boundaries.limits import HTTP_BODY_BYTES, REST_BODY_BYTES
from securecontext.boundaries.policy import OPERATOR_ONLY, Permission, Standing
from securecontext.http.paths import PATHS
from securecontext.http.problem import MEDIA_TYPE
from securecontext.pipeline.operation import CATALOGUE
from tests.acceptance.http_service import HttpService, http_service
from tests.engine import machine_rows
from tests.waiting import wait_until

OPERATIONS = [o for o in CATALOGUE.values() if o.audience is not Standing.HOOK]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with http_service(tmp_path_factory.mktemp("http")) as running:
        yield running


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[HttpService]:
    """A service that no other test has talked to."""
    with http_service(tmp_path) as running:
        yield running


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem with this code, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE), answer.text
    found: dict[str, Any] = answer.json()
    assert (found["status"], found["code"]) == (status, code)
    assert found["title"]
    assert found["detail"]
    assert found["hint"]
    return found


def raw(service: HttpService, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes and return the status and the problem that come back."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as file:
            status = int(file.readline().split()[1])
            length = 0
            while line := file.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            return status, json.loads(file.read(length))


# Routes


def test_remember_then_recall(service: HttpService) -> None:
    with service.client() as client:
        stored = client.post("/api/v1/remember", json={"key": "db", "value": "PostgreSQL 16"})
        recalled = client.post("/api/v1/recall-context", json={})
    assert stored.status_code == 200
    assert stored.json()["ok"] is True
    assert stored.json()["result"]["key"] == "db"
    assert "PostgreSQL 16" in recalled.json()["text"]


def test_the_project_may_come_in_the_query(service: HttpService, tmp_path: Path) -> None:
    folder = tmp_path / "ein Projekt mit ü"
    folder.mkdir()
    with service.client() as client:
        del client.headers["X-ZC-Project"]
        stored = client.post(
            "/api/v1/remember", params={"project": str(folder)}, json={"key": "here", "value": "only here"}
        )
        elsewhere = client.post(
            "/api/v1/recall-context", headers={"X-ZC-Project": str(service.project)}, json={}
        )
        again = client.post(
            "/api/v1/recall-context", headers=[(b"X-ZC-Project", str(folder).encode())], json={}
        )
    assert stored.status_code == 200
    assert "only here" not in elsewhere.json()["text"]
    assert "only here" in again.json()["text"]


def test_a_query_says_a_thing_once_and_not_too_much(service: HttpService) -> None:
    with service.client() as client:
        del client.headers["X-ZC-Project"]
        here = str(service.project)
        twice = client.post("/api/v1/status", params={"project": [here, here]}, json={})
        many = client.post("/api/v1/status", params={"x": ["1"] * 20, "project": here}, json={})
        enough = client.post("/api/v1/status", params={"x": ["1"] * 19, "project": here}, json={})
    refused(twice, 400, "repeated_query")
    refused(many, 400, "too_many_fields")
    assert enough.status_code == 200


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_every_route_answers_as_the_corridor_does(service: HttpService, operation: Any) -> None:
    with service.client() as client:
        answer = client.post(f"/api/v1{operation.route}", json={"no_such_argument": 1})
    assert refused(answer, 400, answer.json()["code"])["code"] in ("unknown_argument", "missing_argument")


OF_A_TEAM = {
    "zc_explain": (404, "no_such_broadcast"),
    "zc_hand_over": (404, "not_reserved"),
    "zc_fail_task": (409, "lease_lost"),
    "zc_execute_file": (404, "no_such_file"),
    "zc_fetch": (403, "egress_not_allowed"),
}
"""Examples about what somebody else said or was given, and here is nobody else; of a task that was just completed; of
a file that this project does not have, and of a host that nobody allowed."""


def test_every_example_is_a_call_that_works(service: HttpService) -> None:
    with service.client() as client:
        for operation in OPERATIONS:
            if operation.example:
                answer = client.post(f"/api/v1{operation.route}", json=operation.example)
                if operation.permission in OPERATOR_ONLY | {
                    Permission.SESSION_PURGE
                }:  # nobody here is the operator
                    refused(answer, 403, "operator_not_set_up")
                    continue
                if operation.name in OF_A_TEAM:
                    refused(answer, *OF_A_TEAM[operation.name])
                    continue
                assert answer.status_code == 200, (operation.name, answer.text)


def test_operations_of_hooks_have_no_route(service: HttpService) -> None:
    hidden = [o for o in CATALOGUE.values() if o.audience is Standing.HOOK]
    assert hidden
    with service.client() as client:
        for operation in hidden:
            refused(client.post(f"/api/v1{operation.route}", json={}), 404, "unknown_path")


def test_a_call_is_in_the_ledger_as_the_token_holders(service: HttpService) -> None:
    with service.client(**{"X-ZC-Agent": "builder"}) as client:
        client.post("/api/v1/remember", json={"key": "ledger", "value": "entered"})
        newest = client.post("/api/v1/audit/tail", json={"limit": 1}).json()["result"]["entries"][0]
        verdict = client.post("/api/v1/audit/verify", json={}).json()["result"]
    assert (newest["operation"], newest["principal"], newest["agent"]) == (
        "zc_remember",
        "token:http",
        "builder",
    )
    assert newest["body"]["door"] == "http"
    assert newest["session"].startswith("http-")
    assert service.token[:8] not in newest["session"]
    assert verdict["status"] == "OK"


def test_a_retry_with_the_same_idempotency_key_is_not_done_again(service: HttpService) -> None:
    call = {"key": "once", "value": "the first"}
    with service.client(**{"Idempotency-Key": "3f2c"}) as client:
        first = client.post("/api/v1/remember", json=call)
        with service.client() as other:
            other.post("/api/v1/forget", json={"key": "once"})
        second = client.post("/api/v1/remember", json=call)
        reused = client.post("/api/v1/remember", json=call | {"value": "another"})
        listed = client.post("/api/v1/recall-context", headers={"Idempotency-Key": ""}, json={})
    assert second.json() == first.json()
    refused(reused, 409, "idempotency_key_reused")
    assert "the first" not in listed.json()["text"]


def test_health_needs_no_token_and_leaves_no_entry(service: HttpService) -> None:
    def entries() -> int:
        with service.client() as client:
            return int(
                client.post("/api/v1/audit/verify", json={"machine": True}).json()["result"]["entries"]
            )

    before = entries()
    with service.stranger() as client:
        answer = client.get("/health")
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("version")
    assert found.pop("embedder") == "none", "search is by words"
    assert found == dict.fromkeys(("status", "store", "ledger", "search"), "ok"), (
        "and nothing else to a stranger"
    )
    assert entries() == before + 1, "the first look is an entry of the ledger that it looked at"


def test_health_tells_more_to_who_shows_a_token_and_refuses_a_wrong_one(service: HttpService) -> None:
    with service.client() as client, service.stranger() as stranger:
        found = client.get("/health").json()
        refused(stranger.get("/health", headers={"Authorization": "Bearer wrong"}), 401, "unauthenticated")
    assert found["engine"] in ("sqlite", "postgres") and found["signer"] and found["moment"]
    assert found["verified_at"] is None or found["verified_at"] < found["moment"]


@pytest.mark.only_in_files("breaks the machine's file")
def test_health_tells_of_a_broken_store(own_service: HttpService) -> None:
    own_service.process.terminate()
    own_service.process.wait(30)
    (own_service.home / "machine.db").write_bytes(b"this is no database" * 100)
    for suffix in ("-wal", "-shm"):
        (own_service.home / f"machine.db{suffix}").unlink(missing_ok=True)
    with http_service_again(own_service) as again, again.stranger() as client:
        answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "degraded"
    assert answer.json()["store"] not in ("ok", "unknown")


def http_service_again(service: HttpService) -> Any:
    """Run a service on the data of one that has ended."""
    service.project.rmdir()
    return http_service(service.home.parent)


# The request's name


def test_every_answer_bears_the_name_of_its_request(service: HttpService) -> None:
    named = {"X-Request-Id": "build-7:step.2"}
    with service.client(**named) as client, service.stranger() as stranger:
        answers = [
            client.post("/api/v1/status", json={}),
            client.get("/health"),
            client.get("/openapi.json"),
            client.post("/mcp", json={}),
            client.post("/api/v1/nothing", json={}),
            client.post("/api/v1/remember", json={"key": "a"}),
            client.post("/api/v1/status", headers={"Host": "evil.example"}, json={}),
            stranger.post("/api/v1/status", headers=named, json={}),
        ]
        newest = client.post("/api/v1/audit/tail", json={"limit": 1}).json()["result"]["entries"][0]
    assert {answer.headers["x-request-id"] for answer in answers} == {"build-7:step.2"}
    problems = [a.json() for a in answers if a.headers["content-type"] == MEDIA_TYPE]
    assert [each["request_id"] for each in problems] == ["build-7:step.2"] * 4
    assert newest["body"]["request"] == "build-7:step.2"


@pytest.mark.parametrize(
    "name", ["", "a b", "x" * 65, "-x", "a/b", "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"]
)
def test_a_request_without_a_clean_name_gets_one_of_its_own(service: HttpService, name: str) -> None:
    with service.client(**{"X-Request-Id": name}) as client:
        given = [client.post("/api/v1/status", json={}).headers["x-request-id"] for _ in range(2)]
    assert all(each.startswith("req_") for each in given) and given[0] != given[1]


def test_what_is_no_request_gets_a_name_too(service: HttpService) -> None:
    _, problem = raw(service, b"GET /health HTTP/1.1\r\n\r\n")
    assert problem["request_id"].startswith("req_")


# Pages


def test_the_ledgers_end_is_read_in_pages_that_stay_put(service: HttpService) -> None:
    with service.client() as client:

        def page(**given: Any) -> dict[str, Any]:
            answer = client.post("/api/v1/audit/tail", json={"limit": 3, **given})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()["result"]
            return found

        first = page()
        second = page(cursor=first["next"])  # each reading is an entry, which comes before the first page
        seen = [entry["entry"] for found in (first, second) for entry in found["entries"]]
        assert seen == list(range(seen[0], seen[0] - 6, -1))
        refused(client.post("/api/v1/audit/tail", json={"cursor": "bm9uZQ"}), 400, "bad_cursor")


# Refusals


def test_a_refusal_of_the_corridor_is_a_problem_with_its_status(service: HttpService) -> None:
    with service.client() as client:
        extra = refused(
            client.post("/api/v1/remember", json={"key": "a", "value": "b", "c": 1}), 400, "unknown_argument"
        )
        missing = client.post("/api/v1/project/move", json={"project": "no such", "folder": "/tmp"})
        no_project = client.post(
            "/api/v1/remember", headers={"X-ZC-Project": ""}, json={"key": "a", "value": "b"}
        )
    assert extra["details"]["field"] == "c"
    refused(missing, 404, "no_such_project")
    refused(no_project, 400, "no_project")


@pytest.mark.parametrize(
    ("project", "code"), [("relative/folder", "relative_path"), ("/no/such/folder", "no_such_folder")]
)
def test_a_project_that_is_none_is_refused(service: HttpService, project: str, code: str) -> None:
    with service.client(**{"X-ZC-Project": project}) as client:
        refused(client.post("/api/v1/remember", json={"key": "a", "value": "b"}), 400, code)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "{token}")],
        [("Authorization", "Basic {token}")],
        [("Authorization", "Bearer {token} {token}")],
        [("Authorization", "Bearer {token}"), ("Authorization", "Bearer {token}")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer wrong")],
        [("Authorization", "Bearer {token}0")],
        [("Authorization", "Bearer {short}")],
        [("Authorization", "Bearer {upper}")],
    ],
    ids=[
        "missing",
        "no-scheme",
        "basic",
        "two-tokens",
        "two-headers",
        "empty",
        "wrong",
        "longer",
        "shorter",
        "upper",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/remember", "/mcp", "/openapi.json", "/no/such/path"])
def test_rt_s2_03_a_request_without_the_right_bearer_is_refused(
    service: HttpService, headers: list[tuple[str, str]], path: str
) -> None:
    token = service.token
    words = {"token": token, "short": token[:-1], "upper": token.upper()}
    shown = [(name, value.format(**words)) for name, value in headers]
    with service.stranger() as client:
        answer = client.post(path, headers=shown, json={"key": "stolen", "value": "x"})
    found = refused(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "zc service status" in found["hint"]
    assert token not in answer.text


def test_rt_s2_03_blanks_are_no_token(service: HttpService) -> None:
    head = f"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer   \r\n\r\n"
    status, problem = raw(service, head.encode())
    assert (status, problem["code"], problem["details"]) == (401, "unauthenticated", {"reason": "empty"})


def test_rt_s2_03_the_token_in_the_query_opens_nothing(service: HttpService) -> None:
    with service.stranger() as client:
        answer = client.post(
            "/api/v1/status", params={"access_token": service.token, "token": service.token}, json={}
        )
    refused(answer, 401, "unauthenticated")


def test_the_scheme_may_be_written_in_any_case(service: HttpService) -> None:
    with service.stranger() as client:
        answer = client.get("/openapi.json", headers={"Authorization": f"bearer {service.token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/health", "/api/v1/status", "/mcp", "/openapi.json"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example:{port}",
        "0.0.0.0:{port}",
    ],
)
def test_a_foreign_host_is_refused_even_with_the_token(service: HttpService, path: str, host: str) -> None:
    with service.client(Host=host.format(port=service.port)) as client:
        refused(client.post(path, json={}), 403, "foreign_host")


def test_a_request_without_host_or_with_two_is_refused(service: HttpService) -> None:
    status, problem = raw(service, b"GET /health HTTP/1.0\r\n\r\n")
    assert (status, problem["code"]) == (403, "foreign_host")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_loopback_names_with_our_port_are_let_in(service: HttpService, name: str) -> None:
    host = f"{name}:{service.port}"
    with service.client(Host=host, Origin=f"http://{host}") as client:
        assert client.post("/api/v1/status", json={}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/api/v1/status", "/mcp"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example.com",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://127.0.0.1:{port}.evil.example",
        "",
    ],
)
def test_a_foreign_origin_is_refused_even_with_the_token(
    service: HttpService, path: str, origin: str
) -> None:
    with service.client(Origin=origin.format(port=service.port)) as client:
        refused(client.post(path, json={}), 403, "foreign_origin")


def test_no_answer_carries_a_cors_header(service: HttpService) -> None:
    own = f"http://127.0.0.1:{service.port}"
    with service.client(Origin=own) as client, service.stranger() as stranger:
        answers = [
            client.post("/api/v1/status", json={}),
            client.get("/health"),
            client.options("/api/v1/status", headers={"Access-Control-Request-Method": "POST"}),
            stranger.options(
                "/api/v1/status", headers={"Origin": own, "Access-Control-Request-Method": "POST"}
            ),
            stranger.get("/health", headers={"Origin": "http://evil.example.com"}),
        ]
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    assert [a.status_code for a in answers] == [200, 200, 405, 401, 403]


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(service: HttpService) -> None:
    for path, most in (("/api/v1/remember", REST_BODY_BYTES), ("/mcp", HTTP_BODY_BYTES)):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {most + 1}\r\n\r\n"
        )
        status, problem = raw(service, head.encode())
        assert (status, problem["code"], problem["details"]["limit"]) == (413, "too_large", most)


def test_a_body_in_chunks_is_refused_once_it_is_too_large(service: HttpService) -> None:
    head = (
        f"POST /api/v1/remember HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"%x\r\n" % (REST_BODY_BYTES + 1) + b" " * (REST_BODY_BYTES + 1) + b"\r\n"
    status, problem = raw(service, head.encode() + chunk)
    assert (status, problem["code"]) == (413, "too_large")


def test_a_body_of_the_limit_reaches_the_corridor(service: HttpService) -> None:
    frame = b'{"key": "large", "value": "%b"}'
    body = frame % (b"x" * (REST_BODY_BYTES - len(frame % b"")))
    assert len(body) == REST_BODY_BYTES
    with service.client(**{"Content-Type": "application/json"}) as client:
        refused(client.post("/api/v1/remember", content=body), 400, "too_long")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"],
)
def test_a_body_that_is_not_sent_as_json_is_refused(service: HttpService, kind: str) -> None:
    with service.client() as client:
        for path in ("/api/v1/status", "/mcp"):
            answer = client.post(path, content=b"{}", headers={"Content-Type": kind})
            refused(answer, 415, "wrong_content_type")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"key": NaN}', b"[" * 100_000, b'{"key": "a"} {}'],
    ids=["empty", "half", "list", "null", "text", "no-utf8", "nan", "deep", "two"],
)
def test_malformed_json_is_refused(service: HttpService, body: bytes) -> None:
    with service.client(**{"Content-Type": "application/json"}) as client:
        refused(client.post("/api/v1/remember", content=body), 400, "malformed_json")


def test_a_lone_surrogate_is_refused(service: HttpService) -> None:
    with service.client(**{"Content-Type": "application/json"}) as client:
        answer = client.post("/api/v1/remember", content=rb'{"key": "a", "value": "\ud800"}')
    refused(answer, 400, "lone_surrogate")


def test_unknown_paths_and_wrong_methods(service: HttpService) -> None:
    with service.client() as client:
        refused(client.get("/api/v1/no-such"), 404, "unknown_path")
        refused(client.post("/api/v1/remember/", json={}), 404, "unknown_path")
        wrong = client.get("/api/v1/remember")
        both = client.request("DELETE", "/api/v1/status")
        refused(client.post("/health", json={}), 405, "wrong_method")
    refused(wrong, 405, "wrong_method")
    assert wrong.headers["allow"] == "POST"
    assert refused(both, 405, "wrong_method") and both.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("key", ["x" * 201, "tab\there"])
def test_an_idempotency_key_that_is_none_is_refused(service: HttpService, key: str) -> None:
    with service.client(**{"Idempotency-Key": key}) as client:
        refused(client.post("/api/v1/status", json={}), 400, "bad_idempotency_key")


def test_bytes_that_are_no_request_do_not_stop_the_door(service: HttpService) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)
    with service.stranger() as client:
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
    ids=["no-host", "two-hosts", "bad-length", "junk"],
)
def test_what_is_no_request_is_refused_like_anything_else(service: HttpService, request_: bytes) -> None:
    status, problem = raw(service, request_)
    assert (status, problem["status"], problem["code"]) == (400, 400, "bad_request")
    assert problem["hint"]


def test_an_upload_that_is_broken_off_is_no_failure_of_ours(own_service: HttpService) -> None:
    head = (
        f"POST /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{own_service.port}\r\n"
        f"Authorization: Bearer {own_service.token}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
    )
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", own_service.port), timeout=30) as connection:
            connection.sendall(head.encode())
    with own_service.client() as client:
        assert client.post("/api/v1/status", json={}).status_code == 200
    own_service.process.terminate()
    assert own_service.process.wait(30) == 0
    log = (own_service.home / "logs" / "service.log").read_text()
    assert "trace" not in log and '"error"' not in log


CROWDED = """
import sys
from securecontext.http import connections
connections.HTTP_CONNECTIONS, connections.REQUEST_SECONDS, connections.WRITE_SECONDS = 20, float(sys.argv[1]), 1.0
from securecontext.service.run import main
sys.exit(main())
"""


def crowded(seconds: str) -> tuple[str, ...]:
    """The command of a service with 20 places, and so much patience with those that do not say what they want."""
    return (sys.executable, "-I", "-c", CROWDED, seconds)


def test_a_crowd_that_asks_nothing_keeps_nobody_out(tmp_path: Path) -> None:
    with http_service(tmp_path, crowded("3600")) as service, contextlib.ExitStack() as crowd:
        files = Path(f"/proc/{service.process.pid}/fd")
        before = len(list(files.iterdir()))
        with service.client() as client:
            for _ in range(200):
                silent = socket.create_connection(("127.0.0.1", service.port), timeout=30)
                crowd.enter_context(silent)
                silent.sendall(b"POST /health HTTP/1.1\r\nHost:")
            assert client.post("/api/v1/status", json={}).status_code == 200
        assert service.person().call("zc_status", {}).text
        assert len(list(files.iterdir())) < before + 40


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1",
        b"POST /health HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "half-a-head", "half-a-body", "refused-before-its-body"],
)
def test_a_connection_without_a_whole_request_is_closed(tmp_path: Path, begun: bytes) -> None:
    with http_service(tmp_path, crowded("0.5")) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(begun.replace(b"{host}", f"127.0.0.1:{service.port}".encode()))
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(1 << 16):
                    pass
        with service.stranger() as client:
            assert client.get("/health").status_code == 200


def test_a_client_that_reads_no_answers_is_let_go(tmp_path: Path) -> None:
    with http_service(tmp_path, crowded("3600")) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as deaf:
            ask = (
                f"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
                f"Authorization: Bearer {service.token}\r\n\r\n"
            ).encode()
            with contextlib.suppress(ConnectionError):
                while True:
                    deaf.sendall(ask * 100)
        assert service.process.poll() is None


# The ledger of refusals


def test_strangers_are_entered_in_the_doors_own_stream_ten_a_minute(own_service: HttpService) -> None:
    with own_service.stranger() as client:
        for number in range(14):
            headers = {"X-ZC-Agent": "victim", "X-ZC-Project": str(own_service.project)}
            refused(client.post(f"/secret/{number}", headers=headers, json={}), 401, "unauthenticated")
    query = "select principal, claimed_agent, kind from ledger_entries where stream = ?"
    rows = machine_rows(own_service.home, query, "door:http/refusals")
    bodies = machine_rows(own_service.home, "select body from ledger_bodies")
    assert len(rows) == 10
    assert set(rows) == {("door:http", "", "refusal")}
    assert b"/secret/" not in repr(bodies).encode()
    with own_service.client() as client:
        verdict = client.post("/api/v1/audit/verify", json={"machine": True}).json()["result"]
    assert verdict["status"] == "OK"
    assert verdict["entries"] >= 10


def test_refusals_of_the_holder_are_in_the_holders_stream(own_service: HttpService) -> None:
    with own_service.client(**{"Content-Type": "application/json"}) as client:
        refused(client.post("/api/v1/status", content=b"{"), 400, "malformed_json")
        refused(client.post("/api/v1/nothing", json={}), 404, "unknown_path")
        refused(client.get("/api/v1/forget"), 405, "wrong_method")
        refused(client.post("/api/v1/status", headers={"X-ZC-Agent": "a b/c"}, json={}), 400, "bad_agent_id")
        secret = {"X-ZC-Agent": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"}
        refused(client.post("/api/v1/status", headers=secret, json={}), 400, "secret_in_name")
    bodies = machine_rows(own_service.home, "select body from ledger_bodies")
    streams = machine_rows(own_service.home, "select stream from ledger_entries where kind = 'refusal'")
    for code in ("malformed_json", "unknown_path", "wrong_method", "bad_agent_id", "secret_in_name"):
        assert code in repr(bodies)
    assert len(streams) == 5
    assert {stream.partition("/http-")[0] for (stream,) in streams} == {"token:http"}


def test_a_thousand_connections_that_say_nothing_do_not_stop_the_door(service: HttpService) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(min(1000, hard - 200)):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            with service.client() as client:
                assert client.post("/api/v1/status", json={}).status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# OpenAPI


def test_the_openapi_document_lists_every_operation(service: HttpService) -> None:
    with service.client() as client:
        document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    listed = {(method, path) for path, item in document["paths"].items() for method in item}
    own = {("post", f"/api/v1{o.route}") for o in OPERATIONS}
    known = {(path.method.lower(), f"/api/v1{path.path}") for path in PATHS}
    assert listed == {("get", "/health"), ("get", "/api/v1/events")} | own | known
    by_id = {
        path["post"]["operationId"]: path["post"] for path in document["paths"].values() if "post" in path
    }
    assert set(by_id) == {o.name for o in OPERATIONS} | {
        path.id for path in PATHS if path.method == "POST" and path.path != CATALOGUE[path.operation].route
    }
    for operation in OPERATIONS:
        said = by_id[operation.name]
        body = said["requestBody"]["content"]["application/json"]
        schema = resolve(document, body["schema"])
        named = {info.alias or name for name, info in operation.given.model_fields.items()}
        assert set(schema.get("properties", {})) >= named
        assert schema["additionalProperties"] is False
        assert body.get("example", {}) == operation.example
        assert said["summary"]
        assert any(p["name"] == "X-ZC-Project" for p in said["parameters"]) == operation.needs_project
    assert document["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert document["paths"]["/health"]["get"]["security"] == []


def test_every_schema_of_the_openapi_document_is_valid_and_every_reference_leads_somewhere(
    service: HttpService,
) -> None:
    from jsonschema import Draft202012Validator

    with service.client() as client:
        document = client.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    references = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        resolve(document, {"$ref": reference})


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a JSON value."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a schema refers to."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


# The token and the port


def test_the_token_is_private_and_status_says_where_it_lies(service: HttpService) -> None:
    file = Path(service.status()["token_file"])
    assert file == service.home / "keys" / "http.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(service.token)) == 32
    assert service.token not in (service.home / "logs" / "service.log").read_text("utf-8")


def test_the_token_outlives_a_restart_and_the_port_gives_way(
    own_service: HttpService, tmp_path: Path
) -> None:
    with http_service(tmp_path / "second", port=str(own_service.port)) as second:
        assert second.port != own_service.port
        with second.stranger() as client:
            foreign = client.get("/openapi.json", headers={"Authorization": f"Bearer {own_service.token}"})
        refused(foreign, 401, "unauthenticated")
    token = own_service.token
    own_service.process.terminate()
    own_service.process.wait(30)
    with http_service_again(own_service) as again:
        assert again.token == token


def test_a_token_that_others_could_read_opens_no_door_and_status_says_why(own_service: HttpService) -> None:
    own_service.process.terminate()
    own_service.process.wait(30)
    (own_service.home / "keys" / "http.token").chmod(0o644)
    with http_service_again(own_service) as again:
        assert again.url == ""
        said = again.status()
        assert "token_file_unsafe" in said["http_trouble"]
        assert said["token_file"] == ""
        assert again.person().call("project.list", {}).text


def test_an_open_stream_does_not_keep_the_service_from_ending(own_service: HttpService) -> None:
    with own_service.client(Accept="application/json, text/event-stream") as client:
        opened = client.post("/mcp", json=INITIALIZE)
        headers = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        client.post("/mcp", headers=headers, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        with client.stream("GET", "/mcp", headers=headers) as stream:
            assert stream.status_code == 200
            wait_until(lambda: own_service.status()["connections"] == 1, "the stream to count as a client")
            own_service.process.terminate()
            assert own_service.process.wait(30) == 0
            with pytest.raises((httpx.RemoteProtocolError, StopIteration)):
                next(stream.iter_raw())


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
