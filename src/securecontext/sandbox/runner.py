"""Carry out a plan: start it, feed it its code, take its output within limits, and end the whole tree."""

from __future__ import annotations

import contextlib
import os
import platform
import selectors
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from securecontext.sandbox import cgroups, seccomp
from securecontext.sandbox import plan as plans
from securecontext.sandbox.limits import FLOOD_BYTES
from securecontext.sandbox.plan import Plan, Rung
from securecontext.sandbox.starting import END_SECONDS, Child, bubblewrap, failed, helper, quietly

MARGIN: Final = 4096
"""Bytes taken beyond what is shown, so that a secret at the edge is recognised before it is cut."""
_CHUNK: Final = 65536

Ended = Literal["exit", "timeout", "output", "cancelled"]


@dataclass(slots=True)
class Stream:
    """What came of one stream.

    Attributes:
        limit: bytes that are kept.
        kept: the first of them.
        total: bytes that came in all.
    """

    limit: int
    kept: bytearray = field(default_factory=bytearray)
    total: int = 0

    def take(self, data: bytes) -> None:
        """Keep what fits, count the rest."""
        self.total += len(data)
        self.kept += data[: max(0, self.limit - len(self.kept))]


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that is over.

    Attributes:
        code: exit code as a shell tells it (128 + signal).
        ended: what ended it.
        out, err: its output.
        wall_ms: from start to end.
        cpu_ms: of processor; None where what runs within is not told (bubblewrap).
    """

    code: int
    ended: Ended
    out: Stream
    err: Stream
    wall_ms: int
    cpu_ms: int | None


class Runner:
    """Runs plans on this machine.

    Args:
        bwrap: bubblewrap's program; None where there is none.
        python: what runs the exec helper.
        groups: where control groups can be made.
        machine: as ``uname -m`` says it.
    """

    def __init__(
        self, bwrap: str | None, python: str, groups: cgroups.Parents, machine: str = platform.machine()
    ) -> None:
        self.bwrap = bwrap
        self.groups = groups
        self._python = python
        self._filters = {own: seccomp.program(machine, shares_files=not own) for own in (True, False)}

    @contextlib.contextmanager
    def scratch(self, rung: Rung) -> Iterator[str]:
        """Hold a temporary folder for a run, where the rung gives it no file system of its own."""
        if rung is Rung.BUBBLEWRAP:
            yield plans.SCRATCH
            return
        folder = Path(tempfile.mkdtemp(prefix="zc-run-")).resolve()
        try:
            (folder / "home").mkdir()
            yield str(folder)
        finally:
            shutil.rmtree(folder, onerror=_opened)

    def run(self, plan: Plan, code: bytes, cancelled: Callable[[], bool] = lambda: False) -> Ran:
        """Carry out a plan and return what came of it, with nothing of it left.

        Args:
            plan: what to run.
            code: given on standard input, which then ends.
            cancelled: asked now and then; ends the run.

        Raises:
            Unavailable: ``sandbox_failed``: it could not be confined, and did not run.
        """
        with contextlib.ExitStack() as stack:
            try:
                group = (
                    stack.enter_context(cgroups.made(self.groups, plan.limits))
                    if self.groups.folders
                    else None
                )
                child = self._started(plan, group, stack)
            except OSError as error:
                raise failed(str(error)) from error
            return _Watch(plan, child, cancelled).until_over(code)

    def _started(self, plan: Plan, group: cgroups.Group | None, stack: contextlib.ExitStack) -> Child:
        program = self._filters[plan.rung is Rung.BUBBLEWRAP]
        if plan.rung is not Rung.BUBBLEWRAP:
            return helper(plan, self._python, program, group, stack)
        if self.bwrap is None or program is None:
            raise failed("bubblewrap or a filter of system calls is missing")
        return bubblewrap(plan, self.bwrap, program, group, stack)


class _Watch:
    """One run from its start to its end."""

    def __init__(self, plan: Plan, child: Child, cancelled: Callable[[], bool]) -> None:
        self._plan = plan
        self._child = child
        self._cancelled = cancelled
        self._begun = time.monotonic()
        limits = plan.limits
        self._streams = (Stream(limits.stdout_bytes + MARGIN), Stream(limits.stderr_bytes + MARGIN))

    def until_over(self, code: bytes) -> Ran:
        """Feed the code, take the output, and end the tree."""
        ended = self._exchange(code)
        if ended == "exit":
            self._child.reaped(END_SECONDS)
        self._child.kill()
        status = self._child.process.returncode
        wall = round((time.monotonic() - self._begun) * 1000)
        return Ran(status if status >= 0 else 128 - status, ended, *self._streams, wall, self._child.cpu_ms)

    def _exchange(self, code: bytes) -> Ended:
        process = self._child.process
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 - for the type checker
        rest = memoryview(code)
        until = self._begun + self._plan.limits.wall_seconds
        with selectors.DefaultSelector() as waiting:
            for stream, kept in zip((process.stdout, process.stderr), self._streams, strict=True):
                os.set_blocking(stream.fileno(), False)
                waiting.register(stream, selectors.EVENT_READ, kept)
            os.set_blocking(process.stdin.fileno(), False)
            waiting.register(process.stdin, selectors.EVENT_WRITE)
            ending = os.pidfd_open(process.pid)
            waiting.register(ending, selectors.EVENT_READ)
            over = False
            try:
                while waiting.get_map():
                    left = until - time.monotonic()
                    if left <= 0:
                        return "timeout"
                    if self._cancelled():
                        return "cancelled"
                    ready = waiting.select(0 if over else min(left, 0.2))
                    if over and not ready:  # it has ended, and nothing more lies in the pipes
                        return "exit"
                    for key, _ in ready:
                        if key.fd == ending:
                            over = True
                            waiting.unregister(ending)
                        elif key.fileobj is process.stdin:
                            rest = self._feed(waiting, rest)
                        else:
                            self._take(waiting, key)
                    if any(stream.total > FLOOD_BYTES for stream in self._streams):
                        return "output"
                return "exit"
            finally:
                os.close(ending)

    def _feed(self, waiting: selectors.BaseSelector, rest: memoryview) -> memoryview:
        stdin = self._child.process.stdin
        assert stdin is not None  # noqa: S101 - for the type checker
        try:
            rest = rest[os.write(stdin.fileno(), rest[:_CHUNK]) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            rest = rest[:0]
        if not rest:
            waiting.unregister(stdin)
            quietly(stdin.close)
        return rest

    def _take(self, waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        try:
            data = os.read(key.fd, _CHUNK)
        except BlockingIOError:
            return
        if data:
            key.data.take(data)
        else:
            waiting.unregister(key.fileobj)


def _opened(remove: Callable[[str], object], path: str, _error: object) -> None:
    """Remove what the run left without a right to remove it."""
    with contextlib.suppress(OSError):
        Path(path).parent.chmod(0o700)
        Path(path).chmod(0o700)
        remove(path)
