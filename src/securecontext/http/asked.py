"""What a request asks: the arguments of an operation, and whose they are, by whichever names they came."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Scope

from securecontext.http.body import parse_object
from securecontext.http.paths import PROJECT, TOKEN, Path
from securecontext.pipeline.operation import CATALOGUE, Operation
from securecontext.types.errors import InvalidInput

QUERY_FIELDS = 20
OUR_QUERY = "project"
"""The one field of a query that every route takes; see `callers`."""
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks.

    Attributes:
        arguments: for the operation.
        project: folder that a field names; empty where none does.
        agent: notebook that a field names; empty where none does.
        token: session token that a field shows; empty where none does. Never logged, never an argument.
    """

    arguments: dict[str, Any]
    project: str = ""
    agent: str = ""
    token: str = ""


def asked(operation: Operation[Any, Any], path: Path | None, scope: Scope, body: bytes) -> Asked:
    """Return what a request asks.

    Args:
        operation: what it leads to.
        path: the line of `paths` that it came by; None for the operation's route alone.
        scope: the request.
        body: of a POST, whole.

    Raises:
        InvalidInput: the body is no object, the query too long, or something is said twice.
    """
    if path is None:
        return Asked(parse_object(body))
    given = _of_query(operation, path, scope) if path.method == "GET" else parse_object(body)
    project, token = _text(given, PROJECT), _text(given, TOKEN) if path.shows_token else ""
    agent = _text(given, path.claim) if path.claim else ""
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        argument = path.names.get(name, name)
        if argument in arguments:
            raise InvalidInput(
                "repeated_field", f"{argument} is given by two names.", "Give it once.", field=name
            )
        if name not in path.labels:
            arguments[argument] = value
    return Asked(arguments, project, agent, token)


def query_of(scope: Scope) -> dict[str, list[str]]:
    """Return the fields of a request's query; bytes that are no UTF-8 survive as surrogates.

    Raises:
        InvalidInput: it has too many.
    """
    text = scope.get("query_string", b"").decode("ascii", "replace")
    try:
        return parse_qs(text, keep_blank_values=True, errors="surrogateescape", max_num_fields=QUERY_FIELDS)
    except ValueError as error:
        raise InvalidInput(
            "too_many_fields",
            f"The query has more than {QUERY_FIELDS} fields.",
            "Send arguments in the body.",
            limit=QUERY_FIELDS,
        ) from error


def one_of_query(values: list[str], name: str) -> str:
    """Return the value of a field that a query has once.

    Raises:
        InvalidInput: it has it more often.
    """
    if len(values) > 1:
        raise InvalidInput("repeated_query", f"{name} is asked more than once.", "Send it once.", field=name)
    return values[0]


@lru_cache(maxsize=512)
def kind_of(operation: str, argument: str) -> str:
    """Return the JSON type of an argument: ``string`` where there is no such argument, which the corridor refuses."""
    schema: Mapping[str, Any] = (
        CATALOGUE[operation].given.model_json_schema().get("properties", {}).get(argument, {})
    )
    kinds = [schema, *schema.get("anyOf", ())]
    return next((str(each["type"]) for each in kinds if each.get("type", "null") != "null"), "string")


def _of_query(operation: Operation[Any, Any], path: Path, scope: Scope) -> dict[str, Any]:
    """Return the fields of a query, numbers, flags and lists among them as such."""
    given: dict[str, Any] = {}
    for name, values in query_of(scope).items():
        kind = kind_of(operation.name, path.names.get(name, name))
        if kind == "array":
            given[name] = values
        elif name != OUR_QUERY:
            given[name] = _value(one_of_query(values, name), kind)
    return given


def _value(text: str, kind: str) -> Any:
    """Return a text as a value of a JSON type; one that is none stays a text, which the corridor refuses."""
    if kind == "integer" and _NUMBER.fullmatch(text):
        return int(text)
    return _FLAGS.get(text, text) if kind == "boolean" else text


def _text(given: dict[str, Any], name: str) -> str:
    """Take a field out that must be a text."""
    value = given.pop(name, "")
    if not isinstance(value, str):
        raise InvalidInput("wrong_type", f"{name}: it is not a text.", "Send a text.", field=name)
    return value
