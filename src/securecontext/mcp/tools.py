"""The catalogue as MCP tools: names, short descriptions, compact schemas."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import mcp_types as types

from securecontext.boundaries.policy import Principal, Standing, decide
from securecontext.pipeline.operation import CATALOGUE, Effects, Operation

INSTRUCTIONS = (
    "Memory of this project that outlives the session. Start with zc_recall_context. Before you read files or say "
    "that you do not know, ask zc_search. Store each decision with zc_remember (importance 5 for decisions, 4 for "
    "checkpoints, 3 for the rest) and close with zc_summarize_session. Every call is in a ledger that verifies."
)


@cache
def _tools() -> tuple[tuple[Operation[Any, Any], types.Tool], ...]:
    return tuple((o, _tool(o)) for o in CATALOGUE.values() if o.audience is Standing.AGENT)


def listed_tools(principal: Principal) -> list[types.Tool]:
    """Return the tools that an agent may call, in the order of the catalogue."""
    return [tool for declared, tool in _tools() if decide(principal, declared.permission).allowed]


def _tool(declared: Operation[Any, Any]) -> types.Tool:
    return types.Tool(
        name=declared.name,
        description=declared.description,
        input_schema=compact(declared.given.model_json_schema()),
        output_schema=_output_schema(declared),
        annotations=_annotations(declared.effects, open_world=declared.open_world),
        _meta={"anthropic/alwaysLoad": True} if declared.always_load else None,
    )


def _output_schema(declared: Operation[Any, Any]) -> dict[str, Any] | None:
    """Return what an answer looks like, for the tools of every session alone: its context pays for the list."""
    if not declared.always_load:
        return None
    return compact_output(declared.output.model_json_schema())


def _annotations(effects: Effects, *, open_world: bool) -> types.ToolAnnotations:
    """Return the hints that say something: to a tool that only reads, two of them do not apply.

    https://modelcontextprotocol.io/specification/2025-06-18/schema#toolannotations
    """
    if effects is Effects.READS:
        return types.ToolAnnotations(read_only_hint=True, open_world_hint=open_world)
    return types.ToolAnnotations(
        read_only_hint=False,
        destructive_hint=effects is Effects.DESTROYS,
        idempotent_hint=True if effects is Effects.DESTROYS else None,
        open_world_hint=open_world,
    )


def compact(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema without what says nothing to a caller: titles, descriptions of models, empty defaults."""
    out: dict[str, Any] = _compact(schema)
    out.setdefault("type", "object")
    return out


def _says_nothing(name: str, value: Any) -> bool:
    """Say whether a caller can do without a keyword: a title, an empty default, that a text has a character."""
    match name:
        case "title":
            return True
        case "default":
            return value is None or value is False or value == []
        case "minLength":
            return bool(value == 1)
        case _:
            return False


def compact_output(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an answer: names and types, and what is used once stands where it is used.

    Neither defaults nor what is always there: a caller acts on what it gets, and every session pays for the list.
    """
    return compact(_names_and_types(_inlined(schema)))


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which each definition with a single use, outside itself, stands in place of its ``$ref``."""
    written = json.dumps(schema)
    left: dict[str, Any] = {}
    once: dict[str, Any] = {}
    for name, definition in schema.get("$defs", {}).items():
        place = f"#/$defs/{name}"
        alone = written.count(f'"{place}"') == 1 and place not in json.dumps(definition)
        (once if alone else left)[place if alone else name] = definition
    body = {name: value for name, value in schema.items() if name != "$defs"}
    if left:
        body["$defs"] = left

    def put(node: Any) -> Any:
        if isinstance(node, list):
            return [put(item) for item in node]
        if isinstance(node, dict):
            return (
                put(once[node["$ref"]]) if node.get("$ref") in once else {k: put(v) for k, v in node.items()}
            )
        return node

    out: dict[str, Any] = put(body)
    return out


def _names_and_types(node: Any, *, properties: bool = False) -> Any:
    if isinstance(node, list):
        return [_names_and_types(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _names_and_types(value, properties=not properties and name in ("properties", "$defs"))
        for name, value in node.items()
        if properties or name not in ("default", "required")
    }


def _compact(node: Any, *, properties: bool = False) -> Any:
    if isinstance(node, list):
        return [_compact(item) for item in node]
    if not isinstance(node, dict):
        return node
    if properties:
        return {name: _compact(value) for name, value in node.items()}
    out: dict[str, Any] = {}
    for name, value in node.items():
        if _says_nothing(name, value):
            continue
        if name == "description" and ("properties" in node or node.get("type") == "object"):
            continue
        if name == "anyOf":
            kinds = [_compact(v) for v in value if v != {"type": "null"}]
            if len(kinds) == 1 and isinstance(kinds[0], dict):
                out.update(kinds[0])
                continue
        out[name] = _compact(value, properties=name in ("properties", "$defs"))
    return out
