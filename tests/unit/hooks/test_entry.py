"""The hook file of the plugin, run as the client runs it: bytes in, bytes out, and never in the way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.fake_service import FakeService, Heard

ENTRY = Path(__file__).parents[3] / "plugin" / "hooks" / "entry.py"
PAYLOAD = {
    "session_id": "s-1",
    "cwd": "/p",
    "hook_event_name": "PostToolUse",
    "tool_name": "Write",
    "tool_use_id": "toolu_1",
    "duration_ms": 12,
    "tool_input": {"file_path": "/p/a.txt", "content": "CONTENT"},
    "tool_response": {"content": "OUTPUT"},
}
EVENTS = (
    "session-start", "pre-write", "pre-compact", "post-compact", "session-end", "tool-used", "tool-failed", "stop",
)  # fmt: skip
SPOOLED = ("pre-compact", "session-end", "tool-used", "tool-failed", "stop")
LONGEST = 8.0


def environment(home: Path, **more: str) -> dict[str, str]:
    paths = {"HOME": str(home), "ZC_HOME": str(home), "PATH": os.defpath}
    return {**paths, "CLAUDE_PROJECT_DIR": "/a project", **more}


def run(
    home: Path, event: str, payload: bytes = b"{}", entry: Path = ENTRY, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the hook; a hang is a failure long before the test's own patience ends."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(entry), event],
        input=payload,
        env=environment(home, **more),
        capture_output=True,
        timeout=LONGEST + 20,
        check=False,
    )


def changed(tmp_path: Path, name: str, value: object, entry: Path = ENTRY) -> Path:
    """Return a copy of the hook in which the constant ``name`` is ``value``."""
    text, count = re.subn(rf"(?m)^{name}\b[^=\n]*= .*$", lambda _: f"{name} = {value!r}", entry.read_text())
    assert count == 1
    copy = tmp_path / "entry.py"
    copy.write_text(text)
    return copy


def with_command(tmp_path: Path, command: list[str]) -> Path:
    """Return a copy of the hook that starts the service by ``command``, as an installation would write it."""
    return changed(tmp_path, "COMMAND", command)


def records(home: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((home / "spool").glob("*.json"))]


def test_the_answer_is_relayed_byte_for_byte(tmp_path: Path) -> None:
    out, err = bytes(range(256)) * 3, b"\n\xff\x00 exit 9 9 9\n"
    answer = b"exit 7 %d %d\n" % (len(out), len(err)) + out + err
    with FakeService(tmp_path, lambda heard: answer):
        done = run(tmp_path, "tool-used", b"anything at all \x00\xff")
    assert (done.returncode, done.stdout, done.stderr) == (7, out, err)


def test_the_service_hears_event_identity_and_payload(tmp_path: Path) -> None:
    payload = b'{"a": "\n\n"}' + bytes(range(256))
    with FakeService(tmp_path) as service:
        done = run(
            tmp_path,
            "stop",
            payload,
            CLAUDE_PROJECT_DIR="/odd\n100%25%0A/dir",
            ZC_AGENT_ID="alice",
            ZC_AGENT_ROLE="dev",
            ZC_AGENT_MODEL="m",
            ZC_PROJECT_SCOPE="team",
        )
    assert done.returncode == 0
    version = re.search(r'(?m)^VERSION = "(.+)"$', ENTRY.read_text())
    assert version
    assert service.heard == [
        Heard(
            "stop",
            {
                "version": version[1],
                "plugin": version[1],
                "project-path": "/odd\n100%25%0A/dir",
                "agent": "alice",
                "role": "dev",
                "model": "m",
                "scope": "team",
            },
            payload,
        )
    ]


TOKEN = "zcst.c2hvd24.0123456789abcdef"


def test_a_session_token_is_shown_to_the_service_of_this_user(tmp_path: Path) -> None:
    with FakeService(tmp_path) as service:
        run(tmp_path, "tool-used", json.dumps(PAYLOAD).encode(), ZC_SESSION_TOKEN=TOKEN)
    assert service.heard[0].headers["token"] == TOKEN


def test_w_22_a_session_token_is_never_spooled_and_never_inherited(tmp_path: Path) -> None:
    """Nor does a service that the hook starts hear of it, on its command line or in its environment."""
    told = tmp_path / "told"
    script = f"import os, sys; open({str(told)!r}, 'w').write(repr((sys.argv, dict(os.environ))))"
    entry = with_command(tmp_path, [sys.executable, "-c", script])
    for event in EVENTS:
        run(tmp_path, event, json.dumps(PAYLOAD).encode(), entry, ZC_SESSION_TOKEN=TOKEN)
    assert told.exists()
    assert [note["with_token"] for note in records(tmp_path)] == [True] * len(SPOOLED)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept
    run(tmp_path, "stop", b"{}")
    assert "with_token" not in records(tmp_path)[-1]


def test_an_explicit_project_path_wins(tmp_path: Path) -> None:
    with FakeService(tmp_path) as service:
        run(tmp_path, "stop", ZC_PROJECT_PATH="/explicit")
    assert service.heard[0].headers["project-path"] == "/explicit"


def test_a_relative_project_path_is_told_as_the_folder_that_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    with FakeService(tmp_path) as service:
        run(tmp_path, "stop", ZC_PROJECT_PATH="..")
        (tmp_path / "gone").rmdir()
        run(tmp_path, "stop", ZC_PROJECT_PATH="..")
    assert service.heard[0].headers["project-path"] == str(tmp_path / "gone") + "/.."
    assert "project-path" not in service.heard[1].headers


def test_the_home_follows_the_clients_folder(tmp_path: Path) -> None:
    with FakeService(tmp_path / "moved" / "zc-ctx") as service:
        run(tmp_path, "stop", ZC_HOME="", CLAUDE_CONFIG_DIR=str(tmp_path / "moved"))
    with FakeService(tmp_path / ".claude" / "zc-ctx") as other:
        run(tmp_path, "stop", ZC_HOME="")
    assert (len(service.heard), len(other.heard)) == (1, 1)


def test_forty_megabytes_pass_whole(tmp_path: Path) -> None:
    payload = os.urandom(1 << 20) * 40
    with FakeService(tmp_path) as service:
        done = run(tmp_path, "session-start", payload)
    assert done.returncode == 0
    assert service.heard[0].payload == payload


def test_ends_that_do_not_block_lose_nothing(tmp_path: Path) -> None:
    out, payload = os.urandom(1 << 20), os.urandom(1 << 20)
    command = [sys.executable, "-I", "-S", str(ENTRY), "session-start"]
    with FakeService(tmp_path, lambda heard: b"exit 0 %d 0\n" % len(out) + out) as service:
        (their_in, our_in), (our_out, their_out) = os.pipe(), os.pipe()
        os.set_blocking(their_in, False)
        os.set_blocking(their_out, False)
        hook = subprocess.Popen(command, env=environment(tmp_path), stdin=their_in, stdout=their_out)
        os.close(their_in)
        os.close(their_out)
        with os.fdopen(our_in, "wb") as writer:
            writer.write(payload)
        with os.fdopen(our_out, "rb") as reader:
            assert reader.read() == out
        assert hook.wait(20) == 0
    assert service.heard[0].payload == payload


@pytest.mark.parametrize("event", EVENTS)
def test_without_a_service_the_session_goes_on(tmp_path: Path, event: str) -> None:
    done = run(tmp_path, event, json.dumps(PAYLOAD).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    if event == "session-start":
        said = json.loads(done.stdout)
        assert list(said) == ["systemMessage"]
        assert "zc install claude-code" in said["systemMessage"]
        assert done.stdout.count(b"\n") == 1
    else:
        assert done.stdout == b""
    assert [r["event"] for r in records(tmp_path)] == ([event] if event in SPOOLED else [])


@pytest.mark.parametrize("event", EVENTS)
def test_a_service_that_never_answers_is_not_waited_for(tmp_path: Path, event: str) -> None:
    soon = changed(tmp_path, "DEADLINES", dict.fromkeys(EVENTS, 0.7))
    with FakeService(tmp_path, lambda heard: None):
        done = run(tmp_path, event, json.dumps(PAYLOAD).encode(), soon)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (event == "session-start")
    assert len(records(tmp_path)) == (event in SPOOLED)


STRICT = {"ZC_OWNERSHIP_STRICT": "1"}


def test_who_is_strict_does_not_write_what_nobody_could_check(tmp_path: Path) -> None:
    payload = json.dumps({**PAYLOAD, "hook_event_name": "PreToolUse"}).encode()
    soon = changed(tmp_path, "DEADLINE", 0.7)

    def blocked(home: Path, **more: str) -> bool:
        done = run(home, "pre-write", payload, soon, **more)
        assert done.stdout == b"" and (done.returncode, bool(done.stderr)) in ((0, False), (2, True))
        return done.returncode == 2

    assert blocked(tmp_path / "away", **STRICT) and not blocked(tmp_path / "away")
    assert not blocked(tmp_path / "away", ZC_OWNERSHIP_STRICT="0")
    answers = (None, b"", b"exit", b"exit 3 0 0\n", b"exit 0 9 0\nhalf")
    for number, answer in enumerate(answers):
        home = tmp_path / str(number)
        with FakeService(home, lambda _, said=answer: said):
            assert blocked(home, **STRICT) and not blocked(home), answer
    with FakeService(tmp_path / "free"):
        assert not blocked(tmp_path / "free", **STRICT), "asked, and nothing is in the way"


def test_strictness_is_about_writing_alone(tmp_path: Path) -> None:
    for event in EVENTS:
        if event != "pre-write":
            assert run(tmp_path, event, b"{}", **STRICT).returncode == 0


def test_every_deadline_ends_before_the_clients_patience() -> None:
    scope: dict[str, Any] = {"__name__": "entry"}
    exec(ENTRY.read_text(), scope)
    hooks = json.loads((ENTRY.parent / "hooks.json").read_text())["hooks"]
    handlers = [handler for groups in hooks.values() for group in groups for handler in group["hooks"]]
    assert {handler["args"][-1] for handler in handlers} == set(EVENTS)
    for handler in handlers:
        # A handler that runs beside the session is killed with it, and its record is lost.
        assert "async" not in handler
        assert scope["DEADLINES"].get(handler["args"][-1], scope["DEADLINE"]) < handler["timeout"]
    # The client gives all SessionEnd hooks together 1.5 s, whatever their timeout says.
    assert scope["DEADLINES"]["session-end"] < 1.5


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"exit",
        b"exit 0 5 0\nab",
        b"exit 0 0 3\nab",
        b"exit 0 0\n",
        b"exit 0 -1 0\n",
        b"\n",
        b"exit x 0 0\n",
        b"exit 300 0 0\n",
        b"exit 0 99999999999 0\n",
        b"exit 0 1 0\n",
        b"x" * 100,
        b"HTTP/1.1 200 OK\n\n",
    ],
)
def test_half_an_answer_or_none_shows_nothing(tmp_path: Path, answer: bytes) -> None:
    with FakeService(tmp_path, lambda heard: answer):
        done = run(tmp_path, "tool-used", json.dumps(PAYLOAD).encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(records(tmp_path)) == 1


def test_an_answer_before_all_is_read_still_counts(tmp_path: Path) -> None:
    path = tmp_path / "hasty.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        (tmp_path / "service.sock").symlink_to(path)
        command = [sys.executable, "-I", "-S", str(ENTRY), "session-start"]
        pipe = subprocess.PIPE
        hook = subprocess.Popen(command, env=environment(tmp_path), stdin=pipe, stdout=pipe, stderr=pipe)
        assert hook.stdin
        hook.stdin.write(b"x" * (4 << 20))
        hook.stdin.close()
        connection, _ = server.accept()
        with connection:
            connection.recv(10)
            connection.sendall(b"exit 3 2 0\nok")
            connection.shutdown(socket.SHUT_RDWR)
        assert hook.stdout
        assert hook.stdout.read() == b"ok"
        assert hook.wait(20) == 3
        hook.stdout.close()
        assert hook.stderr
        assert hook.stderr.read() == b""
        hook.stderr.close()


def test_a_client_that_closed_its_ends_gets_no_traceback(tmp_path: Path) -> None:
    out = b"o" * (1 << 20)
    with FakeService(tmp_path, lambda heard: b"exit 4 %d 0\n" % len(out) + out):
        readable, writable = os.pipe()
        command = [sys.executable, "-I", "-S", str(ENTRY), "tool-used"]
        hook = subprocess.Popen(
            command, env=environment(tmp_path), stdin=subprocess.PIPE, stdout=writable, stderr=subprocess.PIPE
        )
        os.close(writable)
        os.close(readable)
        _, err = hook.communicate(b"{}", timeout=20)
    assert (hook.returncode, err) == (4, b"")


def test_standard_input_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(ENTRY), "tool-used"]
    with FakeService(tmp_path):
        hook = subprocess.Popen(command, env=environment(tmp_path), stdin=subprocess.PIPE)
        assert hook.wait(20) == 0
        assert hook.stdin
        hook.stdin.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_hook_that_is_cancelled_still_leaves_its_record(tmp_path: Path, number: signal.Signals) -> None:
    asked = threading.Event()

    def silent(heard: Heard) -> None:
        asked.set()

    command = [sys.executable, "-I", "-S", str(ENTRY), "tool-used"]
    with FakeService(tmp_path, silent):
        pipe = subprocess.PIPE
        hook = subprocess.Popen(command, env=environment(tmp_path), stdin=pipe, stdout=pipe, stderr=pipe)
        assert hook.stdin
        hook.stdin.write(json.dumps(PAYLOAD).encode())
        hook.stdin.close()
        hook.stdin = None
        assert asked.wait(20)
        hook.send_signal(number)
        out, err = hook.communicate(timeout=20)
    assert (hook.returncode, out, err) == (0, b"", b"")
    assert [record["tool_use_id"] for record in records(tmp_path)] == ["toolu_1"]


def test_a_signal_in_between_changes_nothing(tmp_path: Path) -> None:
    """SIGCONT after SIGSTOP interrupts the call that the hook waits in."""
    path = tmp_path / "slow.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        (tmp_path / "service.sock").symlink_to(path)
        command = [sys.executable, "-I", "-S", str(ENTRY), "session-start"]
        pipe = subprocess.PIPE
        hook = subprocess.Popen(command, env=environment(tmp_path), stdin=pipe, stdout=pipe)
        assert hook.stdin
        hook.stdin.close()
        hook.stdin = None
        connection, _ = server.accept()
        with connection:
            while connection.recv(4096):
                pass
            connection.sendall(b"exit 0 4 0\nab")
            os.kill(hook.pid, signal.SIGSTOP)
            os.kill(hook.pid, signal.SIGCONT)
            connection.sendall(b"cd")
        out, _ = hook.communicate(timeout=20)
    assert (hook.returncode, out) == (0, b"abcd")


def test_a_spooled_record_holds_no_contents(tmp_path: Path) -> None:
    run(tmp_path, "tool-used", json.dumps(PAYLOAD).encode(), ZC_AGENT_ID="alice")
    [record] = records(tmp_path)
    assert isinstance(record.pop("ts"), float)
    version = record.pop("version")
    assert record == {
        "event": "tool-used",
        "session_id": "s-1",
        "tool_name": "Write",
        "tool_use_id": "toolu_1",
        "cwd": "/p",
        "duration_ms": 12,
        "file_path": "/p/a.txt",
        "plugin": version,
        "project_path": "/a project",
        "agent": "alice",
    }


def test_a_spooled_record_of_a_command_does_not_hold_it(tmp_path: Path) -> None:
    used = {"command": "SECRET", "file_path": "SECRET"}
    told = {**PAYLOAD, "tool_name": "Bash", "tool_input": used, "error": "SECRET"}
    run(tmp_path, "tool-failed", json.dumps(told).encode())
    [record] = records(tmp_path)
    assert "SECRET" not in json.dumps(record)
    assert record["tool_use_id"] == "toolu_1"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        b'{"session_id": 5, "tool_input": []}',
        b"[" * 200_000,
        b"\xff\xfe",
        b'{"duration_ms": NaN}',
        b'{"session_id": "\\ud800"}',
    ],
)
def test_a_payload_that_makes_no_sense_is_spooled_all_the_same(tmp_path: Path, payload: bytes) -> None:
    done = run(tmp_path, "tool-used", payload)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [r["event"] for r in records(tmp_path)] == ["tool-used"]


def test_spool_files_are_private_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    run(tmp_path / "deep" / "home", "stop")
    [path] = (tmp_path / "deep" / "home" / "spool").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_a_spool_that_leads_elsewhere_gets_nothing(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home = tmp_path / "data"
    home.mkdir()
    (home / "spool").symlink_to(elsewhere)
    assert run(home, "stop").returncode == 0
    assert list(elsewhere.iterdir()) == []


def test_a_full_spool_counts_what_is_lost(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    for number in range(10_000):
        (spool / f"{number}.json").touch()
    for _ in range(3):
        assert run(tmp_path, "stop").returncode == 0
    assert len(list(spool.glob("*.json"))) == 10_000
    assert (spool / "dropped").stat().st_size == 3


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for event in EVENTS:
        done = run(blocked, event, b"{}")
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_link_that_leads_nowhere_is_a_service_away(tmp_path: Path) -> None:
    (tmp_path / "service.sock").symlink_to(tmp_path / "gone")
    done = run(tmp_path, "stop")
    assert done.returncode == 0
    assert len(records(tmp_path)) == 1


SERVICE = """
import os, socket, sys
home = os.environ["ZC_HOME"]
told = sorted(k for k in os.environ if k.startswith(("CLAUDE", "ANTHROPIC", "ZC_", "AWS_")))
with open(home + "/starts", "a") as starts:
    print(os.getsid(0) != int(os.environ["XDG_TEST_SID"]), told, file=starts)
server = socket.socket(socket.AF_UNIX)
server.bind(home + "/started.sock")
server.listen(64)
os.symlink(home + "/started.sock", home + "/service.sock")
for _ in range(int(sys.argv[1])):
    connection, _ = server.accept()
    while connection.recv(65536):
        pass
    connection.sendall(b"exit 0 6 0\\nanswer")
    connection.close()
"""


def service_command(tmp_path: Path, answers: int) -> list[str]:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    return [sys.executable, "-I", str(script), str(answers)]


@pytest.mark.parametrize("event", ["session-start", "pre-compact"])
def test_the_service_is_started_detached_and_without_the_sessions_secrets(tmp_path: Path, event: str) -> None:
    entry = with_command(tmp_path, service_command(tmp_path, 1))
    home = tmp_path / "home"
    done = run(
        home,
        event,
        b"{}",
        entry,
        XDG_TEST_SID=str(os.getsid(0)),
        ANTHROPIC_API_KEY="k",
        AWS_SECRET_ACCESS_KEY="s",
        CLAUDE_CODE_SESSION_ID="s",
        ZC_AGENT_ID="alice",
        ZC_LOG="debug",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"answer", b"")
    [start] = (home / "starts").read_text().splitlines()
    assert start == ("True ['ZC_HOME', 'ZC_LOG']")
    assert records(home) == []


def test_twenty_first_hooks_start_one_service(tmp_path: Path) -> None:
    entry = with_command(tmp_path, service_command(tmp_path, 20))
    home = tmp_path / "home"
    command = [sys.executable, "-I", "-S", str(entry), "session-start"]
    hooks = [
        subprocess.Popen(
            command, env=environment(home, XDG_TEST_SID="0"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        for _ in range(20)
    ]
    answers = [hook.communicate(timeout=60)[0] for hook in hooks]
    assert answers == [b"answer"] * 20
    assert len((home / "starts").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "command", [["/nowhere/python", "-c", "pass"], [sys.executable, "-I", "-S", "-c", "raise SystemExit(1)"]]
)
def test_a_service_that_cannot_start_is_said_at_once(tmp_path: Path, command: list[str]) -> None:
    # A hook that waits for what cannot come waits for its whole deadline: here it would wait for an hour.
    entry = changed(tmp_path, "DEADLINES", {"session-start": 3600.0}, with_command(tmp_path, command))
    done = run(tmp_path / "home", "session-start", b"{}", entry)
    assert done.returncode == 0
    assert "zc doctor" in json.loads(done.stdout)["systemMessage"]


@pytest.mark.parametrize("event", ["session-end", "tool-used", "tool-failed", "stop"])
def test_small_events_do_not_start_the_service(tmp_path: Path, event: str) -> None:
    entry = with_command(tmp_path, service_command(tmp_path, 1))
    run(tmp_path / "home", event, b"{}", entry)
    assert not (tmp_path / "home" / "starts").exists()
    assert len(records(tmp_path / "home")) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can listen as somebody else")
def test_a_peer_that_is_somebody_else_hears_nothing(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    script = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX);"
        "s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o666);"
        "os.setgid(65534); os.setuid(65534); s.listen(); print('up', flush=True);"
        "c, _ = s.accept(); print(len(c.recv(100)), flush=True)"
    )
    path = shared / "theirs.sock"
    other = subprocess.Popen([sys.executable, "-I", "-c", script, str(path)], stdout=subprocess.PIPE)
    assert other.stdout
    assert other.stdout.readline() == b"up\n"
    (tmp_path / "service.sock").symlink_to(path)
    assert run(tmp_path, "stop", b"private").returncode == 0
    assert other.stdout.readline() == b"0\n"
    other.stdout.close()
    other.wait(20)
    assert len(records(tmp_path)) == 1


def test_the_fast_path_loads_nothing_but_the_socket(tmp_path: Path) -> None:
    with FakeService(tmp_path):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", str(ENTRY), "tool-used"],
            input=b"{}",
            env=environment(tmp_path),
            capture_output=True,
            timeout=20,
            check=True,
        )
        bare = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", "-c", "import _socket"],
            capture_output=True,
            timeout=20,
            check=True,
        )
    names = [{line.split("|")[-1].strip() for line in r.stderr.decode().splitlines()} for r in (done, bare)]
    assert names[0] - names[1] == set()
