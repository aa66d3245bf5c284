"""The service on PostgreSQL through its real doors: set up by command, used by two, killed; no password is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service_case import Pipe, World, call, piped
from tests.engines.postgres_server import PostgresServer, running_postgres
from tests.waiting import wait_until

ZC = Path(sys.executable).with_name("zc")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test alone, which it may kill."""
    with running_postgres() as made:
        made.create("data", owner="postgres")
        yield made


def zc(world: World, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ZC), *words], cwd=world.project, env={**world.env, **env}, text=True, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=90, check=False,
    )  # fmt: skip


def done(world: World, *words: str, **env: str) -> str:
    ran = zc(world, *words, **env)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def remembered(pipe: Pipe, key: str, value: str) -> dict[str, Any]:
    return dict(pipe.ask(call(key, "zc_remember", key=key, value=value))["result"])


def everything_said(world: World) -> str:
    """Return all that the service wrote outside its keys, and the command lines of its processes."""
    files = [p for p in world.home.rglob("*") if p.is_file() and p.suffix not in (".root",)]
    texts = [p.read_bytes().decode("utf-8", "replace") for p in files]
    return "\n".join([*texts, *world.processes().values()])


@pytest.mark.only_in_files("begins in files and moves into a database of its own")
def test_set_up_migrated_used_and_killed(world: World, server: PostgresServer) -> None:
    with piped(world) as pipe:  # it begins in files
        pipe.initialize()
        assert not remembered(pipe, "db", "SQLite so far").get("isError")
    assert json.loads(done(world, "memory", "list", "--json"))["facts"]
    url, admin = server.service_url("data"), {"ZC_POSTGRES_ADMIN_URL": server.admin_url("data")}
    said = done(world, "db", "migrate", ZC_POSTGRES_URL=url, **admin)
    assert "zc_service" in said
    done(world, "service", "stop")
    refused = zc(world, "memory", "list", ZC_POSTGRES_URL=url)
    assert "data_in_files" in refused.stderr
    world.env["ZC_POSTGRES_URL"] = url
    moved = json.loads(done(world, "migrate", "sqlite-to-postgres", "--yes", "--json"))
    assert [each["ledger"] for each in moved] == ["OK", "OK"]
    backup = zc(world, "backup", str(world.root))
    assert backup.returncode == 5 and "backup_in_database" in backup.stderr
    with piped(world) as pipe:
        pipe.initialize()
        assert "SQLite so far" in str(pipe.ask(call("r", "zc_recall_context")))
        assert not remembered(pipe, "db", "PostgreSQL").get("isError")
        world.kill()  # the service: the next one goes on
        assert not remembered(pipe, "after", "the service died").get("isError")
        os.kill(server.pid, signal.SIGINT)  # the server: it disconnects everybody and ends
        wait_until(lambda: not Path(f"/proc/{server.pid}/exe").exists(), "the server to end")
        answer = remembered(pipe, "while", "nobody stores")
        assert answer.get("isError")
        assert "database_unreachable" in str(answer)
    doctor = zc(world, "doctor")
    spoken = doctor.stdout + doctor.stderr + refused.stdout + refused.stderr + said + everything_said(world)
    for password in (server.login_password, server.admin_password):
        assert password not in spoken
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in world.services()]
    assert environments
    assert all(server.admin_password.encode() not in each for each in environments)


@pytest.mark.only_in_files("makes its own database with either engine")
def test_two_services_are_equals_and_one_goes_on_when_the_other_dies(
    tmp_path: Path, world: World, server: PostgresServer
) -> None:
    url, admin = server.service_url("data"), {"ZC_POSTGRES_ADMIN_URL": server.admin_url("data")}
    other = World(tmp_path, tmp_path / "zc2")
    try:
        for each in (world, other):
            done(each, "db", "migrate", ZC_POSTGRES_URL=url, **admin)
            each.env["ZC_POSTGRES_URL"] = url
        with piped(world) as one, piped(other) as two:
            one.initialize()
            two.initialize()
            assert not remembered(one, "a", "of the first").get("isError")
            assert not remembered(two, "b", "of the second").get("isError")
            os.kill(world.pid(), signal.SIGKILL)
            recalled = str(two.ask(call("r", "zc_recall_context")))
            assert "of the first" in recalled
            assert "of the second" in recalled
        for each in (world, other):
            assert json.loads(done(each, "audit", "verify", "--json"))["status"] == "OK"
    finally:
        other.close()
