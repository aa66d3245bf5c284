"""Attacks on broadcasts and ownership: who speaks, in whose name, with which key, about whose files."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from securecontext.boundaries.policy import Principal, Role, Standing
from securecontext.boundaries.tokens import TTL_SECONDS
from securecontext.hooks import handlers
from securecontext.pipeline.callers import Caller
from securecontext.rendezvous import caller_headers
from securecontext.types.errors import Unauthenticated
from tests.house_case import AGENT, HOOK, PERSON, named
from tests.identity_case import call, holder, issue, shown
from tests.team_case import Team, team, team_now

__all__ = ["team", "team_now"]
KEY = "the channel's own key"
LEADING = ("ASSIGN", "REJECT", "REVISE", "LAUNCH_ROLE", "RETIRE_ROLE")
FIELDS = {"ASSIGN": {"task": "t"}, "LAUNCH_ROLE": {"state": "worker"}, "RETIRE_ROLE": {"state": "worker"}}


def code(team: Team, who: Principal, kind: str = "STATUS", **given) -> str:
    answer = team.house.ask("zc_broadcast", {"type": kind, **FIELDS.get(kind, {}), **given}, who=who)
    return answer.error.code if answer.error else ""


def test_t_r01_an_orchestrator_leads(team: Team) -> None:
    """T_R01: an orchestrator's ASSIGN is allowed."""
    for kind in LEADING:
        assert code(team, team.boss, kind) == ""


def test_t_r02_a_worker_reports(team: Team) -> None:
    """T_R02, T_B02: a developer's STATUS, and a worker's MERGE."""
    for kind in ("STATUS", "PROPOSED", "DEPENDENCY", "MERGE"):
        for who in (team.alice, team.bob):
            assert code(team, who, kind) == ""


def test_t_r03_rt_s2_02_nobody_speaks_or_acknowledges_in_anothers_name(team: Team) -> None:
    """T_R03: a spoofed agent_id; W-27: acknowledgements ignored who it was."""
    said = team.say(team.boss, "STATUS", summary="x")
    for other in ("bob", "boss", "operator", "Alice"):
        assert code(team, team.alice, agent_id=other) == "other_sender"
        assert (
            team.house.refused("zc_ack", team.alice, broadcast_id=said["id"], agent_id=other)
            == "other_sender"
        )
    assert code(team, team.alice, agent_id="alice") == ""
    assert len(team.heard(team.bob)) == 2


@pytest.mark.parametrize(
    "who", [AGENT, named("boss"), HOOK, PERSON, replace(AGENT, standing=Standing.MEMBER)]
)
def test_t_r04_w_19_without_a_token_nobody_speaks_hears_or_owns(team: Team, who: Principal) -> None:
    """T_R04, W-19: a missing token is not a token that nobody checks. W-48: no right comes from a claimed role."""
    for kind in ("STATUS", "ASSIGN", "MERGE"):
        assert code(team, who, kind) in ("not_permitted", "operator_locked")
    assert team.house.refused("zc_ack", who, broadcast_id=1) in ("not_permitted", "operator_locked")
    if who.standing is not Standing.PERSON:
        assert team.house.refused("zc_replay", who) == "not_permitted"
        assert team.house.refused("zc_hand_over", who, files=["x"]) == "not_permitted"


def test_t_r05_an_expired_token_speaks_no_more(team: Team) -> None:
    """T_R05: expired, on a connection that is open."""
    caller = shown(team.house, team.tokens["alice"])
    team.house.moment += timedelta(seconds=TTL_SECONDS + 1)
    answer = call(team.house, caller, "zc_broadcast", type="STATUS")
    assert answer.error is not None and answer.error.code == "token_expired"


def test_t_r06_rt_s2_04_a_revoked_token_speaks_no_more(team: Team) -> None:
    """T_R06."""
    team.house.do("zc_revoke_token", team.boss, agent_id="alice")
    assert code(team, team.alice) == "token_revoked"
    assert team.house.refused("zc_replay", team.alice) == "token_revoked"
    assert team.house.refused("zc_ack", team.alice, broadcast_id=1) == "token_revoked"


def test_t_r07_a_forged_token_opens_no_connection(team: Team) -> None:
    """T_R07: another MAC."""
    token = team.tokens["bob"]
    with pytest.raises(Unauthenticated):
        shown(team.house, token[:-1] + ("0" if token[-1] != "0" else "1"))


def test_t_r08_rt_s2_05_a_token_of_another_project_speaks_in_its_own_alone(team: Team) -> None:
    """T_R08, T_B06."""
    other = team.house.fresh_project("other")
    answer = team.house.ask("zc_broadcast", {"type": "STATUS"}, who=team.alice, project=other)
    assert answer.error is not None and answer.error.code == "token_of_other_project"
    team.say(team.alice, "STATUS", summary="here")
    here, team.house.project = team.house.project, other
    far = holder(team.house, issue(team.house, team.operator, "far", Role.ORCHESTRATOR))
    team.house.do("channel.waive", team.operator)
    assert team.heard(far, unacked_only=False) == []
    assert team.house.refused("zc_explain", far, broadcast_id=1) == "no_such_broadcast"
    team.house.project = here


def test_t_r09_t_r10_a_worker_leads_nobody(team: Team) -> None:
    """T_R09, T_R10: ASSIGN, REJECT and REVISE of a worker; nor does it reserve, launch or retire."""
    for kind in LEADING:
        for who in (team.alice, team.bob):
            assert code(team, who, kind) == "not_permitted"
    assert code(team, team.alice, "STATUS", file_ownership_exclusive=["src"]) == "field_of_other_type"
    assert team.house.do("zc_reservations", team.boss)["reservations"] == []


def test_t_r11_only_the_operator_opts_out_of_the_channels_key(team: Team) -> None:
    """T_R11: the way out works, and it is the operator's, no agent's and no variable's."""
    team.house.do("channel.set", team.operator, key=KEY)
    assert code(team, team.alice) == "channel_key_needed"
    for who in (PERSON, team.boss, team.alice, AGENT):
        for operation in ("channel.waive", "channel.set"):
            assert team.house.refused(operation, who) in ("operator_locked", "not_permitted")
    assert code(team, team.alice) == "channel_key_needed"
    team.house.do("channel.waive", team.operator)
    assert code(team, team.alice) == ""


def test_t_r12_w_20_the_channels_key_is_required_compared_and_replaced_by_the_operator_alone(
    team: Team,
) -> None:
    """T_R12; W-20: a key that nobody compares, and that anybody overwrites."""
    fresh = team.house.fresh_project("fresh")
    team.house.project = fresh
    agent = holder(team.house, issue(team.house, team.operator, "new", Role.WORKER))
    assert code(team, agent) == code(team, agent, channel_key=KEY) == "channel_key_missing"
    team.house.do("channel.set", team.operator, key=KEY)
    assert code(team, agent) == "channel_key_needed"
    assert code(team, agent, channel_key=KEY + "!") == "wrong_channel_key"
    assert code(team, agent, channel_key=KEY) == ""
    made = team.house.do("channel.set", team.operator)["key"]
    assert code(team, agent, channel_key=KEY) == "wrong_channel_key"
    assert code(team, agent, channel_key=made) == ""
    assert code(team, agent, "set_key", channel_key="overwritten by me") == "unknown_value"


def test_the_key_that_a_client_shows_is_compared_and_one_in_the_call_comes_first(team_now: Team) -> None:
    """A variable of the client's spares the agent the key in its calls; it opens nothing that the key does not."""
    house = team_now.house
    house.do("channel.set", team_now.operator, key=KEY)

    def said(headers: dict[str, str], **given: str) -> str:
        caller = shown(house, team_now.tokens["bob"], **headers)
        answer = caller.call(house.app.corridor, "zc_broadcast", {"type": "STATUS", "summary": "s", **given})
        return answer.error.code if answer.error else ""

    environment = {"ZC_SESSION_TOKEN": "zcst", "ZC_CHANNEL_KEY": KEY}
    assert caller_headers(environment)["channel-key"] == KEY and "channel-key" not in caller_headers({})
    assert said({"channel-key": KEY}) == ""
    assert said({}) == "channel_key_needed"
    assert said({"channel-key": KEY + "!"}) == "wrong_channel_key"
    assert said({"channel-key": KEY}, channel_key="another, wrong key") == "wrong_channel_key"
    assert KEY.encode() not in house.bytes_on_disk() and KEY not in repr(
        shown(house, team_now.tokens["bob"], **{"channel-key": KEY})
    )


def test_t_b05_w_22_the_channels_key_lies_nowhere(team: Team) -> None:
    """T_B05: neither in the ledger, nor in an answer that is kept, nor as a digest that could be tested."""
    team.house.do("channel.set", team.operator, key=KEY)
    for wrong in (KEY, "a wrong channel key"):
        team.house.ask(
            "zc_broadcast",
            {"type": "STATUS", "summary": "x", "channel_key": wrong},
            who=team.bob,
            key=f"k {wrong}",
        )
    stored = team.house.bytes_on_disk()
    assert KEY.encode() not in stored and b"a wrong channel key" not in stored
    entries = [e for e in team.house.entries(20) if e["operation"] in ("zc_broadcast", "channel.set")]
    assert len(entries) == 3
    assert all("key" not in json.dumps(list(entry["arguments"])) for entry in entries)


def test_a_table_of_broadcasts_that_was_changed_does_not_change_the_ledger(team: Team) -> None:
    """What was said is in the ledger as keyed digests, whatever becomes of the row."""
    team.say(team.boss, "STATUS", summary="as it was said")
    verdict = team.house.do("audit.verify", PERSON)
    assert verdict["status"] in ("OK", "UNANCHORED")


def test_rt_s3_02_what_is_addressed_to_others_is_not_replayed_as_open(team: Team) -> None:
    """RT-S3-02: one agent's messages are no other's to acknowledge away."""
    said = team.say(team.boss, "ASSIGN", task="for alice", to=["alice"])
    assert team.heard(team.bob) == []
    team.house.do("zc_ack", team.bob, broadcast_id=said["id"])
    assert len(team.heard(team.alice)) == 1


# Ownership at the hook


def hook(
    team: Team, who: Principal | None, tool: str, given: dict[str, object], **more: object
) -> dict[str, str]:
    """What the hook of a session prints before a tool writes; empty where nothing is in the way."""
    if who is None:
        principal = HOOK
    else:
        principal = Principal(who.name, Standing.HOOK, "hook", "claude-1", agent=who.agent, role=who.role,
                              project=who.project, token=who.token)  # fmt: skip
    payload = {"session_id": "s", "cwd": str(team.folder), "tool_name": tool, "tool_input": given, **more}
    answer = handlers.answer(
        team.house.app.corridor, Caller(principal, team.house.project), "pre-write", payload
    )
    assert answer.exit == 0
    if not answer.stdout:
        return {}
    decision: dict[str, str] = json.loads(answer.stdout)["hookSpecificOutput"]
    assert (decision["hookEventName"], decision["permissionDecision"]) == ("PreToolUse", "deny")
    return decision


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        ("Edit", "file_path"),
        ("Write", "file_path"),
        ("MultiEdit", "file_path"),
        ("NotebookEdit", "notebook_path"),
    ],
)
def test_w_28_the_hook_refuses_a_write_to_what_another_agent_holds(
    team_now: Team, tool: str, field: str
) -> None:
    """W-28: ownership was words on one path; here no tool of the client writes past it."""
    team_now.assign("alice", "src")
    given = {field: str(team_now.folder / "src" / "x.ipynb")}
    said = hook(team_now, team_now.bob, tool, given)["permissionDecisionReason"]
    assert "alice" in said and "broadcast:1" in said and "DEPENDENCY" in said
    assert hook(team_now, None, tool, given), "a session without a token is nobody's holder"
    assert not hook(team_now, team_now.alice, tool, given)
    assert not hook(team_now, team_now.bob, tool, {field: str(team_now.folder / "free.py")})
    assert not hook(team_now, team_now.bob, "Bash", {"command": "echo > src/x"}), "this is what it cannot see"


def test_a_claimed_name_is_no_holder(team: Team) -> None:
    team.assign("alice", "src")
    principal = replace(HOOK, claimed_agent="alice")
    answer = team.house.ask("ownership.check", {"files": [str(team.folder / "src/x")]}, who=principal)
    assert answer.error is not None and answer.error.code == "file_held"


def test_a_payload_too_large_to_look_into_is_not_a_way_around(team_now: Team) -> None:
    assert not hook(team_now, team_now.bob, "", {}, unread_bytes=9 << 20)
    team_now.assign("alice", "src")
    assert hook(team_now, team_now.bob, "", {}, unread_bytes=9 << 20)


def test_what_could_not_be_looked_at_is_told_to_the_hook_as_such(team_now: Team) -> None:
    team_now.assign("alice", "src")
    payload = {"tool_name": "Write", "tool_input": {"file_path": "/a\0b"}}
    answer = handlers.answer(
        team_now.house.app.corridor, Caller(HOOK, team_now.house.project), "pre-write", payload
    )
    assert (answer.exit, answer.stdout) == (3, b"") and answer.trouble is not None
