"""Which rung of isolation this machine bears: found by attacking each one, best first, and remembered.

A rung on which a single attack works is no rung. Nothing is believed of a kernel, a container or a program that was
not tried here, under the very user that the service runs as.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from securecontext.sandbox import cgroups, targets
from securecontext.sandbox.confine import ABI_NEEDED, landlock_abi
from securecontext.sandbox.languages import PATH, interpreter
from securecontext.sandbox.limits import Limits
from securecontext.sandbox.plan import Rung, plan
from securecontext.sandbox.runner import Runner
from securecontext.types.errors import Unavailable, ZcError

TRIED: Final = Limits(wall_seconds=20.0)
_FORKS: Final = TRIED.processes + 8
"""As many as show that the limit holds."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of trying a rung.

    Attributes:
        rung: which.
        why: what is against it; empty where it holds.
        next: what would make it hold.
    """

    rung: Rung
    why: str = ""
    next: str = ""

    @property
    def holds(self) -> bool:
        """Say whether every attack failed on it."""
        return not self.why


class Ladder:
    """The rungs of this machine.

    Args:
        python: what runs the exec helper; by default this process's own.
        opted_out: asked whether the operator has chosen to run code without isolation.
    """

    def __init__(self, python: str = "", opted_out: Callable[[], bool] = lambda: False) -> None:
        self.runner = Runner(shutil.which("bwrap", path=PATH), python or sys.executable, cgroups.here())
        self._opted_out = opted_out
        self._lock = threading.Lock()
        self._tried: tuple[Tried, ...] = ()

    def tried(self) -> tuple[Tried, ...]:
        """Return every rung that was tried, best first, down to the first one that holds."""
        with self._lock:
            if not self._tried:
                self._tried = tuple(self._climb())
            return self._tried

    def best(self) -> Rung:
        """Return the rung that runs take.

        Raises:
            Unavailable: ``no_sandbox``: none holds, and the operator has not chosen to do without.
        """
        tried = self.tried()
        found = next((each.rung for each in tried if each.holds), None)
        if found is not None:
            return found
        if sys.platform == "linux" and self._opted_out():
            return Rung.ENVIRONMENT
        said = "; ".join(f"{each.rung}: {each.why}" for each in tried)
        raise Unavailable(
            "no_sandbox",
            f"This machine cannot confine code, so none is run. {said[:500]}.",
            f"{tried[0].next} `zc doctor` shows every rung.",
        )

    def _climb(self) -> Iterator[Tried]:
        if sys.platform != "linux":
            yield Tried(Rung.BUBBLEWRAP, "this is not Linux", "Run the service on Linux.")
            return
        for rung in (Rung.BUBBLEWRAP, Rung.LANDLOCK):
            found = self._missing(rung) or self.attack(rung)
            yield found
            if found.holds:
                return

    def _missing(self, rung: Rung) -> Tried | None:
        if rung is Rung.BUBBLEWRAP and self.runner.bwrap is None:
            return Tried(
                rung,
                "it is not installed",
                "Install it: `apt-get install bubblewrap`, or your system's package.",
            )
        if rung is Rung.LANDLOCK and (abi := landlock_abi()) < ABI_NEEDED:
            why = f"the kernel speaks version {abi} of Landlock, and {ABI_NEEDED} is needed"
            return Tried(rung, why, "Use a kernel of 6.12 or newer with Landlock among its security modules.")
        return None

    def attack(self, rung: Rung) -> Tried:
        """Attack a rung and return what came of it."""
        try:
            worked = self.worked(rung, TRIED, forks=_FORKS)
        except (OSError, ValueError, ZcError) as error:
            return Tried(rung, " ".join(str(error).split())[:300], _mend(rung, ()))
        return (
            Tried(rung, f"let through: {', '.join(worked)}", _mend(rung, worked)) if worked else Tried(rung)
        )

    def worked(self, rung: Rung, limits: Limits, **more: int) -> tuple[str, ...]:
        """Return the attacks that worked on a rung.

        Raises:
            OSError, ZcError: it could not be tried.
            ValueError: the attacks said nothing.
        """
        python = replace(interpreter("python"), argv=(interpreter("python").argv[0], "-I", "-S", "-"))
        with targets.made() as there, self.runner.scratch(rung) as scratch:
            made = plan(rung, python, there.project, limits, scratch=scratch)
            ran = self.runner.run(made, there.program(**more))
        if ran.ended != "exit" or ran.code != 0:
            said = bytes(ran.err.kept[-200:]).decode("utf-8", "replace")
            raise ValueError(f"the trial ended by {ran.ended} with {ran.code}: {said}")
        found: dict[str, bool] = json.loads(bytes(ran.out.kept))
        return tuple(name for name, done in found.items() if done)


def _mend(rung: Rung, worked: tuple[str, ...]) -> str:
    if "forks" in worked and os.geteuid() == 0:
        return "Run the service as an ordinary user, or give root's a control group of its own (pids) to write to."
    if rung is Rung.BUBBLEWRAP:
        switch = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        if switch.exists():
            return "Allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`."
        return (
            "Allow user namespaces: `sysctl user.max_user_namespaces=15000`; in a container, its policy too."
        )
    return "Use a kernel of 6.12 or newer, and a container that lets Landlock and seccomp through."
