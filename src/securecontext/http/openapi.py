"""The OpenAPI document's parts, from the models of the catalogue.

The corridor parses the input, so the routes take the body as it comes and their schemas are put in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from securecontext.http.callers import AGENT, KEY, PROJECT
from securecontext.http.problem import MEDIA_TYPE
from securecontext.http.problem import SCHEMA as PROBLEM
from securecontext.pipeline.operation import Operation

_REF = "#/components/schemas/{model}"
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
_TEXT = {"type": "string"}
_HEALTH = {
    "type": "object",
    "required": ["status", "version", "store", "ledger", "search"],
    "properties": dict.fromkeys(("status", "version", "store", "ledger", "search"), _TEXT),
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

    def route(self, operation: Operation[Any, Any]) -> dict[str, Any]:
        """Return what the document says of an operation's route."""
        body: dict[str, Any] = {"schema": self._of[operation.given, "validation"]}
        if operation.example:
            body["example"] = operation.example
        done = {
            "type": "object",
            "required": ["ok", "text", "result"],
            "properties": {
                "ok": {"const": True},
                "text": {"type": "string", "description": "the answer for reading"},
                "result": self._of[operation.output, "serialization"],
            },
        }
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
        return {
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": body}},
            "responses": {
                "200": {"description": "Done", "content": {"application/json": {"schema": done}}},
                "default": {"description": "Refused", "content": {MEDIA_TYPE: {"schema": _PROBLEM_REF}}},
            },
        }

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


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": _TEXT, "description": description}
