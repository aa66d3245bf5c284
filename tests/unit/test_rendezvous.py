"""What a client says of itself: the folder whose project it means, whatever folder the service has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securecontext import rendezvous
from securecontext.mcp.shim import Shim


def folder(**environ: str) -> str:
    return rendezvous.caller_headers(environ)["project-path"]


def test_a_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder() == str(tmp_path)
    assert Path(folder(ZC_PROJECT_PATH=".")) == tmp_path
    assert folder(CLAUDE_PROJECT_DIR="a/b") == str(tmp_path / "a" / "b")
    assert folder(ZC_PROJECT_PATH="/else/where/") == "/else/where/", (
        "as it is: it may be known by this very name"
    )


def test_a_client_whose_folder_was_removed_can_describe_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shim = Shim("/nowhere")
    (tmp_path / "gone").rmdir()
    assert folder() == folder(ZC_PROJECT_PATH=".") == ""
    assert folder(ZC_PROJECT_PATH="/else") == "/else"
    assert shim.headers["project-path"] == str(tmp_path / "gone"), (
        "a session goes on under the folder it began in"
    )
    assert json.dumps(shim.headers)
