"""`zc backup` and `zc restore` with the real program: under writes, elsewhere, by the operator, through deaths."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from securecontext.rpc.client import Client
from tests.acceptance.service_case import World, world_in
from tests.acceptance.terminal import PHRASE, terminal
from tests.acceptance.test_command_line import said, zc

EXE = [sys.executable, "-I", "-m", "securecontext"]


@pytest.fixture
def elsewhere(own_home: Path) -> Iterator[World]:
    """Another data folder of the same person, which sees the same projects."""
    root = Path(tempfile.mkdtemp(prefix="zc-else-", dir=own_home))
    with world_in(root) as made:
        yield made


def restored(world: World, command: str, ok: int = 0) -> str:
    """Restore as the operator at a terminal."""
    with terminal(world.env, world.project) as person:
        if not (world.home / "keys" / "operator.verifier").exists():
            assert person.zc("operator init", PHRASE, PHRASE)[0] == 0
        assert person.zc("operator unlock", PHRASE)[0] == 0
        code, text = person.zc(command)
    assert code == ok, text
    return text


def keys_of(world: World) -> list[str]:
    return [fact["key"] for fact in said(world, "memory", "list")["facts"]]


@pytest.mark.only_in_files("a database is backed up by its server, and `zc backup` refuses it")
def test_a_backup_is_restored_over_what_is_there_and_what_was_there_is_kept(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    folder = world.root / "stick"
    folder.mkdir()
    made = zc(world, "backup", str(folder))
    assert made.returncode == 0, made.stderr
    (file,) = folder.iterdir()
    assert str(file) in made.stdout and file.stat().st_mode & 0o777 == 0o600
    zc(world, "remember", "later", "not in the backup")

    refused = zc(world, "restore", str(file), "--yes")
    assert refused.returncode == 4 and "zc operator init" in refused.stderr
    text = restored(world, f"restore {file} --yes")
    assert "takes the place" in text and "new signer" in text
    assert keys_of(world) == ["db"]
    for ledger in ([], ["--machine"]):
        verdict = said(world, "audit", "verify", *ledger)
        assert (verdict["status"], verdict["recovered"]) == ("OK", 1)
    (before,) = (world.home / "before-restore").iterdir()
    assert (before / "machine.db").exists() and (before / "keys" / "ledger.root").exists()
    entry = next(
        e for e in said(world, "audit", "tail", "--limit", "50")["entries"] if e["kind"] == "recovered"
    )
    assert entry["operation"] == "restore" and entry["body"]["arguments"]["signer_before"].endswith(".0")
    assert zc(world, "remember", "goes", "on").returncode == 0
    world.kill()
    assert said(world, "audit", "verify")["status"] == "OK"


@pytest.mark.only_in_files("a database is backed up by its server, and `zc backup` refuses it")
def test_a_backup_is_restored_into_another_folder_by_its_fingerprint(world: World, elsewhere: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    file = world.root / "one.zcbackup"
    made = said(world, "backup", str(file))
    (fingerprint,) = made["fingerprints"]
    text = restored(elsewhere, f"restore {file} --yes", ok=2)
    assert "backup_signer_unknown" in text and "--key" in text
    restored(elsewhere, f"restore {file} --key {fingerprint} --yes")
    elsewhere.project = world.project
    assert keys_of(elsewhere) == ["db"]
    assert said(elsewhere, "audit", "verify")["status"] == "OK"
    assert keys_of(world) == ["db"], "the first one goes on beside it"


@pytest.mark.only_in_files("a database is backed up by its server, and `zc backup` refuses it")
def test_backups_made_while_many_write_hold_all_that_was_acknowledged_before(world: World) -> None:
    world.env["ZC_CALLS_PER_SECOND"] = "100000"
    zc(world, "remember", "first", "value")
    stop = threading.Event()
    acknowledged: list[str] = []

    def write(number: int) -> None:
        client = Client(str(world.home), str(world.project))
        count = 0
        while not stop.is_set():
            key = f"k{number}-{count}"
            client.call("zc_remember", {"key": key, "value": "x" * 200})
            acknowledged.append(key)
            count += 1
        client.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    known = []
    try:
        for number in range(3):
            before = set(acknowledged)
            file = world.root / f"{number}.zcbackup"
            done = zc(world, "backup", str(file))
            assert done.returncode == 0, done.stderr
            known.append((file, before))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(acknowledged) > 20
    file, before = known[-1]
    restored(world, f"restore {file} --yes")
    found = {f["key"] for f in said(world, "memory", "list", "--archived")["facts"]}
    assert before <= found
    verdict = said(world, "audit", "verify")
    assert (verdict["status"], verdict["unanchored"]) == ("OK", 0)


def test_a_purged_session_is_exported_as_purged_and_an_outsider_accepts_it(
    world: World, tmp_path: Path
) -> None:
    word = "quetzalumbrella"
    zc(world, "remember", word, f"about {word}")
    session = said(world, "audit", "tail")["entries"][0]["session"]
    restored(world, f"purge-session --session {session} --yes")
    verdict = said(world, "audit", "verify")
    assert verdict["status"] == "OK" and verdict["purged"] > 0
    exported = tmp_path / "ledger.jsonl"
    zc(world, "audit", "export", str(exported), "--bodies")
    key = zc(world, "audit", "key").stdout.split()[0]
    checked = zc(world, "audit", "verify", "--public", str(exported), "--key", key, "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["purged"] == verdict["purged"]
    assert word not in exported.read_text()
    stored = b"".join(p.read_bytes() for p in world.home.rglob("*") if p.is_file())
    assert word.encode() not in stored


@pytest.mark.only_in_files("a database is backed up by its server, and `zc backup` refuses it")
def test_a_service_that_dies_once_a_restore_is_decided_finishes_it_at_the_next_start(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    file = world.root / "one.zcbackup"
    zc(world, "backup", str(file))
    zc(world, "remember", "later", "x")
    zc(world, "service", "stop")
    code = (
        "import os, signal, sys\n"
        "from securecontext.app import replacing\n"
        "rename = os.rename\n"
        "def dying(source, target, *more, **other):\n"
        "    rename(source, target, *more, **other)\n"
        "    if str(target).endswith('restore.ready'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.rename = dying\n"
        "from securecontext.service.run import main\n"
        "sys.exit(main())\n"
    )
    process = world.serve(code)
    with terminal(world.env, world.project) as person:
        person.zc("operator init", PHRASE, PHRASE)
        person.zc("operator unlock", PHRASE)
        person.zc(f"restore {file} --yes")
    assert process.wait(30) == -9
    assert (world.home / "restore.ready").is_dir() or keys_of(world) == ["db"]
    assert keys_of(world) == ["db"]
    assert said(world, "audit", "verify")["status"] == "OK"
    assert (
        subprocess.run(
            [*EXE, "backup", str(file)], env=world.env, check=False, capture_output=True
        ).returncode
        == 2
    )
