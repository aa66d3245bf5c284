"""A dropped task or a coroutine that nobody awaits is found: by ruff, by mypy, and by pytest when it happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.house.source import REPOSITORY

DROPPED_TASK = '''"""A dropped task."""
import asyncio


async def work() -> None:
    """Work."""


async def start() -> None:
    """Start and forget."""
    asyncio.create_task(work())
    asyncio.ensure_future(work())
'''
FORGOTTEN = '''"""A coroutine that is never awaited, and one that is looked at but not awaited either."""
import asyncio


async def work() -> int:
    """Work."""
    return 1


async def start(loop: asyncio.AbstractEventLoop) -> None:
    """Forget to await."""
    work()
    loop.create_future()
'''
FORGETS_AT_RUN_TIME = """
async def work():
    pass

def test_forgets():
    made = work()
    del made
"""


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=os.environ | {"CI": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def _with_config(tmp_path: Path, name: str, content: str) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    (folder / name).write_text(content)
    return folder


def test_w_51_no_task_is_dropped_in_the_source() -> None:
    done = _run("ruff", "check", "--no-cache", "--select", "RUF006", "src", cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout


def test_no_line_is_excused_from_that_rule() -> None:
    excused = [
        str(path)
        for path in (REPOSITORY / "src").rglob("*.py")
        if "RUF006" in path.read_text(encoding="utf-8")
    ]
    assert excused == []


def test_w_51_a_dropped_task_would_be_noticed(tmp_path: Path) -> None:
    folder = _with_config(tmp_path, "dropped.py", DROPPED_TASK)
    done = _run("ruff", "check", "--no-cache", "--output-format", "concise", "dropped.py", cwd=folder)
    assert done.stdout.count("RUF006") == 2, done.stdout


def test_w_51_a_forgotten_coroutine_would_be_noticed_by_the_type_check(tmp_path: Path) -> None:
    folder = _with_config(tmp_path, "forgotten.py", FORGOTTEN)
    done = _run("mypy", "--cache-dir", str(tmp_path / "cache"), "forgotten.py", cwd=folder)
    assert "[unused-coroutine]" in done.stdout, done.stdout + done.stderr
    assert "[unused-awaitable]" in done.stdout


def test_w_51_a_forgotten_coroutine_fails_the_test_in_which_it_happens(tmp_path: Path) -> None:
    folder = _with_config(tmp_path, "test_forgets.py", FORGETS_AT_RUN_TIME)
    done = _run("pytest", "test_forgets.py", cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "was never awaited" in done.stdout
