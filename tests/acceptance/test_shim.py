"""The shim: a session that outlives its service, in both eras of the protocol, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service_case import INITIALIZE, World, call, piped
from tests.waiting import wait_until

MODERN = "2026-07-28"
REFUSES_EVERYTHING = "import sys\nsys.stderr.write('out of order\\n')\nsys.exit(7)"


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", MODERN)])
def test_a_session_outlives_its_service(world: World, mode: str, version: str) -> None:
    async def session() -> None:
        async with world.client(mode) as client:
            assert client.protocol_version == version
            assert not (await client.call_tool("zc_remember", {"key": "a", "value": "1"})).is_error
            for turn, end in enumerate((world.kill, world.stop)):
                await asyncio.to_thread(end)
                done = await client.call_tool("zc_remember", {"key": f"k{turn}", "value": "v"})
                assert not done.is_error
                known = await client.call_tool("zc_recall_context", {})
                assert f"k{turn}" in known.content[0].text
            assert (await client.list_tools()).tools

    asyncio.run(session())
    assert len(set(world.served())) == 3
    sessions = {
        row["session"] for row in world.person().call("audit.tail", {"limit": 100}).structured["entries"]
    }
    assert len([s for s in sessions if s.startswith("mcp-")]) == 1, "to the ledger it is one session"


def test_both_eras_at_once(world: World) -> None:
    async def both() -> None:
        async with world.client("legacy") as old, world.client(MODERN) as new:
            assert not (await old.call_tool("zc_remember", {"key": "old", "value": "1"})).is_error
            assert "old" in (await new.call_tool("zc_recall_context", {})).content[0].text

    asyncio.run(both())


RELAY = """
import os, socket, sys, threading
# A socket between shim and service that loses the answers to the first calls, as a crash after the commit would.
real, fake, lose = sys.argv[1], sys.argv[2], int(sys.argv[3])
listening = socket.socket(socket.AF_UNIX); listening.bind(fake); listening.listen()
print("ready", flush=True)
while True:
    near, _ = listening.accept()
    far = socket.socket(socket.AF_UNIX); far.connect(real)
    def up(near=near, far=far):
        while data := near.recv(65536):
            sys.stdout.write(data.decode().replace("\\n", "\\t") + "\\n"); sys.stdout.flush()
            far.sendall(data)
    threading.Thread(target=up, daemon=True).start()
    def down(near=near, far=far):
        global lose
        while data := far.recv(65536):
            if lose and b"structuredContent" in data:
                lose -= 1
                near.shutdown(socket.SHUT_RDWR); far.shutdown(socket.SHUT_RDWR)
                return
            near.sendall(data)
    threading.Thread(target=down, daemon=True).start()
"""


def test_a_call_whose_answer_was_lost_is_sent_again_under_its_key_and_done_once(world: World) -> None:
    world.serve()
    real = os.readlink(world.home / "service.sock")
    fake = str(Path(os.environ["XDG_RUNTIME_DIR"]) / "relay.sock")
    # A folder of its own leads to the relay: the service would set its own link right again within a second.
    beside = world.home.with_name("beside")
    beside.mkdir(mode=0o700)
    (beside / "service.sock").symlink_to(fake)
    relay = subprocess.Popen(
        [sys.executable, "-I", "-c", RELAY, real, fake, "2"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert relay.stdout is not None and relay.stdout.readline() == "ready\n"
        with piped(world, ZC_HOME=str(beside)) as shim:
            assert shim.initialize()["id"] == 0
            answer = shim.ask(call(1, "zc_remember", key="k", value="v"))
            assert answer["id"] == 1 and answer["result"]["structuredContent"]["changed"] is True
            assert shim.ask({"jsonrpc": "2.0", "id": 2, "method": "ping"})["id"] == 2, (
                "no second handshake shows"
            )
    finally:
        relay.kill()
        seen = relay.communicate()[0]
    keys = [part.split('"')[2] for part in seen.split("securecontext/idempotency-key")[1:]]
    assert len(keys) == 3 and len(set(keys)) == 1
    rows = world.person().call("audit.tail", {"limit": 100}).structured["entries"]
    assert len([r for r in rows if r["operation"] == "zc_remember"]) == 1


def test_a_key_of_the_clients_own_is_kept(world: World) -> None:
    asked = call(1, "zc_remember", key="k", value="v")
    asked["params"]["_meta"] = {"securecontext/idempotency-key": "mine", "other": [1]}
    with piped(world) as shim:
        shim.initialize()
        first = shim.ask(asked)["result"]["structuredContent"]
        second = shim.ask({**asked, "id": 2})["result"]["structuredContent"]
        assert first == second and first["changed"] is True
        asked["params"]["arguments"]["value"] = "other"
        reused = shim.ask({**asked, "id": 3})["result"]["structuredContent"]
        assert reused["error"]["code"] == "idempotency_key_reused"


def broken_shim(world: World, service: list[str]) -> list[str]:
    """Return a shim's command that starts its services with another command."""
    from tests.acceptance.service_case import SOURCE

    code = (
        f"import sys\nsys.path.insert(0, {str(SOURCE.parent)!r})\n"
        "from securecontext import rendezvous\nfrom securecontext.mcp.shim import Shim\n"
        f"sys.exit(Shim(rendezvous.home(), {service!r}).run())\n"
    )
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ([sys.executable, "-I", "-c", REFUSES_EVERYTHING], "out of order"),
        (["/no/such/program"], "cannot be run"),
        ([sys.executable, "-I", "-c", "import no_such_module"], "no_such_module"),
        ([sys.executable, "-I", "-c", "pass"], "did not start"),
    ],
)
def test_a_service_that_cannot_start_is_told_and_tried_again(
    world: World, service: list[str], words: str
) -> None:
    with piped(world, broken_shim(world, service)) as shim:
        for number in range(2):
            error = shim.ask(call(number, "zc_status"))["error"]
            assert error["data"]["code"] == "service_away" and error["data"]["hint"] == "Run `zc doctor`."
            assert words in error["message"]
        world.serve()  # somebody has mended it
        assert shim.ask(INITIALIZE)["result"]["serverInfo"]["name"] == "zc-ctx"


def test_a_service_that_dies_of_a_call_does_not_take_the_session_along(world: World) -> None:
    code = (
        "import os, sys\nfrom securecontext.pipeline import corridor\nwalk = corridor.Corridor.walk\n"
        "def deadly(self, call):\n    if call.operation == 'zc_status':\n        os._exit(1)\n"
        "    return walk(self, call)\ncorridor.Corridor.walk = deadly\n"
        "from securecontext.service.run import main\nsys.exit(main())"
    )
    with piped(world, broken_shim(world, [sys.executable, "-I", "-c", code])) as shim:
        shim.initialize()
        error = shim.ask(call(1, "zc_status"))["error"]
        assert error["data"]["code"] == "service_away" and "goes away whenever" in error["message"]
        assert shim.ask(call(2, "zc_remember", key="k", value="v"))["result"]["isError"] is False


def test_a_home_that_cannot_be_is_told(world: World) -> None:
    (world.root / "file").write_text("no folder")
    with piped(world, ZC_HOME=str(world.root / "file" / "zc")) as shim:
        hands = shim.ask(INITIALIZE)["result"]
        error = shim.ask(call(1, "zc_status"))["error"]
        assert error["data"]["code"] == "service_away" and "ZC_HOME" in error["message"]
        assert error["message"] in hands["instructions"]


def test_a_session_that_begins_without_a_service_gets_its_tools_once_there_is_one(world: World) -> None:
    with piped(world, broken_shim(world, ["/no/such/program"])) as shim:
        discover = {"jsonrpc": "2.0", "id": "d", "method": "server/discover"}
        assert shim.ask(discover)["error"]["code"] == -32601  # a client of that protocol then shakes hands
        hands = shim.initialize()["result"]
        assert hands["protocolVersion"] == INITIALIZE["params"]["protocolVersion"]
        assert shim.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})["result"] == {"tools": []}
        world.serve()  # somebody has mended it; the client asks nothing, the shim looks by itself
        assert json.loads(shim.line())["method"] == "notifications/tools/list_changed"
        tools = shim.ask({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})["result"]["tools"]
        assert "zc_remember" in {tool["name"] for tool in tools}
        assert not shim.ask(call(3, "zc_remember", key="k", value="v"))["result"]["isError"]


def test_a_client_that_the_service_refuses_is_told_why_at_every_call(world: World) -> None:
    world.serve()
    with piped(world, ZC_AGENT_ID="no such name!") as shim:
        assert "alphabet" in shim.initialize()["result"]["instructions"]
        error = shim.ask(call(1, "zc_status"))["error"]
        assert error["data"]["code"] == "bad_agent_id" and error["data"]["hint"]


def test_it_ends_with_its_client_and_answers_what_was_asked(world: World) -> None:
    world.serve()
    with piped(world) as shim:
        assert shim.process.stdin is not None
        shim.initialize()
        shim.send(json.dumps(call(1, "zc_remember", key="k", value="v")).encode() + b"\n")
        shim.process.stdin.close()
        assert json.loads(shim.line())["id"] == 1
        assert shim.line() == b"" and shim.process.wait(30) == 0
    with piped(world) as shim:  # one that never says a word
        assert shim.close() == 0
    with piped(world) as shim:  # one that nobody listens to any more
        shim.initialize()
        assert shim.process.stdout is not None
        shim.process.stdout.close()
        shim.send(json.dumps(call(2, "zc_status")).encode() + b"\n")
        assert shim.process.wait(30) == 0
    wait_until(lambda: world.control(do="status")["connections"] == 0, "the connections to be closed")


def test_messages_in_pieces_and_many_at_once(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()
        for byte in json.dumps(call(1, "zc_remember", key="pieces", value="é")).encode() + b"\n":
            shim.send(bytes([byte]))
        assert json.loads(shim.line())["result"]["structuredContent"]["key"] == "pieces"
        shim.send(b"".join(json.dumps(call(n, "zc_status")).encode() + b"\n" for n in range(50)))
        assert {json.loads(shim.line())["id"] for _ in range(50)} == set(range(50))


def test_a_large_message_and_large_answers_pass_in_both_directions_at_once(world: World) -> None:
    """The client asks for megabytes of answers while it writes megabytes, and reads only afterwards."""
    with piped(world) as shim:
        shim.initialize()
        big = json.dumps(call("big", "zc_remember", key="k", value="é" * 7_000_000), ensure_ascii=False)
        shim.send(big.encode() + b"\n")
        assert json.loads(shim.line())["result"]["structuredContent"]["error"]["code"] == "too_long"
        ask = b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n'
        total = 300  # about three megabytes of answers
        shim.send(b"".join(ask % n for n in range(total)))
        shim.send(json.dumps(call("mid", "zc_remember", key="k", value="x" * 1_000_000)).encode() + b"\n")
        answers: list[Any] = [json.loads(shim.line())["id"] for _ in range(total + 1)]
        assert set(answers) == {*range(total), "mid"}


def test_it_is_small(world: World) -> None:
    with piped(world) as shim:
        shim.initialize()
        for number in range(50):
            shim.ask(call(number, "zc_status"))
        status = Path(f"/proc/{shim.process.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0])
        assert peak < 15 * 1024, f"{peak} KiB"


def test_the_services_own_requests_and_notices_pass(tmp_path: Path, world: World) -> None:
    """A stand-in for the service, so that it can speak first."""
    from tests.acceptance.service_case import SOURCE

    code = (
        f"import sys, os, socket, json\nsys.path.insert(0, {str(SOURCE.parent)!r})\n"
        "from securecontext import rendezvous\nhome = rendezvous.home(); path = rendezvous.socket_path(home)\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()\n"
        "os.symlink(path, home + '/service.sock')\n"
        "os.dup2(os.open(os.devnull, os.O_RDWR), 2)\n"
        "c, _ = s.accept(); f = c.makefile('rwb', 0)\n"
        "while f.readline() != b'\\n': pass\n"
        'f.write(b\'{"service":"securecontext"}\\n\')\n'
        "f.readline()\n"
        'f.write(b\'{"jsonrpc":"2.0","method":"notifications/message","params":{}}\\n\')\n'
        'f.write(b\'{"jsonrpc":"2.0","id":1,"method":"roots/list"}\\n\')\n'
        "answer = json.loads(f.readline())\n"
        "f.write(json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': answer['result']}).encode() + b'\\n')\n"
        "f.readline()\nos.unlink(home + '/service.sock')\n"
    )
    with piped(world, broken_shim(world, [sys.executable, "-I", "-c", code])) as shim:
        shim.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode() + b"\n")
        assert json.loads(shim.line())["method"] == "notifications/message"
        assert json.loads(shim.line())["method"] == "roots/list"
        answer = shim.ask({"jsonrpc": "2.0", "id": 1, "result": {"roots": ["r"]}})
        assert answer["result"] == {"roots": ["r"]}
