"""A restore is decided by one rename and survives any death: each file operation is died at, then gone on with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import securecontext
from securecontext.app import replacing

DIES = """
import os, shutil, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from securecontext.app import backups, replacing

home, step = Path(sys.argv[1]), sys.argv[2]
CALLS = ("open", "close", "fsync", "rename", "mkdir", "unlink", "rmdir", "link", "scandir", "listdir", "stat")

def dying(name):
    real = getattr(os, name)
    def call(*args, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return call

def finish(home):
    replacing.finish(home, datetime(2026, 3, 1, tzinfo=UTC))

def commit(home):
    replacing.commit(home, home / ".restore-1")

def write(home):
    manifest = backups.Manifest("", "", (backups.Member("machine.db", 3, ""),))
    backups._write(home / "made.zcbackup", home, b"head", manifest)

for deaths in range(1000):
    copy = home.with_name(f"died-{deaths}")
    shutil.copytree(home, copy)
    child = os.fork()
    if child == 0:
        left = deaths
        for name in CALLS:
            setattr(os, name, dying(name))
        globals()[step](copy)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    assert os.WTERMSIG(status) == signal.SIGKILL
"""
OLD = {
    "machine.db": "old", "machine.db-wal": "old", "projects/prj_a.db": "old", "projects/prj_gone.db": "old",
    "keys/ledger.root": "old", "keys/signers.log": "old", "logs/anchors.log": "old",
}  # fmt: skip
STAYS = {"keys/tokens.root": "stays", "keys/operator.verifier": "stays", "logs/service.log": "stays"}
NEW = {
    "machine.db": "new", "projects/prj_a.db": "new", "projects/prj_b.db": "new", "keys/ledger.root": "new",
    "keys/signers.log": "new", "logs/anchors.log": "new",
}  # fmt: skip


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def held(folder: Path) -> dict[str, str]:
    """The files of a data folder by name, those of a restore left out."""
    files = (each for each in folder.rglob("*") if each.is_file())
    found = {str(each.relative_to(folder)): each.read_text() for each in files}
    return {name: text for name, text in found.items() if "restore" not in name}


def deaths(home: Path, step: str, least: int) -> list[Path]:
    """A copy of the folder for each file operation that a step was killed at, and one where it was done."""
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(home), step],
        env={**os.environ, "PYTHONPATH": str(Path(securecontext.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    died = sorted(home.parent.glob("died-*"), key=lambda each: int(each.name.removeprefix("died-")))
    assert len(died) > least
    return died


def test_until_it_is_decided_nothing_has_changed_and_afterwards_everything_will(tmp_path: Path) -> None:
    home = tmp_path / "zc"
    fill(home, OLD | STAYS)
    fill(home / ".restore-1", NEW)
    seen = set()
    for died in deaths(home, "commit", 2):
        decided = (died / replacing.READY).is_dir()
        seen.add(decided)
        assert held(died) == OLD | STAYS
        assert finished(died) is decided
        assert held(died) == ((NEW | STAYS) if decided else (OLD | STAYS))
    assert seen == {True, False}


def finished(home: Path) -> bool:
    return replacing.finish(home, datetime(2026, 3, 1, 0, 1, tzinfo=UTC))


def test_a_death_at_any_file_operation_leaves_a_restore_that_goes_on_and_never_a_mixture(
    tmp_path: Path,
) -> None:
    home = tmp_path / "zc"
    fill(home, OLD | STAYS)
    fill(home / replacing.READY, NEW)
    for died in deaths(home, "finish", 60):
        finished(died)
        assert held(died) == NEW | STAYS, died.name
        assert not (died / replacing.READY).exists() and not (died / replacing.INSTALLING).exists()
        kept = [each for each in (died / replacing.BEFORE).rglob("*") if each.is_file()]
        assert sorted(each.name for each in kept) == sorted(Path(name).name for name in OLD)
        assert {each.read_text() for each in kept} == {"old"}
        assert finished(died) is False


def test_a_death_while_a_backup_is_written_leaves_it_whole_or_not_at_all(tmp_path: Path) -> None:
    home = tmp_path / "zc"
    fill(home, {"machine.db": "new"})
    seen = set()
    for died in deaths(home, "write", 6):
        made = died / "made.zcbackup"
        seen.add(made.exists())
        assert not made.exists() or made.read_bytes() == b"headnew"
    assert seen == {True, False}


def test_no_restore_is_no_restore(tmp_path: Path) -> None:
    fill(tmp_path, OLD)
    assert finished(tmp_path) is False and held(tmp_path) == OLD
    shutil.rmtree(tmp_path / "logs")
    assert finished(tmp_path) is False
