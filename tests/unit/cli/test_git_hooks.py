"""The pre-commit hook: put beside what is there, taken away again, and never into other repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from securecontext.cli import git_hooks
from securecontext.types.errors import Conflict, InvalidInput

OTHER = "#!/bin/sh\necho other\n"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    return folder


def test_the_hook_comes_and_goes_without_a_trace(repository: Path) -> None:
    folder = git_hooks.hooks_folder(repository)
    assert folder == (repository / ".git" / "hooks").resolve()
    before = sorted(folder.iterdir())
    git_hooks.installed(folder)
    hook = folder / "pre-commit"
    assert os.access(hook, os.X_OK) and "securecontext hooks check" in hook.read_text()
    subprocess.run(["sh", "-n", str(hook)], check=True)
    git_hooks.installed(folder)
    assert sorted(folder.iterdir()) == sorted([*before, hook])
    assert "is gone" in git_hooks.taken_away(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_hook_that_was_there_is_kept_run_and_put_back(repository: Path, kind: str) -> None:
    folder = git_hooks.hooks_folder(repository)
    hook = folder / "pre-commit"
    if kind == "link":
        (folder / "real").write_text(OTHER)
        hook.symlink_to("real")
    else:
        hook.write_text(OTHER)
    hook.chmod(0o755)
    for _ in range(2):
        git_hooks.installed(folder)
    kept = folder / git_hooks.KEPT
    assert kept.read_text() == OTHER and kept.is_symlink() == (kind == "link")
    # Ours, with the check itself left out: the one that was there runs after it.
    line = next(each for each in hook.read_text().splitlines() if "hooks check" in each)
    hook.write_text(hook.read_text().replace(line, ":"))
    assert subprocess.run([str(hook)], capture_output=True, text=True, check=True).stdout == "other\n"
    hook.write_text(hook.read_text().replace("\n:\n", "\nfalse || exit $?\n"))
    refused = subprocess.run([str(hook)], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "what it was before" in git_hooks.taken_away(folder)
    assert hook.read_text() == OTHER and hook.is_symlink() == (kind == "link") and not kept.exists()


def test_a_hook_put_over_ours_stays_and_two_foreign_ones_are_not_merged(repository: Path) -> None:
    folder = git_hooks.hooks_folder(repository)
    hook = folder / "pre-commit"
    hook.write_text(OTHER)
    git_hooks.installed(folder)
    hook.write_text("#!/bin/sh\nanother\n")
    assert "not ours" in git_hooks.taken_away(folder)
    with pytest.raises(Conflict) as caught:
        git_hooks.installed(folder)
    assert caught.value.code == "hook_kept_before"
    assert hook.read_text() == "#!/bin/sh\nanother\n" and (folder / git_hooks.KEPT).read_text() == OTHER


def test_a_worktree_has_the_hooks_of_its_repository(repository: Path, tmp_path: Path) -> None:
    git(repository, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--allow-empty", "-m", "x")
    git(repository, "worktree", "add", str(tmp_path / "tree"))
    assert git_hooks.hooks_folder(tmp_path / "tree") == git_hooks.hooks_folder(repository)


def test_hooks_that_other_repositories_share_are_left_alone(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "core.hooksPath", str(tmp_path / "shared"))
    with pytest.raises(InvalidInput) as caught:
        git_hooks.hooks_folder(repository)
    assert caught.value.code == "shared_hooks"
    git(repository, "config", "core.hooksPath", ".githooks")
    assert git_hooks.hooks_folder(repository) == (repository / ".githooks").resolve()


def test_a_folder_without_a_repository_has_no_hooks(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        git_hooks.hooks_folder(tmp_path)
    assert caught.value.code == "no_repository"
