"""Imports go down only; import-linter holds it, and this shows that it would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.house.source import REPOSITORY

LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename={!r}, no_cache=True))
"""


def _lint(repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT.format(str(repository / "pyproject.toml"))],
        cwd=repository,
        env={"PYTHONPATH": str(repository / "src"), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_down_only() -> None:
    done = _lint(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_an_import_upwards_would_be_noticed(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "src/securecontext/types/upwards.py").write_text("import securecontext.storage.schema\n")
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert "securecontext.types.upwards -> securecontext.storage.schema" in done.stdout


def test_a_room_that_has_no_floor_would_be_noticed(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "src/securecontext/attic.py").write_text("")
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert "securecontext.attic" in done.stdout
