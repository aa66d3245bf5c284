"""W-81: a hook of memory fails open. Whatever is broken, it ends with 0 and stops neither a session nor a tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.fake_service import FakeService
from tests.unit.hooks.test_entry import ENTRY, EVENTS, LONGEST, PAYLOAD, environment

PLUGIN = ENTRY.parents[1]
HOOKS = json.loads((PLUGIN / "hooks" / "hooks.json").read_text())["hooks"]
REGISTERED = [(name, hook) for name, groups in HOOKS.items() for group in groups for hook in group["hooks"]]


def as_the_client_does(
    hook: dict[str, object], home: Path, payload: bytes, root: Path = PLUGIN, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a registered hook with the plugin's root filled in."""
    words = [str(word).replace("${CLAUDE_PLUGIN_ROOT}", str(root)) for word in hook["args"]]  # type: ignore[attr-defined]
    return subprocess.run(
        [sys.executable, *words],
        input=payload, env=environment(home, **more), capture_output=True, timeout=LONGEST + 20, check=False,
    )  # fmt: skip


def nothing(home: Path) -> None:
    """No service has ever run."""


def link_to_nothing(home: Path) -> None:
    home.mkdir()
    (home / "service.sock").symlink_to("/nowhere/service.sock")


def file_for_socket(home: Path) -> None:
    home.mkdir()
    (home / "service.sock").write_text("no socket")


def loop(home: Path) -> None:
    home.mkdir()
    (home / "service.sock").symlink_to("service.sock")


def file_for_home(home: Path) -> None:
    home.write_text("no folder")


def file_for_spool(home: Path) -> None:
    home.mkdir()
    (home / "spool").write_text("no folder")


@pytest.mark.parametrize(
    "broken", [nothing, link_to_nothing, file_for_socket, loop, file_for_home, file_for_spool]
)
@pytest.mark.parametrize(("name", "hook"), REGISTERED, ids=[name for name, _ in REGISTERED])
def test_w_81_a_registered_hook_ends_with_0_whatever_is_broken(
    tmp_path: Path, name: str, hook: dict[str, object], broken: Callable[[Path], None]
) -> None:
    home = tmp_path / "zc"
    broken(home)
    done = as_the_client_does(hook, home, json.dumps({**PAYLOAD, "hook_event_name": name}).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    said = json.loads(done.stdout) if done.stdout else {}
    assert set(said) <= {"systemMessage"}, "no decision, nothing that blocks or continues"


ANSWERS = [
    b"",
    b"exit",
    b"exit 0 99 0\nhalf",
    b"exit -1 0 0\n",
    b"exit 999 0 0\n",
    b"exit a b c\n",
    b"\xff" * 500,
]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_w_81_a_service_that_talks_nonsense_stops_nothing(tmp_path: Path, event: str, answer: bytes) -> None:
    with FakeService(tmp_path / "zc", lambda _: answer):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(ENTRY), event],
            input=b"{}", env=environment(tmp_path / "zc"), capture_output=True, timeout=LONGEST + 20, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff\x00", b"null", b"[" * 100_000, b'{"tool_name": {"a": [1]}}']
)
@pytest.mark.parametrize("words", [[], [""], ["nonsense"], ["tool-used"], ["stop", "too", "many"]])
def test_w_81_no_payload_and_no_event_stops_anything(
    tmp_path: Path, payload: bytes, words: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ENTRY), *words],
        input=payload, env=environment(tmp_path / "zc"), capture_output=True, timeout=LONGEST + 20, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("event", EVENTS)
def test_w_81_a_defect_of_ours_stops_nothing(tmp_path: Path, event: str) -> None:
    copy = tmp_path / "entry.py"
    text = ENTRY.read_text()
    assert text.count("payload = read_all(0)") == 1
    copy.write_text(text.replace("payload = read_all(0)", "raise RuntimeError('a defect')"))
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(copy), event],
        input=b"{}", env=environment(tmp_path / "zc"), capture_output=True, timeout=LONGEST + 20, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("name", "hook"), REGISTERED, ids=[name for name, _ in REGISTERED])
def test_w_81_a_plugin_whose_files_are_gone_blocks_nothing(
    tmp_path: Path, name: str, hook: dict[str, object]
) -> None:
    done = as_the_client_does(hook, tmp_path, b"{}", root=tmp_path / "gone")
    assert done.returncode not in (0, 2), "the client goes on at 1, and would block at 2"


def test_w_81_no_hook_asks_to_block_when_it_fails() -> None:
    assert len(REGISTERED) == len(EVENTS)
    assert [name for name, hook in REGISTERED if "onFailure" in hook or hook["type"] != "command"] == []
    assert os.access(ENTRY, os.R_OK)
