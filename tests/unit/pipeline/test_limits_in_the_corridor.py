"""Limits as calls meet them: a clear refusal and an entry each, and what must go on goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.house_case import HOOK, PERSON, START, House

from securecontext.app import App
from securecontext.boundaries.limits import Gate, Limits
from securecontext.boundaries.policy import Policy
from securecontext.pipeline.corridor import Corridor
from securecontext.settings import Settings

TEXT = "\n".join(f"line {number} of a text about nothing in particular" for number in range(4_000))


def house_with(root: Path, **limits: float) -> House:
    (root / "work").mkdir(parents=True)
    app = App(Settings(home=root / "zc", user_home=root, **limits), lambda: START)  # type: ignore[arg-type]
    return House(app, app.find_project(str(root / "work"), ""))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    """A house whose project may use 2 MiB, filled until it is refused."""
    made = house_with(tmp_path / "house", quota_mb=2)
    number = 0
    while made.ask("zc_index", {"source": f"s{number}", "content": TEXT}).error is None:
        number += 1
        assert number < 100
    yield made
    made.app.close()


def test_above_the_quota_what_stores_is_refused_and_entered(small: House) -> None:
    answer = small.ask("zc_index", {"source": "more", "content": TEXT})
    assert answer.error is not None and answer.error.code == "quota_reached"
    assert "its quota is 2 MiB" in answer.text
    newest = small.entries(1)[0]
    assert (newest["kind"], newest["operation"], newest["outcome"]) == (
        "refusal",
        "zc_index",
        "quota_reached",
    )
    assert small.refused("zc_remember", key="k", value="v") == "quota_reached"
    assert small.refused("zc_summarize_session", summary="s") == "quota_reached"
    assert small.refused("memory.edit", PERSON, key="k", value="v") == "quota_reached"
    assert small.refused("session.compacted", HOOK, summary="s") == "quota_reached"


def test_above_the_quota_reading_hooks_and_the_ledger_go_on(small: House) -> None:
    assert small.search("nothing particular")
    assert small.do("zc_recall_context")
    small.do("session.observed", HOOK, tool="Bash", tool_use_id="t1", outcome="ok")
    assert small.do("audit.verify", PERSON)["status"] == "OK"


def test_forgetting_works_above_the_quota_and_makes_room_although_the_file_keeps_its_size(
    small: House,
) -> None:
    documents = small.do("archive.list", PERSON)["documents"]
    before = small.app.stores.path(small.project.id).stat().st_size
    for document in documents:
        small.do("archive.forget", PERSON, document=document["id"])
    assert small.app.stores.path(small.project.id).stat().st_size >= before
    small.do("zc_index", source="again", content=TEXT)


def test_a_retry_of_what_was_stored_is_answered_although_the_quota_is_used_up_since(tmp_path: Path) -> None:
    house = house_with(tmp_path / "house", quota_mb=2)
    try:
        first = house.ask("zc_remember", {"key": "k", "value": "v"}, key="once")
        while house.ask("zc_index", {"source": f"s{house.moment}", "content": TEXT}).error is None:
            pass
        assert house.ask("zc_remember", {"key": "k", "value": "v"}, key="once") == first
    finally:
        house.app.close()


def test_a_project_may_be_deleted_above_its_quota(small: House) -> None:
    small.do("project.delete", PERSON, project=small.project.id, confirm=True)
    assert not small.app.stores.path(small.project.id).exists()


def test_with_memory_used_up_large_work_alone_is_refused(tmp_path: Path) -> None:
    house = house_with(tmp_path / "house", memory_limit_mb=1)
    try:
        assert house.refused("zc_index", source="s", content="c") == "memory_limit"
        assert house.entries(1)[0]["outcome"] == "memory_limit"
        assert house.refused("memory.import", PERSON, facts=[]) == "memory_limit"
        house.remember("k", "v")
        assert "v" in house.recall()
    finally:
        house.app.close()


def test_calls_that_come_too_fast_are_refused_and_some_of_them_entered(house: House) -> None:
    now = [0.0]
    gate = Gate(Limits(calls_per_second=2), clock=lambda: now[0])
    house.app.corridor = Corridor(house.app, Policy(), gate)
    refused = [house.ask("zc_status").error for _ in range(10)]
    codes = [error.code if error else "ok" for error in refused]
    assert codes == ["ok"] * 10
    more = [house.ask("no_such_operation").error for _ in range(30)]
    assert {error.code for error in more if error} == {"rate_limited"}, (
        "a call that would be refused counts too"
    )
    entered = [e for e in house.entries(100) if e.get("outcome") == "rate_limited"]
    assert len(entered) == 10
    assert house.ask("zc_status", who=PERSON).error is None, "another session is not held up"
    now[0] = 61.0
    assert [house.ask("zc_status").error is None for _ in range(11)] == [True] * 10 + [False]
    assert house.entries(1)[0]["left_out"] == 20
