"""W-50: an import inside a function runs late, so that a name that is not there would fail late, or be swallowed."""

from __future__ import annotations

import ast
import importlib

import pytest

from tests.house.source import parsed


def inner_imports(tree: ast.Module, package: str) -> list[tuple[int, str, str]]:
    """Return the imports inside function bodies: line, module, and the name that is taken out of it or nothing."""
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found |= {(node.lineno, alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                module = ".".join([*above, *([node.module] if node.module else [])])
                found |= {(node.lineno, module, alias.name) for alias in node.names}
    return sorted(found)


def missing(module: str, name: str) -> str:
    """Return why an import would fail; empty where it works."""
    try:
        found = importlib.import_module(module)
        if name and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
    except ImportError as error:
        return str(error)
    return ""


def test_w_50_every_import_inside_a_function_of_ours_really_imports() -> None:
    trouble, seen = [], 0
    for path, tree in parsed("src"):
        package = path.removeprefix("src/").rpartition("/")[0].replace("/", ".")
        for line, module, name in inner_imports(tree, package):
            seen += 1
            if why := missing(module, name):
                trouble.append(f"{path}:{line}: {why}")
    assert trouble == []
    assert seen, "there are such imports"


def test_w_50_so_do_those_of_the_plugin() -> None:
    for path, tree in parsed("plugin"):
        assert [m for _, m, n in inner_imports(tree, "") if missing(m, n)] == [], path


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f():\n    import no_such", (2, "no_such", "")),
        ("async def f():\n    from securecontext.app import NoSuch", (2, "securecontext.app", "NoSuch")),
        ("class C:\n    def f(self):\n        from . import nowhere", (3, "securecontext.http", "nowhere")),
        ("def f():\n    if 1:\n        from ..types import nowhere", (3, "securecontext.types", "nowhere")),
    ],
)
def test_one_that_does_not_would_be_noticed(code: str, found: tuple[int, str, str]) -> None:
    assert inner_imports(ast.parse(code), "securecontext.http") == [found]
    assert missing(found[1], found[2])
