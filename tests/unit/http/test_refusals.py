"""What the door enters of its refusals: whose, how many, and nothing that a stranger chose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securecontext.boundaries.identity.door_token import open_token
from securecontext.http.refusals import Refusals
from securecontext.pipeline.refusals import MOST, SECONDS
from securecontext.types.errors import Unauthenticated, Unavailable
from securecontext.types.ledger import EntryDraft

SCOPE = {"type": "http", "method": "POST", "path": "/secret", "headers": [(b"x-zc-agent", b"victim")]}
ERROR = Unauthenticated("unauthenticated", "The bearer token is wrong.", "…", reason="wrong")


class Machine:
    """A store that keeps the drafts it is given, or has a broken disk."""

    def __init__(self) -> None:
        self.drafts: list[EntryDraft] = []
        self.broken = False

    def write(self, job: Callable[[Any], Any]) -> Any:
        if self.broken:
            raise Unavailable("disk_full", "The disk is full.", "Free room.")
        return job(self)

    def record(self, draft: EntryDraft) -> None:
        self.drafts.append(draft)


class Case:
    def __init__(self, folder: Path) -> None:
        self.machine = Machine()
        self.now = 1000.0

        async def run(work: Callable[[], Any]) -> Any:
            return work()

        self.refusals = Refusals(lambda: self.machine, open_token(folder), run, lambda: self.now)  # type: ignore[arg-type,return-value]

    def enter(self, times: int = 1, *, known: bool = False, method: str = "POST") -> list[EntryDraft]:
        """Enter refusals; return the drafts that came of them."""
        before = len(self.machine.drafts)
        for _ in range(times):
            asyncio.run(self.refusals.enter(ERROR, SCOPE | {"method": method}, known=known))
        return self.machine.drafts[before:]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_strangers_refusal_is_the_doors_own(case: Case) -> None:
    (draft,) = case.enter()
    assert (draft.stream, draft.claimed_agent, draft.kind) == ("door:http/refusals", "", "refusal")
    assert draft.body["outcome"] == "unauthenticated"
    assert draft.body["reason"] == "wrong"
    assert draft.secrets == {"path": "/secret"}
    assert "/secret" not in repr(draft.body)


def test_a_method_that_a_stranger_made_up_is_not_entered(case: Case) -> None:
    (draft,) = case.enter(method="X" * 1000)
    assert draft.body["method"] == "other"


def test_ten_a_minute_and_then_how_many_were_left_out(case: Case) -> None:
    assert len(case.enter(MOST + 7)) == MOST
    case.now += SECONDS - 0.001
    assert case.enter() == []
    case.now += 0.001
    first, second = case.enter(2)
    assert first.body["left_out"] == 8
    assert "left_out" not in second.body


def test_the_holders_refusals_are_all_entered_as_the_holders(case: Case) -> None:
    drafts = case.enter(MOST + 7, known=True)
    assert len(drafts) == MOST + 7
    assert {draft.principal for draft in drafts} == {"token:http"}
    assert len(case.enter()) == 1


def test_what_could_not_be_entered_is_counted(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.machine.broken = True
    assert case.enter(3) == []
    assert "could not be entered" in caplog.text
    case.machine.broken = False
    (draft,) = case.enter()
    assert draft.body["left_out"] == 3
