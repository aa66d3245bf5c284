"""A note from the spool is one entry: gone once it is entered, and nothing that the service had heard is told twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.house_case import House
from tests.identity_case import issue, with_operator

from securecontext.boundaries.policy import Standing
from securecontext.hooks import handlers
from securecontext.pipeline.callers import introduce
from securecontext.service import spool
from securecontext.types.errors import Unavailable

CALL = {"session_id": "s-1", "tool_name": "Bash", "tool_use_id": "toolu_1"}


def drain(house: House) -> int:
    made = getattr(spool, "Spool", None)
    return int(made(house.app).drain() if made else spool.drain(house.app))


def folder_of(house: House) -> str:
    return str(house.app.settings.home.parent / "work")


@pytest.fixture
def note(house: House) -> Path:
    """A note of a tool call, as the hook leaves it."""
    folder = house.app.settings.home / "spool"
    folder.mkdir()
    file = folder / "1760000000000000000-1.json"
    file.write_text(
        json.dumps(
            {**CALL, "event": "tool-used", "project_path": folder_of(house), "ts": 1.5, "duration_ms": 7}
        )
    )
    return file


def observed(house: House) -> list[dict[str, Any]]:
    return [entry for entry in house.entries(100) if entry["operation"] == "session.observed"]


def report(house: House, event: str, **payload: Any) -> None:
    """Tell the service at once, as a hook does that finds it."""
    headers = {"project-path": folder_of(house)}
    caller = introduce(house.app, Standing.HOOK, "hook", 1000, headers)
    handlers.answer(house.app.corridor, caller, event, {**CALL, "tool_input": {"command": "ls"}, **payload})


@pytest.fixture(autouse=True)
def same_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool.os, "getuid", lambda: 1000)


def test_a_note_is_one_entry_and_is_gone_once_it_is_entered(house: House, note: Path) -> None:
    assert drain(house) == 1
    assert not note.exists() and list(note.parent.iterdir()) == []
    (entry,) = observed(house)
    assert entry["arguments"]["tool_use_id"] == "toolu_1" and entry["arguments"]["spooled_at"] == "1.5"
    assert drain(house) == 0 and len(observed(house)) == 1


def test_a_note_that_is_found_again_after_a_death_is_not_entered_twice(house: House, note: Path) -> None:
    kept = note.read_bytes()
    drain(house)
    note.write_bytes(kept)  # who died before the file was removed
    drain(house)
    assert not note.exists() and len(observed(house)) == 1


def test_a_note_that_could_not_be_entered_stays(
    house: House, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("store_away", "It is away.", "Wait.")

    with monkeypatch.context() as broken:
        broken.setattr(house.app, "find_project", away)
        assert drain(house) == 0
        assert note.exists()
    assert drain(house) == 1 and not note.exists()


@pytest.mark.parametrize("outcome", ["tool-used", "tool-failed"])
def test_a_call_that_the_service_had_heard_of_is_not_entered_again(
    house: House, note: Path, outcome: str
) -> None:
    report(house, outcome, duration_ms=7)
    note.write_text(json.dumps({**json.loads(note.read_text()), "event": outcome}))
    before = house.entries(100)
    drain(house)
    assert house.entries(100) == before, "neither an entry nor a refusal"
    assert not note.exists()


def test_a_call_that_was_heard_under_a_token_is_not_entered_again_without_it(
    house: House, note: Path
) -> None:
    """The note holds no token, so that it would be another caller's: a hook that shows one says so in its note."""
    token = issue(house, with_operator(house), "alice")
    headers = {"project-path": folder_of(house), "token": token}
    caller = introduce(house.app, Standing.HOOK, "hook", 1000, headers)
    handlers.answer(house.app.corridor, caller, "tool-used", {**CALL, "tool_input": {"command": "ls"}})
    note.write_text(json.dumps({**json.loads(note.read_text()), "with_token": True}))
    before = house.entries(100)
    assert before[0]["stream"] == "agent:alice/claude-s-1"
    drain(house)
    assert house.entries(100) == before
    assert not note.exists()


def test_another_outcome_of_the_same_call_is_an_entry_of_its_own(house: House, note: Path) -> None:
    report(house, "tool-failed", error="Exit code 1")
    drain(house)
    assert sorted(entry["arguments"]["outcome"] for entry in observed(house)) == ["failed", "ok"]
