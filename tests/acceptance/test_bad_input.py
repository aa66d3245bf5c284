"""Bad input at every door: a stable code and a hint, or the protocol's own answer, and the service goes on."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securecontext import rendezvous
from securecontext.boundaries import limits
from securecontext.types.errors import InvalidInput
from tests.acceptance.service_case import IMPATIENT, INITIALIZE, Raw, World, call, piped
from tests.waiting import wait_until

SYNTAX = [
    "'; DROP TABLE facts; --",
    '" OR 1=1 --',
    "NEAR(a b, 3) AND * OR NOT -x :y ^z",
    '"unbalanced',
    "col:term*",
    "%' UNION SELECT * FROM meta --",
    "\\x00 \\' ${jndi} {{7*7}} <script>",
    "(((((((",
    "a AND",
    "{a b}: c",
]


def goes_on(world: World) -> None:
    """A normal client works."""

    async def normal() -> None:
        async with world.client() as client:
            done = await client.call_tool("zc_remember", {"key": "normal", "value": "works"})
            assert not done.is_error
            known = await client.call_tool("zc_recall_context", {})
            assert "works" in known.content[0].text

    asyncio.run(normal())
    assert world.person().call("audit.verify", {}).structured["status"] == "OK"


def code_of(answer: dict[str, Any]) -> str:
    """Return the stable code of a refusal, whichever form it has; each has a hint."""
    if "error" in answer:
        data = answer["error"].get("data") or {}
        assert data.get("hint"), answer
        return str(data["code"])
    error = answer["result"]["structuredContent"]["error"]
    assert answer["result"]["isError"] and error["hint"] and error["message"]
    assert error["code"] in answer["result"]["content"][0]["text"]
    return str(error["code"])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("zc_nothing", {}, "unknown_operation"),
    ("", {}, "unknown_operation"),
    ("recover", {"confirm": True}, "not_permitted"),
    ("zc_remember", {"key": "k"}, "missing_argument"),
    ("zc_remember", {"value": "v"}, "missing_argument"),
    ("zc_remember", {"key": "k", "value": "v", "more": 1}, "unknown_argument"),
    ("zc_remember", {"key": "k", "value": 5}, "wrong_type"),
    ("zc_remember", {"key": ["k"], "value": "v"}, "wrong_type"),
    ("zc_remember", {"key": None, "value": "v"}, "wrong_type"),
    ("zc_remember", {"key": "k", "value": "v", "importance": "3"}, "wrong_type"),
    ("zc_remember", {"key": "k", "value": "v", "importance": 3.0}, "wrong_type"),
    ("zc_remember", {"key": "k", "value": "v", "importance": True}, "wrong_type"),
    ("zc_remember", {"key": "k", "value": "v", "importance": 0}, "out_of_range"),
    ("zc_remember", {"key": "k", "value": "v", "importance": 6}, "out_of_range"),
    ("zc_remember", {"key": "k", "value": "v", "importance": -(10**30)}, "out_of_range"),
    ("zc_remember", {"key": "k" * 101, "value": "v"}, "too_long"),
    ("zc_remember", {"key": "", "value": "v"}, "empty"),
    ("zc_remember", {"key": " \u200b ", "value": "v"}, "empty"),
    ("zc_remember", {"key": "k", "value": ""}, "empty"),
    ("zc_remember", {"key": "k", "value": "v" * 4001}, "too_long"),
    ("zc_remember", {"key": "k", "value": "v" * 10_000_000}, "too_long"),
    ("zc_remember", {"key": "a\0b", "value": "v"}, "nul_character"),
    ("zc_remember", {"key": "k", "value": "a\0b"}, "nul_character"),
    ("zc_remember", {"key": "a\nb", "value": "v"}, "control_character"),
    ("zc_remember", {"key": "k", "value": "a\x1b[31mb"}, "control_character"),
    ("zc_remember", {"key": "k", "value": "a\u202eb"}, "bidi_control"),
    ("zc_remember", {"key": "k", "value": "v", "agent_id": "../../etc"}, "bad_agent_id"),
    ("zc_remember", {"key": "k", "value": "v", "agent_id": ""}, "empty"),
    ("zc_forget", {}, "missing_argument"),
    ("zc_search", {"queries": []}, "too_few"),
    ("zc_search", {"queries": ["q"] * 11}, "too_many"),
    ("zc_search", {"queries": "q"}, "wrong_type"),
    ("zc_search", {"queries": ["a\0b"]}, "nul_character"),
    ("zc_index", {"content": "c", "source": "s" * 501}, "too_long"),
]


def test_bad_arguments_are_refused_by_name(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()
        found = []
        for number, (tool, arguments, _) in enumerate(REFUSED):
            found.append(code_of(shim.ask(call(number, tool, **arguments))))
    wanted = [code for _, _, code in REFUSED]
    assert [(REFUSED[n][0], str(REFUSED[n][1])[:80], f) for n, f in enumerate(found) if f != wanted[n]] == []
    goes_on(world)


def test_the_official_client_sees_the_codes(world: World) -> None:
    async def ask() -> None:
        async with world.client() as client:
            for tool, arguments, code in REFUSED[1:5] + REFUSED[12:14]:
                answer = await client.call_tool(tool, arguments)
                assert answer.is_error and answer.structured_content is not None
                assert answer.structured_content["error"]["code"] == code

    asyncio.run(ask())


def test_syntax_of_sql_and_of_the_search_is_text_in_every_field(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()

        def ask(tool: str, **arguments: object) -> dict[str, Any]:
            answer = shim.ask(call(1, tool, **arguments))["result"]
            assert answer["isError"] is False, (tool, arguments, answer)
            return dict(answer["structuredContent"])

        for text in SYNTAX:
            ask("zc_remember", key=text, value=text)
            ask("zc_index", content=text, source=text)
            ask("zc_summarize_session", summary=text)
            ask("zc_search", queries=[text])
            ask("zc_search_global", queries=[text])
            refused = shim.ask(call(1, "zc_remember", key="k", value="v", agent_id=text))
            assert code_of(refused) == "bad_agent_id"
            assert code_of(shim.ask(call(1, text))) == "unknown_operation"
        facts = world.person().call("memory.list", {}).structured["facts"]
        assert {fact["key"] for fact in facts} >= set(SYNTAX)
        for text in SYNTAX:
            ask("zc_forget", key=text)
    goes_on(world)


BROKEN_LINES: list[tuple[bytes, str]] = [
    (b"{", "malformed_json"),
    (b"nonsense", "malformed_json"),
    (b"\xff\xfe\x00", "malformed_json"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"} trailing', "malformed_json"),
    (b"[" * 100_000, "malformed_json"),
    (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "not_json_rpc"),
    (b"[]", "not_json_rpc"),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', "not_json_rpc"),
    (b'"text"', "not_json_rpc"),
    (b"1e400", "not_json_rpc"),
    (b"null", "not_json_rpc"),
    (b"{}", "not_json_rpc"),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', "not_json_rpc"),
    (b'{"id":1,"method":"ping"}', "not_json_rpc"),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', "not_json_rpc"),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', "not_json_rpc"),
    (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', "not_json_rpc"),
    (b'{"jsonrpc":"2.0","id":1,"method":5}', "not_json_rpc"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', "bad_params"),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', "not_json_rpc"),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', "bad_params"),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"zc_status","arguments":[1]}}',
        "bad_params",
    ),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}', "bad_params"),
    (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', "unknown_method"),
    (
        rb'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"zc_remember",'
        rb'"arguments":{"key":"\ud800","value":"v"}}}',
        "bad_text",
    ),
]


def test_lines_that_are_no_messages_get_a_code_and_the_session_goes_on(world: World) -> None:
    world.serve()
    raw = world.session()
    found = [code_of(raw.ask(line)) for line, _ in BROKEN_LINES]
    assert [
        (line[:60], code, wanted)
        for (line, wanted), code in zip(BROKEN_LINES, found, strict=True)
        if code != wanted and not (code == "malformed_json" and len(line) > 10_000)
    ] == []
    raw.send(b"\n   \n\r\n")
    assert raw.ask({"jsonrpc": "2.0", "id": 77, "method": "ping"})["id"] == 77
    goes_on(world)


def test_the_same_lines_through_the_shim(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()
        for line, _ in BROKEN_LINES:
            assert code_of(shim.ask(line)) in {code for _, code in BROKEN_LINES}, line[:60]
        assert shim.ask({"jsonrpc": "2.0", "id": 77, "method": "ping"})["id"] == 77


def test_the_protocols_own_refusals(world: World) -> None:
    world.serve()
    raw = world.raw()
    early = raw.ask(call("early", "zc_status"))
    assert (early["id"], code_of(early)) == ("early", "not_initialized")
    raw = world.session()
    assert raw.ask({"jsonrpc": "2.0", "id": 1, "method": "no/such"})["error"]["code"] == -32601
    assert raw.ask({"jsonrpc": "2.0", "id": 2, "method": "tools/call"})["error"]["code"] == -32602
    assert raw.ask({**INITIALIZE, "id": 3})["id"] == 3  # twice: answered, whatever it says
    for ident in ("", "x" * 100_000, 2**63, -(10**30), "\u0000", '"; --', 0):
        assert raw.ask({"jsonrpc": "2.0", "id": ident, "method": "ping"})["id"] == ident
    long = raw.ask(b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}')
    assert "result" in long or code_of(long) in ("malformed_json", "not_json_rpc")
    for _ in range(2):  # the same id twice at once: two answers
        raw.send(json.dumps(call("twin", "zc_status")).encode() + b"\n")
    assert [raw.line()["id"], raw.line()["id"]] == ["twin", "twin"]
    for _ in range(5_000):
        raw.send(b'{"jsonrpc":"2.0","method":"notifications/nothing","params":{"a":1}}\n')
    assert raw.ask({"jsonrpc": "2.0", "id": 9, "method": "ping"})["id"] == 9
    raw.send(json.dumps({"jsonrpc": "2.0", "id": 10, "result": {}}).encode() + b"\n")  # nobody asked
    assert raw.ask({"jsonrpc": "2.0", "id": 11, "method": "ping"})["id"] == 11
    goes_on(world)


def test_a_line_above_the_limit_is_refused_and_the_connection_ends(world: World) -> None:
    world.serve()
    for door in ("mcp/1", "rpc/1"):
        raw = world.raw(door)
        threading.Thread(target=_flood, args=(raw, b"x" * (limits.LINE_BYTES + 4096)), daemon=True).start()
        answer = raw.line()
        if door == "mcp/1":
            assert code_of(answer) == "line_too_long"
        else:
            assert answer["structured"]["error"]["code"] == "line_too_long"
        assert raw.at_end()
    goes_on(world)


def _flood(raw: Raw, data: bytes) -> None:
    try:
        raw.send(data)
    except OSError:
        return  # the service closed: that is what is tested


def test_a_message_above_the_limit_is_refused_by_the_shim_and_the_session_goes_on(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()
        answer = shim.ask(call(5, "zc_remember", key="k", value="x" * (limits.LINE_BYTES + 1)))
        assert (answer["id"], code_of(answer)) == (5, "line_too_long")
        assert shim.ask({"jsonrpc": "2.0", "id": 6, "method": "ping"})["id"] == 6


def test_an_argument_that_is_too_long_for_itself_alone_is_refused_by_name(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()
        answer = shim.ask(call(5, "zc_remember", key="k", value="x" * 10_000_000))
        assert code_of(answer) == "too_long" and "value" in answer["result"]["content"][0]["text"]


def test_a_message_of_very_many_values_is_refused_before_it_is_parsed(world: World) -> None:
    world.serve()
    crowd = b"[" + b"[]," * 200_000 + b"[]]"
    asked = (
        b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"zc_status","arguments":{"a":%b}}}'
    )
    assert code_of(world.session().ask(asked % crowd)) == "too_many_values"
    told = world.raw("rpc/1").ask(b'{"operation":"zc_status","arguments":{"a":%b}}' % crowd)
    assert told["structured"]["error"]["code"] == "too_many_values"
    with piped(world) as shim:
        shim.initialize()
        answer = shim.ask(asked % crowd)
        assert (answer["id"], code_of(answer)) == (5, "too_many_values")
        text = shim.ask(call(6, "zc_index", source="s", content='[],{}\\"' * 100_000))
        assert text["result"]["isError"] is False
    goes_on(world)


def test_the_largest_import_fits_on_a_line(world: World) -> None:
    world.serve()
    facts = [{"key": f"k{n}", "value": f"{n:03d}" + "\U0001f600" * 3_997} for n in range(500)]
    assert len(world.person().call("memory.import", {"facts": facts}).structured) > 0


def test_a_large_payload_of_a_hook_is_not_read(world: World) -> None:
    world.serve()
    tool = {"cwd": str(world.project), "tool_name": "Huge", "tool_use_id": "toolu_huge", "x": "x" * (8 << 20)}
    opening = rendezvous.preamble("hook/1 tool-used", {"project-path": str(world.project)})
    hook = world.raw(opening + json.dumps(tool).encode())
    hook.socket.shutdown(socket.SHUT_WR)
    assert hook.file.read() == b"exit 0 0 0\n"
    assert "toolu_huge" not in json.dumps(world.person().call("audit.tail", {}).structured)


BAD_OPENINGS = [
    b"\n\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"mcp/2\n\n",
    b"MCP/1\n\n",
    b"mcp/1\nno header\n\n",
    b"mcp/1\n: no name\n\n",
    b"\xff\xff\xff\n\n",
    b"mcp/1\nx: " + b"y" * 70_000 + b"\n\n",
]


def test_openings_that_are_none(world: World) -> None:
    world.serve(IMPATIENT)
    for opening in BAD_OPENINGS:
        raw = world.raw(opening)
        assert raw.line()["structured"]["error"]["code"] == "bad_preamble", opening[:40]
        assert raw.at_end()
    half = world.raw(b"mcp/1\nproject-path: /tm")  # and no more of it
    assert half.line()["structured"]["error"]["code"] == "opening_timeout"
    assert half.at_end()
    left = world.raw(b"mcp/1\npro")
    left.socket.shutdown(socket.SHUT_WR)
    assert left.line()["structured"]["error"]["code"] == "bad_preamble"
    silent = world.raw(b"")
    assert silent.line()["structured"]["error"]["code"] == "opening_timeout"
    for header, code in (
        ({"session": "../x"}, "bad_session"),
        ({"session": "s" * 101}, "bad_session"),
        ({"agent": "no such name!"}, "bad_agent_id"),
        ({"agent": "a" * 65}, "too_long"),
        ({"agent": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"}, "secret_in_name"),
        ({"session": "AKIA1234567890ABCDEF"}, "secret_in_name"),
    ):
        refused = world.raw("mcp/1", greeted=False, **header).line()["structured"]["error"]
        assert refused["code"] == code and refused["hint"]
    for path in ("/no/such/folder", "relative", "/\0", "/" + "x" * 5000):
        raw = world.raw("rpc/1", **{"project-path": path})
        answer = raw.ask({"operation": "zc_status", "arguments": {}})
        code = "relative_path" if path == "relative" else "no_such_folder"
        assert not answer["ok"] and answer["structured"]["error"]["code"] == code, path
    goes_on(world)


def test_the_other_doors(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(IMPATIENT)
    raw = world.raw("rpc/1")
    for line in (b"{", b"[]", b"5", b"{}", b'{"operation":1,"arguments":{}}', b"[" * 100_000, b"\xff"):
        refused = raw.ask(line)
        assert not refused["ok"] and refused["structured"]["error"]["code"] == "malformed_json", line[:40]
    odd = raw.ask(rb'{"operation":"zc_remember","arguments":{"key":"\ud800","value":"v"},"key":"\udfff"}')
    assert odd["structured"]["error"]["code"] == "lone_surrogate"
    done = raw.ask(rb'{"operation":"zc_remember","arguments":{"key":"k","value":"v"},"key":"\udfff\u0000"}')
    assert done["ok"]
    for line in (b"{\n", b"[]\n", b'{"do":["stop"]}\n', b"[" * 100_000 + b"\n", b"\n"):
        control = world.raw("control/1", greeted=False)
        control.send(line)
        assert control.line()["error"]["code"] == "unknown_request", line[:40]
    mute = world.raw("control/1", greeted=False)  # asks nothing
    assert mute.at_end()
    for payload in (b"", b"{", b"\xff", b"[1]", b"{" * 100_000, b'{"cwd": 5}', b'{"cwd": "\\ud800"}'):
        hook = world.raw(b"hook/1 session-start\n\n" + payload)
        hook.socket.shutdown(socket.SHUT_WR)
        assert hook.file.readline().startswith(b"exit 0 "), payload[:40]
    for header in (b"agent: no such name!", b"scope: nonsense"):
        told = world.raw(
            b"hook/1 session-start\n" + header + b"\n\n" + json.dumps({"cwd": str(world.project)}).encode()
        )
        told.socket.shutdown(socket.SHUT_WR)
        said = json.loads(told.file.read().partition(b"\n")[2])["systemMessage"]
        assert said.startswith("SecureContext could not recall: ") and said.count("\n") == 0
    tool = {
        "cwd": str(world.project),
        "session_id": "s",
        "tool_name": "Bash",
        "tool_use_id": "toolu_named_badly",
    }
    used = world.raw(b"hook/1 tool-used\nagent: no such name!\n\n" + json.dumps(tool).encode())
    used.socket.shutdown(socket.SHUT_WR)
    assert used.file.read() == b"exit 0 0 0\n"
    entered = world.person().call("audit.tail", {}).structured["entries"]
    assert "toolu_named_badly" in json.dumps(entered)
    monkeypatch.setenv("ZC_AGENT_ID", "no such name!")
    with pytest.raises(InvalidInput) as refused:
        world.person()
    monkeypatch.delenv("ZC_AGENT_ID")
    assert refused.value.code == "bad_agent_id"
    unknown = world.raw(b"hook/1 no-such-event\n\n{}")
    unknown.socket.shutdown(socket.SHUT_WR)
    assert unknown.file.readline().startswith(b"exit 0 ")
    goes_on(world)


def test_a_refusal_that_is_no_calls_is_an_entry_too(world: World) -> None:
    world.serve()
    world.raw(b"GET / HTTP/1.1\r\n\r\n\n\n").line()
    world.raw("mcp/1", greeted=False, agent="no such name!").line()
    control = world.raw("control/1", greeted=False)
    control.send(b"nonsense\n")
    control.line()
    for opening in (b"hook/1 no-such-event\n\n", b"hook/1 session-start\nscope: nonsense\n\n"):
        hook = world.raw(opening + json.dumps({"cwd": str(world.project), "session_id": "s-9"}).encode())
        hook.socket.shutdown(socket.SHUT_WR)
        hook.file.read()
    session = world.session()
    session.ask(b"{ no JSON")
    session.ask({"jsonrpc": "2.0", "id": 1, "method": "no/such"})
    session.ask({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": 5}})
    modern = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    assert (
        code_of(session.ask({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": modern}))
        == "mixed_protocols"
    )
    world.raw().ask(call("early", "zc_status"))
    assert (
        code_of(world.raw().ask({"jsonrpc": "2.0", "id": 4, "method": "tools/list", "params": modern}))
        == "bad_params"
    )
    rpc = world.raw("rpc/1", session="cli-7")
    assert rpc.ask(b"5")["structured"]["error"]["code"] == "malformed_json"
    with piped(world) as shim:
        shim.initialize()
        shim.ask(call(5, "zc_remember", key="k", value="x" * (limits.LINE_BYTES + 1)))

    mine = f"uid:{os.getuid()}"
    expected = {
        ("door:socket", "bad_preamble"),
        ("door:socket", "bad_agent_id"),
        ("door:socket", "unknown_request"),
        (mine, "unknown_event"),
        (mine, "bad_setting"),
        (mine, "malformed_json"),
        (mine, "unknown_method"),
        (mine, "bad_params"),
        (mine, "mixed_protocols"),
        (mine, "not_initialized"),
        (mine, "line_too_long"),
    }
    wait_until(lambda: expected <= refusals(world), "the entries")
    assert world.person().call("audit.verify", {"machine": True}).structured["status"] == "OK"


def refusals(world: World) -> set[tuple[str, str]]:
    """Who was refused with which code, as the machine's ledger tells."""
    tail = world.person().call("audit.tail", {"machine": True, "limit": 100}).structured["entries"]
    return {(e["principal"], e["outcome"]) for e in tail if e["kind"] == "refusal"}


def test_a_flood_of_an_authenticated_client_is_entered_in_full(world: World) -> None:
    world.serve()
    session = world.session()
    for _ in range(30):
        session.ask(b"{ no JSON")
    tail = world.person().call("audit.tail", {"machine": True, "limit": 100}).structured["entries"]
    assert [e["outcome"] for e in tail].count("malformed_json") == 30


def test_a_half_line_and_a_sudden_end(world: World) -> None:
    world.serve()
    for ending in (b'{"jsonrpc":"2.0","id":1,"met', b"", json.dumps(call(1, "zc_status")).encode()):
        raw = world.session()
        raw.send(ending)
        raw.close()
    half = world.session()
    half.send(b'{"jsonrpc":"2.0",')  # and the rest later: others are served meanwhile
    goes_on(world)
    half.send(b'"id":5,"method":"ping"}\n')
    assert half.line()["id"] == 5


def test_a_client_that_never_reads_is_let_go_and_holds_up_nobody(world: World) -> None:
    process = world.serve(IMPATIENT)
    deaf = world.session()
    deaf.socket.settimeout(0.2)
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode() + b"\n"
    asked = 0
    try:
        while asked < 20_000:
            deaf.socket.send(line)
            asked += 1
    except OSError:
        pass  # it takes no more, or has closed
    assert asked > 50
    goes_on(world)
    wait_until(lambda: world.control(do="status")["connections"] == 0, "the deaf client to be let go")
    assert "did not read" in world.log()
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    memory = pages * resource.getpagesize()
    assert memory < 400 * 2**20


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have thousands of files open, for the test alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_at_once(world: World) -> None:
    world.serve()
    idle = []
    for _ in range(700):
        connection = rendezvous.connect(str(world.home), timeout=30)
        idle.append(connection)
    active = [world.raw() for _ in range(300)]
    for number, raw in enumerate(active):
        raw.send(
            json.dumps({**INITIALIZE, "id": number}).encode()
            + b'\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
            + json.dumps(call("c", "zc_remember", key=f"k{number % 50}", value=f"v{number}")).encode()
            + b"\n"
        )
    for number, raw in enumerate(active):
        assert raw.line()["id"] == number
        answer = raw.line()
        assert answer["id"] == "c" and answer["result"]["isError"] is False, answer
    goes_on(world)
    for connection in idle:
        connection.close()
    for raw in active:
        raw.close()
    wait_until(lambda: world.control(do="status")["connections"] == 0, "all to be gone")


def test_one_connection_too_many_is_told(world: World) -> None:
    world.serve(
        "import sys\nfrom securecontext.boundaries import limits\nlimits.CONNECTIONS = 3\n"
        "from securecontext.service.run import main\nsys.exit(main())"
    )
    held = [world.raw() for _ in range(3)]
    refused = world.raw("mcp/1", greeted=False).line()["structured"]["error"]
    assert refused["code"] == "too_many_connections" and refused["hint"]
    with piped(world) as shim:
        assert "Too many clients" in shim.ask(INITIALIZE)["result"]["instructions"]
        assert code_of(shim.ask(call(1, "zc_status"))) == "too_many_connections"
    for raw in held:
        raw.close()
    wait_until(lambda: world.control(do="status").get("connections") == 0, "room")
    goes_on(world)


@pytest.mark.parametrize("door", ["mcp/1", "rpc/1"])
def test_a_client_that_asks_much_at_once_is_answered_in_full(world: World, door: str) -> None:
    world.serve()
    raw = world.session() if door == "mcp/1" else world.raw(door)
    total = 400
    lines = [
        call(n, "zc_remember", key=f"k{n % 20}", value=f"v{n}")
        if door == "mcp/1"
        else {"operation": "zc_remember", "arguments": {"key": f"k{n % 20}", "value": f"v{n}"}}
        for n in range(total)
    ]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    threading.Thread(target=_flood, args=(raw, data), daemon=True).start()
    answers = [raw.line() for _ in range(total)]
    if door == "mcp/1":
        assert {a["id"] for a in answers} == set(range(total))
        assert not any(a["result"]["isError"] for a in answers)
    else:
        assert all(a["ok"] for a in answers)
    assert world.answers()
