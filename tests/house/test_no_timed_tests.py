"""Tests wait for states, not for time: a sleep is either too short on a busy machine or wasted on an idle one."""

from __future__ import annotations

import ast

import pytest

from tests.house.source import imported_as, parsed, resolved

SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"}
ALLOWED = {
    "tests/waiting.py": "the pause between two looks at a state of another process",
}


def sleeps(tree: ast.Module) -> list[int]:
    """Return the lines that sleep. ``sleep(0)`` only lets others run and is free."""
    names = imported_as(tree)
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and resolved(node.func, names) in SLEEPS
        and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]


def test_no_test_sleeps() -> None:
    found = {path: lines for path, tree in parsed("tests") if path not in ALLOWED and (lines := sleeps(tree))}
    assert found == {}, "use tests.waiting.wait_until"


def test_each_exception_still_needs_to_be_one() -> None:
    trees = dict(parsed("tests"))
    assert [path for path in ALLOWED if path not in trees or not sleeps(trees[path])] == []


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(1)",
        "from time import sleep\nsleep(.1)",
        "import asyncio as a\nawait a.sleep(x)",
        "import time as t\nt.sleep(n)",
    ],
)
def test_a_sleep_would_be_noticed(code: str) -> None:
    assert sleeps(ast.parse(code)) == [2]


def test_yielding_is_free() -> None:
    assert sleeps(ast.parse("import asyncio\nawait asyncio.sleep(0)")) == []
