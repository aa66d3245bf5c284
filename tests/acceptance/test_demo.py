"""The stories that `make demo` and `make demo-team` tell come true, and leave nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.house.source import REPOSITORY


def told(story: str, home: Path) -> str:
    """Run a story to its end, which must be a good one, and return what it said."""
    scratch = Path(tempfile.gettempdir())
    before = set(scratch.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", story],
        cwd=REPOSITORY, env=dict(os.environ), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert set(scratch.iterdir()) == before, "its data folder is gone"
    assert not (home / ".claude").exists()
    return done.stdout


def test_the_story_of_the_demo_comes_true(own_home: Path) -> None:
    story = told("demo", own_home)
    for part in ("A first session", "A second one starts", "one-service", "OK: ", "TAMPERED: ", "became"):
        assert part in story, part
    assert story.index("OK: ") < story.index("TAMPERED: ")


def test_a_team_on_postgresql_outlives_one_of_its_workers(own_home: Path) -> None:
    story = told("demo.team", own_home)
    killed = re.search(r"(\w+) +is killed \(SIGKILL\) with t1 in hand", story)
    finished = re.search(r"(\w+) +claims t1 under fence 2, attempt 2\n(?:.*\n)* +(\w+) +has done t1: ", story)
    assert killed and finished, story
    assert finished[1] == finished[2] != killed[1]
    assert len(set(re.findall(r"has done (t\d): ", story))) == 9
    assert "refused (files_reserved): ada holds src/parser/**" in story
    assert "10 claims, 9 completions, 1 refused broadcast" in story
    assert story.count("   OK: ") == 2, "the ledgers of project and machine"
