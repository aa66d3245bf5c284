"""Issuing, listing and revoking session tokens, as an operator and as an orchestrator."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.identity_case import holder, issue, with_operator

from securecontext.boundaries.policy import Permission, Role
from securecontext.boundaries.tokens import TTL_SECONDS
from securecontext.pipeline.operation import CATALOGUE


@pytest.fixture
def operator(house):
    return with_operator(house)


def listed(house, who, **given):
    return [(t["agent"], t["role"], t["state"]) for t in house.do("token.list", who, **given)["tokens"]]


def test_every_example_of_tokens_is_a_call_that_works(house, operator):
    done = 0
    for declared in CATALOGUE.values():
        if declared.permission is Permission.TOKEN_MANAGE and declared.example:
            house.do(declared.name, operator, **declared.example)
            done += 1
    assert done == 2


def test_what_is_issued_is_told_once_and_listed_without_its_secret(house, operator):
    answer = house.ask("zc_issue_token", {"agent_id": "alice", "role": "developer"}, who=operator)
    told = answer.structured
    assert answer.text == told["token"]
    assert (told["agent"], told["role"], told["active"]) == ("alice", "developer", 1)
    house.moment += timedelta(seconds=1)
    boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    issue(house, boss, "dev")
    shown = house.ask("token.list", {}, who=operator)
    assert told["token"] not in shown.text and told["token"].split(".")[1] not in str(shown.structured)
    by = {t["agent"]: t["issued_by"] for t in shown.structured["tokens"]}
    assert by == {
        "alice": "uid:1000/terminal",
        "boss": "uid:1000/terminal",
        "dev": f"agent:boss/{boss.token}",
    }


def test_what_ended_is_listed_on_request(house, operator):
    issue(house, operator, "old")
    house.moment += timedelta(seconds=TTL_SECONDS)
    issue(house, operator, "gone")
    house.do("zc_revoke_token", operator, agent_id="gone")
    issue(house, operator, "here")
    assert listed(house, operator) == [("here", "worker", "active")]
    assert sorted(listed(house, operator, all=True)) == [
        ("gone", "worker", "revoked"), ("here", "worker", "active"), ("old", "worker", "expired"),
    ]  # fmt: skip


def test_one_token_is_revoked_by_its_id(house, operator):
    first, second = (holder(house, issue(house, operator, "alice")) for _ in range(2))
    told = house.do("zc_revoke_token", operator, token_id=first.token)
    assert told == {"revoked": 1, "issued_by_them": 0, "active": 1}
    assert house.refused("zc_status", first) == "token_revoked"
    house.do("zc_status", second)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "name_one"),
        ({"agent_id": "a", "every": True}, "name_one"),
        ({"agent_id": "a", "token_id": "tok_a"}, "name_one"),
        ({"agent_id": "nobody"}, "no_such_token"),
        ({"token_id": "tok_nobody"}, "no_such_token"),
        ({"agent_id": "a b"}, "bad_agent_id"),
    ],
)
def test_what_cannot_be_revoked_is_refused(house, operator, arguments, code):
    issue(house, operator)
    assert house.refused("zc_revoke_token", operator, **arguments) == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"agent_id": "alice", "role": "root"}, "unknown_value"),
        ({"agent_id": "alice", "role": ""}, "unknown_value"),
        ({"agent_id": "", "role": "worker"}, "empty"),
        ({"agent_id": "a/b", "role": "worker"}, "bad_agent_id"),
        ({"agent_id": "x" * 65, "role": "worker"}, "too_long"),
        ({"agent_id": "alice"}, "missing_argument"),
    ],
)
def test_what_cannot_be_issued_is_refused(house, operator, arguments, code):
    assert house.refused("zc_issue_token", operator, **arguments) == code


def test_a_token_needs_a_project(house, operator):
    answer = house.ask("zc_issue_token", {"agent_id": "a", "role": "worker"}, who=operator, project=None)
    assert answer.error is not None and answer.error.code == "no_project"


def test_the_chain_is_verified_for_whoever_holds_a_token(house, operator):
    for role in Role:
        who = holder(house, issue(house, operator, "a", role))
        assert house.do("zc_verify_audit_chain", who)["status"] in ("OK", "UNANCHORED")
    assert house.refused("zc_verify_audit_chain") == "not_permitted"
