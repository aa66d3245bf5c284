"""The doors of the real service under inputs that nobody would send: the socket's openings and lines, and HTTP.

A crash is: the service ended, or did not answer and hang up; an answer that admits a defect of ours; a trace in its
log; memory that keeps growing.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from securecontext import rendezvous
from tests.acceptance.http_service import HttpService, http_service
from tests.acceptance.service_case import IMPATIENT, INITIALIZE, call
from tests.fuzz import span
from tests.fuzz.engine import FOUND, Crash
from tests.fuzz.mutator import mutated
from tests.fuzz.seeds import HOOK
from tests.fuzz.span import GoesOn

ANSWER_SECONDS = 60.0
"""How long the service may keep a connection whose client has said all it has to say."""
MEMORY = 700 << 20
LOOK_EVERY = 50
LONGEST = 8192
"""Bytes that are sent: in more of them, repeated lines are thousands of sound calls."""
DEFECTS = (b"internal_error", b"contract_broken", b"Traceback")
"""What no answer and no line of the log may hold."""
Seeds = Callable[[HttpService], list[bytes]]


def _opening(door: str, service: HttpService) -> bytes:
    return f"{door}\nproject-path: {service.project}\nversion: 0.1.0\n\n".encode()


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _openings(service: HttpService) -> list[bytes]:
    doors = ("mcp/1", "hook/1 tool-used", "rpc/1", "control/1", "operator/1", "mcp/2", "hook/1 nothing")
    return [_opening(door, service) for door in doors]


def _frames(service: HttpService) -> list[bytes]:
    begun = _line(INITIALIZE) + _line({"jsonrpc": "2.0", "method": "notifications/initialized"})
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        call(2, "zc_remember", key="db", value="sqlite", importance=3),
        call("x", "zc_search", queries=["db"]),
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}},
    ]
    return [_opening("mcp/1", service) + begun + b"".join(map(_line, calls))]


def _requests(service: HttpService) -> list[bytes]:
    asked = [
        {"operation": "zc_remember", "arguments": {"key": "db", "value": "sqlite"}, "key": "k1"},
        {"operation": "zc_search", "arguments": {"queries": ["db"]}},
        {"operation": "audit.tail", "arguments": {"limit": 5}},
    ]
    return [_opening("rpc/1", service) + b"".join(map(_line, asked))]


def _hooks(service: HttpService) -> list[bytes]:
    events = ("session-start", "tool-used", "tool-failed", "pre-compact", "post-compact", "stop", "ping")
    payload = HOOK | {
        "cwd": str(service.project),
        "compact_summary": "<summary>x</summary>",
        "last_assistant_message": "y",
    }
    return [_opening(f"hook/1 {event}", service) + json.dumps(payload).encode() for event in events]


def _controls(service: HttpService) -> list[bytes]:
    return [
        _opening("control/1", service) + _line({"do": "status"}),
        _opening("operator/1", service) + _line({"do": "status"}),
    ]


def _http(service: HttpService) -> list[bytes]:
    host = f"127.0.0.1:{service.port}"
    common = f"Host: {host}\r\nAuthorization: Bearer {service.token}\r\nX-ZC-Project: {service.project}\r\n"
    sent = f"{common}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    body = '{"key": "db", "value": "sqlite"}'
    initialize = json.dumps(INITIALIZE)
    return [
        f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(),
        f"GET /api/v1/openapi.json HTTP/1.1\r\n{common}\r\n".encode(),
        f"POST /api/v1/remember HTTP/1.1\r\n{sent}Content-Length: {len(body)}\r\n\r\n{body}".encode(),
        f"POST /mcp HTTP/1.1\r\n{sent}Content-Length: {len(initialize)}\r\n\r\n{initialize}".encode(),
    ]  # fmt: skip


DOORS: dict[str, Seeds] = {
    "socket": _openings, "mcp": _frames, "rpc": _requests, "hooks": _hooks, "control": _controls, "http": _http,
}  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[HttpService]:
    """Run a service that waits for no client longer than a second."""
    with http_service(folder, (sys.executable, "-I", "-c", IMPATIENT)) as service:
        yield service


def run(doors: list[str], seconds: float, seed: int) -> list[str]:
    """Fuzz the doors in turn for so many seconds; return those that broke, each with its input kept in `FOUND`."""
    broke = []
    for door in doors:
        print(f"== {door} of the real service for {seconds / len(doors):.0f} s, by chance", flush=True)
        with tempfile.TemporaryDirectory(prefix="zc-fuzz-") as folder, running(Path(folder)) as service:
            try:
                print(f"{by_chance(service, door, seed, span.seconds(seconds / len(doors)))} inputs")
            except Crash as crash:
                print(crash, crash.__cause__)
                FOUND.mkdir(exist_ok=True)
                (FOUND / f"{door}-input").write_bytes(crash.data)
                broke.append(door)
    return broke


def by_chance(service: HttpService, door: str, seed: int, goes_on: GoesOn) -> int:
    """Send inputs as long as it goes on; return how many were sent.

    Raises:
        Crash: with the input, or with those since the service was last looked at.
    """
    chance, sent = random.Random(f"{door} {seed}"), 0
    begun, pid = DOORS[door](service), service.status()["pid"]
    recent: list[bytes] = []
    while goes_on(sent):
        data = begun[sent] if sent < len(begun) else _changed(chance.choice(begun), begun, chance)
        sent += 1
        recent.append(data)
        try:
            _send(service, door, data)
        except Exception as error:
            raise Crash(door, data, error) from error
        if sent % LOOK_EVERY == 0:
            _look(service, door, pid, recent)
            recent.clear()
    _look(service, door, pid, recent)
    return sent


def _changed(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Change what follows the opening, or now and then the opening as well."""
    head, blank, rest = data.partition(b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n")
    if chance.random() < 0.25 or not rest:
        return mutated(data, others, chance)[:LONGEST]
    changed = mutated(rest, [other.partition(blank)[2] for other in others], chance)
    if blank == b"\r\n\r\n":
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(changed)])
    return (head + blank + changed)[:LONGEST]


def _send(service: HttpService, door: str, data: bytes) -> None:
    """Send it and read all there is; every line from the socket is JSON or a hook's answer, none admits a defect."""
    said = b""
    with closing(_connected(service, door)) as connection:
        connection.settimeout(ANSWER_SECONDS)
        with suppress(BrokenPipeError, ConnectionError):  # it may refuse before it has heard all
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                said += piece
    assert not any(defect in said for defect in DEFECTS), said[-2000:]
    if door != "http" and not said.startswith(b"exit ") and data.split(b"/", 1)[0] != b"hook":
        for line in said.splitlines():
            json.loads(line)


def _connected(service: HttpService, door: str) -> socket.socket:
    if door == "http":
        return socket.create_connection(("127.0.0.1", service.port), timeout=ANSWER_SECONDS)
    return rendezvous.connect(str(service.home), timeout=ANSWER_SECONDS)


def _look(service: HttpService, door: str, pid: int, recent: list[bytes]) -> None:
    """Look whether the service is the same one, sound, and no larger than it may be."""
    try:
        assert service.process.poll() is None, "the service ended"
        assert service.status()["pid"] == pid, "another service answers"
        log = (service.home / "logs" / "service.log").read_bytes()
        assert not any(defect in log for defect in (*DEFECTS, b"a connection failed")), list(_traces(log))
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        assert size < MEMORY, f"the service holds {size >> 20} MiB"
    except (AssertionError, OSError) as error:
        raise Crash(door, b"\n==== input ====\n".join(recent), error) from error


def _traces(log: bytes) -> Iterator[bytes]:
    lines = log.splitlines()
    for line in lines:
        if any(defect in line for defect in (*DEFECTS, b"a connection failed")):
            yield line[:3000]
