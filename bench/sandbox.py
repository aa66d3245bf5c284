"""Confined runs against the same command without a sandbox, in the same run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import Figure, median
from bench.floors import milliseconds
from securecontext.sandbox.ladder import Ladder
from securecontext.sandbox.languages import PATH, Interpreter, interpreter
from securecontext.sandbox.limits import Limits
from securecontext.sandbox.plan import plan

ONE_LINER = b"print(sum(range(1000)))"


def measure(times: int) -> list[Figure]:
    """Return the figures of the best rung here."""
    ladder = Ladder(sys.executable)
    rung = ladder.best()
    python = interpreter("python")
    out: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="zc-bench-") as project:
        for name, runs, code in (
            ("true", Interpreter(("/usr/bin/true",)), b""),
            ("Python", python, ONE_LINER),
        ):

            def confined(runs: Interpreter = runs, code: bytes = code) -> None:
                with ladder.runner.scratch(rung) as scratch:
                    made = plan(rung, runs, Path(project).resolve(), Limits(), scratch=scratch)
                    ladder.runner.run(made, code)

            def plain(runs: Interpreter = runs, code: bytes = code) -> None:
                subprocess.run(
                    list(runs.argv), input=code, env={"PATH": PATH}, capture_output=True, check=True
                )

            floor = median(milliseconds(plain, times))
            took = median(milliseconds(confined, times))
            what = (
                f"`{name}` under {rung}, median"
                if name == "true"
                else f"a Python one-liner under {rung}, median"
            )
            target = 20.0 if name == "true" else 2 * floor
            out.append(Figure(what, took, "ms", target, floor, "plain `subprocess.run`"))
    return out
