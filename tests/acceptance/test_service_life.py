"""The life of the service: one, found by all, gone when nobody needs it, and back after any death."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from securecontext import __version__, rendezvous
from tests.acceptance.service_case import SOURCE, World, call, piped
from tests.engine import rows, tamper
from tests.waiting import wait_until


def test_twenty_first_clients_at_once_start_exactly_one_service(world: World) -> None:
    shims = [
        subprocess.Popen(
            world.shim_command,
            env=world.env,
            cwd=world.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(20)
    ]
    asked = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    for shim in shims:
        assert shim.stdin is not None
        shim.stdin.write(asked)
        shim.stdin.flush()
    for shim in shims:
        assert shim.stdout is not None
        assert json.loads(shim.stdout.readline())["id"] == 1
    assert len(world.services()) == 1
    for shim in shims:
        shim.communicate()
        assert shim.returncode == 0
    assert world.served() == world.services()


def test_it_ends_when_nobody_needs_it_and_not_before(world: World) -> None:
    world.env["ZC_IDLE_MINUTES"] = "0.005"
    with piped(world) as shim:
        shim.initialize()
        service = world.pid()
        link = world.home / rendezvous.LINK
        for _ in range(16):  # it looks four times within its idle time, and puts back the link each time
            link.unlink()
            wait_until(lambda: os.path.lexists(link), "its next look")
            assert world.services() == [service]
        assert shim.ask({"jsonrpc": "2.0", "id": 1, "method": "ping"})["id"] == 1
    wait_until(lambda: not world.services(), "the idle service to end")
    assert "nobody has called" in world.log()
    assert not os.path.lexists(world.home / rendezvous.LINK)
    with piped(world) as shim:  # and the next client has one again
        assert shim.initialize()["id"] == 0


def test_the_socket_is_its_owners_alone(world: World) -> None:
    process = world.serve(umask=0)
    path = Path(os.readlink(world.home / rendezvous.LINK))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(world.home.stat().st_mode) == 0o700
    for file in world.home.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    world.stop()
    assert process.wait(30) == 0


FOREIGNER = """
import os, socket, sys
os.setgroups([]); os.setgid(12345); os.setuid(12345)
s = socket.socket(socket.AF_UNIX); s.settimeout(20)
s.connect(sys.argv[1])
try:
    s.sendall(b"mcp/1\\n\\n")
except BrokenPipeError:
    pass  # it has refused before it was told which door
sys.stdout.write(s.makefile().readline())
"""


@pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become somebody else; others are kept out by the mode"
)
def test_another_user_is_refused_even_where_the_modes_let_him_in(world: World, tmp_path: Path) -> None:
    world.serve()
    path = Path(os.readlink(world.home / rendezvous.LINK))
    door = Path("/tmp") / f"zc-door-{os.getpid()}"
    door.mkdir()
    try:  # let the modes fail: the peer's uid still decides
        door.chmod(0o755)
        os.link(path, door / "s")
        (door / "s").chmod(0o666)
        done = subprocess.run(
            [sys.executable, "-I", "-c", FOREIGNER, str(door / "s")],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        shutil.rmtree(door)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["structured"]["error"]["code"] == "foreign_user", done.stderr
    assert world.answers()


def test_a_polite_end_finishes_the_calls_under_way(world: World) -> None:
    world.serve()
    raw = world.session()
    total = 30
    for number in range(total):
        raw.send(json.dumps(call(number, "zc_remember", key=f"k{number}", value="v")).encode() + b"\n")
    first = raw.line()
    os.kill(world.pid(), 15)
    answers = [first]
    while answer := raw.line():
        answers.append(answer)
    done = {a["id"] for a in answers}
    assert all(a["result"]["structuredContent"]["key"] == f"k{a['id']}" for a in answers)
    wait_until(lambda: not world.services(), "the service to end")
    world.serve()
    known = world.person().call("zc_recall_context", {}).text
    stored = {number for number in range(total) if f" k{number}:" in known or f"k{number}: " in known}
    assert stored == done, "what was done was answered, and what was answered was done"


def test_an_end_with_many_clients_is_no_failure(world: World) -> None:
    process = world.serve()
    for _ in range(5):
        world.session()
        world.raw("rpc/1")
        world.raw(b"mcp/1\n")
    world.control(do="stop")
    assert process.wait(30) == 0
    assert '"error"' not in world.log() and "trace" not in world.log()


@pytest.mark.parametrize(("asked", "cancelled"), [(100, "100"), ("100", 100)])
def test_a_request_that_was_cancelled_by_another_form_of_its_id_is_not_waited_for(
    world: World, asked: object, cancelled: object
) -> None:
    code = (
        "import sys\nfrom securecontext.service import daemon\ndaemon.DRAIN_SECONDS = 3600.0\n"
        "from securecontext.service.run import main\nsys.exit(main())"
    )
    process = world.serve(code)
    raw = world.session()
    cancel = {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": cancelled},
    }
    lines = [call(asked, "zc_index", source="s", content="word " * 100_000), cancel]
    raw.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    while raw.ask({"jsonrpc": "2.0", "id": "after", "method": "ping"}).get("id") != "after":
        pass  # the answer to what was cancelled too late
    world.control(do="stop")
    assert process.wait(60) == 0


def test_what_was_acknowledged_survives_any_death(world: World) -> None:
    """Several sessions write while the service is killed again and again: no error, no loss, nothing done twice."""
    writers, each, deaths = 4, 25, 6
    dice = random.Random(20261122)
    acknowledged: list[tuple[str, str]] = []
    running = {"writers": writers}

    async def write(number: int) -> None:
        async with world.client(ZC_AGENT_ID=f"agent{number}") as client:
            for turn in range(each):
                key = f"w{number}-{turn}"
                answer = await client.call_tool("zc_remember", {"key": key, "value": f"value of {key}"})
                assert not answer.is_error, answer
                assert answer.structured_content is not None
                assert answer.structured_content["changed"] is True, "it is the answer to the first time"
                acknowledged.append((key, answer.structured_content["id"]))
        running["writers"] -= 1

    async def kill() -> int:
        killed = 0
        while killed < deaths and running["writers"]:
            # Far enough apart that no call meets three deaths in a row: then a shim gives up, and rightly.
            target = len(acknowledged) + dice.randrange(8, 16)
            await asyncio.to_thread(
                wait_until, lambda t=target: len(acknowledged) >= t or not running["writers"], "progress", 120
            )
            if running["writers"]:
                for pid in world.services():
                    os.kill(pid, 9)
                    killed += 1
        return killed

    async def everything() -> int:
        tasks = [asyncio.create_task(write(number)) for number in range(writers)]
        killer = asyncio.create_task(kill())
        await asyncio.gather(*tasks)
        return await killer

    assert asyncio.run(everything()) >= 4
    assert len(acknowledged) == writers * each
    person = world.person()
    for number in range(writers):
        for turn in range(each):
            key = f"w{number}-{turn}"
            (fact,) = person.call("memory.show", {"key": key, "agent": f"agent{number}"}).structured["facts"]
            assert (fact["value"], fact["id"]) == (f"value of {key}", dict(acknowledged)[key])
    rows = person.call("audit.tail", {"limit": 1000}).structured["entries"]
    done = [row for row in rows if (row["operation"], row["outcome"]) == ("zc_remember", "ok")]
    assert len(done) == len(acknowledged), "a call that was sent again was done once"
    verdict = person.call("audit.verify", {})
    assert verdict.structured["status"] == "OK", verdict.text


@pytest.mark.parametrize("leftover", ["nothing more", "link", "file", "lock", "owner"])
def test_leftovers_of_a_dead_service_are_no_obstacle(world: World, leftover: str) -> None:
    world.serve()
    path = os.readlink(world.home / rendezvous.LINK)
    world.kill()
    link = world.home / rendezvous.LINK
    assert os.path.lexists(link) and os.path.exists(path), "a killed service leaves both behind"
    match leftover:
        case "link":
            os.unlink(path)
        case "file":
            os.unlink(path)
            Path(path).write_text("no socket")
        case "lock":
            (world.home / rendezvous.START_LOCK).write_text("123")
            (world.home / rendezvous.SERVICE_LOCK).write_text("123")
        case "owner":
            (world.home / "owner").write_text("")
    with piped(world) as shim:
        assert shim.initialize()["result"]["serverInfo"]["name"] == "zc-ctx"


def test_what_lies_in_the_links_place_and_is_not_ours_is_named(world: World) -> None:
    (world.home / rendezvous.LINK).mkdir(parents=True)
    with piped(world) as shim:
        hands = shim.initialize()["result"]
        error = shim.ask(call(1, "zc_status"))["error"]
    assert error["data"]["code"] == "service_away"
    assert str(world.home / rendezvous.LINK) in error["message"]
    assert error["message"] in hands["instructions"]


def take_away(home: Path) -> None:
    """Remove a data folder in one step: its service may be writing into it."""
    gone = home.with_name("gone")
    home.rename(gone)
    shutil.rmtree(gone)


def test_a_folder_that_is_taken_away_takes_its_service_along(world: World) -> None:
    world.env["ZC_IDLE_MINUTES"] = "1"
    code = (
        "import sys\nfrom securecontext.service import guard\nguard.BEAT_SECONDS = 0.05\n"
        "from securecontext.service.run import main\nsys.exit(main())"
    )
    process = world.serve(code)
    assert world.pid() == process.pid  # it is past its start
    take_away(world.home)
    assert process.wait(30) == 0


@pytest.mark.only_in_files("a folder that is made anew has other keys, which a database does not know")
def test_a_folder_that_is_made_anew_gets_a_service_of_its_own(world: World) -> None:
    process = world.serve()
    take_away(world.home)
    with piped(world) as shim:
        shim.initialize()
        assert "result" in shim.ask(call(1, "zc_remember", key="k", value="v"))
        second = world.pid()
        assert process.wait(30) == 0 and second != process.pid
        assert (world.home / "owner").exists(), "the one that ended has left the other's sign of life"
        assert world.pid() == second


@pytest.mark.parametrize("lost", ["socket", "folder of sockets", "link", "link to another"])
def test_a_service_that_is_not_found_any_more_lets_itself_be_found(world: World, lost: str) -> None:
    process = world.serve()
    link = world.home / rendezvous.LINK
    path = Path(os.readlink(link))
    with piped(world) as old:
        old.initialize()
        match lost:
            case "socket":
                path.unlink()
            case "folder of sockets":
                shutil.rmtree(path.parent)
            case "link":
                link.unlink()
            case _:
                link.unlink()
                link.symlink_to("/nowhere")
        with piped(world) as first, piped(world) as second:
            for shim in (first, second):
                shim.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode() + b"\n")
            assert [first.answer()["result"], second.answer()["result"]] == [{}, {}]
        assert old.ask(call(2, "zc_status"))["result"]["isError"] is False
    wait_until(lambda: world.services() == [process.pid], "those that looked for it to end")
    assert world.served() == [process.pid]
    world.stop()
    assert not os.path.lexists(link) and process.wait(30) == 0


def test_a_service_that_cannot_be_found_again_ends(world: World) -> None:
    process = world.serve()
    (world.home / rendezvous.LINK).unlink()
    (world.home / rendezvous.LINK).mkdir()
    assert process.wait(30) == 0
    assert "link_blocked" in world.log()


@pytest.mark.parametrize("there", ["logs", "service.version"])
def test_what_lies_in_the_place_of_a_file_of_ours_is_named(world: World, there: str) -> None:
    world.home.mkdir(exist_ok=True)
    if there == "logs":
        (world.home / there).write_text("")
    else:
        (world.home / there).mkdir()
    with piped(world) as shim:
        shim.initialize()
        error = shim.ask(call(1, "zc_status"))["error"]
    assert str(world.home / there) in error["message"] and "[file_blocked] Move away" in error["message"]


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_a_folder_of_sockets_that_is_none_is_named(world: World, kind: str) -> None:
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / "run"  # short: a path too long for a socket is passed by
    folder.mkdir()
    world.env["XDG_RUNTIME_DIR"] = str(folder)
    if kind == "file":
        (folder / "securecontext").write_text("")
    else:
        (folder / "securecontext").symlink_to("/nowhere")
    with piped(world) as shim:
        shim.initialize()
        error = shim.ask(call(1, "zc_status"))["error"]
    assert f"{folder / 'securecontext'} is not a folder of your own. Remove it" in error["message"]


def zc(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-I", "-m", "securecontext", *words]
    return subprocess.run(command, env=world.env, cwd=world.project, capture_output=True, text=True)


def test_a_second_service_says_that_one_serves_already(world: World) -> None:
    process = world.serve()
    second = zc(world, "serve")
    assert (second.returncode, second.stderr.strip()) == (0, rendezvous.SERVED)
    assert world.services() == [process.pid]


def test_the_status_tells_of_the_http_door(world: World) -> None:
    world.serve()
    assert "\nHTTP: off\n" in zc(world, "service", "status").stdout
    world.stop()
    world.env["ZC_HTTP_PORT"] = "0"
    world.serve(
        "import sys\nfrom securecontext.service import doors\ndoors.WARM_SECONDS = 3600.0\n"
        "from securecontext.service.run import main\nsys.exit(main())"
    )
    assert "\nHTTP: starting\n" in zc(world, "service", "status").stdout


def test_stopped_is_said_when_it_has_ended(world: World) -> None:
    process = world.serve(
        "import sys, time\nfrom securecontext.app import App\nclose = App.close\n"
        "def slow(self):\n    time.sleep(1.5)\n    close(self)\n"
        "App.close = slow\nfrom securecontext.service.run import main\nsys.exit(main())"
    )
    assert zc(world, "service", "stop").stdout == "Stopped.\n"
    assert '"event": "ended"' in world.log()
    assert process.wait(30) == 0
    assert zc(world, "service", "stop").stdout == "The service does not run.\n"


@pytest.mark.parametrize("word", ["status", "stop"])
def test_a_service_that_refuses_the_question_is_no_failure(world: World, word: str) -> None:
    world.serve(
        "import sys\nfrom securecontext.boundaries import limits\nlimits.CONNECTIONS = 3\n"
        "from securecontext.service.run import main\nsys.exit(main())"
    )
    held = [world.raw(greeted=False)]
    while "service" in held[-1].line():
        held.append(world.raw(greeted=False))
    said = zc(world, "service", word)
    assert said.returncode == 1 and "too_many_connections" in said.stderr and "Traceback" not in said.stderr
    for raw in held:
        raw.close()
    wait_until(lambda: "pid" in world.control(do="status"), "room")


def other_version(world: World, version: str) -> list[str]:
    """Return the command of a shim out of a copy of the package that says it is another version."""
    site = world.root / f"release-{version}"
    shutil.copytree(SOURCE, site / "securecontext", ignore=shutil.ignore_patterns("__pycache__"))
    mark = site / "securecontext" / "__init__.py"
    mark.write_text(mark.read_text().replace(f'"{__version__}"', f'"{version}"'))
    assert version in mark.read_text()
    program = world.root / f"serve-{version}.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(site)!r})\n"
        "from securecontext.service.run import main\nsys.exit(main())\n"
    )
    shim = world.root / f"shim-{version}.py"
    shim.write_text(
        f"import sys\nsys.path.insert(0, {str(site)!r})\n"
        "from securecontext import rendezvous\nfrom securecontext.mcp.shim import Shim\n"
        f"sys.exit(Shim(rendezvous.home(), [{sys.executable!r}, '-I', {str(program)!r}]).run())\n"
    )
    return [sys.executable, "-I", "-S", str(shim)]


def test_only_a_newer_version_replaces_the_service(world: World) -> None:
    newer, older = other_version(world, "99.0.0"), other_version(world, "0.0.1")
    with piped(world) as ours:
        ours.initialize()
        first = world.pid()
        with piped(world, older) as shim:
            shim.initialize()
            assert world.pid() == first
        with piped(world, newer) as shim:
            assert shim.initialize()["result"]["serverInfo"]["version"] == "99.0.0"
            second = world.control(do="status")
            assert (second["version"], second["pid"] != first) == ("99.0.0", True)
        answer = ours.ask(
            call(5, "zc_remember", key="k", value="v")
        )  # the session goes on with the newer one
        assert answer["result"]["structuredContent"]["key"] == "k"
        assert world.pid() == second["pid"]
    assert len(world.served()) == 2


def test_a_newer_command_line_replaces_an_older_service(world: World) -> None:
    with piped(world, other_version(world, "0.0.1")) as shim:
        assert shim.initialize()["result"]["serverInfo"]["version"] == "0.0.1"
        told = subprocess.run(
            [sys.executable, "-I", "-m", "securecontext", "status", "--json"],
            env=world.env, cwd=world.project, capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(told.stdout)["version"] == __version__
        assert world.control(do="status")["version"] == __version__


def test_a_request_for_another_version_is_judged_by_the_service(world: World) -> None:
    world.serve()
    for version in ("0.0.1", __version__, "", "nonsense", "1e9", "9" * 5_000):
        assert world.control(do="handover", version=version)["ok"] is False
    assert world.control(do="nonsense")["error"]["code"] == "unknown_request"
    assert world.control(do="handover", version="99.0")["ok"] is True
    wait_until(lambda: not world.services(), "the service to end")


def test_older_code_refuses_a_newer_schema_in_a_plain_sentence(world: World) -> None:
    world.serve()
    world.person().call("zc_remember", {"key": "k", "value": "v"})
    world.stop()
    tamper(world.home, "UPDATE alembic_version SET version_num = '9999'")
    before = rows(world.home, "SELECT * FROM facts")
    with piped(world) as shim:
        shim.initialize()
        answer = shim.ask(call(1, "zc_remember", key="k", value="new"))["result"]
    assert answer["isError"] and answer["structuredContent"]["error"]["code"] == "schema_newer"
    assert "newer SecureContext" in answer["content"][0]["text"]
    assert rows(world.home, "SELECT * FROM facts") == before


def test_a_client_that_comes_while_the_service_ends_gets_the_next_one(world: World) -> None:
    for _ in range(3):
        with piped(world) as shim:
            shim.initialize()
            first = world.pid()
            world.control(do="stop")  # and at once:
            assert shim.ask(call(1, "zc_status"))["result"]["isError"] is False
            assert world.pid() != first
