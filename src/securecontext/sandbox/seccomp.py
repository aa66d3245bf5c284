"""The filter of system calls, as the kernel's own little programs: what reaches past a sandbox fails.

A list of what is refused, closed upwards: a call that is newer than this list does not exist (ENOSYS). It holds for
programs of the machine's own architecture alone. Format: https://docs.kernel.org/userspace-api/seccomp_filter.html;
numbers: ``asm/unistd.h`` of each architecture.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NEWEST: Final = 462
"""mseal, Linux 6.10: the last call that was looked at here. From 424 on all architectures share their numbers."""

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _MASK, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT = 0, 4
_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_AF_UNIX, _STREAM, _SEQPACKET = 1, 1, 5
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


@dataclass(frozen=True, slots=True)
class Architecture:
    """One processor's numbers.

    Attributes:
        audit: ``AUDIT_ARCH_*``.
        refused: calls that reach past any sandbox.
        shared: calls by which files and objects are changed that a namespace of one's own would hide.
        own: calls that are let through for the caller's own process alone (first argument 0).
        clone, socket, socketpair, ioctl, setpriority: calls that are looked into.
        foreign_from: numbers from here on belong to another calling convention; 0 where there is none.
    """

    audit: int
    refused: tuple[int, ...]
    shared: tuple[int, ...]
    own: tuple[int, ...]
    clone: int
    socket: int
    socketpair: int
    ioctl: int
    setpriority: int
    foreign_from: int = 0


_EVERYWHERE = (
    425, 426, 427,  # io_uring: does what this filter refuses, unseen by it
    428, 429, 430, 431, 432, 433, 442,  # mounts by handles
    438, 440, 448,  # handles, memory and end of other processes
    443, 447,  # quotactl_fd, memfd_secret
)  # fmt: skip
_CLONE3 = 435
_FCHMODAT2 = 452

ARCHITECTURES: Final[dict[str, Architecture]] = {
    "x86_64": Architecture(
        audit=0xC000003E,
        refused=(
            101, 310, 311, 312, 298, 256, 279,  # ptrace, memory of others, kcmp, perf, pages of others
            165, 166, 155, 161, 272, 308, 303, 304,  # mounts, roots, namespaces, files by handle
            167, 168, 169, 163, 179, 153, 103, 135, 170, 171,  # swap, reboot, accounting, log, personality, names
            159, 164, 227, 305, 172, 173, 246, 320, 175, 176, 313,  # clocks, ports, kernels, modules
            248, 249, 250, 321, 323, 300, 301, 251, 180, 212,  # keyrings, bpf, userfaultfd, fanotify, priorities
        ),
        shared=(
            90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280,  # mode, owner, times
            188, 189, 190, 197, 198, 199,  # extended attributes
            29, 30, 31, 67, 64, 65, 66, 220, 68, 69, 70, 71, 240, 241,  # System V and POSIX queues, memory, semaphores
            253, 254, 294,  # inotify
        ),
        own=(302, 203, 144, 142, 314),  # prlimit64, sched_set{affinity,scheduler,param,attr}
        clone=56, socket=41, socketpair=53, ioctl=16, setpriority=141, foreign_from=0x40000000,
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        refused=(
            117, 270, 271, 272, 241, 238, 239,
            40, 39, 41, 51, 97, 268, 264, 265,
            224, 225, 142, 89, 60, 58, 116, 92, 161, 162,
            171, 170, 112, 266, 104, 294, 105, 106, 273,
            217, 218, 219, 280, 282, 262, 263, 30, 42, 18,
        ),
        shared=(
            52, 53, 54, 55, 88,
            5, 6, 7, 14, 15, 16,
            194, 195, 196, 197, 190, 191, 192, 193, 186, 187, 188, 189, 180, 181,
            26, 27,
        ),
        own=(261, 122, 119, 118, 274),
        clone=220, socket=198, socketpair=199, ioctl=29, setpriority=140,
    ),
}  # fmt: skip
"""By the machine's name, as ``uname -m`` says it. The second was never run by us."""


def program(machine: str, *, shares_files: bool) -> bytes | None:
    """Return the filter for a machine: ``struct sock_filter`` after one another; None for a machine we do not know.

    Args:
        machine: as ``uname -m`` says it.
        shares_files: whether the run sees the machine's own files and objects (no namespaces): changing what their
            permissions do not cover is refused then.
    """
    found = ARCHITECTURES.get(machine)
    if found is None:
        return None
    refused = [*found.refused, *_EVERYWHERE]
    if shares_files:
        refused += [*found.shared, _FCHMODAT2]
    out = [_op(_LOAD, _ARCH_AT), *_unless(_EQUAL, found.audit, _KILL), _op(_LOAD, _NUMBER_AT)]
    if found.foreign_from:
        out += _when(_GREATER, found.foreign_from - 1, _ERRNO | errno.EPERM)
    out += _when(_GREATER, NEWEST, _ERRNO | errno.ENOSYS)
    out += _when(
        _EQUAL, _CLONE3, _ERRNO | errno.ENOSYS
    )  # its flags lie where no filter sees; callers fall back
    for number in refused:
        out += _when(_EQUAL, number, _ERRNO | errno.EPERM)
    out += _when(_EQUAL, found.socket, _ERRNO | errno.EACCES)
    out += _within(found.clone, [_argument(0), *_when(_ANY_BIT, _NEW_NAMESPACES, _ERRNO | errno.EPERM)])
    out += _within(
        found.socketpair,
        [
            _argument(0),
            *_unless(_EQUAL, _AF_UNIX, _ERRNO | errno.EACCES),
            _argument(1),
            _op(_MASK, 0xF),
            # Not datagrams: such a pair can send to any path.
            _op(_EQUAL, _STREAM, jump=2),
            *_unless(_EQUAL, _SEQPACKET, _ERRNO | errno.EACCES),
        ],
    )
    typing = [_argument(1), *_when(_EQUAL, _TIOCSTI, _ERRNO | errno.EPERM)]
    out += _within(found.ioctl, [*typing, *_when(_EQUAL, _TIOCLINUX, _ERRNO | errno.EPERM)])
    own = [_argument(0), *_unless(_EQUAL, 0, _ERRNO | errno.EPERM)]
    for number in found.own:
        out += _within(number, own)
    other = [_argument(1), *_unless(_EQUAL, 0, _ERRNO | errno.EPERM)]
    out += _within(found.setpriority, [*own, *other])
    return b"".join([*out, _op(_RETURN, _ALLOW)])


def _op(code: int, value: int, jump: int = 0, other: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump, other, value)


def _when(test: int, value: int, answer: int) -> list[bytes]:
    return [_op(test, value, 0, 1), _op(_RETURN, answer)]


def _unless(test: int, value: int, answer: int) -> list[bytes]:
    return [_op(test, value, 1, 0), _op(_RETURN, answer)]


def _argument(index: int) -> bytes:
    """Load the lower half of an argument; every argument looked at here is an int."""
    return _op(_LOAD, 16 + 8 * index)


def _within(number: int, body: Sequence[bytes]) -> list[bytes]:
    """Do a body for one call, and let that call pass where the body says nothing."""
    return [_op(_EQUAL, number, 0, len(body) + 1), *body, _op(_RETURN, _ALLOW)]
