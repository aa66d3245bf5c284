"""The queue through the corridor: what each call answers and enters, who may make it, what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.house_case import AGENT, HOOK, House
from tests.queue_house import Team, team
from tests.waiting import wait_until

from securecontext.boundaries.policy import Role
from securecontext.coordination.leases import LEASE
from securecontext.mcp.tools import listed_tools

__all__ = ["team"]
KEY = "AKIA" + "QWERTYUIOPASDFGH"


def test_a_task_goes_from_hand_to_hand_and_each_step_is_in_the_ledger_once(team: Team) -> None:
    put = team.put("t", payload={"do": "it"}, priority=3)
    assert put == {
        "inserted": True,
        "task_id": "t",
        "role": "worker",
        "state": "queued",
        "differs": False,
        "redacted": [],
    }
    (claimed,) = team.claim()
    assert claimed["payload"] == {"do": "it"} and (claimed["fence"], claimed["attempt"]) == (1, 1)
    assert (claimed["enqueued_by"], claimed["trust"]) == ("agent:boss", "agent")
    held = {"task_id": "t", "fence": 1}
    team.house.do("zc_heartbeat_task", team.agent(), **held, progress="half")
    done = team.house.do("zc_complete_task", team.agent(), **held, result={"n": 1}, artefacts=["src/a.py"])
    assert done == {"task_id": "t", "already": False, "redacted": []}
    told = [(e["operation"], e.get("noted")) for e in reversed(team.house.entries(5))][1:]
    assert told == [
        ("zc_enqueue_task", {"inserted": True}), ("zc_claim_task", {"claimed": [["worker", "t", 1]]}),
        ("zc_heartbeat_task", None), ("zc_complete_task", {"done": True}),
    ]  # fmt: skip
    seen = team.house.do("zc_queue_stats", team.boss, task_id="t", role="worker")["task"]
    assert (seen["state"], seen["progress"], seen["result"], seen["artefacts"]) == (
        "done",
        "half",
        {"n": 1},
        ["src/a.py"],
    )


def test_an_entry_holds_neither_payload_nor_result(team: Team) -> None:
    team.put("t", payload={"do": "quixotic"})
    team.house.do("zc_complete_task", team.agent(), **team.one(), result={"said": "quixotic"})
    bodies = team.house.sql("SELECT body FROM ledger_bodies")
    assert b"quixotic" not in b"".join(row[0] for row in bodies)


def test_a_secret_in_a_payload_a_result_or_a_reason_is_stored_nowhere(team: Team) -> None:
    put = team.put("t", payload={"env": [{"key": KEY}], KEY: 1})
    assert {each["field"] for each in put["redacted"]} == {"payload"}
    held = team.one()
    team.house.do("zc_heartbeat_task", team.agent(), **held, progress=f"with {KEY}")
    team.house.do("zc_fail_task", team.agent(), **held, reason=f"no {KEY}")
    team.house.moment += timedelta(minutes=1)
    team.house.do(
        "zc_complete_task", team.agent(), **team.one(), result={"key": KEY}, artefacts=[f"s3://{KEY}"]
    )
    assert KEY.encode() not in team.house.bytes_on_disk()


def test_what_stands_under_a_name_that_tells_a_secret_is_not_stored(team: Team) -> None:
    put = team.put("t", payload={"login": {"user": "ann", "Password": "tulip"}, "n": 1})
    assert [each["type"] for each in put["redacted"]] == ["sensitive_name"]
    payload = team.claim()[0]["payload"]
    assert (payload["login"]["user"], payload["n"]) == ("ann", 1) and "tulip" not in str(payload)
    assert b"tulip" not in team.house.bytes_on_disk()


def test_names_that_are_one_once_they_are_redacted_are_told_apart(team: Team) -> None:
    team.put("t", payload={KEY: 1, KEY[:-1] + "I": 2})
    assert sorted(team.claim()[0]["payload"].values()) == [1, 2]


def test_a_claim_whose_answer_was_lost_is_answered_again_with_the_same_task(team: Team) -> None:
    team.put("t")
    team.put("u")
    first = team.house.ask("zc_claim_task", {}, who=team.agent(), key="k1")
    again = team.house.ask("zc_claim_task", {"wait": 0}, who=team.agent(), key="k1")
    assert again.error is not None and again.error.code == "idempotency_key_reused"
    again = team.house.ask("zc_claim_task", {}, who=team.agent(), key="k1")
    assert again.structured == first.structured
    assert [each["task_id"] for each in team.claim()] == ["u"]


def test_a_lease_that_was_lost_is_a_conflict_and_an_entry(team: Team) -> None:
    team.put("t")
    held = team.one()
    team.house.moment += LEASE
    bob = team.agent("bob")
    assert team.one(bob)["fence"] == 2
    entry = next(e for e in team.house.entries(3) if e["operation"] == "zc_claim_task")
    assert entry["noted"] == {"reclaimed": [["worker", "t", 1]], "claimed": [["worker", "t", 2]]}
    for operation, more in (
        ("zc_complete_task", {}),
        ("zc_heartbeat_task", {}),
        ("zc_fail_task", {"reason": "r"}),
    ):
        answer = team.house.ask(operation, held | more, who=team.agent())
        assert answer.error is not None
        assert (answer.error.code, answer.error.http_status, answer.error.exit_code) == ("lease_lost", 409, 5)
        assert team.house.entries(1)[0]["outcome"] == "lease_lost"


def test_failing_until_dead_then_listed_and_requeued_by_a_person(team: Team) -> None:
    team.put("t", max_attempts=2)
    first = team.house.do("zc_fail_task", team.agent(), **team.one(), reason="broke")
    assert (first["state"], first["attempts"]) == ("delayed", 1) and first["again_at"]
    assert (team.stats()["delayed"], team.stats()["failed"]) == (1, 1)
    team.house.moment += timedelta(minutes=1)
    last = team.house.do("zc_fail_task", team.agent(), **team.one(), reason="broke again")
    assert (last["state"], last["attempts"]) == ("dead", 2)
    assert (team.stats()["dead"], team.stats()["failed"]) == (1, 0)
    (listed,) = team.house.do("queue.list", team.operator)["tasks"]
    assert (listed["task_id"], listed["reason"]) == ("t", "broke again")
    assert team.house.do("queue.requeue", team.operator, every=True) == {"requeued": 1, "was": "dead"}
    assert team.one()["fence"] == 3
    assert team.house.do("queue.requeue", team.operator, role="worker", task_id="t")["was"] == "claimed"
    assert team.house.refused("queue.requeue", team.operator, role="worker", task_id="t") == "not_requeued"
    assert team.house.refused("queue.requeue", team.operator, role="worker") == "name_one"
    assert team.house.refused("queue.requeue", team.operator) == "name_one"


def test_claiming_in_batches_and_counting(team: Team) -> None:
    for number in range(7):
        team.put(f"t{number}")
    team.put("d", role="developer", depends_on=["worker/t0"])
    assert [each["task_id"] for each in team.claim(count=3)] == ["t0", "t1", "t2"]
    stats = team.stats()
    assert (stats["queued"], stats["claimed"], stats["blocked"]) == (4, 3, 1)
    assert [each["role"] for each in stats["roles"]] == ["developer", "worker"]
    text = team.house.ask("zc_queue_stats", {}, who=team.boss).text
    assert "4 queued" in text and "developer: 1 blocked" in text


def test_an_agent_that_lost_its_context_finds_what_it_holds(team: Team) -> None:
    for task_id in ("t", "u"):
        team.put(task_id)
    team.one(team.agent("bob"))
    team.one()
    (held,) = team.house.do("zc_queue_stats", team.agent())["held"]
    assert (held["task_id"], held["role"], held["fence"]) == ("u", "worker", 1)
    assert "Yours: worker/u fence 1" in team.house.ask("zc_queue_stats", {}, who=team.agent()).text
    assert team.stats()["held"] == []


def test_what_a_purged_session_put_into_tasks_is_nowhere_and_nobody_works_on_it(team: Team) -> None:
    for task_id, word in (("t", "quixotic"), ("u", "zephyr"), ("v", "sphinx")):
        team.put(task_id, payload={"do": word})
    (first,) = (team.house.ask("zc_claim_task", {}, who=team.agent(), key="k").structured["claims"],)[0]
    held = {"task_id": "t", "fence": first["fence"]}
    team.house.do("zc_complete_task", team.agent(), **held, result={"said": "gryphon"})
    second = team.one()
    team.house.do("zc_heartbeat_task", team.agent(), **second, progress="basilisk")
    assert team.house.do("zc_purge_session", team.boss)["tasks"] == 3
    for word in (b"quixotic", b"zephyr", b"sphinx"):
        assert word not in team.house.bytes_on_disk()
    assert (team.stats()["done"], team.stats()["dead"]) == (1, 2)
    assert team.house.refused("zc_complete_task", team.agent(), **second) == "lease_lost"
    assert b"gryphon" in team.house.bytes_on_disk(), "that is the worker's"
    assert team.house.do("zc_purge_session", team.agent())["tasks"] == 1
    for word in (b"gryphon", b"basilisk"):
        assert word not in team.house.bytes_on_disk()


# Who may


def test_w_48_a_role_is_what_the_token_says_and_nothing_else(team: Team) -> None:
    """W-48: nobody works on another role's tasks by naming that role."""
    team.put("t", role="developer")
    team.put("m", role="mutator-design")
    alice, dev = team.agent("alice"), team.agent("dev", Role.DEVELOPER)
    assert team.house.refused("zc_claim_task", alice, role="developer") == "other_role"
    assert team.house.refused("zc_claim_task", team.boss, role="developer") == "other_role"
    assert team.house.refused("zc_claim_task", dev, role="mutator-design") == "other_role"
    assert (
        team.house.refused("zc_complete_task", alice, role="developer", task_id="t", fence=1) == "other_role"
    )
    assert [each["task_id"] for each in team.claim(dev)] == ["t"]
    assert [each["task_id"] for each in team.claim(alice, role="mutator-design")] == ["m"]


def test_w_48_a_caller_without_a_token_has_no_queue(team: Team) -> None:
    """W-48: a single session, whatever it claims to be, and a hook are refused."""
    team.put("t")
    for who in (AGENT, replace(AGENT, claimed_agent="alice"), replace(HOOK)):
        assert team.house.refused("zc_claim_task", who, role="worker") == "not_permitted"
        assert (
            team.house.refused("zc_enqueue_task", who, task_id="x", role="worker", payload={})
            == "not_permitted"
        )
    names = {tool.name for tool in listed_tools(AGENT)}
    assert not any("task" in name or "queue" in name for name in names)


def test_only_an_orchestrator_or_a_person_enqueues(team: Team) -> None:
    for role in (Role.DEVELOPER, Role.MARKETER, Role.RESEARCHER, Role.WORKER):
        who = team.agent(f"a-{role}", role)
        assert (
            team.house.refused("zc_enqueue_task", who, task_id="t", role="worker", payload={})
            == "not_permitted"
        )
        assert team.house.refused("queue.requeue", who, every=True) == "not_permitted"
    given: dict[str, Any] = {"task_id": "t", "role": "worker", "payload": {}}
    assert team.house.do("zc_enqueue_task", team.operator, **given)["inserted"]
    assert team.claim()[0]["trust"] == "person"


def test_w_46_a_token_of_another_project_opens_no_queue_here(team: Team) -> None:
    """W-46: a worker of one project neither claims nor completes in another."""
    team.put("t")
    team.one()
    elsewhere = team.house.fresh_project("elsewhere")
    foreign = replace(team.agent(), project=elsewhere.id)
    for operation, given in (
        ("zc_claim_task", {}),
        ("zc_complete_task", {"task_id": "t", "fence": 1}),
        ("zc_heartbeat_task", {"task_id": "t", "fence": 1}),
    ):
        assert team.house.refused(operation, foreign, **given) == "token_of_other_project"
    there = team.house.ask("zc_claim_task", {}, who=foreign, project=elsewhere)
    assert there.error is None and there.structured["claims"] == []


def test_w_04_one_folder_is_one_queue_however_it_is_spelt(team: Team, house: House) -> None:
    """W-04: through a link, with a slash at its end or a way back in it, a folder leads to the same tasks."""
    folder = house.app.settings.home.parent / "team"
    folder.mkdir()
    (folder.parent / "link").symlink_to(folder)
    spellings = [
        str(folder),
        f"{folder}/",
        f"{folder.parent}/link",
        f"{folder}/../team",
        f"{folder.parent}/./team",
    ]
    given = {"role": "worker", "payload": {}}
    for number, spelling in enumerate(spellings):
        project = house.app.find_project(spelling, "")
        enqueue = {"task_id": f"t{number}"} | given
        assert house.ask("zc_enqueue_task", enqueue, who=team.operator, project=project).error is None
    seen = [
        house.ask(
            "zc_queue_stats", {}, who=team.operator, project=house.app.find_project(spelling, "")
        ).structured
        for spelling in spellings
    ]
    assert {each["queued"] for each in seen} == {len(spellings)}
    assert team.stats()["queued"] == 0, "another folder's queue is another"


# Bad input


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"task_id": "x" * 10_240}, "too_long"),
        ({"task_id": ""}, "empty"),
        ({"task_id": "a b"}, "bad_task_id"),
        ({"task_id": "a/b"}, "bad_task_id"),
        ({"task_id": "../x"}, "bad_task_id"),
        ({"task_id": "\u202ex"}, "bidi_control"),
        ({"role": "x" * 65}, "too_long"),
        ({"role": "a;b"}, "bad_role"),
        ({"payload": {"x": "y" * 10_485_760}}, "too_large"),
        ({"payload": {"x": float("nan")}}, "not_json"),
        ({"payload": "{}"}, "wrong_type"),
        ({"payload": {"x": "a\x00b"}}, "nul_character"),
        ({"payload": {"x": "\ud800"}}, "lone_surrogate"),
        ({"priority": -1}, "out_of_range"),
        ({"priority": 101}, "out_of_range"),
        ({"priority": True}, "wrong_type"),
        ({"max_attempts": 0}, "out_of_range"),
        ({"not_before": "tomorrow"}, "bad_moment"),
        ({"not_before": "2026-03-01T12:00:00"}, "bad_moment"),
        ({"not_before": "0001-01-01T00:00:00+23:59"}, "bad_moment"),
        ({"depends_on": ["t"]}, "dependency_cycle"),
        ({"depends_on": ["worker/"]}, "bad_task_id"),
        ({"depends_on": ["a b/c"]}, "bad_role"),
        ({"depends_on": ["x"] * 51}, "too_many"),
        ({"agent_id": "boss"}, "unknown_argument"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_task_that_cannot_be_is_refused_with_its_reason(
    team: Team, change: dict[str, Any], code: str
) -> None:
    given = {"task_id": "t", "role": "worker", "payload": {}} | change
    assert team.house.refused("zc_enqueue_task", team.boss, **given) == code
    assert team.stats()["queued"] == 0


def test_a_payload_that_is_nested_too_deep_is_refused(team: Team) -> None:
    payload: dict[str, Any] = {}
    for _ in range(100):
        payload = {"x": [payload]}
    given = {"task_id": "t", "role": "worker", "payload": payload}
    assert team.house.refused("zc_enqueue_task", team.boss, **given) == "too_deep"


@pytest.mark.parametrize("fence", [0, -1, 2**53, 2**70, True, "1", 1.0, None])
def test_a_fence_that_is_none_is_refused(team: Team, fence: Any) -> None:
    team.put("t")
    team.one()
    code = team.house.refused("zc_complete_task", team.agent(), task_id="t", fence=fence)
    assert code in ("out_of_range", "wrong_type")


def test_what_was_never_claimed_or_never_was_is_not_completed(team: Team) -> None:
    team.put("t")
    alice = team.agent()
    assert team.house.refused("zc_complete_task", alice, task_id="t", fence=1) == "lease_lost"
    assert team.house.refused("zc_complete_task", alice, task_id="no", fence=1) == "no_such_task"
    assert team.house.refused("zc_queue_stats", alice, task_id="no") == "no_such_task"
    assert team.house.refused("zc_queue_stats", team.operator, task_id="t") == "no_role"
    assert team.house.refused("zc_claim_task", team.operator) == "no_role"


# Waiting


def waiting_claim(team: Team, answers: list[Any], wait: int = 60) -> threading.Thread:
    who = team.agent()
    team.house.app.store(team.house.project.id)
    thread = threading.Thread(
        target=lambda: answers.append(team.house.ask("zc_claim_task", {"wait": wait}, who=who))
    )
    thread.start()
    wait_until(lambda: team.house.app.bell.waiting == 1, "the claim to wait")
    return thread


def test_a_claim_that_waits_is_woken_by_what_is_enqueued(team: Team) -> None:
    answers: list[Any] = []
    thread = waiting_claim(team, answers)
    team.put("t")
    thread.join(60)
    assert [each["task_id"] for each in answers[0].structured["claims"]] == ["t"]
    assert team.house.app.bell.waiting == 0


def test_a_claim_that_waits_is_answered_when_the_service_ends(team: Team) -> None:
    answers: list[Any] = []
    thread = waiting_claim(team, answers)
    team.house.app.bell.close()
    thread.join(60)
    assert answers[0].error is None and answers[0].structured["claims"] == []


def test_a_claim_whose_session_ends_while_it_waits_takes_nothing(team: Team) -> None:
    answers: list[Any] = []
    here = team.house.app.presence.here(team.agent())
    here.__enter__()
    thread = waiting_claim(team, answers)
    here.__exit__(None, None, None)
    team.put("t")
    thread.join(60)
    assert answers[0].error.code == "caller_gone"
    assert team.stats()["queued"] == 1


def test_a_token_that_is_revoked_while_its_claim_waits_claims_nothing(team: Team) -> None:
    answers: list[Any] = []
    thread = waiting_claim(team, answers)
    team.house.do("zc_revoke_token", team.operator, agent_id="alice")
    team.put("t")
    thread.join(60)
    assert answers[0].error.code == "token_revoked"
    assert team.stats()["queued"] == 1


# By itself


def test_w_45_the_service_renews_who_is_connected_and_offers_again_who_is_not(team: Team) -> None:
    """W-45: leases are looked after by the service, and what it takes from an agent is an entry."""
    for task_id in ("t", "u"):
        team.put(task_id)
    bob = team.agent("bob")
    team.one()
    team.one(bob)
    with team.house.app.presence.here(team.agent()):
        for _ in range(4):
            team.house.moment += LEASE / 2
            team.house.app.queue.turn()
    (held,) = team.house.do("queue.list", team.operator, state="claimed")["tasks"]
    assert (held["task_id"], held["claimed_by"]) == ("t", "agent:alice")
    assert held["progress_at"] < held["due_at"]
    entry = next(e for e in team.house.entries(5) if e["operation"] == "queue.settle")
    assert (entry["stream"], entry["noted"]) == ("system/queue", {"reclaimed": [["worker", "u", 1]]})


def test_an_agent_whose_token_is_revoked_keeps_no_task_by_staying_connected(team: Team) -> None:
    team.put("t")
    team.one()
    with team.house.app.presence.here(team.agent()):
        team.house.do("zc_revoke_token", team.operator, agent_id="alice")
        for _ in range(2):
            team.house.moment += LEASE / 2
            team.house.app.queue.turn()
    assert team.stats()["queued"] == 1


def test_a_turn_over_a_queue_where_nothing_is_due_writes_nothing(team: Team) -> None:
    team.put("t")
    before = team.house.sql("SELECT count(*) FROM ledger_entries")
    team.house.app.queue.turn()
    assert team.house.sql("SELECT count(*) FROM ledger_entries") == before


def test_a_person_sees_whose_agent_does_not_get_on(team: Team) -> None:
    team.put("t")
    held = team.one()
    team.house.do("zc_heartbeat_task", team.agent(), **held, progress="stuck\nhere")
    team.house.moment += timedelta(seconds=50)
    text = team.house.ask("queue.list", {"state": "claimed"}, who=team.operator).text
    assert "agent:alice, progress 51 s ago" in text and "stuck here" in text


def test_a_project_whose_tasks_are_open_is_not_merged_away(team: Team, house: House) -> None:
    team.put("t")
    target = house.fresh_project("target")
    given = {"source": house.project.id, "target": target.id}
    assert house.refused("project.merge", team.operator, **given) == "tasks_open"
    house.do("zc_complete_task", team.agent(), **team.one())
    house.do("project.merge", team.operator, **given)
    for table in ("tasks", "task_needs", "task_results"):
        assert house.sql(f"SELECT * FROM {table}") == []
