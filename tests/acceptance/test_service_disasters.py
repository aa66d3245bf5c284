"""Full disks, read-only homes, broken files: a clear refusal with the next step, nothing lost, the rest goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service_case import Pipe, World, call, piped, world_in


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True).returncode == 0


def _can_mount() -> bool:
    """Say whether this user may mount: root mostly, but not in every container."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        return False
    where = Path(f"/tmp/zc-mount-{os.getpid()}")
    where.mkdir()
    try:
        if not _mount("-t", "tmpfs", "-o", "size=64k", "none", str(where)):
            return False
        subprocess.run(["umount", str(where)], check=True)
        return True
    finally:
        where.rmdir()


MOUNTS = pytest.mark.skipif(not _can_mount(), reason="only root may mount, and not in every container")
WITHOUT_ROOTS_RIGHT = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: after this, modes hold for root as for anybody
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, which counts from the next program on
os.execv(sys.argv[1], sys.argv[1:])
"""
ORDINARY = [sys.executable, "-I", "-S", "-c", WITHOUT_ROOTS_RIGHT] if os.getuid() == 0 else []
"""Goes before a command: whom it runs, and all that this one starts, a folder's mode keeps out."""


@contextmanager
def unmounting(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the error of a tool's answer, or of the protocol's."""
    if "error" in answer:
        return {**answer["error"]["data"], "message": answer["error"]["message"]}
    assert answer["result"]["isError"], answer
    found: dict[str, Any] = answer["result"]["structuredContent"]["error"]
    return found


def why_alone(shim: Pipe) -> dict[str, Any]:
    """Shake hands with a shim that has no service, and return what it answers a call with."""
    hands = shim.initialize()["result"]
    error = error_of(shim.ask(call("alone", "zc_status")))
    why = error["message"].partition(": ")[2] or error["message"]  # before it stands when it was found out
    assert hands["serverInfo"]["name"] == "zc-ctx" and why in hands["instructions"]
    assert shim.ask({"jsonrpc": "2.0", "id": "list", "method": "tools/list"})["result"] == {"tools": []}
    return error


def remember(shim: Pipe, key: str, value: str = "v") -> dict[str, Any]:
    return shim.ask(call(f"r-{key}", "zc_remember", key=key, value=value))


def stored(answer: dict[str, Any]) -> bool:
    return "result" in answer and answer["result"]["isError"] is False


def verified(world: World) -> bool:
    return bool(world.person().call("audit.verify", {}).structured["status"] == "OK")


# A full disk


@MOUNTS
@pytest.mark.only_in_files("fills the disk of the data folder")
def test_a_full_disk_is_told_and_over_when_there_is_room_again(world: World) -> None:
    world.home.mkdir(mode=0o700)
    assert _mount("-t", "tmpfs", "-o", "size=3m,mode=700", "none", str(world.home))
    with unmounting(world.home):
        with piped(world) as shim:
            shim.initialize()
            assert stored(remember(shim, "before"))
            ballast = world.home / "ballast"
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(b"x" * 4096)
            refused: dict[str, Any] = {}
            for number in range(400):  # pages that were free already may take some
                answer = remember(shim, f"during-{number}", "y" * 3000)
                if not stored(answer):
                    refused = error_of(answer)
                    break
            assert refused["code"] == "disk_full" and "Free room" in refused["hint"]
            pid = world.pid()
            ballast.unlink()
            assert stored(remember(shim, "after"))
            known = shim.ask(call("k", "zc_search", queries=["before after"]))
            assert stored(known)
            assert verified(world) and world.pid() == pid
            facts = world.person().call("memory.list", {}).structured["facts"]
            keys = {fact["key"] for fact in facts}
            assert {"before", "after"} <= keys and f"during-{number}" not in keys
        world.stop()


@MOUNTS
@pytest.mark.only_in_files("fills the disk of the data folder")
def test_a_service_on_a_full_disk_answers_in_bounded_time_and_recovers(world: World) -> None:
    world.home.mkdir(mode=0o700)
    assert _mount("-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(world.home))
    with unmounting(world.home):
        ballast = world.home / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 4096)
        with piped(world) as shim:
            error = why_alone(shim)
            assert error["code"] == "service_away"
            assert "full" in error["message"] or "space" in error["message"]
            ballast.unlink()
            subprocess.run(["mount", "-o", "remount,size=8m", str(world.home)], check=True)
            assert stored(remember(shim, "k"))
        world.stop()


@MOUNTS
def test_a_read_only_home_is_told_and_is_no_trap(world: World) -> None:
    world.home.mkdir(mode=0o700, exist_ok=True)
    assert _mount("--bind", str(world.home), str(world.home))
    with unmounting(world.home):
        assert _mount("-o", "remount,ro,bind", str(world.home))
        with piped(world) as shim:
            error = why_alone(shim)
            assert error["code"] == "service_away"
            assert "cannot be written" in error["message"] and "ZC_HOME" in error["message"]
            assert _mount("-o", "remount,rw,bind", str(world.home))
            assert stored(remember(shim, "k"))
        world.stop()


def test_a_home_without_the_right_to_write_is_told(world: World) -> None:
    world.home.mkdir(mode=0o700, exist_ok=True)
    world.home.chmod(0o500)
    with piped(world, [*ORDINARY, *world.shim_command]) as shim:
        error = why_alone(shim)
        assert error["code"] == "service_away"
        assert "cannot be written" in error["message"]
        world.home.chmod(0o700)
        assert stored(remember(shim, "k"))


@pytest.mark.only_in_files("keeps the service's files from growing")
def test_files_that_may_not_grow_are_told_and_nothing_is_half_done(world: World) -> None:
    """The same for any user: the kernel refuses to let this process's files grow."""
    process = world.serve()
    with piped(world) as shim:
        shim.initialize()
        assert stored(remember(shim, "before"))
        most = max(file.stat().st_size for file in world.home.rglob("*") if file.is_file())
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most + 4096, resource.RLIM_INFINITY))
        acknowledged = ["before"]
        code = ""
        for number in range(200):
            answer = remember(shim, f"k{number}", "y" * 3500)
            if not stored(answer):
                code = error_of(answer)["code"]
                break
            acknowledged.append(f"k{number}")
        assert code in ("storage_failed", "disk_full")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert stored(remember(shim, "after"))
        acknowledged.append("after")
    facts = world.person().call("memory.list", {}).structured["facts"]
    assert {fact["key"] for fact in facts} == set(acknowledged)
    assert verified(world) and world.pid() == process.pid


# A broken file


def header(data: bytearray) -> None:
    data[:100] = b"this is no database " * 5


def middle(data: bytearray) -> None:
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 600] = os.urandom(600)


def cut(data: bytearray) -> None:
    del data[len(data) // 2 - 100 :]


@pytest.mark.parametrize("damage", [header, middle, cut])
@pytest.mark.only_in_files("breaks one project's file")
def test_a_broken_project_is_set_aside_and_the_others_go_on(
    world: World, damage: Callable[[bytearray], None]
) -> None:
    other = world.root / "other"
    other.mkdir()
    world.serve()
    world.person().call("zc_remember", {"key": "k", "value": "lost"})
    (file,) = (world.home / "projects").glob("*.db")
    world.person(other).call("zc_remember", {"key": "o", "value": "kept"})
    world.stop()
    data = bytearray(file.read_bytes())
    damage(data)
    file.write_bytes(data)
    with piped(world) as shim:
        shim.initialize()
        first = error_of(remember(shim, "new"))
        assert first["code"] == "database_corrupt" and "zc recover" in first["hint"]
        kept = Path(first["details"]["kept"])
        assert kept.read_bytes() == data and not file.exists()
        for _ in range(2):
            again = error_of(remember(shim, "new"))
            assert again["code"] == "database_set_aside" and "zc recover" in again["hint"]
        assert error_of(shim.ask(call(2, "zc_recall_context")))["code"] == "database_set_aside"
        assert not file.exists(), "no empty one is made in its place"
        assert "kept" in world.person(other).call("zc_recall_context", {}).text
        shown = world.person(other).call("recover", {})
        (line,) = shown.structured["set_aside"]
        assert (line["file"], line["kept"]) == (file.name, kept.name) and kept.name in shown.text
        assert not file.exists()
        world.person(other).call("recover", {"confirm": True})
        assert stored(remember(shim, "new"))
        assert kept.read_bytes() == data
    assert verified(world)


@pytest.mark.parametrize("damage", [header, middle])
@pytest.mark.only_in_files("breaks the machine's file")
def test_a_broken_machine_file_is_set_aside(world: World, damage: Callable[[bytearray], None]) -> None:
    world.serve()
    world.person().call("zc_remember", {"key": "k", "value": "v"})
    world.stop()
    file = world.home / "machine.db"
    data = bytearray(file.read_bytes())
    damage(data)
    file.write_bytes(data)
    with piped(world) as shim:
        shim.initialize()
        error = error_of(remember(shim, "new"))
        assert error["code"] in ("database_corrupt", "database_set_aside")
        assert "zc recover" in error["hint"]
        (kept,) = [f for f in world.home.glob("machine.db.bad-*") if not f.name.endswith(("-wal", "-shm"))]
        assert kept.read_bytes() == data and not file.exists()
        world.person().call("recover", {"confirm": True})
        assert stored(remember(shim, "new")), "the session that was open goes on"
    assert kept.read_bytes() == data


@pytest.mark.only_in_files("breaks one project's file")
def test_a_file_that_breaks_while_the_service_runs(world: World) -> None:
    other = world.root / "other"
    other.mkdir()
    process = world.serve()
    with piped(world) as shim:
        shim.initialize()
        for number in range(20):
            assert stored(remember(shim, f"k{number}", "x" * 3000))
        (file,) = (world.home / "projects").glob("*.db")
        world.person(other).call("zc_remember", {"key": "o", "value": "kept"})
        for part in (file, file.with_name(file.name + "-wal")):  # all of it, where SQLite may look next
            size = part.stat().st_size
            with part.open("r+b") as target:
                for at in range(0, size, 512):
                    target.seek(at)
                    target.write(os.urandom(256))
        codes = []
        for number in range(40):
            answer = remember(shim, f"new{number}", "z" * 3000)
            if not stored(answer):
                codes.append(error_of(answer)["code"])
        for number in range(10):
            answer = shim.ask(call(number, "zc_recall_context"))
            if not stored(answer):
                codes.append(error_of(answer)["code"])
        assert codes and set(codes) <= {"database_corrupt", "database_set_aside"}, codes
        assert not file.exists()
        assert list(file.parent.glob(file.name + ".bad-*"))
        assert "kept" in world.person(other).call("zc_recall_context", {}).text
        world.person(other).call("recover", {"confirm": True})
        assert stored(remember(shim, "fresh"))
        assert verified(world)
    assert process.poll() is None


@pytest.mark.only_in_files("takes one project's file away")
def test_a_file_that_is_taken_away_while_the_service_runs_is_not_made_anew(world: World) -> None:
    world.serve()
    with piped(world) as shim:
        shim.initialize()
        assert stored(remember(shim, "k"))
        (file,) = (world.home / "projects").glob("*.db")
        hidden = file.with_suffix(".hidden")
        file.rename(hidden)
        for _ in range(2):
            assert error_of(remember(shim, "away"))["code"] == "database_missing"
        assert not file.exists()
        hidden.rename(file)
        assert stored(remember(shim, "l"))
        facts = world.person().call("memory.list", {}).structured["facts"]
        assert {fact["key"] for fact in facts} == {"k", "l"}
    assert verified(world)


@pytest.mark.only_in_files("puts a file in another's place")
def test_another_projects_file_is_refused_and_left_as_it_is(world: World) -> None:
    other = world.root / "other"
    other.mkdir()
    world.serve()
    world.person().call("zc_remember", {"key": "k", "value": "v"})
    (mine,) = (world.home / "projects").glob("*.db")
    world.person(other).call("zc_remember", {"key": "o", "value": "v"})
    (theirs,) = set((world.home / "projects").glob("*.db")) - {mine}
    world.stop()
    mine.rename(mine.with_suffix(".x"))
    theirs.rename(mine)
    mine.with_suffix(".x").rename(theirs)
    before = (mine.read_bytes(), theirs.read_bytes())
    with piped(world) as shim:
        shim.initialize()
        error = error_of(remember(shim, "new"))
        assert error["code"] == "foreign_file" and error["hint"]
    world.stop()
    assert (mine.read_bytes(), theirs.read_bytes()) == before


# Where it lies


def test_a_folder_whose_path_is_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 120) / ("b" * 120) / "ü ñ%41 'home'"
    with world_in(tmp_path, home) as world, piped(world) as shim:
        shim.initialize()
        assert stored(remember(shim, "k"))
        assert len(os.readlink(world.home / "service.sock")) <= 107


def test_a_project_whose_path_is_no_text_is_told(world: World) -> None:
    world.serve()
    strange = os.fsencode(world.root) + b"/\xff\xfe"
    os.mkdir(strange)
    with piped(world, ZC_PROJECT_PATH=os.fsdecode(strange)) as shim:
        shim.initialize()
        assert error_of(remember(shim, "k"))["code"] == "bad_path"


def test_a_key_folder_that_others_may_read_is_told(world: World) -> None:
    world.serve()
    world.stop()
    (world.home / "keys").chmod(0o755)
    with piped(world) as shim:
        error = why_alone(shim)
        assert error["code"] == "service_away" and "open to other users" in error["message"]
        (world.home / "keys").chmod(0o700)
        assert stored(remember(shim, "k"))
