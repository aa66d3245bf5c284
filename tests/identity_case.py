"""What the tests of identity share: an operator at a terminal, session tokens, and arguments for any operation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from securecontext.boundaries.policy import Principal, Role, Standing
from securecontext.pipeline.call import Answer
from securecontext.pipeline.callers import Caller, introduce, principal_of
from securecontext.pipeline.operation import Operation
from tests.house_case import PERSON, House

PHRASE = "correct horse battery staple"
TERMINAL = "tty34816.7.1234"
OPERATOR = replace(PERSON, terminal=TERMINAL)
"""A person at the terminal that `with_operator` unlocks."""


def with_operator(house: House) -> Principal:
    """Set an operator up and unlock a terminal; return who sits there."""
    house.app.operator.init(PHRASE, TERMINAL)
    house.app.operator.unlock(PHRASE, TERMINAL)
    return OPERATOR


def issue(house: House, who: Principal, agent: str = "alice", role: Role = Role.WORKER) -> str:
    """Return a new session token."""
    return str(house.do("zc_issue_token", who, agent_id=agent, role=str(role))["token"])


def holder(house: House, token: str, door: str = "mcp") -> Principal:
    """Return the principal that a session token makes."""
    return principal_of(house.app.credentials.identify(token), door)


def shown(house: House, token: str, **headers: str) -> Caller:
    """Return the caller behind a connection that shows a token."""
    return introduce(house.app, Standing.AGENT, "mcp", 1000, {"token": token, **headers})


def call(house: House, caller: Caller, operation: str, **arguments: Any) -> Answer:
    """Walk a call as a door does."""
    return caller.call(house.app.corridor, operation, arguments)


def arguments_of(declared: Operation[Any, Any]) -> dict[str, Any]:
    """Return the fewest arguments that an operation takes."""
    return _fewest(declared.given.model_json_schema(), {})


def _fewest(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    known = definitions | schema.get("$defs", {})
    return {name: _value(schema["properties"][name], known) for name in schema.get("required", ())}


def _value(field: dict[str, Any], known: dict[str, Any]) -> Any:
    if "$ref" in field:
        return _fewest(known[field["$ref"].rpartition("/")[2]], known)
    if "enum" in field:
        return field["enum"][0]
    if "anyOf" in field:
        return _value(field["anyOf"][0], known)
    match field.get("type"):
        case "string":
            return "x"
        case "integer":
            return field.get("minimum", 1)
        case "boolean":
            return False
        case "array":
            return [_value(field["items"], known)] if field.get("items", {}).keys() & {"type", "$ref"} else []
        case "object":
            return {}
        case kind:
            raise AssertionError(f"no value for {kind}: {field}")
