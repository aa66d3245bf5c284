"""The OpenAPI document's parts, from the models of the catalogue.

The corridor parses the input, so the routes take the body as it comes and their schemas are put in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from securecontext.http.callers import AGENT, KEY, PROJECT
from securecontext.http.paths import PROJECT as PROJECT_FIELD
from securecontext.http.paths import TOKEN, Path
from securecontext.http.problem import MEDIA_TYPE, TITLES
from securecontext.http.problem import SCHEMA as PROBLEM
from securecontext.pipeline.operation import Operation

_REF = "#/components/schemas/{model}"
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
_TEXT = {"type": "string"}
_HEALTH = {
    "type": "object",
    "required": ["status", "version", "store", "ledger", "search", "embedder"],
    "properties": {
        **dict.fromkeys(
            ("status", "version", "store", "ledger", "search", "embedder", "engine", "signer", "moment"),
            _TEXT,
        ),
        "verified_at": {"type": ["string", "null"]},
    },
}


class Parts:
    """Schemas of the operations, and what each route says of itself.

    Args:
        operations: those with a route.
    """

    def __init__(self, operations: Sequence[Operation[Any, Any]]) -> None:
        wanted: list[Any] = []
        for operation in operations:
            wanted += [(operation.given, "validation"), (operation.output, "serialization")]
        self._of, found = models_json_schema(wanted, ref_template=_REF)
        self._schemas = found.get("$defs", {})

    def route(self, operation: Operation[Any, Any], path: Path | None = None) -> dict[str, Any]:
        """Return what the document says of a route that leads to an operation.

        Args:
            operation: where it leads.
            path: the line of `paths` that it is; None for the operation's route alone.
        """
        done: dict[str, Any] = {
            "type": "object",
            "required": ["ok", "text", "result"],
            "properties": {
                "ok": {"const": True},
                "text": {"type": "string", "description": "the answer for reading"},
                "result": self._of[operation.output, "serialization"],
            },
        }
        if path is not None:
            done["properties"].update({name: {} for name in path.tells})
        parameters = [
            _header(KEY, "a retry with the same key is answered, not done again"),
            _header(AGENT, "agent name; selects its notebook, grants nothing"),
        ]
        if operation.needs_project:
            parameters[:0] = [
                _header(PROJECT, "folder of the project, as an absolute path"),
                {
                    "name": "project",
                    "in": "query",
                    "schema": _TEXT,
                    "description": f"the same, instead of {PROJECT}",
                },
            ]
        said: dict[str, Any] = {
            "parameters": parameters,
            "responses": {
                "200": {"description": "Done", "content": {"application/json": {"schema": done}}},
                **REFUSED,
            },
        }
        if path is not None and path.method == "GET":
            fields, required = self._fields(operation, path)
            parameters += [_query(name, schema, name in required) for name, schema in fields.items()]
        else:
            said["requestBody"] = {
                "required": True,
                "content": {"application/json": self._body(operation, path)},
            }
        return said

    def _body(self, operation: Operation[Any, Any], path: Path | None) -> dict[str, Any]:
        body: dict[str, Any] = {"schema": self._of[operation.given, "validation"]}
        if path is not None:
            fields, required = self._fields(operation, path)
            body["schema"] = {
                "type": "object",
                "properties": fields,
                "required": sorted(required),
                "additionalProperties": False,
            }
        if operation.example:
            body["example"] = operation.example
        return body

    def _fields(self, operation: Operation[Any, Any], path: Path) -> tuple[dict[str, Any], set[str]]:
        """Return the schemas of what a path takes, and what it must be given.

        Of an argument that has two names both are there, at a GET the path's own; neither is one that it must have.
        """
        schema = operation.given.model_json_schema(ref_template=_REF)
        said = schema.get("properties", {})
        found, required = dict(said), set(schema.get("required", ()))
        for name, argument in path.names.items():
            found[name] = {**said.get(argument, {}), "description": f"the same as {argument}"}
            if path.method == "GET":
                found.pop(argument, None)
            if argument in required:
                required.discard(argument)
                required |= {name} if path.method == "GET" else set()
        found[PROJECT_FIELD] = {**_TEXT, "description": f"the same as {PROJECT}"}
        if path.claim:
            found[path.claim] = {**_TEXT, "description": f"the same as {AGENT}"}
        if path.shows_token:
            found[TOKEN] = {**_TEXT, "description": "session token of who speaks"}
        found.update({name: {**_TEXT, "description": "taken, without effect"} for name in path.labels})
        return found, required

    def complete(self, document: dict[str, Any]) -> dict[str, Any]:
        """Put the schemas and the bearer token into a document."""
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update({**self._schemas, "Problem": PROBLEM, "Health": _HEALTH})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        return document


HEALTH_ROUTE: dict[str, Any] = {
    "security": [],
    "responses": {
        code: {
            "description": said,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}},
        }
        for code, said in (("200", "Everything works"), ("503", "Something does not"))
    },
}


REFUSED: dict[str, Any] = {
    str(status): {"description": title, "content": {MEDIA_TYPE: {"schema": _PROBLEM_REF}}}
    for status, title in TITLES.items()
    if status != 405
}
"""Every way in which a route may refuse."""


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": _TEXT, "description": description}


EVENTS_ROUTE: dict[str, Any] = {
    "summary": "Wake an agent for broadcasts to it and tasks of its role.",
    "parameters": [_header("Last-Event-ID", "the broadcast after which a client that comes back goes on")],
    "responses": {
        "200": {
            "description": "Events `broadcast` (`{id}`), `tasks` (`{role}`) and, last, `end` (`{code}`)",
            "content": {"text/event-stream": {"schema": _TEXT}},
        },
        **REFUSED,
    },
}


def _query(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "required": required}
