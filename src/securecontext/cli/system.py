"""``zc install --system`` and ``zc uninstall --system``: a service under a user of its own, for several users.

Every step is data first, so that a dry run shows what would be done and nothing else is done. What lies there already
and is not ours is refused, never overwritten.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import securecontext
from securecontext.cli import system_units as units
from securecontext.cli.system_units import (
    DATA,
    GROUP,
    MARK,
    PRINCIPALS,
    SOCKET,
    SOCKET_UNIT,
    SYSUSERS,
    USER,
    Member,
)
from securecontext.types.errors import Conflict, Denied, NotFound, Unavailable

UNITS = ("securecontext.socket", "securecontext.service")
SYSTEMD_RUNS = Path("/run/systemd/system")


@dataclass(frozen=True, slots=True)
class Write:
    """Put a text into a file."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file, or a folder that is empty then; what is not there, or not empty, stays as it is."""

    path: str


@dataclass(frozen=True, slots=True)
class Run:
    """Run a program of the system."""

    words: tuple[str, ...]


Step = Write | Remove | Run


@dataclass(frozen=True, slots=True)
class Target:
    """Where a system service is installed.

    Attributes:
        root: the system's root folder; another one for an image that is being built.
    """

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Return where a path of the target lies."""
        return self.root / path.lstrip("/")

    @property
    def is_this_machine(self) -> bool:
        """Say whether the target is the machine that this program runs on."""
        return self.root == Path("/")


def members(names: Sequence[str]) -> tuple[Member, ...]:
    """Return the users of these names.

    Raises:
        NotFound: ``no_such_user``.
    """
    found = []
    for name in names:
        try:
            found.append(Member(pwd.getpwnam(name).pw_uid, name))
        except KeyError as error:
            raise NotFound(
                "no_such_user", f"There is no user {name!r}.", "Name a user of this machine."
            ) from error
    return tuple(found)


def installing(target: Target, python: Path, wanted: tuple[Member, ...]) -> list[Step]:
    """Return the steps of an installation, or of bringing one to this version and these users.

    Raises:
        Conflict: ``file_not_ours``.
        Denied: ``program_not_roots``: the service would run code that others can change, or that its user cannot read.
    """
    refuse_what_others_write(python, Path(securecontext.__file__).parent)
    texts = units.files(python, wanted)
    for path in texts:
        there = target.at(path)
        if os.path.lexists(there) and not _is_ours(there):
            raise Conflict(
                "file_not_ours", f"{there} was not written by SecureContext.", "Look at it, and move it away."
            )
    before = _lines(target.at(PRINCIPALS))
    texts[PRINCIPALS] = "".join([before or units.principals(()), *_new_lines(before, wanted)])
    steps: list[Step] = [Write(path, text) for path, text in texts.items()]
    elsewhere = () if target.is_this_machine else (f"--root={target.root}",)
    steps.append(Run(("systemd-sysusers", *elsewhere, str(target.at(SYSUSERS)))))
    prefix = () if target.is_this_machine else ("--prefix", str(target.root))
    steps += [Run(("usermod", *prefix, "--append", "--groups", GROUP, each.name)) for each in wanted]
    return [*steps, *_systemctl(target, ("daemon-reload",), ("enable", "--now", UNITS[0]))]


def removing(target: Target) -> list[Step]:
    """Return the steps of a removal: all that was installed, but data and the user that owns it, where there is any."""
    ours = [path for path in units.files(Path("/"), ()) if _is_ours(target.at(path))]
    if not ours:
        return []
    steps: list[Step] = _systemctl(target, ("disable", "--now", *UNITS)) if SOCKET_UNIT in ours else []
    steps += [Remove(path) for path in (*ours, str(Path(PRINCIPALS).parent), DATA)]
    prefix = () if target.is_this_machine else ("--prefix", str(target.root))
    steps.append(Run(("groupdel", *prefix, GROUP)))
    if not _has_data(target):
        steps.append(Run(("userdel", *prefix, USER)))
    return [*steps, *_systemctl(target, ("daemon-reload",))]


def has_data(target: Target) -> bool:
    """Say whether the service has stored anything that a removal leaves."""
    return _has_data(target)


def told(steps: Iterable[Step], target: Target) -> Iterator[str]:
    """Yield what the steps do, for a person."""
    for step in steps:
        match step:
            case Write(path, text):
                yield f"write {target.at(path)}:"
                yield from (f"    {line}" for line in text.splitlines())
            case Remove(path):
                yield f"remove {target.at(path)}"
            case Run(words):
                yield f"run {' '.join(words)}"


def carry_out(steps: Iterable[Step], target: Target) -> None:
    """Do the steps, in their order.

    Raises:
        Denied: ``root_needed``.
        Unavailable: ``step_failed``; what was done before stays, and the same command goes on from there.
    """
    if os.geteuid() != 0:
        raise Denied(
            "root_needed",
            "Only root installs a system service.",
            "Run it with sudo; --dry-run needs no root.",
        )
    for step in steps:
        try:
            _do(step, target)
        except OSError as error:
            raise _failed(next(told([step], target)), error.strerror or str(error)) from error


def _do(step: Step, target: Target) -> None:
    match step:
        case Write(path, text):
            file = target.at(path)
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fresh = file.with_name(f".{file.name}.new")
            fresh.write_text(text, encoding="utf-8")
            fresh.chmod(0o644)
            fresh.replace(file)
        case Remove(path):
            _remove(target.at(path))
        case Run(words):
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
            if done.returncode != 0:
                raise _failed(" ".join(words), (done.stderr.strip() or "no reason given").splitlines()[-1])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        if not any(path.iterdir()):
            path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _failed(what: str, why: str) -> Unavailable:
    return Unavailable(
        "step_failed", f"This step failed: {what} ({why}).", "Mend that, then run the command again."
    )


def _systemctl(target: Target, *calls: tuple[str, ...]) -> list[Step]:
    """Return the calls of systemctl; none where systemd does not run, or an image is built."""
    if not target.is_this_machine or not SYSTEMD_RUNS.is_dir():
        return []
    return [Run(("systemctl", *words)) for words in calls]


def _is_ours(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


def _lines(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _new_lines(before: str, wanted: tuple[Member, ...]) -> list[str]:
    known = {
        line.partition("#")[0].split()[0] for line in before.splitlines() if line.partition("#")[0].split()
    }
    return [f"{each.uid} {each.name}\n" for each in wanted if str(each.uid) not in known]


def _has_data(target: Target) -> bool:
    data = target.at(DATA)
    return data.is_dir() and any(data.iterdir())


def refuse_what_others_write(*programs: Path) -> None:
    """Refuse code that somebody but root can change, or that the service's user could not read.

    Raises:
        Denied: ``program_not_roots``.
    """
    for program in programs:
        for each in {program.absolute(), program.resolve()}:
            for part in (each, *each.parents):
                found = part.lstat() if part.is_symlink() else part.stat()
                writable = not part.is_symlink() and found.st_mode & 0o022 and not found.st_mode & 0o1000
                if found.st_uid != 0 or writable or not found.st_mode & 0o005:
                    raise Denied(
                        "program_not_roots",
                        f"The service would run {program}, but others than root can change {part}, or cannot read it.",
                        "Install SecureContext as root in a place of root's, e.g. a clone of it in "
                        "/opt/securecontext, and run its `zc install --system`.",
                    )


def systemd_is_missing() -> bool:
    """Say whether systemd does not run on this machine, so that units are written and nothing starts them."""
    return not SYSTEMD_RUNS.is_dir() or shutil.which("systemctl") is None


NEXT = f"Users set ZC_SYSTEM_SOCKET={SOCKET}. They log in anew once, for the group {GROUP} to count."
