"""Runs of this service: each under the best rung, with a place among those that go on at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from securecontext.sandbox import plan as plans
from securecontext.sandbox.ladder import Ladder
from securecontext.sandbox.languages import Language, interpreter
from securecontext.sandbox.limits import RUNS_AT_ONCE, TURN_SECONDS, Limits
from securecontext.sandbox.output import Shown, shown
from securecontext.sandbox.plan import Plan, Rung
from securecontext.sandbox.runner import Ended
from securecontext.types.errors import LimitReached


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run.

    Attributes:
        language: what it is written in.
        code: the program.
        project: real path of the project's top.
        limits: what it may use.
        write: real paths within the project that it may write to.
    """

    language: Language
    code: str
    project: Path
    limits: Limits
    write: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        rung: how it was isolated.
        code: exit code as a shell tells it.
        ended: what ended it.
        out, err: its output.
        wall_ms: from start to end.
        cpu_ms: of processor; None where the rung does not tell.
    """

    rung: Rung
    code: int
    ended: Ended
    out: Shown
    err: Shown
    wall_ms: int
    cpu_ms: int | None


class Executor:
    """Runs code. Safe to share by threads.

    Args:
        ladder: the rungs of this machine.
        home: the user's home folder.
        data: the data folder.
        at_once: runs that go on beside each other.
    """

    def __init__(self, ladder: Ladder, home: Path, data: Path, at_once: int = RUNS_AT_ONCE) -> None:
        self.ladder = ladder
        self._home = home.resolve()
        self._data = data.resolve()
        self._turns = threading.BoundedSemaphore(at_once)
        self._closed = threading.Event()

    def explain(self, request: Request) -> str:
        """Return what a run would be, without running it.

        Raises:
            Unavailable, Denied: it would be refused.
        """
        return plans.explain(self._plan(request, self.ladder.best(), "/tmp/zc-run-…"))  # noqa: S108 - for reading

    def run(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Outcome:
        """Run code to its end.

        Raises:
            Unavailable: no rung holds, no interpreter is there, or it could not be confined.
            Denied: ``project_too_wide``.
            LimitReached: ``too_many_runs``.
        """
        rung = self.ladder.best()
        runner = self.ladder.runner
        with self._turn(), runner.scratch(rung) as scratch:
            plan = self._plan(request, rung, plans.SCRATCH if rung is Rung.BUBBLEWRAP else scratch)
            ran = runner.run(plan, request.code.encode(), lambda: self._closed.is_set() or cancelled())
        limits = request.limits
        return Outcome(
            rung,
            ran.code,
            ran.ended,
            shown(ran.out, limits.stdout_bytes),
            shown(ran.err, limits.stderr_bytes),
            ran.wall_ms,
            ran.cpu_ms,
        )

    def close(self) -> None:
        """End every run: the service ends."""
        self._closed.set()

    def _plan(self, request: Request, rung: Rung, scratch: str) -> Plan:
        plans.refuse_wide(request.project, self._home, self._data)
        return plans.plan(
            rung,
            interpreter(request.language),
            request.project,
            request.limits,
            write=request.write,
            scratch=scratch,
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=TURN_SECONDS):
            raise LimitReached(
                "too_many_runs",
                "Too many runs go on; this one waited for its turn in vain.",
                "Try again when they are done.",
            )
        try:
            yield
        finally:
            self._turns.release()
