"""The spool: each note by itself, entered, set aside or kept, and never in the way of those behind it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.house_case import House

from securecontext.service import spool
from securecontext.service.spool import Spool
from securecontext.types.errors import Unavailable

SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


class Case:
    def __init__(self, house: House) -> None:
        self.house = house
        self.folder = house.app.settings.home / "spool"
        self.folder.mkdir()
        self.spool = Spool(house.app)
        self.count = 0

    def put(self, note: dict[str, Any] | bytes, /, **more: Any) -> Path:
        """Spool a note; those put later come later."""
        self.count += 1
        file = self.folder / f"{self.count:019d}-1.json"
        whole = note if isinstance(note, bytes) else json.dumps({**self.good(), **note, **more}).encode()
        file.write_bytes(whole)
        return file

    def good(self) -> dict[str, Any]:
        return {
            "event": "tool-used",
            "session_id": "s",
            "tool_name": "Bash",
            "tool_use_id": f"toolu_{self.count}",
            "cwd": self.house.project.folder,
            "ts": 1.5,
        }

    def left(self) -> list[str]:
        return sorted(file.suffix for file in self.folder.iterdir())

    def observed(self) -> list[dict[str, Any]]:
        return [e for e in self.house.entries(50) if e["operation"] == "session.observed"]


@pytest.fixture
def case(house: House) -> Case:
    return Case(house)


BAD: dict[str, bytes | dict[str, Any]] = {
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "event is a list": {"event": ["x"]},
    "folder is no text": {"cwd": 5},
    "long folder": {"cwd": "/" + "a" * 300},
    "long project": {"project_path": "/" + "a" * 5000},
    "half a character in the folder": {"cwd": "/tmp/\ud800"},
    "NUL in the folder": {"cwd": "/tmp/\x00"},
    "no such scope": {"scope": "zz"},
}


@pytest.mark.parametrize("note", BAD.values(), ids=BAD)
def test_what_nobody_can_enter_is_set_aside_and_the_next_is_entered(
    case: Case, note: dict[str, Any] | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    case.put(note)
    case.put({})
    assert case.spool.drain() == 1
    assert case.left() == [".bad"]
    assert caplog.text.count("set aside") == 1
    assert case.house.entries(1)[0]["operation"] == "session.observed"


def test_a_folder_in_a_notes_place_is_in_nobodys_way(case: Case) -> None:
    (case.folder / "0000-1.json").mkdir()
    case.put({})
    assert case.spool.drain() == 1


def test_a_pipe_in_a_notes_place_is_not_waited_for(case: Case) -> None:
    os.mkfifo(case.folder / "0000-1.json")
    case.put({})
    assert (case.spool.drain(), case.left()) == (1, [".bad"])


def test_rt_s1_12_a_link_in_a_notes_place_is_not_followed(case: Case) -> None:
    elsewhere = case.house.app.settings.home.parent / "elsewhere.json"
    elsewhere.write_text(json.dumps(case.good()))
    (case.folder / "0000-1.json").symlink_to(elsewhere)
    assert (case.spool.drain(), case.left(), case.observed()) == (0, [".bad"], [])
    assert elsewhere.exists()


def test_a_file_that_has_another_name_too_is_no_note(case: Case) -> None:
    elsewhere = case.house.app.settings.home.parent / "elsewhere.json"
    elsewhere.write_text(json.dumps(case.good()))
    os.link(elsewhere, case.folder / "0000-1.json")
    assert (case.spool.drain(), case.left(), case.observed()) == (0, [".bad"], [])


def test_a_file_too_large_for_a_note_is_set_aside(case: Case) -> None:
    case.put({"reason": "x" * spool.NOTE_BYTES})
    assert (case.spool.drain(), case.left()) == (0, [".bad"])


def test_what_breaks_on_the_way_is_set_aside(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError

    case.put({})
    monkeypatch.setattr(spool, "_told_before", broken)
    assert (case.spool.drain(), case.left()) == (0, [".bad"])


@pytest.mark.parametrize("agent", ["a b", "\ud800", ["x"], "x" * 65])
def test_a_name_that_is_none_is_left_out(case: Case, agent: object) -> None:
    case.put({"agent": agent})
    assert case.spool.drain() == 1
    newest = case.house.entries(1)[0]
    assert (newest["operation"], newest["agent"], case.left()) == ("session.observed", "", [])


def test_notes_that_wait_are_told_once_and_hold_up_nobody(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool, "AT_ONCE", 2)
    other = case.house.app.settings.home.parent / "other"
    other.mkdir()
    find = case.house.app.find_project

    def closed(path: str, *more: str) -> Any:
        if path == str(other):
            raise Unavailable("store_broken", "It is broken.", "Mend it.")
        return find(path, *more)

    monkeypatch.setattr(case.house.app, "find_project", closed)
    for _ in range(3):
        case.put({"cwd": str(other)})
    for _ in range(3):
        case.put({})
    assert [case.spool.drain() for _ in range(3)] == [2, 1, 0]
    assert case.left() == [".json"] * 3
    assert caplog.text.count("store_broken") == 1


@pytest.mark.parametrize(
    "note",
    [
        {"tool_name": SECRET},
        {"tool_name": "Edit", "file_path": f"/p/{SECRET}"},
        {"session_id": SECRET},
        {"agent": SECRET},
        {"tool_use_id": SECRET},
        {"event": "session-end", "reason": SECRET},
        {"event": "pre-compact", "trigger": SECRET},
    ],
    ids=lambda note: next(reversed(note)),
)
def test_secrets_in_notes_are_not_entered(
    case: Case, note: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    case.put(note)
    assert (case.spool.drain(), case.left()) == (1, [])
    assert SECRET.encode() not in case.house.bytes_on_disk()
    assert SECRET not in caplog.text


def test_files_of_another_folder_are_no_notes(case: Case) -> None:
    case.folder.rmdir()
    elsewhere = case.house.app.settings.home.parent / "elsewhere"
    elsewhere.mkdir()
    case.folder.symlink_to(elsewhere)
    case.put(b"{}")
    assert case.spool.drain() == 0
    assert case.left() == [".json"]


def test_a_note_stays_while_the_store_does_not_take_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    file = case.put({})
    store = case.house.app.store(case.house.project.id)

    def full(job: Any) -> Any:
        raise Unavailable("disk_full", "The disk is full.", "Free room.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        assert case.spool.drain() == 0
    assert file.exists()
    assert case.spool.drain() == 1
    assert [e["arguments"]["tool"] for e in case.observed()] == ["Bash"]


def test_a_call_that_was_too_large_to_look_into_is_entered_all_the_same(case: Case) -> None:
    file = case.put(
        json.dumps(
            {"event": "tool-used", "unread_bytes": 20_000_000, "project_path": case.good()["cwd"]}
        ).encode()
    )
    assert case.spool.drain() == 1 and not file.exists()
    assert [e["arguments"]["tool"] for e in case.observed()] == ["unknown"]


def test_how_many_notes_found_no_room_is_entered_once(case: Case) -> None:
    (case.folder / "dropped").write_bytes(b"." * 7)
    case.spool.drain()
    case.spool.drain()
    with case.house.app.machine.read() as connection:
        rows = case.house.app.ledgers.tail(connection, 20)
    lost = [row.body for row in rows if row.body and row.body["operation"] == "spool.dropped"]
    assert [body["arguments"] for body in lost] == [{"notes": 7}]
    assert case.left() == []
