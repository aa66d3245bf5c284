"""Where the service is looked for, and what a client says of itself and hands on: nothing of anybody else's."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from securecontext import rendezvous
from securecontext.mcp.shim import Shim
from securecontext.rendezvous import ServiceAway

NOT_HANDED_ON = {
    "AWS_SECRET_ACCESS_KEY": "a",
    "AWS_SESSION_TOKEN": "b",
    "ANTHROPIC_API_KEY": "c",
    "GITHUB_TOKEN": "d",
    "OPENAI_API_KEY": "e",
    "DATABASE_URL": "postgres://u:p@h/d",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "CLAUDE_CODE_SESSION_ID": "s",
    "LD_PRELOAD": "/tmp/x.so",
    "PYTHONPATH": "/tmp/x",
    "PYTHONSTARTUP": "/tmp/x.py",
    "ZC_AGENT_ID": "alice",
    "ZC_AGENT_ROLE": "orchestrator",
    "ZC_AGENT_MODEL": "m",
    "ZC_PROJECT_PATH": "/p",
    "ZC_PROJECT_SCOPE": "worktree",
}


def test_a_service_gets_what_it_needs_and_no_secret_and_no_name_of_a_caller() -> None:
    needed = {"PATH": "/bin", "HOME": "/h", "LANG": "C.UTF-8", "TMPDIR": "/t", "ZC_LOG_LEVEL": "debug"}
    found = rendezvous.service_environment("/data", {**needed, **NOT_HANDED_ON, "ZC_HOME": "/other"})
    assert found == {**needed, "ZC_HOME": "/data"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    """A data folder whose link leads to a socket that listens."""
    path = rendezvous.socket_path(str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        (tmp_path / rendezvous.LINK).symlink_to(path)
        yield str(tmp_path)


def test_a_listener_of_ones_own_is_connected_to(home: str) -> None:
    rendezvous.connect(home, timeout=10).close()


def test_a_listener_of_another_user_is_refused_and_told_nothing(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[socket.socket] = []

    def somebody(connection: socket.socket) -> int:
        seen.append(connection)
        return os.getuid() + 4711

    monkeypatch.setattr(rendezvous, "peer_uid", somebody)
    with pytest.raises(ServiceAway) as caught:
        rendezvous.connect(home, timeout=10)
    assert "another user" in str(caught.value) and "Remove" in str(caught.value)
    assert [connection.fileno() for connection in seen] == [-1], "it is closed"
    with pytest.raises(ServiceAway):
        rendezvous.connect_or_start(home, 10, ["/nowhere/never-run"])


def test_root_may_listen_for_anybody(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "peer_uid", lambda _connection: 0)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    rendezvous.connect(home, timeout=10).close()


def _runtime() -> Path:
    return Path(os.environ["XDG_RUNTIME_DIR"]) / "securecontext"


def test_a_runtime_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    _runtime().symlink_to(elsewhere)
    with pytest.raises(ServiceAway) as caught:
        rendezvous.socket_path(str(tmp_path))
    assert str(_runtime()) in str(caught.value) and "XDG_RUNTIME_DIR" in str(caught.value)
    assert list(elsewhere.iterdir()) == []


def test_a_runtime_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _runtime().mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 4711)  # then it is somebody else's
    with pytest.raises(ServiceAway):
        rendezvous.socket_path(str(tmp_path))


def test_a_runtime_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    _runtime().mkdir()
    _runtime().chmod(0o777)
    assert Path(rendezvous.socket_path(str(tmp_path))).parent == _runtime()
    assert stat.S_IMODE(_runtime().stat().st_mode) == 0o700


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
