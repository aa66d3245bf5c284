"""What a run will be, decided before anything is done: mounts, limits, environment and command. Pure but for looks.

What is not in a plan is not there: the run sees the system's programs, the project, a home and a temporary folder of
its own, and nothing else of the machine. `zc execute --explain` prints a plan as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from securecontext.sandbox.languages import PATH, Interpreter
from securecontext.sandbox.limits import Limits
from securecontext.types.errors import Denied


class Rung(StrEnum):
    """How well a run is isolated, best first."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    ENVIRONMENT = "environment"
    """Nothing but an environment of its own and limits: the operator's explicit choice."""


SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC: Final = (
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
    "/etc/mime.types", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf",
)  # fmt: skip
"""What programs need of /etc and everybody may read: how programs are found, what time it is. No names, no keys."""
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SCRATCH: Final = "/tmp"  # noqa: S108 - a file system of the run's own
HOME: Final = "/tmp/home"  # noqa: S108
RESERVED_BYTES: Final = 256 << 30
"""Address space for engines that reserve more than they use."""
STEERING: Final = frozenset({".git", ".claude", ".mcp.json", ".github", ".husky", ".vscode", ".idea", ".zc"})
"""What makes other programs run something later: never writable, whatever a profile says."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A part of the file system that a run sees, at its own place.

    Attributes:
        path: absolute, of a file or folder.
        writable: else read-only.
        target: what a link there says, where the path is one of the system's own; empty for what is no link.
    """

    path: str
    writable: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        rung: how it is isolated.
        argv: the command within.
        folder: where it starts: the project.
        mounts: what it sees.
        environment: all of it.
        limits: what it may use.
        address_bytes: address space of each process.
    """

    rung: Rung
    argv: tuple[str, ...]
    folder: str
    mounts: tuple[Mount, ...]
    environment: dict[str, str]
    limits: Limits
    address_bytes: int

    @property
    def rlimits(self) -> dict[str, int]:
        """The kernel's limits of each process, by the names of the module `resource`."""
        limits = self.limits
        return {
            "RLIMIT_AS": self.address_bytes,
            "RLIMIT_DATA": limits.memory_bytes,
            "RLIMIT_CPU": limits.cpu_seconds,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_NPROC": limits.processes,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
        }


def plan(
    rung: Rung,
    interpreter: Interpreter,
    project: Path,
    limits: Limits,
    *,
    write: Sequence[Path] = (),
    scratch: str = SCRATCH,
) -> Plan:
    """Return the plan of a run.

    Args:
        rung: how it is to be isolated.
        interpreter: what runs its code.
        project: real path of its project; see `refuse_wide`.
        limits: what it may use.
        write: real paths within the project that it may write to.
        scratch: its temporary folder, where it has no file system of its own.
    """
    mounts = [
        *map(_system, (p for p in SYSTEM if Path(p).exists())),
        *(Mount(p) for p in ETC if Path(p).exists()),
    ]
    mounts.append(Mount(str(project)))
    mounts += [Mount(str(path), writable=True) for path in write]
    own = rung is Rung.BUBBLEWRAP
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": HOME if own else f"{scratch}/home"}
    if not own:
        environment["TMPDIR"] = scratch
    return Plan(
        rung,
        interpreter.argv,
        str(project),
        tuple(mounts),
        environment,
        limits,
        RESERVED_BYTES if interpreter.reserves else limits.memory_bytes,
    )


def _system(path: str) -> Mount:
    place = Path(path)
    return Mount(path, target=str(place.readlink()) if place.is_symlink() else "")


def refuse_wide(project: Path, home: Path, data: Path) -> None:
    """Refuse a project whose folder holds more than a project.

    Args:
        project: real path.
        home: real path of the user's home folder.
        data: real path of the data folder.

    Raises:
        Denied: ``project_too_wide``: it is, or holds, one of them or a folder of the system, or lies in the data.
    """
    system = [Path(p) for p in (*SYSTEM, "/etc", "/dev", "/proc", "/sys", "/run", "/var", "/boot", SCRATCH)]
    inside = next((place for place in (*system, home, data) if place.is_relative_to(project)), None)
    if inside is None and project.is_relative_to(data):
        inside = data
    if inside is not None:
        raise Denied(
            "project_too_wide",
            f"This project's folder reaches into {inside}, which no run may see.",
            "Call from a folder that holds the project alone.",
        )


def command(plan: Plan, bwrap: str, seccomp: int, info: int, block: int) -> list[str]:
    """Return bubblewrap's command line for a plan.

    Args:
        plan: on the rung of bubblewrap.
        bwrap: the program.
        seccomp: descriptor of the filter.
        info: descriptor on which it tells of its child.
        block: descriptor on which it waits for our word that the child may go on.
    """
    words = [
        bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
        "--unshare-cgroup-try", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--die-with-parent",
        "--new-session", "--cap-drop", "ALL",
    ]  # fmt: skip
    size = str(plan.limits.scratch_bytes)
    words += ["--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm", "--proc", "/proc"]  # noqa: S108
    words += ["--perms", "1777", "--size", size, "--tmpfs", SCRATCH, "--dir", HOME]
    for mount in plan.mounts:
        if mount.target:
            words += ["--symlink", mount.target, mount.path]
        else:
            words += ["--bind" if mount.writable else "--ro-bind", mount.path, mount.path]
    # What bubblewrap itself laid out lies in memory: nothing is written there.
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", plan.folder]
    words += ["--seccomp", str(seccomp), "--info-fd", str(info), "--block-fd", str(block), "--"]
    return words + list(plan.argv)


def explain(plan: Plan) -> str:
    """Return a plan for reading: everything that the run sees, has and may use."""
    limits = plan.limits
    lines = [
        f"rung         {plan.rung}",
        f"command      {' '.join(plan.argv)} < code",
        f"folder       {plan.folder}",
    ]
    for mount in plan.mounts:
        how = (
            f"link to {mount.target}" if mount.target else "read and write" if mount.writable else "read only"
        )
        lines.append(f"sees         {mount.path} ({how})")
    match plan.rung:
        case Rung.BUBBLEWRAP:
            lines.append(
                f"sees         /tmp, /dev/shm (its own, in memory, {limits.scratch_bytes >> 20} MiB each)"
            )
            lines.append("sees         /dev, /proc (its own)")
        case Rung.LANDLOCK:
            lines += [f"sees         {path}" for path in DEVICES]
            lines.append(f"sees         {plan.environment['TMPDIR']} (read and write, removed afterwards)")
        case Rung.ENVIRONMENT:
            lines.append("sees         everything that you can: nothing is isolated")
    lines += [f"environment  {name}={value}" for name, value in sorted(plan.environment.items())]
    lines.append("network      none" if plan.rung is not Rung.ENVIRONMENT else "network      yours")
    lines.append(f"limit        {limits.wall_seconds:g} s from start to end")
    lines += [f"limit        {name} {value}" for name, value in plan.rlimits.items()]
    lines.append(f"output       {limits.stdout_bytes} bytes, errors {limits.stderr_bytes} bytes")
    return "\n".join(lines)
