"""A data folder of the bench's own, the service on it, and the processes that are to be gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securecontext import rendezvous

SOURCE = Path(rendezvous.__file__).parent
SHIM = [sys.executable, "-I", "-S", str(SOURCE / "mcp" / "shim.py")]
SERVE = [sys.executable, "-I", "-m", "securecontext", "serve"]
ENTRY = Path(__file__).resolve().parent.parent / "plugin" / "hooks" / "entry.py"


@dataclass(frozen=True, slots=True)
class Home:
    """Folders of one measurement: nothing of the user's own is touched.

    Attributes:
        root: all of them.
        more: settings beside the usual ones.
    """

    root: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.root / "zc"

    @property
    def project(self) -> Path:
        """The folder that sessions work in."""
        return self.root / "project"

    def environ(self) -> dict[str, str]:
        """Return the environment of shims, hooks and the service."""
        return {
            "HOME": str(self.root),
            "PATH": os.environ.get("PATH", ""),
            "ZC_HOME": str(self.data),
            "ZC_HTTP_PORT": "off",
            "ZC_PROJECT_PATH": str(self.project),
            "LANG": "C.UTF-8",
            **self.more,
        }

    def control(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of the service's control door.

        Raises:
            OSError: no service runs.
        """
        with rendezvous.connect(str(self.data), timeout=5) as connection:
            connection.settimeout(5)
            connection.sendall(rendezvous.preamble("control/1", {}) + json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                return dict(json.loads(answers.readline() or b"{}"))

    def pid(self) -> int:
        """Return the process id of the service."""
        return int(self.control({"do": "status"})["pid"])

    def start(self) -> int:
        """Start the service if none runs, wait until it is warm, and return its process id."""
        saved = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.environ())
        try:
            rendezvous.connect_or_start(str(self.data), command=SERVE).close()
        finally:
            os.environ.clear()
            os.environ.update(saved)
        return self.pid()

    def stop(self) -> None:
        """Ask the service to end and wait until it is gone."""
        try:
            pid = int(self.control({"do": "stop"})["pid"])
        except (OSError, KeyError, ValueError, rendezvous.ServiceAway):
            return
        wait_gone(pid)

    def kill(self) -> None:
        """End the service as a power cut would."""
        try:
            pid = self.pid()
        except (OSError, KeyError, ValueError, rendezvous.ServiceAway):
            return
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)


def wait_gone(pid: int, seconds: float = 20.0) -> None:
    """Wait until a process has ended; kill it when it takes too long."""
    until = time.monotonic() + seconds
    while running(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def running(pid: int) -> bool:
    """Say whether a process lives; one that has ended but was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def home(**more: str) -> Iterator[Home]:
    """Yield fresh folders, with these settings too; afterwards their service is stopped and they are gone."""
    made = Home(Path(tempfile.mkdtemp(prefix="zc-bench-")), more)
    made.project.mkdir()
    try:
        yield made
    finally:
        made.stop()
        with contextlib.suppress(OSError):
            Path(rendezvous.socket_path(str(made.data))).unlink()
        shutil.rmtree(made.root, ignore_errors=True)


def memory_mib(pid: int) -> tuple[float, float]:
    """Return (resident, proportional) memory of a process in MiB."""
    found = {"Rss": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0])
    return found["Rss"] / 1024, found["Pss"] / 1024
