"""Confine a command by Landlock, seccomp and limits, and end everything that it leaves: one file, run as a program.

Run as ``python -I -S confine.py CONTROL STATUS`` with two descriptors: the first brings one line of JSON (the order),
and its end means "kill"; on the second a confinement that could not be made is told, and nothing else ever. Standard
library alone; no thread but its own, so that what happens between fork and exec is safe.

The order: ``{"argv", "environment", "folder", "rlimits", "landlock": [[path, writable]…] or null, "seccomp": base64}``.

This process is the subreaper of all that descends from the command: whatever changes its session or loses its parent
becomes this one's child. The command cannot reach it: signals do not leave its Landlock domain.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from typing import Any

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER, PR_SET_SECCOMP = 1, 38, 36, 22
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ABI_NEEDED = 6
"""From here on abstract sockets and signals stay within a domain (Linux 6.12)."""
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_SPECIAL = (1 << 6) | (1 << 9) | (1 << 11)  # devices and sockets
TRUNCATE, IOCTL = 1 << 14, 1 << 15
EVERYTHING = (1 << 16) - 1
READ = EXECUTE | READ_FILE | READ_DIR
WRITE = EVERYTHING & ~(MAKE_SPECIAL | IOCTL)
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
TCP = 3
SCOPES = 3

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """Return what a call returned, or raise what it said."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def syscall(number: int, *arguments: object) -> int:
    """Make a system call by its number."""
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, first: int, second: Any = 0) -> None:
    """Set something of this process."""
    zero = ctypes.c_ulong(0)
    check(libc.prctl(option, ctypes.c_ulong(first), second or zero, zero, zero), f"prctl {option}")


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel speaks; 0 for none."""
    return max(0, syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def restrict_files(allowed: list[tuple[str, bool]]) -> None:
    """Let this process and its descendants see nothing but these paths, open no TCP, and signal nobody else."""
    if landlock_abi() < ABI_NEEDED:
        raise OSError(f"Landlock {landlock_abi()}, and {ABI_NEEDED} is needed")
    handled = struct.pack("=QQQ", EVERYTHING, TCP, SCOPES)
    rules = check(
        syscall(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint(0)), "landlock ruleset"
    )
    for path, writable in allowed:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        access = READ | (WRITE if writable else 0)
        if not os.path.isdir(path):
            access &= OF_FILES
        rule = struct.pack("=Qi", access, at)
        check(
            syscall(ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint(0)), f"rule of {path}"
        )
        os.close(at)
    check(syscall(RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint(0)), "landlock")
    os.close(rules)


def filter_calls(program: bytes) -> None:
    """Put the filter of system calls on this process and its descendants."""
    kept = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("first", ctypes.c_void_p))

    wanted = Program(len(program) // 8, ctypes.addressof(kept))
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(wanted))


def become(order: dict[str, Any], parent: int) -> None:
    """Turn this process into the command; returns only by raising."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OSError("the supervisor is gone")
    os.chdir(order["folder"])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if order["landlock"] is not None:
        restrict_files([(path, bool(writable)) for path, writable in order["landlock"]])
    for name, value in order["rlimits"].items():
        kind = getattr(resource, name)
        most = resource.getrlimit(kind)[1]
        wanted = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (wanted, wanted))
    if order["seccomp"]:
        filter_calls(base64.b64decode(order["seccomp"]))
    os.execve(order["argv"][0], order["argv"], order["environment"])  # noqa: S606 - the command, confined


def descendants(root: int) -> list[int]:
    """Return every process that descends from one, as /proc tells it now."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        new = children.get(todo.pop(), [])
        found += new
        todo += new
    return found


def end_all() -> None:
    """End every descendant: stop them first, so that none starts another meanwhile; reap what becomes ours."""
    me = os.getpid()
    while True:
        seen: set[int] = set()
        while new := set(descendants(me)) - seen:
            for pid in new:
                send(pid, signal.SIGSTOP)
            seen |= new
        for pid in seen:
            send(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def tasks_of(user: int) -> int:
    """Return how many processes and threads a user has now: the kernel counts them all against one limit."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def send(pid: int, what: int) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def supervise(child: int, control: int) -> int:
    """Wait until the command ends or the word comes to kill it; return its exit code, as a shell would."""
    waking, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    code = 137
    while True:
        done = ended = False
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == child:
                    status = os.waitstatus_to_exitcode(found[1])
                    code, done = (status if status >= 0 else 128 - status), True
        except ChildProcessError:
            ended = True
        if done or ended:
            break
        if control in select.select([control, waking], [], [])[0]:
            break
        os.read(waking, 4096)
    end_all()
    return code


def main() -> int:
    """Carry out the order on the control descriptor."""
    control, status = int(sys.argv[1]), int(sys.argv[2])
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(control, 65536)
        if not part:
            return 137
        line += part
    order = json.loads(line)
    os.set_inheritable(control, False)
    os.set_inheritable(status, False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    order["rlimits"]["RLIMIT_NPROC"] += tasks_of(os.getuid())
    me = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            become(order, me)
        except Exception as error:
            os.write(status, str(error).encode()[:1000])
        os._exit(127)
    os.close(status)
    # What stays open here would keep the output from ending.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    return supervise(child, control)


if __name__ == "__main__":
    sys.exit(main())
