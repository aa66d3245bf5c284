"""The real Claude Code client for tests: a HOME of its own, a scripted model behind it, a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tools import Tools
from tests.waiting import wait_until

GIVEN = os.environ.get("ZC_E2E_CLAUDE")  # looked up before any test has an environment of its own

RUN_SECONDS = 90.0


def program(tools: Callable[[], Tools]) -> Path:
    """Return the client's program: what ``ZC_E2E_CLAUDE`` names, else the one that `make e2e-tools` installed.

    Args:
        tools: gives the installed tools, or skips the test loudly.
    """
    return Path(GIVEN).absolute() if GIVEN else tools().claude


@dataclass
class Client:
    """One user's client. ``root`` holds ``home`` and the project's ``folder``; ``extra`` adds to the environment."""

    root: Path
    program: Path
    model_url: str = "http://127.0.0.1:9"
    extra: dict[str, str] = field(default_factory=dict)
    folder: str = "project"

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.project.mkdir(parents=True, exist_ok=True)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / self.folder

    @property
    def zc_home(self) -> Path:
        """The data folder that a default installation uses."""
        return self.home / ".claude" / "zc-ctx"

    def environment(self, agent: str = "dev") -> dict[str, str]:
        """Return the whole environment of a session of ``agent``."""
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": self.model_url,
            "ANTHROPIC_AUTH_TOKEN": agent,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
            **self.extra,
        }

    def run(self, *words: str, agent: str = "dev") -> subprocess.CompletedProcess[str]:
        """Run the client's program with ``words`` in the project and return what it did."""
        return subprocess.run(
            [str(self.program), *words],
            cwd=self.project,
            env=self.environment(agent),
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def ask(self, prompt: str, *words: str, agent: str = "dev", tools: str = "Bash,Write,Read,Edit") -> str:
        """Run one `-p` session, check that it ended well, and return the last text."""
        done = self.run("-p", prompt, "--output-format", "json", "--allowedTools", tools, *words, agent=agent)
        assert done.returncode == 0, f"client failed: {done.stdout}\n{done.stderr}"
        return str(json.loads(done.stdout).get("result", ""))

    def terminal(self, *words: str, agent: str = "dev") -> Terminal:
        """Open the terminal UI in a tmux server of its own; use it as a context manager."""
        state = self.home / ".claude.json"
        seed = json.loads(state.read_text()) if state.exists() else {}
        seed |= {"hasCompletedOnboarding": True, "theme": "dark", "bypassPermissionsModeAccepted": True}
        seed.setdefault("projects", {})[str(self.project)] = {"hasTrustDialogAccepted": True}
        state.write_text(json.dumps(seed))
        return Terminal([str(self.program), *words], self.project, self.environment(agent))


class Terminal:
    """A program in a terminal that a test can type into and look at."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("REAL CLIENT NOT TRIED IN A TERMINAL: tmux is not installed")
        self._tmux = ["tmux", "-L", f"zc-{uuid.uuid4().hex[:12]}", "-f", "/dev/null"]
        settings = [f"{name}={value}" for name, value in environment.items()]
        self._start = [
            *self._tmux,
            "new-session",
            "-d",
            "-s",
            "zc",
            "-x",
            "150",
            "-y",
            "45",
            "-c",
            str(folder),
            "env",
            "-i",
            *settings,
            *command,
        ]

    def __enter__(self) -> Terminal:
        subprocess.run(self._start, check=True, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the window, as a person would by its cross."""
        subprocess.run([*self._tmux, "kill-server"], check=False, timeout=30, capture_output=True)

    def screen(self) -> str:
        """Return what the screen shows; empty when the program has ended."""
        command = [*self._tmux, "capture-pane", "-p", "-t", "zc"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout

    def pid(self) -> int:
        """Return the process id of the program in the terminal."""
        command = [*self._tmux, "list-panes", "-t", "zc", "-F", "#{pane_pid}"]
        return int(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)

    def keys(self, *names: str) -> None:
        """Press keys by tmux name (``Enter``, ``C-c``)."""
        subprocess.run([*self._tmux, "send-keys", "-t", "zc", *names], check=True, timeout=30)

    def sees(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until the screen matches ``pattern`` and return the screen."""
        try:
            wait_until(lambda: re.search(pattern, self.screen()), f"{pattern!r} on the screen", seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}; it shows:\n{self.screen()}") from None
        return self.screen()

    def ready(self) -> None:
        """Wait for the prompt of the client."""
        self.sees("\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}")

    def say(self, text: str) -> None:
        """Type a line, wait until it stands in the prompt, and send it."""
        subprocess.run([*self._tmux, "send-keys", "-t", "zc", "-l", text], check=True, timeout=30)
        self.sees(re.escape(text))
        self.keys("Enter")
