"""A ledger checked by somebody else: export, proof, key, the end of an epoch, a roll back; with the real program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service_case import World
from tests.acceptance.terminal import operators_terminal
from tests.engine import copied

EXE = [sys.executable, "-I", "-m", "securecontext"]


@pytest.fixture
def used(world: World) -> Iterator[World]:
    """A world in which something was remembered."""
    for number in range(5):
        zc(world, "remember", f"key{number}", "value")
    yield world
    zc(world, "service", "stop")


def zc(world: World, *arguments: str, ok: int = 0, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [*EXE, *arguments],
        env=env or world.env,
        cwd=world.project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ok, (arguments, done.stdout, done.stderr)
    return done.stdout


def verdict(world: World, ok: int = 0) -> dict[str, Any]:
    return dict(json.loads(zc(world, "audit", "verify", "--json", ok=ok)))


def test_verify_prints_what_it_promises_and_anchors_what_is_new(used: World) -> None:
    found = verdict(used)
    promised = {"status", "entries", "agents", "checkpoints", "broken_at", "broken_kind", "unanchored"}
    assert promised <= found.keys()
    assert (found["status"], found["checkpoints"] > 0) == ("OK", True)
    assert found["unanchored"] == 0
    anchors = Path(used.home) / "logs" / "anchors.log"
    assert anchors.stat().st_mode & 0o777 == 0o600
    assert {line for line in anchors.read_bytes().splitlines() if not line.startswith(b"{")} == set()


LONG = (
    "import sys\nfrom securecontext.app import verification\nverification.WHOLE_BELOW = 0\n"
    "from securecontext.service.run import main\nsys.exit(main())"
)
"""A service to which every ledger is a long one."""


def test_a_second_check_of_a_long_ledger_is_incremental_and_full_reads_everything_again(used: World) -> None:
    zc(used, "service", "stop")
    used.serve(LONG)
    first = verdict(used)
    zc(used, "remember", "new", "value")
    second = verdict(used)
    assert (first["check"], second["check"]) == ("full", "incremental")
    assert 0 < second["checked"] < second["entries"] == first["entries"] + second["checked"]
    assert second["full_at"] == first["full_at"]
    zc(used, "service", "stop")
    used.serve(LONG)
    assert verdict(used)["check"] == "incremental", "the mark outlives the service"
    full = dict(json.loads(zc(used, "audit", "verify", "--full", "--json")))
    assert (full["check"], full["checked"]) == ("full", full["entries"])


def test_an_outsider_checks_an_export_and_a_proof_without_a_service_or_a_home(
    used: World, tmp_path: Path
) -> None:
    exported, proof = tmp_path / "ledger.jsonl", tmp_path / "proof.jsonl"
    said = zc(used, "audit", "export", str(exported), "--bodies")
    key = zc(used, "audit", "key").split()[0]
    assert key in said
    entry = json.loads(zc(used, "audit", "tail", "--json"))["entries"][-1]["entry"]
    zc(used, "audit", "prove", str(entry), str(proof))
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(nobody)}
    assert zc(used, "audit", "verify", "--public", str(exported), "--key", key, env=env).startswith("OK: ")
    assert zc(used, "audit", "verify", "--public", str(proof), "--key", key, env=env).startswith(
        "OK: 1 entries"
    )
    assert list(nobody.iterdir()) == []
    zc(used, "audit", "verify", "--public", str(exported), "--key", "0" * 64, env=env, ok=6)
    changed = exported.read_text().replace("zc_remember", "zc_forgotten", 1)
    exported.write_text(changed)
    zc(used, "audit", "verify", "--public", str(exported), "--key", key, env=env, ok=6)
    zc(used, "audit", "export", str(proof), ok=2)
    zc(used, "audit", "verify", "--public", str(tmp_path / "none"), env=env, ok=2)


def test_an_epoch_ends_its_key_is_gone_and_everything_still_verifies(used: World) -> None:
    root = Path(used.home) / "keys" / "ledger.root"
    verdict(used)
    before, key = root.read_text(), zc(used, "audit", "key").split()[0]
    assert "zc operator init" in zc(used, "audit", "end-epoch", "--json", ok=4)
    assert root.read_text() == before
    with operators_terminal(used.env, used.project) as operator:
        code, said = operator.zc("audit end-epoch")
        assert code == 0, said
    assert root.read_text().split()[4] == "1" and root.read_text().split()[5] != before.split()[5]
    zc(used, "remember", "after", "value")
    assert verdict(used)["status"] == "OK"
    zc(used, "service", "restart")
    zc(used, "remember", "after a restart", "value")
    found = verdict(used)
    assert (found["status"], found["unanchored"]) == ("OK", 0)
    assert zc(used, "audit", "key").split()[0] == key


def test_w_05_a_database_put_back_to_an_older_copy_is_a_roll_back(used: World) -> None:
    verdict(used)
    zc(used, "service", "stop")
    put_back = copied(used.home)
    zc(used, "remember", "later", "value")
    verdict(used)
    zc(used, "service", "stop")
    put_back()
    found = verdict(used, ok=6)
    assert found["status"] == "ROLLED_BACK"
