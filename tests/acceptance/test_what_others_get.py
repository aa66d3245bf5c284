"""What another user, an agent's process and a stolen database get of a service: no file, no environment, no key."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext import rendezvous
from securecontext.boundaries.keyring.roots import ROOTS
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.policy import Standing
from securecontext.pipeline.operation import CATALOGUE
from tests.acceptance.service_case import World, call, piped
from tests.engine import all_that_is_stored, machine_rows, rows
from tests.waiting import wait_until

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "a-session-token",
    "ANTHROPIC_API_KEY": "an-api-key",
    "GITHUB_TOKEN": "a-github-token",
    "DATABASE_PASSWORD": "a-password",
    "ZC_AGENT_ID": "alice",
    "ZC_AGENT_ROLE": "orchestrator",
}


@pytest.fixture
def open_world(world: World) -> World:
    """A world whose service has its HTTP door open."""
    world.env["ZC_HTTP_PORT"] = "0"
    world.serve()
    wait_until(lambda: world.control(do="status")["http"], "the HTTP door")
    return world


def environment_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.partition("=")[::2] for line in lines if line)


def test_a_service_that_a_session_starts_gets_none_of_the_sessions_secrets(world: World) -> None:
    with piped(world, **SECRETS) as shim:
        shim.initialize()
        found = environment_of(world.pid())
        assert environment_of(shim.process.pid)["AWS_SECRET_ACCESS_KEY"], "the session itself has them"
    assert found["ZC_HOME"] == str(world.home)
    assert set(found) & set(SECRETS) == set()
    assert set(found.values()) & set(SECRETS.values()) == set()


def modes_of(world: World) -> dict[str, int]:
    """The modes of all files of a data folder, by their path in it."""
    return {
        file.relative_to(world.home).as_posix(): stat.S_IMODE(file.stat().st_mode)
        for file in world.home.rglob("*")
        if file.is_file() and not file.is_symlink()
    }


def test_every_file_is_the_owners_alone_once_all_of_them_are_there(world: World) -> None:
    process = world.serve(umask=0)
    person = world.person()
    person.call("zc_remember", {"key": "k", "value": "v"})
    person.call("zc_index", {"source": "s", "content": "text"})
    person.call("audit.verify", {"machine": True})
    modes = modes_of(world)
    assert {"keys/ledger.root", "logs/service.log"} <= set(modes)
    public = ("service.version", "owner")  # a version number and the kernel's boot id
    assert {name: mode for name, mode in modes.items() if mode != 0o600 and name not in public} == {}
    folders = [folder for folder in world.home.rglob("*") if folder.is_dir()]
    assert {stat.S_IMODE(folder.stat().st_mode) & 0o077 for folder in [world.home, *folders]} == {0}
    world.stop()
    assert process.wait(30) == 0


@pytest.mark.only_in_files("looks at the files in which SQLite keeps the data and its log")
def test_files_of_databases_and_of_their_logs_are_the_owners_alone(world: World) -> None:
    world.serve(umask=0)
    world.person().call("zc_remember", {"key": "k", "value": "v"})
    modes = modes_of(world)
    (project,) = (name for name in modes if name.startswith("projects/") and name.endswith(".db"))
    for database in ("machine.db", project):
        assert [modes[f"{database}{part}"] for part in ("", "-wal", "-shm")] == [0o600] * 3


# Keys


def forms(secret: bytes) -> list[bytes]:
    """The spellings in which a key's bytes could lie somewhere."""
    plain = base64.b64encode(secret)
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        plain.rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    ]


def keys_of(world: World) -> dict[str, bytes]:
    """Every secret of the installation: the roots, each stream's key, the door's token."""
    ring = Keyring.open(world.home / "keys")
    found = {f"root {name}": ring.root(name) for name in ROOTS}
    token = world.home / "keys" / "http.token"
    found["token"] = bytes.fromhex(token.read_text().strip())
    query = "SELECT DISTINCT log, stream FROM ledger_entries"
    for log, stream in {*rows(world.home, query), *machine_rows(world.home, query)}:
        found[f"stream {stream} of {log}"] = ring.stream_key(log, stream)
    return found


def keys_in(data: bytes, keys: dict[str, bytes]) -> list[str]:
    return [name for name, secret in keys.items() if any(form in data for form in forms(secret))]


def ask_every_door(world: World) -> Iterator[tuple[str, bytes]]:
    """Every operation at every door that has it, with its example where there is one: door, and what it said."""
    status = world.control(do="status")
    token = Path(status["token_file"]).read_text().strip()
    yield "control", json.dumps(status).encode()
    yield "control", json.dumps(world.control(do="nonsense")).encode()
    headers = {"Authorization": f"Bearer {token}", "X-ZC-Project": str(world.project)}
    operations = [o for o in CATALOGUE.values() if o.audience is not Standing.HOOK]
    with piped(world) as shim:
        yield "mcp", json.dumps(shim.initialize()).encode()
        yield "mcp", json.dumps(shim.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).encode()
        for operation in operations:
            yield (
                "mcp",
                json.dumps(shim.ask(call(operation.name, operation.name, **operation.example))).encode(),
            )
    with httpx.Client(base_url=status["http"], headers=headers, trust_env=False, timeout=30) as client:
        yield "http", client.get("/health").content
        yield "http", client.get("/openapi.json").content
        yield "http", client.post("/api/v1/status", headers={"Authorization": "Bearer no"}, json={}).content
        for operation in operations:
            answer = client.post(f"/api/v1{operation.route}", json=operation.example)
            yield "http", repr(answer.headers).encode() + answer.content
    for word in ("session-start", "tool-used", "stop", "nonsense"):
        hook = world.raw(rendezvous.preamble(f"hook/1 {word}", {"project-path": str(world.project)}) + b"{}")
        hook.socket.shutdown(1)
        yield "hook", hook.file.read()
    for words in (("status",), ("service", "status"), ("doctor",), ("audit", "tail"), ("audit", "verify")):
        done = subprocess.run(
            [sys.executable, "-I", "-m", "securecontext", *words, "--json"],
            env=world.env, cwd=world.project, capture_output=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        yield "cli", done.stdout + done.stderr
    yield "log", (world.home / "logs" / "service.log").read_bytes()


def test_w_11_no_answer_at_any_door_holds_a_key(open_world: World) -> None:
    said = list(ask_every_door(open_world))
    assert {door for door, _ in said} == {"control", "mcp", "http", "hook", "cli", "log"}
    assert all(answer for _, answer in said)
    keys = keys_of(open_world)
    assert keys_in((open_world.home / "keys" / "ledger.root").read_bytes(), keys) == ["root ledger"]
    assert {(door, key) for door, answer in said for key in keys_in(answer, keys)} == set()


def test_w_11_an_agents_process_is_given_no_key(open_world: World) -> None:
    with piped(open_world, ZC_AGENT_ID="alice") as shim:
        shim.initialize()
        shim.ask(call(1, "zc_remember", key="k", value="v"))
        process = Path(f"/proc/{shim.process.pid}")
        given = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        opened = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        keys = keys_of(open_world)
        assert b"ZC_AGENT_ID=alice" in given and keys_in(given, keys) == []
        assert [path for path in opened if path.startswith(str(open_world.home))] == []
        service = Path(f"/proc/{open_world.pid()}")
        given = (service / "environ").read_bytes() + (service / "cmdline").read_bytes()
        assert given and keys_in(given, keys) == []


def test_w_22_no_key_lies_in_the_databases_that_it_protects(open_world: World) -> None:
    list(ask_every_door(open_world))
    keys = keys_of(open_world)
    stored = all_that_is_stored(open_world.home)
    assert len(stored) >= 2 and any(b"zc_remember" in held for held in stored.values())
    assert len([name for name in keys if name.startswith("stream")]) >= 3
    assert {(name, key) for name, held in stored.items() for key in keys_in(held, keys)} == set()
