"""Tasks that need files, through the corridor: reserved by the claim, kept by the hook, told, waited for."""

from __future__ import annotations

import threading
from typing import Any

from tests.team_case import Team, team
from tests.waiting import wait_until

__all__ = ["team"]


def put(team: Team, task_id: str, *files: str, role: str = "worker", **more: Any) -> dict[str, Any]:
    given = {"task_id": task_id, "role": role, "payload": {}, "file_ownership_exclusive": list(files)} | more
    return team.house.do("zc_enqueue_task", team.boss, **given)


def claim(team: Team, who: Any, **more: Any) -> list[dict[str, Any]]:
    return list(team.house.do("zc_claim_task", who, **more)["claims"])


def test_w_28_a_claim_reserves_and_the_hook_refuses_everybody_else(team: Team) -> None:
    """W-28: from the claim on, until the task is done."""
    put(team, "parse", str(team.folder / "src/parser"), role="developer")
    put(team, "lex", "src/parser/lexer.py")
    put(team, "other", "src/parser.md")
    assert team.writes(team.bob, "src/parser/x.py") == "", "nothing is reserved before"
    (mine,) = claim(team, team.alice)
    assert mine["file_ownership_exclusive"] == ["src/parser"]
    assert (team.writes(team.alice, "src/parser/x.py"), team.writes(team.bob, "src/parser/x.py")) == (
        "",
        "file_held",
    )
    (held,) = team.house.do("zc_reservations", team.bob)["reservations"]
    assert (held["agent"], held["cause"], held["until"]) == (
        "alice", "task:developer/parse", mine["lease_until"],
    )  # fmt: skip
    assert [each["task_id"] for each in claim(team, team.bob, count=5)] == ["other"]
    refused = team.say_not(
        team.boss, "ASSIGN", task="x", to=["bob"], file_ownership_exclusive=["src/parser/y"]
    )
    assert refused.error is not None and refused.error.details["conflicting_task_id"] == "developer/parse"
    assert team.house.refused("zc_hand_over", team.alice, files=["src/parser"]) == "held_by_task"
    team.house.do("zc_complete_task", team.alice, task_id="parse", fence=mine["fence"])
    assert team.writes(team.bob, "src/parser/x.py") == ""
    assert [each["task_id"] for each in claim(team, team.bob)] == ["lex"]


def test_how_many_wait_for_files_is_told(team: Team) -> None:
    put(team, "a", "src")
    put(team, "b", "src/b")
    put(team, "c", "src/c", role="developer")
    assert team.house.do("zc_queue_stats", team.bob)["waiting_for_files"] == 0
    assert [each["task_id"] for each in claim(team, team.bob, count=5)] == ["a"]
    seen = team.house.ask("zc_queue_stats", {}, who=team.bob)
    assert seen.structured["waiting_for_files"] == 2 and "2 queued task(s) wait for files" in seen.text
    assert {r["role"]: r["waiting_for_files"] for r in seen.structured["roles"]} == {
        "worker": 1,
        "developer": 1,
    }
    assert (
        "Wait for reserved files: 1 developer, 1 worker."
        in team.house.ask("queue.show", {}, who=team.operator).text
    )
    one = team.house.do("zc_queue_stats", team.bob, task_id="b", role="worker")["task"]
    assert (one["state"], one["file_ownership_exclusive"]) == ("queued", ["src/b"])


def test_who_waits_is_not_answered_by_a_task_whose_files_are_held_and_is_once_they_are_free(
    team: Team,
) -> None:
    put(team, "a", "src", role="developer")
    put(team, "b", "src/b")
    (mine,) = claim(team, team.alice)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(claim(team, team.bob, wait=20)))
    waiting.start()
    wait_until(lambda: team.house.app.bell.waiting == 1, "bob to wait")
    assert not got
    team.house.do("zc_fail_task", team.alice, task_id="a", fence=mine["fence"], reason="not mine")
    waiting.join(30)
    assert [each["task_id"] for each in got] == ["b"]


def test_files_that_are_none_are_refused_and_nothing_is_enqueued(team: Team) -> None:
    for files, code in (
        (["../x"], ""),
        (["/etc/passwd"], "files_elsewhere"),
        (["{a,b}"], "pattern_braces"),
    ):
        given = {"task_id": "t", "role": "worker", "payload": {}, "file_ownership_exclusive": files}
        answer = team.house.ask("zc_enqueue_task", given, who=team.boss)
        assert answer.error is not None, files
        assert answer.error.http_status == 400 and answer.error.code.endswith(code)
    assert team.house.do("zc_queue_stats", team.boss)["queued"] == 0


def test_the_ledger_says_which_files_a_task_was_enqueued_with(team: Team) -> None:
    put(team, "t", "src/parser")
    (entry,) = [e for e in team.house.entries(5) if e["operation"] == "zc_enqueue_task"]
    assert entry["arguments"]["file_ownership_exclusive"] == ["src/parser"]
