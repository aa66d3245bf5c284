"""What a client is shown of the catalogue: complete, annotated, and within the budget of characters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field
from tests.house_case import AGENT, PERSON, in_role

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext.boundaries.policy import GRANTS, ROLE_GRANTS, Principal, Role, Standing
from securecontext.mcp import tools
from securecontext.pipeline.operation import CATALOGUE, Effects

BUDGET = 8_000
"""Characters of the whole answer to ``tools/list``: a session's context pays for them."""

CORE = {
    "zc_remember", "zc_forget", "zc_recall_context", "zc_summarize_session", "zc_status", "zc_index", "zc_search",
    "zc_search_global", "zc_fetch", "zc_execute", "zc_execute_file", "zc_batch",
}  # fmt: skip


EVERY = 24_000
"""The same for a caller who may call every tool."""


def on_the_wire(who: Principal = AGENT) -> list[dict[str, Any]]:
    return [
        tool.model_dump(by_alias=True, exclude_unset=True, mode="json") for tool in tools.listed_tools(who)
    ]


def test_the_whole_list_fits_into_its_budget() -> None:
    for who, budget in ((AGENT, BUDGET), (in_role(Role.ORCHESTRATOR), EVERY)):
        listed = [
            tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools.listed_tools(who)
        ]
        written = json.dumps({"tools": listed}, ensure_ascii=False, separators=(",", ":"))
        assert len(written) <= budget


def test_every_tool_that_a_caller_may_call_is_listed_once() -> None:
    assert {tool["name"] for tool in on_the_wire()} == CORE
    rows = {AGENT: GRANTS[Standing.AGENT], **{in_role(role): ROLE_GRANTS[role] for role in Role}}
    for who, granted in rows.items():
        names = [tool["name"] for tool in on_the_wire(who)]
        assert len(names) == len(set(names))
        agents = [o for o in CATALOGUE.values() if o.audience is Standing.AGENT]
        assert set(names) == {o.name for o in agents if o.permission in granted}


def test_a_person_at_a_terminal_is_told_of_every_tool() -> None:
    assert {tool["name"] for tool in on_the_wire(PERSON)} == {
        o.name for o in CATALOGUE.values() if o.audience is Standing.AGENT
    }


def test_every_tool_says_what_it_does_takes_and_returns() -> None:
    for tool in on_the_wire(PERSON):
        assert 40 <= len(tool["description"]) <= 400, tool["name"]
        assert tool["inputSchema"]["type"] == "object"
        answer = tool.get("outputSchema") or {}
        assert ("properties" in answer) is CATALOGUE[tool["name"]].always_load, tool["name"]
        assert tool["inputSchema"]["additionalProperties"] is False


def test_every_annotation_is_what_the_operation_declares() -> None:
    for tool in on_the_wire(PERSON):
        hints, effects = tool["annotations"], CATALOGUE[tool["name"]].effects
        assert hints["readOnlyHint"] is (effects is Effects.READS)
        assert hints["openWorldHint"] is CATALOGUE[tool["name"]].open_world is (tool["name"] == "zc_fetch")
        if effects is not Effects.READS:  # what is not said means: destructive, not idempotent
            assert hints["destructiveHint"] is (effects is Effects.DESTROYS)


class Leaf(BaseModel):
    default: str
    number: int = 7


class Branch(BaseModel):
    leaf: Leaf


class Tree(BaseModel):
    """A tree."""

    properties: Leaf
    more: list[Branch] = Field(default=[], description="branches")


def test_an_answer_keeps_its_members_whatever_they_are_called() -> None:
    schema = tools.compact_output(Tree.model_json_schema())
    assert set(schema["properties"]) == {"properties", "more"}
    assert schema["properties"]["more"]["description"] == "branches"
    assert "default" not in schema["properties"]["more"]
    assert "required" not in schema


def test_a_definition_used_once_stands_in_its_place_and_one_used_twice_is_kept() -> None:
    schema = tools.compact_output(Tree.model_json_schema())
    assert set(schema["$defs"]) == {"Leaf"}
    assert schema["$defs"]["Leaf"]["properties"] == {
        "default": {"type": "string"},
        "number": {"type": "integer"},
    }
    leaf = {"$ref": "#/$defs/Leaf"}
    assert schema["properties"]["properties"] == leaf
    assert schema["properties"]["more"]["items"]["properties"] == {"leaf": leaf}


class Node(BaseModel):
    children: list[Node] = []


def test_a_definition_that_uses_itself_is_kept() -> None:
    schema = tools.compact_output(Node.model_json_schema())
    assert schema["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


@pytest.mark.parametrize("kept", ["$schema", "$defs", "additionalProperties"])
def test_an_input_schema_keeps_what_json_schema_means(kept: str) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"A": {"type": "string", "title": "A"}},
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "additionalProperties": False,
    }
    assert kept in tools.compact(schema)


def test_an_input_schema_keeps_its_defaults_because_a_caller_relies_on_them() -> None:
    given = {tool["name"]: tool["inputSchema"]["properties"] for tool in on_the_wire()}
    assert given["zc_remember"]["importance"]["default"] == 3
