"""Start the outer process of a plan, confined before its command begins, and end whatever descends from it.

What is started here never runs a line of ours between fork and exec: bubblewrap and the exec helper are programs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from securecontext.sandbox import cgroups
from securecontext.sandbox import plan as plans
from securecontext.sandbox.plan import DEVICES, Plan, Rung
from securecontext.types.errors import Unavailable

CONFINE: Final = Path(__file__).with_name("confine.py")
END_SECONDS: Final = 10.0
"""So long the end of a killed tree is waited for."""


class Descriptor:
    """One descriptor, closed once: a number that was closed may be another thread's by then."""

    def __init__(self, number: int, stack: contextlib.ExitStack) -> None:
        self.number = number
        stack.callback(self.close)

    def close(self) -> None:
        """Close it, unless that was done."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)


def _pipe(stack: contextlib.ExitStack) -> tuple[Descriptor, Descriptor]:
    reading, writing = os.pipe()
    return Descriptor(reading, stack), Descriptor(writing, stack)


class Child:
    """The outer process of a run, and how its tree is ended.

    Attributes:
        process: it.
        inner: handle of the first process within, under bubblewrap.
        cpu_ms: of processor of all that ran; None where that is not told.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stack: contextlib.ExitStack,
        control: Descriptor | None = None,
    ) -> None:
        self.process = process
        self.inner: Descriptor | None = None
        self.cpu_ms: int | None = None
        self._control = control
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stack.callback(quietly, stream.close)
        stack.callback(self.kill)

    def kill(self) -> None:
        """End the whole tree, and wait until it is gone."""
        if self.process.returncode is not None:
            return
        if self._control is not None:
            self._control.close()  # the helper ends the tree, then itself
            if self.reaped(END_SECONDS):
                return
        if self.inner is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.inner.number, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.reaped(None)

    def reaped(self, seconds: float | None) -> bool:
        """Wait for the outer process, at most so long; say whether it has ended."""
        until = None if seconds is None else time.monotonic() + seconds
        while self.process.returncode is None:
            pid, status, used = os.wait4(self.process.pid, os.WNOHANG if until is not None else 0)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                if self._control is not None:  # the helper has waited for all that ran; bubblewrap has not
                    self.cpu_ms = round((used.ru_utime + used.ru_stime) * 1000)
            elif until is not None and time.monotonic() >= until:
                return False
            else:
                time.sleep(0.001)
        return True

    def first_words(self) -> str:
        """Return what it said when it could not start."""
        self.kill()
        assert self.process.stderr is not None  # noqa: S101 - for the type checker
        return self.process.stderr.read(1000).decode("utf-8", "replace").strip() or "it said nothing"


def bubblewrap(
    plan: Plan, bwrap: str, program: bytes, group: cgroups.Group | None, stack: contextlib.ExitStack
) -> Child:
    """Start bubblewrap, set the limits on its first process within, and let that go on.

    Args:
        plan: what to run.
        bwrap: the program.
        program: the filter of system calls.
        group: which the run is put into.
        stack: closes and ends what is opened and started.

    Raises:
        OSError, Unavailable: nothing has run.
    """
    filters = Descriptor(os.memfd_create("seccomp"), stack)
    info, info_write = _pipe(stack)
    block_read, block = _pipe(stack)
    os.write(filters.number, program)
    os.lseek(filters.number, 0, os.SEEK_SET)
    passed = (filters.number, info_write.number, block_read.number)
    child = Child(_popen(plans.command(plan, bwrap, *passed), plan, passed), stack)
    for each in (filters, info_write, block_read):
        each.close()
    first = _told(info.number)
    if first is None:
        raise failed(child.first_words())
    child.inner = Descriptor(os.pidfd_open(first), stack)
    for name, value in plan.rlimits.items():
        resource.prlimit(first, getattr(resource, name), (value, value))
    if group is not None:
        group.take(first)
    os.write(block.number, b"\n")
    return child


def helper(
    plan: Plan, python: str, program: bytes | None, group: cgroups.Group | None, stack: contextlib.ExitStack
) -> Child:
    """Start the exec helper, which confines and supervises the command.

    Args:
        plan: what to run.
        python: what runs the helper.
        program: the filter of system calls.
        group: which the run is put into.
        stack: closes and ends what is opened and started.

    Raises:
        OSError, Unavailable: nothing has run.
    """
    confined = plan.rung is Rung.LANDLOCK
    if confined and program is None:
        raise failed("no filter of system calls is known for this machine")
    control_read, control = _pipe(stack)
    status, status_write = _pipe(stack)
    seen = [[m.path, m.writable] for m in plan.mounts if not m.target]
    seen.append([plan.environment["TMPDIR"], True])
    seen += [
        [path, path in ("/dev/null", "/dev/zero", "/dev/full")] for path in DEVICES if Path(path).exists()
    ]
    order = {
        "argv": plan.argv,
        "environment": plan.environment,
        "folder": plan.folder,
        "rlimits": plan.rlimits,
        "landlock": seen if confined else None,
        "seccomp": base64.b64encode(program or b"").decode() if confined else "",
    }
    passed = (control_read.number, status_write.number)
    child = Child(_popen([python, "-I", "-S", str(CONFINE), *map(str, passed)], plan, passed), stack, control)
    control_read.close()
    status_write.close()
    if group is not None:
        group.take(child.process.pid)
    os.write(control.number, json.dumps(order).encode() + b"\n")
    told = os.read(status.number, 1000)
    if told:
        raise failed(told.decode("utf-8", "replace"))
    return child


def _popen(words: list[str], plan: Plan, passed: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the command line is built here, from a plan
        words,
        env=plan.environment,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=passed,
        bufsize=0,
        start_new_session=True,
    )


def failed(why: str) -> Unavailable:
    """Return the refusal of a run that could not be confined."""
    return Unavailable(
        "sandbox_failed",
        f"The code could not be confined, and did not run: {' '.join(why.split())[:300]}.",
        "Run `zc doctor`: it says what this machine lacks.",
    )


def _told(descriptor: int) -> int | None:
    """Return the first process within, as bubblewrap tells it; None where it ended instead."""
    text = b""
    while not text.rstrip().endswith(b"}"):
        part = os.read(descriptor, 4096)
        if not part:
            return None
        text += part
    return int(json.loads(text)["child-pid"])


def quietly(close: Callable[[], None]) -> None:
    """Close what may be closed or broken already."""
    with contextlib.suppress(OSError):
        close()
