"""Who may do what: the matrix is complete, and whatever is not in it is refused."""

from dataclasses import replace

import pytest

from securecontext.boundaries.policy import (
    GRANTS,
    SHARED_NAMESPACE,
    Permission,
    Policy,
    Principal,
    Standing,
    decide,
)
from securecontext.pipeline.operation import CATALOGUE, Effects
from securecontext.types.errors import Denied
from tests.house_case import AGENT, HOOK, PERSON, named

MANAGING = {
    Permission.MEMORY_MANAGE,
    Permission.PROJECT_MANAGE,
    Permission.LEDGER_READ,
    Permission.SERVICE_MANAGE,
    Permission.KEYS_MANAGE,
}


def test_every_standing_has_a_row():
    assert set(GRANTS) == set(Standing)


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("who", [AGENT, HOOK, PERSON], ids=lambda p: str(p.standing))
def test_the_matrix_is_the_answer(who, permission):
    decision = decide(who, permission)
    assert decision.allowed == (permission in GRANTS[who.standing])
    assert str(who.standing) in decision.reason and str(permission) in decision.reason
    if decision.allowed:
        assert Policy().check(who, permission) == decision
    else:
        with pytest.raises(Denied) as caught:
            Policy().check(who, permission)
        assert caught.value.code == "not_permitted" and caught.value.hint


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("standing", ["", "root", "PERSON", None, 5])
def test_an_unknown_standing_may_nothing(standing, permission):
    with pytest.raises(Denied):
        Policy().check(Principal("uid:0", standing, "mcp", "s"), permission)


@pytest.mark.parametrize("who", [AGENT, HOOK, PERSON], ids=lambda p: str(p.standing))
def test_an_unknown_permission_is_granted_to_nobody(who):
    with pytest.raises(Denied):
        Policy().check(who, "everything")  # type: ignore[arg-type]


def test_agents_and_hooks_manage_nothing():
    for standing in (Standing.AGENT, Standing.HOOK):
        assert not MANAGING & GRANTS[standing]
    assert Permission.SESSION_REPORT not in GRANTS[Standing.AGENT]
    assert Permission.MEMORY_WRITE not in GRANTS[Standing.HOOK]


def test_what_a_caller_claims_grants_nothing():
    for agent in ("root", "orchestrator", "person", "system", "default"):
        for permission in MANAGING:
            assert not decide(named(agent), permission).allowed


def test_a_claim_selects_a_notebook_and_never_a_stream():
    assert named("alice").namespace == "alice" and AGENT.namespace == SHARED_NAMESPACE
    assert replace(named("alice"), claimed_agent="").session == named("alice").session


@pytest.mark.parametrize(
    ("who", "namespace", "allowed"),
    [
        (AGENT, "default", True),
        (AGENT, "alice", False),
        (named("alice"), "alice", True),
        (named("alice"), "default", True),
        (named("alice"), "bob", False),
        (named("alice"), "Alice", False),
        (named("alice"), "", False),
        (HOOK, "alice", False),
        (PERSON, "alice", True),
    ],
)
def test_w_27_notebooks(who, namespace, allowed):
    if allowed:
        Policy().check_namespace(who, namespace)
        return
    with pytest.raises(Denied) as caught:
        Policy().check_namespace(who, namespace)
    assert caught.value.code == "other_agent"


def test_every_operation_asks_for_a_permission_that_its_audience_has():
    for operation in CATALOGUE.values():
        assert operation.permission in GRANTS[operation.audience], operation.name


def test_an_operation_that_only_reads_asks_for_no_permission_to_write():
    for operation in CATALOGUE.values():
        if operation.effects is Effects.READS:
            assert not operation.permission.endswith(".write"), operation.name
