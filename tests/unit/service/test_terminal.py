"""Which terminal a process sits at: the kernel's word, and none where there is none."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from securecontext.service.terminal import terminal_of


class Sitting:
    """A process with a controlling terminal of its own, and one that it starts; both wait to be ended."""

    def __init__(self) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:  # pragma: no cover - runs in the child
            code = (
                "import subprocess, sys\n"
                "same = subprocess.Popen([sys.executable, '-c', 'input()'])\n"
                "away = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
                "print('pids', same.pid, away.pid, flush=True)\n"
                "same.wait(); away.kill()\n"
            )
            os.execv(sys.executable, [sys.executable, "-c", code])
        said = ""
        while "\n" not in said:
            said += os.read(self.master, 100).decode()
        _, same, away = said.split()
        self.same, self.away = int(same), int(away)

    def close(self) -> None:
        os.write(self.master, b"\n")
        os.waitpid(self.pid, 0)
        os.close(self.master)


@pytest.fixture
def sitting():
    made = Sitting()
    yield made
    made.close()


def test_processes_of_a_terminal_sit_at_one_place(sitting):
    assert terminal_of(sitting.pid) == terminal_of(sitting.same) != ""


def test_another_terminal_is_another_place(sitting):
    other = Sitting()
    try:
        assert terminal_of(other.pid) not in ("", terminal_of(sitting.pid))
    finally:
        other.close()


def test_a_process_in_a_session_of_its_own_sits_nowhere(sitting):
    assert terminal_of(sitting.away) == ""


def test_a_process_that_is_gone_sits_nowhere():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert terminal_of(ended.pid) == ""
    assert terminal_of(0) == terminal_of(-1) == ""
