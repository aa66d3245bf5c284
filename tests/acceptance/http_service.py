"""The real service in a process of its own, with its HTTP door open on a free port."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from securecontext import rendezvous
from securecontext.rpc.client import Client, control
from tests.engine import data_of
from tests.waiting import wait_until

SERVE = (sys.executable, "-I", "-m", "securecontext", "serve")


@dataclass(frozen=True)
class HttpService:
    """A running service.

    Attributes:
        process: the service.
        home: its data folder.
        url: of the HTTP door; empty where it could not be opened.
        project: a folder that is a project.
    """

    process: subprocess.Popen[bytes]
    home: Path
    url: str
    project: Path

    @property
    def port(self) -> int:
        """The HTTP door's port."""
        return int(self.url.rpartition(":")[2])

    @property
    def token(self) -> str:
        """What the token's file holds."""
        return Path(self.status()["token_file"]).read_text("ascii").strip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that is let in."""
        return {"Authorization": f"Bearer {self.token}", "X-ZC-Project": str(self.project)}

    def status(self) -> dict[str, Any]:
        """What the control door says."""
        return control(rendezvous.connect(str(self.home)), {"do": "status"})

    def client(self, **headers: str) -> httpx.Client:
        """Return a client that holds the token."""
        return httpx.Client(base_url=self.url, headers=self.headers | headers, trust_env=False, timeout=30)

    def stranger(self) -> httpx.Client:
        """Return a client without the token."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def person(self) -> Client:
        """Return the command line's connection, on the project."""
        return Client(str(self.home), str(self.project))


@contextmanager
def http_service(
    folder: Path, command: Sequence[str] = SERVE, port: str = "0", **more: str
) -> Iterator[HttpService]:
    """Run a service whose data lies in the folder; it is ended, and must end cleanly, when the block does."""
    home = folder / "zc"
    project = folder / "project"
    project.mkdir(parents=True)
    runtime = Path(tempfile.mkdtemp(prefix="zc-run-", dir="/tmp"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "ZC_HOME": str(home),
        "ZC_SECRET_RULES": "own",
        "ZC_HTTP_PORT": port,
        **more,
    }
    with data_of(home) as data:
        process = subprocess.Popen(command, env=environment | data, cwd=folder)
        try:
            said = wait_until(lambda: process.poll() is not None or _said(home), "the HTTP door")
            assert isinstance(said, dict), "the service ended; what it said stands above"
            yield HttpService(process, home, said["http"], project)
            if process.poll() is None:
                process.terminate()
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(30)
            shutil.rmtree(runtime, ignore_errors=True)


def _said(home: Path) -> dict[str, Any] | None:
    """Return what the service says of itself once its HTTP door is open, or cannot be opened."""
    try:
        said = control(rendezvous.connect(str(home)), {"do": "status"})
    except OSError:
        return None
    return said if said.get("http") or said.get("http_trouble") else None
