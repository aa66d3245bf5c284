"""Commands derived from the catalogue: an operation's fields become arguments and options."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from securecontext.boundaries.policy import Standing
from securecontext.cli.answers import answered, confirmed, refuse
from securecontext.pipeline.fields import FilePath, Structure
from securecontext.pipeline.operation import CATALOGUE, Effects, Operation
from securecontext.types.errors import InvalidInput

CONFIRM = "confirm"
BY_HAND = frozenset({"zc_index", "memory.import", "audit.verify"})
"""Operations whose command reads files; see `files` and `audit`."""

SHOWS_FIRST = frozenset({"recover", "integrity.accept"})
"""Operations that without ``--yes`` show what they would do."""
FOR_AGENTS = frozenset({"zc_verify_audit_chain", "token.verify", "zc_batch"})
"""Operations without a command: a person has one that says more (`zc audit verify`, the shell), or what they take is a
secret, which does not belong on a command line."""

Project = Annotated[
    str | None, typer.Option("--project", help="Folder of the project; by default the current one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def derived() -> list[Operation[Any, Any]]:
    """Return the operations that become commands by themselves."""
    return [
        o
        for o in CATALOGUE.values()
        if o.audience is not Standing.HOOK and o.name not in BY_HAND | FOR_AGENTS
    ]


def add_all(root: typer.Typer, group: Callable[[str], typer.Typer]) -> None:
    """Add a command for every derived operation.

    Args:
        root: for commands of one word.
        group: returns the group of a first word, making it at its first use.
    """
    for operation in derived():
        *first, last = operation.command
        where = group(first[0]) if first else root
        where.command(last, help=operation.summary)(command_of(operation))


def command_of(operation: Operation[Any, Any]) -> Callable[..., None]:
    """Return the function that a command runs, with a signature that tells Typer its arguments and options."""
    fields = {n: f for n, f in operation.given.model_fields.items() if n != CONFIRM}
    objects = {n for n, f in fields.items() if any(isinstance(m, Structure) for m in f.metadata)}
    paths = {n for n, f in fields.items() if any(isinstance(m, FilePath) for m in f.metadata)}
    destroys = operation.effects is Effects.DESTROYS or CONFIRM in operation.given.model_fields

    def run(**values: Any) -> None:
        project, as_json = values.pop("project_"), values.pop("json_")
        yes = values.pop("yes_", True)
        given = {
            name: str(Path(value).absolute())
            if name in paths
            else _object(name, value)
            if name in objects
            else value
            for name, value in values.items()
            if value is not None
        }
        if operation.name in SHOWS_FIRST:
            yes = yes or None  # listing is what it does without --yes
        elif destroys:
            confirmed(f"{operation.summary.rstrip('.')} ({_shown(given)})", yes=bool(yes))
        if CONFIRM in operation.given.model_fields:
            given[CONFIRM] = bool(yes)
        answered(operation.name, given, project=project, as_json=as_json)

    parameters = [_parameter(name, field) for name, field in fields.items()]
    parameters.sort(key=lambda p: p.default is not inspect.Parameter.empty)
    parameters.append(_keyword("project_", Project, None))
    parameters.append(_keyword("json_", Json, False))
    if destroys:
        parameters.append(_keyword("yes_", Yes, False))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _object(name: str, text: str) -> Any:
    """Return the JSON value that a person wrote for an object."""
    try:
        return json.loads(text)
    except ValueError:
        refuse(
            InvalidInput("malformed_json", f"The {name} is not JSON.", """Write it as '{"do": "this"}'.""")
        )


def _shown(given: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items())


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = _kind(field.annotation)
    help_text = field.description or ""
    if field.is_required():
        return _keyword(name, Annotated[kind, typer.Argument(help=help_text)], inspect.Parameter.empty)
    if kind == list[str] and name == "queries":  # questions are what a search is about
        return _keyword(name, Annotated[list[str] | None, typer.Argument(help=help_text)], None)
    option = typer.Option("--" + name.replace("_", "-"), help=help_text)
    default = None if field.default is PydanticUndefined or field.default in ({}, []) else field.default
    optional = kind if kind is bool else kind | None
    return _keyword(name, Annotated[optional, option], default)


def _kind(annotation: Any) -> Any:
    """Return what Typer should parse: text, number, flag, or a list of texts."""
    for candidate in (annotation, *get_args(annotation)):
        if candidate in (str, int, float, bool):
            return candidate
        if getattr(candidate, "__origin__", None) is list:
            return list[int] if _kind(get_args(candidate)[0]) is int else list[str]
    nested = [_kind(a) for a in get_args(annotation) if a is not type(None) and get_args(a)]
    return nested[0] if nested else str
