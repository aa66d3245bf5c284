"""W-29: what confined code cannot do, on every rung, as root and as an ordinary user, against real targets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from securecontext.sandbox import targets
from securecontext.sandbox.attacks import ATTACKS
from securecontext.sandbox.confine import ABI_NEEDED, landlock_abi
from securecontext.sandbox.languages import PATH, interpreter
from securecontext.sandbox.plan import Rung
from tests.waiting import wait_until

NAMES = [attack.__name__ for attack in ATTACKS]
PYTHON = interpreter("python").argv[0]
ORDINARY = 12345
AS_USER = f"""
import os, sys
import securecontext.sandbox.ladder
if sys.argv[1] == "ordinary" and os.getuid() == 0:
    os.setgroups([]); os.setgid({ORDINARY}); os.setuid({ORDINARY})
"""
TRIAL = (
    AS_USER
    + """
import json
from securecontext.sandbox.ladder import Ladder
from securecontext.sandbox.limits import Limits
from securecontext.sandbox.plan import Rung
worked = Ladder(sys.argv[3]).worked(Rung(sys.argv[2]), Limits(wall_seconds=60.0), signal=18)
print(json.dumps(worked))
"""
)
RUN = (
    AS_USER
    + """
import json
from pathlib import Path
from securecontext.sandbox.ladder import Ladder
from securecontext.sandbox.languages import interpreter
from securecontext.sandbox.limits import Limits
from securecontext.sandbox.plan import Rung, plan
rung, runner = Rung(sys.argv[2]), Ladder(sys.argv[3]).runner
with runner.scratch(rung) as scratch:
    limits = Limits(wall_seconds=float(sys.argv[5]))
    made = plan(rung, interpreter("python"), Path(sys.argv[4]), limits, scratch=scratch)
    ran = runner.run(made, sys.stdin.buffer.read())
print(json.dumps({"ended": ran.ended, "code": ran.code, "out": ran.out.kept.decode()}))
"""
)
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.execv("/bin/sleep", ["%s", "600"])
    os._exit(0)
os.wait()
print("started", flush=True)
if %r:
    time.sleep(600)
"""
"""A process that left session, group and parent."""


def missing(user: str) -> str:
    """Return why nothing can be tried here as a user; empty where it can."""
    if user == "root" and os.getuid() != 0:
        return "only root can try it as root"
    return ""


def bubblewrap_starts(user: str) -> bool:
    """Say whether it is installed and may make its namespaces, which containers often forbid."""
    words = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    who = ORDINARY if user == "ordinary" and os.getuid() == 0 else None
    try:
        ran = subprocess.run(words, env={"PATH": PATH}, user=who, capture_output=True, check=False)
    except OSError:
        return False
    return ran.returncode == 0


def here(user: str) -> list[Rung]:
    """Return the rungs that this machine has: one of them is enough for the product; without any a test fails."""
    found = [Rung.BUBBLEWRAP] if bubblewrap_starts(user) else []
    return [*found, Rung.LANDLOCK] if landlock_abi() >= ABI_NEEDED else found


def test_this_machine_has_a_rung_to_be_attacked() -> None:
    assert here("ordinary"), (
        "neither bubblewrap nor a Landlock that is new enough: what the sandbox holds back is not shown"
    )


@pytest.fixture(
    scope="module",
    params=[(rung, user) for user in ("ordinary", "root") for rung in here(user)],
    ids=lambda given: f"{given[0]}-{given[1]}",
)
def ground(request: pytest.FixtureRequest) -> tuple[Rung, str]:
    """A rung and a user to try it as."""
    why = missing(request.param[1])
    if why:
        pytest.skip(why)
    found: tuple[Rung, str] = request.param
    return found


def started(program: str, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    # Not the tests' own folder for what is temporary: an ordinary user has no way into it.
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": "/tmp"}
    return subprocess.Popen([sys.executable, "-c", program, *words], env=env, stdout=subprocess.PIPE, **more)


@pytest.fixture(scope="module")
def worked(ground: tuple[Rung, str]) -> set[str]:
    """The attacks that worked, of all of them in one run."""
    rung, user = ground
    process = started(TRIAL, user, rung, PYTHON)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return set(json.loads(said))


@pytest.mark.parametrize("attack", NAMES)
def test_w_29_an_attack_comes_to_nothing(worked: set[str], attack: str) -> None:
    assert attack not in worked


def test_w_29_every_attack_works_without_a_sandbox() -> None:
    with targets.made() as there:
        done = subprocess.run(
            [PYTHON, "-I", "-S", "-"],
            input=there.program(signal=int(signal.SIGCONT)),
            env={"PATH": PATH, "LENT": there.named["canary"]},
            cwd=there.project,
            capture_output=True,
            timeout=120,
            check=True,
        )
    assert json.loads(done.stdout) == dict.fromkeys(NAMES, True)


def alive(mark: str) -> list[str]:
    """Return the processes of this machine that bear a mark as their name."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == mark.encode():
                found.append(name)
    return found


def open_folder(mark: str) -> Path:
    """Return a folder that an ordinary user may see."""
    folder = Path("/tmp") / mark
    folder.mkdir(mode=0o755)
    return folder


@pytest.mark.parametrize("waits", [True, False], ids=["timeout", "exit"])
def test_w_29_a_daemon_that_changed_its_session_ends_with_its_run(
    ground: tuple[Rung, str], waits: bool, tmp_path: Path
) -> None:
    rung, user = ground
    mark = f"zc-daemon-{os.getpid()}-{tmp_path.name}"
    folder = open_folder(mark)
    try:
        process = started(RUN, user, rung, PYTHON, str(folder), "1", stdin=subprocess.PIPE)
        said, _ = process.communicate((DAEMON % (mark, waits)).encode(), timeout=120)
        assert json.loads(said) == {
            "ended": "timeout" if waits else "exit",
            "code": 137 if waits else 0,
            "out": "started\n",
        }
        assert alive(mark) == []
    finally:
        folder.rmdir()


def test_w_29_a_run_ends_with_the_service_that_started_it(ground: tuple[Rung, str], tmp_path: Path) -> None:
    rung, user = ground
    mark = f"zc-daemon-{os.getpid()}-{tmp_path.name}"
    folder = open_folder(mark)
    try:
        process = started(RUN, user, rung, PYTHON, str(folder), "600", stdin=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write((DAEMON % (mark, True)).encode())
        process.stdin.close()
        wait_until(lambda: alive(mark) or process.poll() is not None, "the daemon")
        assert alive(mark)
        process.kill()
        process.wait()
        process.stdout.close()
        wait_until(lambda: not alive(mark), "the daemon to be gone")
    finally:
        folder.rmdir()


def test_w_29_a_daemon_outlives_the_kill_of_its_group_without_a_sandbox(tmp_path: Path) -> None:
    mark = f"zc-daemon-{os.getpid()}-{tmp_path.name}"
    process = subprocess.Popen(
        [PYTHON, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write((DAEMON % (mark, True)).encode())
    process.stdin.close()
    assert process.stdout.readline() == b"started\n"
    wait_until(lambda: alive(mark), "the daemon to have its name")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = alive(mark)
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    assert len(left) == 1
