"""The shim's own decisions: what is remembered, what gets a key, what is sent again."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from securecontext import handover, rendezvous
from securecontext.mcp import shim as module
from securecontext.mcp.shim import KEY, Shim

SOURCES = [Path(part.__file__) for part in (module, handover, rendezvous)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_alone(source: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            if node.module == "securecontext":
                assert {alias.name for alias in node.names} <= {"__version__", "handover", "rendezvous"}
            else:
                found.add(str(node.module).split(".")[0])
    assert found <= sys.stdlib_module_names


class Connected(Shim):
    """A shim whose service is a list."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.sent: list[bytes] = []

    def _send(self, line: bytes, asked: str | None) -> None:
        if asked is not None:
            self.pending[asked] = line
        self.sent.append(line)


def forwarded(message: object) -> tuple[Connected, dict[str, Any]]:
    shim = Connected()
    shim._forward(json.dumps(message).encode())
    return shim, json.loads(shim.sent[-1])


@pytest.mark.parametrize(("asked", "cancelled"), [(7, 7), (7, "7"), ("7", 7), ("a", "a")])
def test_what_is_cancelled_is_not_sent_again(asked: object, cancelled: object) -> None:
    shim = Connected()
    for message in (
        {"id": asked, "method": "tools/call", "params": {"name": "t"}},
        {"id": 8, "method": "ping"},
        {"method": "notifications/cancelled", "params": {"requestId": cancelled}},
    ):
        shim._forward(json.dumps(message).encode())
    assert list(shim.pending) == ["8"]


def test_each_call_gets_a_key_of_its_own() -> None:
    shim = Connected()
    for ident in range(20):
        shim._forward(json.dumps({"id": ident, "method": "tools/call", "params": {"name": "t"}}).encode())
    keys = {json.loads(line)["params"]["_meta"][KEY] for line in shim.sent}
    assert len(keys) == 20


@pytest.mark.parametrize("params", [None, [], "x", 5])
def test_a_call_without_parameters_passes_as_it_is(params: object) -> None:
    message = {"id": 1, "method": "tools/call", "params": params}
    assert forwarded(message)[1] == message


@pytest.mark.parametrize(
    ("text", "expected"), [("é😀", "é😀".encode()), ("\ud800", rb"\ud800"), ("a\nb", rb"a\nb")]
)
def test_a_keyed_call_is_one_line_and_no_longer_than_it_was(text: str, expected: bytes) -> None:
    line = forwarded({"id": 1, "method": "tools/call", "params": {"x": text}})[0].sent[0]
    assert expected in line and b"\n" not in line


@pytest.mark.parametrize("ident", [1, 0, "", "a", -5])
def test_a_request_is_remembered_until_it_is_answered(ident: object) -> None:
    shim, _ = forwarded({"id": ident, "method": "ping"})
    assert list(shim.pending) == [json.dumps(ident)]
    shim.greeted = True
    shim._deliver(json.dumps({"id": ident, "result": {}}).encode())
    assert shim.pending == {} and shim.to_client.endswith(b"\n")


@pytest.mark.parametrize("ident", [None, True, 1.5, [], {}])
def test_what_can_have_no_answer_is_not_remembered(ident: object) -> None:
    assert forwarded({"id": ident, "method": "ping"})[0].pending == {}


def test_a_cancelled_request_is_not_sent_again() -> None:
    shim, _ = forwarded({"id": 7, "method": "tools/call", "params": {}})
    shim._forward(b'{"method":"notifications/cancelled","params":{"requestId":7}}')
    assert shim.pending == {} and len(shim.sent) == 2


def test_the_services_own_request_is_no_answer() -> None:
    shim, _ = forwarded({"id": 1, "method": "ping"})
    shim.greeted = True
    shim._deliver(b'{"id":1,"method":"roots/list"}')
    assert list(shim.pending) == ["1"] and b"roots/list" in shim.to_client


@pytest.mark.parametrize(
    "greeting", [b"", b"nonsense", b"5", b"{}", b'{"structured":[]}', b'{"structured":{"error":5}}']
)
def test_a_stranger_on_the_socket_is_told(greeting: bytes) -> None:
    shim, _ = forwarded({"id": 1, "method": "ping"})
    shim._deliver(greeting)
    answer = json.loads(shim.to_client)
    assert answer["id"] == 1 and answer["error"]["data"]["code"] == "service_away"
    assert shim.pending == {}


def test_a_refusal_of_the_service_reaches_the_client_with_its_code() -> None:
    shim, _ = forwarded({"id": 1, "method": "ping"})
    error = {"code": "too_many_connections", "message": "Too many.", "hint": "Close some."}
    shim._deliver(json.dumps({"ok": False, "structured": {"error": error}}).encode())
    answer = json.loads(shim.to_client)["error"]
    assert answer["data"] == {"code": "too_many_connections", "hint": "Close some."}
    assert answer["message"] == "Too many. Close some."
