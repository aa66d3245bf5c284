"""Tests wait for states, not for time: a sleep is either too short on a busy machine or wasted on an idle one."""

from __future__ import annotations

import ast

import pytest

from tests.house.source import imported_as, parsed, resolved

SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"}
CLOCKS = {
    f"time.{name}{unit}"
    for name in ("monotonic", "perf_counter", "process_time", "thread_time")
    for unit in ("", "_ns")
} | {"threading.Timer", "asyncio.get_running_loop().time", "asyncio.get_event_loop().time"}
"""What tells how long something took, or does something after a while."""
ALLOWED = {
    "tests/waiting.py": "the pause between two looks at a state of another process",
    "tests/fuzz/span.py": "the length of a run that a person asked for; no test asks for one",
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


def clocks(tree: ast.Module) -> list[int]:
    """Return the lines that look at a clock or set one: what is measured so differs on a busy machine."""
    names = imported_as(tree)
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and resolved(node, names) in CLOCKS
    ]


def test_no_test_sleeps() -> None:
    found = {path: lines for path, tree in parsed("tests") if path not in ALLOWED and (lines := sleeps(tree))}
    assert found == {}, "use tests.waiting.wait_until"


def test_no_test_looks_at_a_clock() -> None:
    found = {path: lines for path, tree in parsed("tests") if path not in ALLOWED and (lines := clocks(tree))}
    assert found == {}, "use tests.waiting.wait_until, and bench for speed"


def test_each_exception_still_needs_to_be_one() -> None:
    trees = dict(parsed("tests"))
    assert [
        path for path in ALLOWED if path not in trees or not (sleeps(trees[path]) or clocks(trees[path]))
    ] == []


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


@pytest.mark.parametrize(
    "code",
    [
        "import time\nassert time.monotonic() - started < 1",
        "from time import perf_counter as now\ntook = now() - started",
        "import threading\nthreading.Timer(1.2, done.set).start()",
        "from threading import Timer\nTimer(1, f)",
        "import time as t\nf(clock=t.process_time_ns)",
    ],
)
def test_a_look_at_a_clock_would_be_noticed(code: str) -> None:
    assert clocks(ast.parse(code)) == [2]


def test_a_date_is_no_clock() -> None:
    assert clocks(ast.parse("import time\nname = time.time_ns()")) == []


def test_yielding_is_free() -> None:
    assert sleeps(ast.parse("import asyncio\nawait asyncio.sleep(0)")) == []
