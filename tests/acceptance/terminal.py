"""A terminal with a shell in it, as a person has one."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ZC = shlex.join([sys.executable, "-I", "-m", "securecontext"])
PHRASE = "correct horse battery staple"


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._pid, self._master = pty.fork()
        if self._pid == 0:  # pragma: no cover - runs in the child
            os.chdir(folder)
            os.execve("/bin/sh", ["sh"], {**environment, "PS1": "", "TERM": "dumb", "COLUMNS": "1000"})
        self.run("stty -echo")

    def zc(self, arguments: str, *typed: str) -> tuple[int, str]:
        """Run a command of ours; return its exit code and what the terminal showed."""
        return self.run(f"{ZC} {arguments}", *typed)

    def run(self, command: str, *typed: str) -> tuple[int, str]:
        """Run a command, typing an answer at each prompt."""
        answers = list(typed)
        os.write(self._master, f"{command}; echo ended=$?\n".encode())
        said, answered = "", 0
        while True:
            ready, _, _ = select.select([self._master], [], [], 60)
            assert ready, f"nothing more after: {said}"
            said += os.read(self._master, 4096).decode("utf-8", "replace")
            if answers and re.search(r": $", said[answered:]):
                answered = len(said)
                os.write(self._master, answers.pop(0).encode() + b"\n")
            if found := re.search(r"ended=(\d+)\r?\n", said):
                return int(found[1]), said[: found.start()].replace("\r\n", "\n")

    def close(self) -> None:
        os.write(self._master, b"exit\n")
        os.waitpid(self._pid, 0)
        os.close(self._master)


@contextmanager
def terminal(environment: dict[str, str], folder: Path) -> Iterator[Terminal]:
    """A terminal that is gone afterwards."""
    made = Terminal(environment, folder)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def operators_terminal(environment: dict[str, str], folder: Path) -> Iterator[Terminal]:
    """A terminal that an operator, who is set up first, has unlocked."""
    with terminal(environment, folder) as made:
        for command, typed in (("operator init", (PHRASE, PHRASE)), ("operator unlock", (PHRASE,))):
            code, said = made.zc(command, *typed)
            assert code == 0, said
        yield made
