"""Reading the repository's own files as syntax trees, for the rules of the house."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def parsed(folder: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each Python file under a folder of the repository: its path from the top, and its tree."""
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        yield path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for a name or a chain of attributes, with ``?`` for what is neither."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
        case ast.Call(func=function):
            return f"{dotted(function)}()"
        case _:
            return "?"


def imported_as(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: ``{"s": "time.sleep"}`` after ``from time import sleep as s``."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def resolved(node: ast.expr, names: dict[str, str]) -> str:
    """Return `dotted` with the first part replaced by what was imported under that name."""
    first, dot, rest = dotted(node).partition(".")
    return names.get(first, first) + dot + rest
