"""The second set of rules against secrets: compiled in a process of its own, then used by all doors of this one.

Compiling takes seconds and a hundred megabytes, so it is done once for each version, beside the service, at the lowest
priority; the result lies in the data folder, and loading it takes less than a second. Until it is there, our own set
answers; what it let pass is scanned again (`rescan`).
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from securecontext import __version__
from securecontext.app.rescan import Rescan
from securecontext.app.stores import Stores
from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.validators import secrets

log = logging.getLogger("securecontext.secrets")
FOLDER = "secret-rules"
COMPILE = """
import ctypes, os, pathlib, signal, sys
os.nice(19)
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the service, however it ends
from securecontext.validators.secret_engine import compile_into
compile_into(pathlib.Path(sys.argv[1]))
"""
PATIENCE_SECONDS = 600.0
State = Literal["off", "waiting", "building", "ready", "failed"]


class SecretRules:
    """The second set of rules of this process.

    Args:
        home: the data folder, in which the compiled rules are kept.
        stores: what is scanned again.
        bodies: opens what of it is stored sealed.
        wanted: whether there is to be a second set.

    Attributes:
        state: how far it has come.
        trouble: why it failed; our own set goes on alone.
    """

    def __init__(self, home: Path, stores: Stores, bodies: Bodies, wanted: bool) -> None:
        self._folder = home / FOLDER
        self._rescan = Rescan(stores, bodies)
        self._lock = threading.Lock()
        self._compiler: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._name = ""
        self.state: State = "waiting" if wanted else "off"
        self.trouble = ""

    def build(self) -> None:
        """Make the rules ready; takes seconds. Whatever is in the way is told, and our own set goes on alone."""
        if self.state != "waiting":
            return
        self.state = "building"
        try:
            engine = importlib.import_module("securecontext.validators.secret_engine")
            self._compile(engine.RULES)
            secrets.wear(engine=engine.Engine(self._folder))
            self._name = f"{__version__}, {engine.RULES}"
            self.state = "ready"
            log.info("secrets are found with the rules of %s too", engine.RULES)
        except Exception as error:  # noqa: BLE001 - whatever a foreign compiler raises, the service goes on
            self.state, self.trouble = "failed", f"{type(error).__name__}: {error}"
            if not self._closed:
                log.error("secrets are found with our own rules alone: %s", self.trouble)

    def _compile(self, name: str) -> None:
        """Compile the rules unless this version of them was: a file says so."""
        done = self._folder / name.replace(" ", "-")
        if done.exists():
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self._lock:
            if self._closed:
                raise InterruptedError("the service ends")
            self._compiler = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-I", "-c", COMPILE, str(self._folder)],
                env={"PATH": os.environ.get("PATH", os.defpath)},  # none of our settings concerns it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        code = self._compiler.wait(PATIENCE_SECONDS)
        if code:
            raise ChildProcessError(f"the compiler of the rules ended with {code}")
        done.touch(mode=0o600)

    def rescan(self, let_pass: Callable[[], None]) -> None:
        """Scan again what was stored before the rules were ready; left off when the service ends."""

        def wait() -> None:
            let_pass()
            if self._closed:
                raise InterruptedError("the service ends")

        if self.state == "ready":
            with suppress(InterruptedError):
                self._rescan.turn(self._name, wait)

    def close(self) -> None:
        """End what goes on in the background, so that nobody waits for it."""
        with self._lock:
            self._closed = True
            if self._compiler is not None and self._compiler.poll() is None:
                self._compiler.kill()
