"""Who may do what: the matrix is complete, and whatever is not in it is refused."""

from dataclasses import replace

import pytest

from securecontext.boundaries.policy import (
    GRANTS,
    OF_ONES_OWN_WORK,
    OPERATOR_ONLY,
    ROLE_GRANTS,
    SHARED_NAMESPACE,
    Permission,
    Policy,
    Principal,
    Role,
    Standing,
    decide,
)
from securecontext.boundaries.sight import Sight, sight_of
from securecontext.pipeline.operation import CATALOGUE, Effects
from securecontext.types.errors import Denied, Unauthenticated
from tests.house_case import AGENT, HOOK, PERSON, in_role, named

MANAGING = {
    Permission.MEMORY_MANAGE,
    Permission.PROJECT_MANAGE,
    Permission.LEDGER_READ,
    Permission.LEDGER_MANAGE,
    Permission.SERVICE_MANAGE,
    Permission.KEYS_MANAGE,
    Permission.TOKEN_MANAGE,
    Permission.SESSION_PURGE_ANY,
    Permission.BACKUP_MAKE,
    Permission.BACKUP_RESTORE,
}
ROLES = [in_role(role) for role in Role]
EVERYBODY = [AGENT, HOOK, PERSON, *ROLES]


class Unlocked:
    """An operator at every terminal but one."""

    def refuse_locked(self, terminal: str) -> None:
        if terminal == "locked":
            raise Denied("operator_locked", "Locked.", "Unlock.")


def granted(who: Principal) -> frozenset[Permission]:
    return ROLE_GRANTS[who.role] if who.role else GRANTS[who.standing]


def test_every_standing_has_a_row():
    assert set(GRANTS) == set(Standing)
    assert set(ROLE_GRANTS) == set(Role)


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("who", EVERYBODY, ids=lambda p: str(p.role or p.standing))
def test_the_matrix_is_the_answer(who, permission):
    decision = decide(who, permission)
    assert decision.allowed == (permission in granted(who))
    assert str(who.role or who.standing) in decision.reason and str(permission) in decision.reason
    policy = Policy(Unlocked())
    if decision.allowed:
        assert policy.check(who, permission) == decision
    else:
        with pytest.raises(Denied) as caught:
            policy.check(who, permission)
        assert caught.value.code == "not_permitted" and caught.value.hint


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("standing", ["", "root", "PERSON", None, 5])
def test_an_unknown_standing_may_nothing(standing, permission):
    with pytest.raises(Denied):
        Policy().check(Principal("uid:0", standing, "mcp", "s"), permission)


@pytest.mark.parametrize("permission", sorted(OPERATOR_ONLY))
def test_a_person_needs_the_operator_for_what_is_the_operators(permission):
    for policy in (Policy(), Policy(Unlocked())):
        with pytest.raises(Denied):
            policy.check(replace(PERSON, terminal="locked"), permission)
    assert Policy(Unlocked()).check(replace(PERSON, terminal="unlocked"), permission).allowed


@pytest.mark.parametrize("role", list(Role))
def test_w_19_a_role_has_no_more_rights_at_an_unlocked_terminal(role):
    who = replace(in_role(role), terminal="unlocked")
    for permission in Permission:
        assert decide(who, permission).allowed == (permission in ROLE_GRANTS[role])


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("role", [None, "", "root", "Orchestrator"])
@pytest.mark.parametrize("standing", [Standing.PERSON, Standing.HOOK])
def test_a_token_of_no_known_role_may_nothing(role, permission, standing):
    with pytest.raises(Denied):
        Policy(Unlocked()).check(replace(in_role(Role.WORKER), role=role, standing=standing), permission)


@pytest.mark.parametrize("role", list(Role))
def test_w_19_a_hook_with_a_token_reports_and_does_nothing_else(role):
    """Not even an orchestrator's hook issues tokens, and no agent reports as hooks do."""
    for permission in Permission:
        hook = decide(replace(in_role(role), standing=Standing.HOOK), permission)
        assert hook.allowed == (permission in GRANTS[Standing.HOOK])
        assert not (decide(in_role(role), permission).allowed and permission is Permission.SESSION_REPORT)


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("who", ROLES, ids=lambda p: str(p.role))
def test_rt_s2_05_a_token_says_nothing_about_another_project(who, permission):
    with pytest.raises(Unauthenticated) as caught:
        Policy(Unlocked()).check(who, permission, "prj_other")
    assert caught.value.code == "token_of_other_project" and caught.value.http_status == 401


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("own", list(Role))
def test_w_20_nobody_hands_on_more_than_there_is(own, role):
    if ROLE_GRANTS[role] - OF_ONES_OWN_WORK <= ROLE_GRANTS[own]:
        Policy().check_issue(in_role(own), role)
        return
    with pytest.raises(Denied) as caught:
        Policy().check_issue(in_role(own), role)
    assert caught.value.code == "role_above_own"


def test_w_20_only_an_orchestrator_issues():
    assert [r for r in Role if Permission.TOKEN_MANAGE in ROLE_GRANTS[r]] == [Role.ORCHESTRATOR]


@pytest.mark.parametrize("who", EVERYBODY, ids=lambda p: str(p.role or p.standing))
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
        (in_role(Role.WORKER), "alice", True),
        (in_role(Role.WORKER), "default", True),
        (in_role(Role.WORKER), "bob", False),
        (in_role(Role.ORCHESTRATOR), "bob", False),
        (replace(in_role(Role.WORKER), claimed_agent="bob"), "bob", False),
    ],
)
def test_w_27_notebooks(who, namespace, allowed):
    if allowed:
        Policy().check_namespace(who, namespace)
        return
    with pytest.raises(Denied) as caught:
        Policy().check_namespace(who, namespace)
    assert caught.value.code == "other_agent"


BETWEEN_SERVICES = {"queue.connected"}
"""What a gateway tells an upstream with an agent's token: shown to nobody, and done with that agent's rights."""


def test_every_operation_asks_for_a_permission_that_its_audience_has():
    agents = GRANTS[Standing.AGENT].union(*ROLE_GRANTS.values())
    for operation in CATALOGUE.values():
        in_agents_name = operation.audience is Standing.AGENT or operation.name in BETWEEN_SERVICES
        asked = agents if in_agents_name else GRANTS[operation.audience]
        assert operation.permission in asked, operation.name


def test_an_operation_that_only_reads_asks_for_no_permission_to_write():
    for operation in CATALOGUE.values():
        if operation.effects is Effects.READS:
            assert not operation.permission.endswith(".write"), operation.name


def test_rt_s3_04_a_text_of_a_class_that_nobody_knows_is_for_nobody():
    for sight in (Sight("uid:1", None, person=True), Sight("uid:1", frozenset({"default"}))):
        assert not sight.sees("secret", "uid:1")
        assert sight.sees("internal", "uid:2") and sight.sees("restricted", "uid:1")
    assert not Sight("uid:1", None).sees("restricted", "uid:2")
    assert not Sight("uid:1", None, person=True, elsewhere=True).sees("confidential", "uid:1")
    assert not Sight("uid:1", frozenset({"default"})).sees_fact("alice", "public", "uid:1")


CLASSES = ("public", "internal", "confidential", "restricted", "unheard of", "")


@pytest.mark.parametrize("classification", CLASSES)
@pytest.mark.parametrize("created_by", ["uid:1000", "agent:bob"])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("person", [False, True])
def test_who_sees_a_text_follows_from_its_class_its_author_and_the_place(
    classification, created_by, elsewhere, person
):
    who = Principal("uid:1000", Standing.PERSON if person else Standing.AGENT, "mcp", "s1")
    sight = sight_of(who, elsewhere=elsewhere)
    wanted = {
        "public": True,
        "internal": True,
        "confidential": not elsewhere,
        "restricted": not elsewhere and (person or created_by == "uid:1000"),
    }.get(classification, False)
    assert sight.sees(classification, created_by) == wanted
    for notebook, open_to_it in ((who.namespace, True), (SHARED_NAMESPACE, True), ("of-another", person)):
        assert sight.sees_fact(notebook, classification, created_by) == (wanted and open_to_it)


SENT = (
    "ASSIGN",
    "STATUS",
    "PROPOSED",
    "DEPENDENCY",
    "MERGE",
    "REJECT",
    "REVISE",
    "LAUNCH_ROLE",
    "RETIRE_ROLE",
)
WORKERS = {"STATUS", "PROPOSED", "DEPENDENCY", "MERGE"}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_sends_what_the_matrix_says(role):
    """The matrix of types of broadcast; a worker's MERGE is a word, and no more."""
    wanted = set(SENT) - {"PROPOSED", "DEPENDENCY"} if role is Role.ORCHESTRATOR else WORKERS
    sent = set()
    for kind in SENT:
        try:
            Policy().check_broadcast(in_role(role), kind, "prj_x")
            sent.add(kind)
        except Denied as error:
            assert error.code == "not_permitted"
    assert sent == wanted


@pytest.mark.parametrize("kind", SENT)
def test_who_has_no_token_broadcasts_nothing_but_the_operator(kind):
    for who in (AGENT, HOOK, named("boss"), PERSON, replace(PERSON, terminal="locked")):
        with pytest.raises(Denied):
            Policy(Unlocked() if who.terminal else None).check_broadcast(who, kind, "prj_x")
    Policy(Unlocked()).check_broadcast(replace(PERSON, terminal="unlocked"), kind, "prj_x")
