"""The reference monitor: every operation, asked by everybody, is answered as the matrix says, and by nothing else."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import securecontext
from securecontext.boundaries.limits import Gate, Limits
from securecontext.boundaries.policy import (
    GRANTS,
    OPERATOR_ONLY,
    ROLE_GRANTS,
    Permission,
    Policy,
    Role,
    Standing,
)
from securecontext.pipeline.call import Call
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.operation import CATALOGUE
from securecontext.types.errors import Denied
from tests.house_case import AGENT, HOOK, PERSON, in_role, make_house
from tests.identity_case import arguments_of, holder, issue, with_operator

SOURCE = Path(securecontext.__file__).parent
OPERATIONS = sorted(CATALOGUE)
NOT_ALLOWED = {"not_permitted", "operator_locked", "operator_not_set_up"}


def _code(answer):
    return answer.error.code if answer.error is not None else ""


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One house for all tests of this module: what they ask for changes nothing that others rely on."""
    house = make_house(tmp_path_factory.mktemp("monitor"))
    house.remember("kept", "as it was")
    yield house
    house.app.close()


@pytest.fixture(scope="module")
def asking(lasting):
    """Who there is, an operator at a terminal and a token of each role among them, with what each may."""
    house = lasting
    operator = with_operator(house)
    found = {
        "no token": (AGENT, GRANTS[Standing.AGENT]),
        "hook": (HOOK, GRANTS[Standing.HOOK]),
        "person": (PERSON, GRANTS[Standing.PERSON] - OPERATOR_ONLY),
        "operator": (operator, frozenset(Permission)),
        "http": (replace(PERSON, door="http"), GRANTS[Standing.PERSON] - OPERATOR_ONLY),
    }
    for role in Role:
        agent = holder(house, issue(house, operator, f"an-{role}", role))
        found[role] = (agent, ROLE_GRANTS[role])
        found[f"hook of {role}"] = (replace(agent, standing=Standing.HOOK), GRANTS[Standing.HOOK])
    return found


@pytest.fixture(scope="module")
def revoked(lasting, asking):
    """An agent of each role whose token was revoked, and one whose token was never entered."""
    house, operator = lasting, asking["operator"][0]
    found = [holder(house, issue(house, operator, "gone", role)) for role in Role]
    house.do("zc_revoke_token", operator, agent_id="gone")
    return [*found, in_role(Role.ORCHESTRATOR, project=house.project.id)]


@pytest.fixture(scope="module")
def elsewhere(lasting):
    return lasting.fresh_project("elsewhere")


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_open_to_whom_the_matrix_names(lasting, asking, name):
    declared = CATALOGUE[name]
    for label, (who, granted) in asking.items():
        code = _code(lasting.ask(name, arguments_of(declared), who=who))
        assert (code in NOT_ALLOWED) == (declared.permission not in granted), (label, code)


@pytest.mark.parametrize("name", OPERATIONS)
def test_rt_s2_05_a_token_opens_nothing_in_another_project(lasting, asking, elsewhere, name):
    for role in Role:
        answer = lasting.ask(name, arguments_of(CATALOGUE[name]), who=asking[role][0], project=elsewhere)
        assert _code(answer) == "token_of_other_project"


@pytest.mark.parametrize("name", OPERATIONS)
def test_rt_s2_04_a_revoked_token_opens_nothing(lasting, revoked, name):
    for who in revoked:
        assert _code(lasting.ask(name, arguments_of(CATALOGUE[name]), who=who)) == "token_revoked"


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_is_reached_without_the_policy(lasting, name):
    asked: Counter[Permission] = Counter()

    class Nobody(Policy):
        def check(self, principal, permission, resource=""):
            asked[permission] += 1
            raise Denied("nobody", "Nobody may.", "Give up.")

    corridor = Corridor(lasting.app, Nobody(), Gate(Limits()))
    before = _everything(lasting)
    for who in (AGENT, HOOK, PERSON):
        call = Call("call_x", name, arguments_of(CATALOGUE[name]), who, lasting.moment, lasting.project)
        assert _code(corridor.walk(call)) == "nobody"
    assert asked == {CATALOGUE[name].permission: 3}
    assert _everything(lasting) == before, "nothing was done"


def _everything(house):
    tables = (
        "facts", "documents", "chunks", "events", "idempotency", "tokens", "broadcasts", "broadcast_acks",
        "broadcast_attempts", "channel_keys", "reservations",
    )  # fmt: skip
    return [house.sql(f"SELECT * FROM {table}") for table in tables]


def test_only_the_corridor_runs_an_operation():
    """Statically: nobody else calls what an operation declares."""
    steps = {"function", "prepare", "after", "settle"}
    callers = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in steps
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("operation", "declared")
            ):
                callers.add(str(file.relative_to(SOURCE)))
    assert callers == {"pipeline/corridor.py"}


def test_every_walk_of_the_corridor_asks_the_policy_before_it_does_anything():
    """Statically: in `walk`, the policy stands before the one line that does something."""
    tree = ast.parse((SOURCE / "pipeline" / "corridor.py").read_text("utf-8"))
    walk = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "walk")
    calls = [ast.unparse(n.func) for n in ast.walk(walk) if isinstance(n, ast.Call)]
    lines = {ast.unparse(n.func): n.lineno for n in ast.walk(walk) if isinstance(n, ast.Call)}
    assert calls.count("self._do") == calls.count("self._policy.check") == 1
    assert lines["self._still_known"] < lines["self._policy.check"] < lines["self._do"]
