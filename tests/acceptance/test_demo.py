"""The story that `make demo` tells comes true, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.house.source import REPOSITORY


def test_the_story_of_the_demo_comes_true(tmp_path: Path) -> None:
    scratch = Path(tempfile.gettempdir())
    before = set(scratch.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=REPOSITORY, env=dict(os.environ), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    story = done.stdout
    for part in ("A first session", "A second one starts", "one-service", "OK: ", "TAMPERED: ", "became"):
        assert part in story, part
    assert story.index("OK: ") < story.index("TAMPERED: ")
    assert "Traceback" not in story + done.stderr
    assert set(scratch.iterdir()) == before, "its data folder is gone"
    assert not (tmp_path / "home" / ".claude").exists()
