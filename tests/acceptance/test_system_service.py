"""A service under a user of its own, at a socket that root opened as systemd does, and clients of other users at it.

Nothing of it is a stand-in but systemd itself: the socket is passed to the service as `sd_listen_fds` says.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from securecontext import rendezvous
from tests.acceptance.service_case import INITIALIZE, SHIM, call
from tests.unit.hooks.test_entry import ENTRY, PAYLOAD
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can run processes of several users")
SERVICE, ALICE, BOB, NOBODYS, OUTSIDER, GROUP = 61_001, 61_002, 61_003, 61_004, 61_005, 61_100
PROJECT = "/home/somebody/project"
CODE = [
    str(Path(rendezvous.__file__).parents[1]),
    *{sysconfig.get_path("purelib"), sysconfig.get_path("platlib")},
]
LAUNCH = """
import os, sys
descriptor, user, *command = sys.argv[1:]
os.dup2(int(descriptor), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
os.execv(command[0], command)
"""
WITH_CODE = (
    "import sys; n = int(sys.argv[1]); sys.path[:0] = sys.argv[2:2 + n]; sys.argv[1:] = sys.argv[2 + n:]; "
)


def python() -> str:
    """An interpreter of our version that every user can run: ours may lie in root's own folder."""
    ours = Path(sys.executable).resolve()
    if all(part.stat().st_mode & 0o001 for part in (ours, *ours.parents)):
        return str(ours)
    return f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def command(does: str, *arguments: str) -> list[str]:
    """What runs our code in an interpreter that does not find it by itself."""
    return [python(), "-I", "-c", WITH_CODE + does, str(len(CODE)), *CODE, *arguments]


LOOK = """
import os, sys
for name in sys.argv[1:]:
    for do, of in ((open, name), (lambda path: open(path, "ab"), name), (os.listdir, os.path.dirname(name))):
        try:
            do(of)
            print("opened", name)
        except PermissionError:
            print("denied")
"""
ASKED = """
import json
from securecontext import rendezvous
from securecontext.rpc.client import at_door
for door in ("control/1", "operator/1"):
    connection = rendezvous.connect_or_start("/nowhere")
    print(json.dumps(at_door(door, connection, {"do": "stop", "passphrase": "x" * 20})))
"""
ZC = "from securecontext.__main__ import main; sys.exit(main())"


@dataclass
class System:
    """A machine's system service, without systemd."""

    root: Path
    socket: socket.socket
    services: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def path(self) -> str:
        return str(self.root / "run" / "system.sock")

    def map(self, *lines: str) -> None:
        (self.root / "principals").write_text("".join(f"{line}\n" for line in lines))

    def start(self) -> None:
        """Start the service as its own user, with the socket as systemd passes it."""
        env = {
            "HOME": str(self.data), "ZC_HOME": str(self.data), "ZC_HTTP_PORT": "off",
            "ZC_SECRET_RULES": "own", "PATH": os.environ["PATH"], "ZC_PRINCIPALS": str(self.root / "principals"),
            "XDG_RUNTIME_DIR": str(self.root / "own"),
        }  # fmt: skip
        words = [sys.executable, "-c", LAUNCH, str(self.socket.fileno()), str(SERVICE), *command(ZC, "serve")]
        self.services.append(
            subprocess.Popen(
                words, env=env, pass_fds=[self.socket.fileno()], stdin=subprocess.DEVNULL, cwd="/"
            )
        )

    def end(self) -> None:
        for each in self.services:
            each.terminate()
            each.wait(30)
        self.services.clear()

    def run(
        self, uid: int, *words: str, said: bytes = b"", group: int | None = GROUP, **env: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program as a user does who uses the system service."""
        home = self.root / f"home-{uid}"
        home.mkdir(exist_ok=True)
        os.chown(home, uid, uid)
        return subprocess.run(
            words,
            user=uid,
            group=uid,
            extra_groups=[] if group is None else [group],
            env={"HOME": str(home), "PATH": os.environ["PATH"], "ZC_SYSTEM_SOCKET": self.path,
                 "ZC_PROJECT_PATH": PROJECT, **env},
            cwd="/", input=said, capture_output=True, check=False, timeout=120,
        )  # fmt: skip

    def zc(self, uid: int, *arguments: str, **more: Any) -> tuple[int, str]:
        done = self.run(uid, *command(ZC, *arguments), **more)
        return done.returncode, (done.stdout + done.stderr).decode()

    def entries(self, where: str = "projects/*.db") -> list[tuple[str, str]]:
        """(principal, kind) of every entry that was made for somebody."""
        found: list[tuple[str, str]] = []
        for file in sorted(self.data.glob(where)):
            connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
            found += connection.execute(
                "SELECT principal, kind FROM ledger_entries ORDER BY entry"
            ).fetchall()
            connection.close()
        return [each for each in found if each[0] != "system"]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    root = Path(tempfile.mkdtemp(prefix="zc-sys-", dir="/tmp"))
    root.chmod(0o755)
    for name, mode, owner in (("data", 0o700, SERVICE), ("own", 0o700, SERVICE), ("run", 0o755, 0)):
        (root / name).mkdir()
        (root / name).chmod(mode)
        os.chown(root / name, owner, owner)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(root / "run" / "system.sock"))
    os.chmod(root / "run" / "system.sock", 0o660)
    os.chown(root / "run" / "system.sock", 0, GROUP)
    listening.listen(64)
    made = System(root, listening)
    made.map(f"{ALICE} alice", f"{BOB} bob")
    made.start()
    try:
        yield made
    finally:
        made.end()
        listening.close()
        shutil.rmtree(root)


def test_w_19_another_user_is_served_under_its_name_and_reads_no_key(system: System) -> None:
    code, said = system.zc(ALICE, "remember", "bird", "pelican")
    assert code == 0, said
    code, said = system.zc(ALICE, "recall-context")
    assert code == 0 and "pelican" in said
    assert {who for who, _ in system.entries()} == {"user:alice"}
    keys = [
        *(system.data / "keys").iterdir(),
        *(system.data / "projects").iterdir(),
        system.data / "machine.db",
    ]
    assert len(keys) > 6 and all(file.stat().st_uid == SERVICE for file in keys)
    done = system.run(ALICE, python(), "-I", "-c", LOOK, *map(str, keys))
    assert done.stdout.split() == [b"denied"] * len(keys) * 3, done


def test_w_27_users_have_projects_of_their_own_even_at_one_path(system: System) -> None:
    assert system.zc(ALICE, "remember", "secret", "of-alice-alone")[0] == 0
    assert system.zc(BOB, "remember", "mine", "of-bob")[0] == 0
    code, said = system.zc(BOB, "recall-context")
    assert code == 0 and "of-bob" in said and "alice" not in said
    for words in (("search", "alice"), ("search", "alice", "--project", PROJECT + "/../project")):
        code, said = system.zc(BOB, *words)
        assert "of-alice-alone" not in said
    code, said = system.zc(BOB, "search-global", "alice")
    assert code != 0 and "of-alice-alone" not in said


def test_w_19_who_is_not_mapped_is_refused_and_who_is_not_in_the_group_does_not_get_in(
    system: System,
) -> None:
    code, said = system.zc(NOBODYS, "recall-context")
    assert code == 4 and "user_not_mapped" in said
    code, said = system.zc(OUTSIDER, "recall-context", group=None)
    assert code == 7 and "Permission denied" in said
    assert ("door:socket", "refusal") in system.entries("machine.db")
    system.map(f"{BOB} bob")
    code, said = system.zc(ALICE, "recall-context")
    assert code == 4 and "user_not_mapped" in said
    system.map(f"{ALICE} alice", f"{BOB} bob", "nonsense")
    code, said = system.zc(BOB, "recall-context")
    assert code == 7 and "principals_unusable" in said
    system.map(f"{ALICE} alice", f"{BOB} bob")
    assert system.zc(ALICE, "recall-context")[0] == 0


def test_w_20_a_user_of_the_service_manages_nothing(system: System) -> None:
    for words in (
        ("keys", "status"), ("audit", "tail", "--machine"), ("audit", "tail"), ("project", "list"), ("token", "list"),
        ("token", "issue", "eve", "orchestrator"), ("memory", "list"), ("state", "check"),
    ):  # fmt: skip
        code, said = system.zc(ALICE, *words)
        assert (code, "not_permitted" in said) == (4, True), (words, said)
    done = system.run(ALICE, *command(ASKED))
    for line in done.stdout.splitlines():
        assert json.loads(line)["structured"]["error"]["code"] == "not_at_this_socket"
    assert len(done.stdout.splitlines()) == 2, done


def test_hooks_and_the_shim_of_another_user_come_to_the_system_service(system: System) -> None:
    before = len(system.entries())
    hook = system.run(ALICE, python(), "-I", "-S", str(ENTRY), "tool-used", said=json.dumps(PAYLOAD).encode())
    assert (hook.returncode, hook.stdout, hook.stderr) == (0, b"", b"")
    wait_until(lambda: len(system.entries()) > before, "the hook's entry")
    assert (
        system.entries()[before:] == [("user:alice", "observed")]
        or ("user:alice", "observed") in system.entries()
    )
    start = system.run(
        ALICE, python(), "-I", "-S", str(ENTRY), "session-start", said=b'{"session_id": "s-1"}'
    )
    assert b"pelican" in start.stdout
    lines = [
        INITIALIZE,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        call(7, "zc_recall_context"),
    ]
    said = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    shim = system.run(ALICE, python(), "-I", "-S", str(SHIM), said=said)
    answers = {each.get("id"): each for each in map(json.loads, shim.stdout.splitlines())}
    assert "pelican" in json.dumps(answers[7]), shim


def test_the_socket_outlives_the_service_and_a_client_waits_for_the_next_one(system: System) -> None:
    system.end()
    assert Path(system.path).is_socket()
    system.start()  # as systemd does at a connection; the client need not know
    code, said = system.zc(ALICE, "recall-context")
    assert code == 0 and "pelican" in said


def test_a_hook_without_its_system_service_lets_the_session_go_on_and_spools_nothing(system: System) -> None:
    nowhere = {"ZC_SYSTEM_SOCKET": str(system.root / "run" / "none.sock")}
    for event in ("session-start", "tool-used", "session-end"):
        done = system.run(ALICE, python(), "-I", "-S", str(ENTRY), event, said=b"{}", **nowhere)
        assert (done.returncode, done.stderr) == (0, b"")
        assert (b"not reachable" in done.stdout) is (event == "session-start")
    home = system.root / f"home-{ALICE}"
    assert not list(home.rglob("spool/*.json"))
    code, said = system.zc(ALICE, "recall-context", **nowhere)
    assert code == 7 and "system service" in said
    assert not list(home.rglob("service.lock")), "no service of its own was started instead"


def test_w_19_a_socket_that_root_did_not_open_is_not_taken_for_the_system_service(system: System) -> None:
    """A user who puts a socket of its own where another one is told to look hears neither texts nor a token."""
    trap = system.root / f"home-{BOB}" / "trap.sock"
    trap.parent.mkdir(exist_ok=True)
    listens = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o666);"
        "s.listen(); print('up', flush=True); c = s.accept()[0]; print(c.recv(9), flush=True)"
    )
    os.chown(trap.parent, BOB, BOB)
    trap.parent.chmod(0o755)
    setter = subprocess.Popen(
        [python(), "-I", "-c", listens, str(trap)],
        user=BOB,
        group=BOB,
        extra_groups=[],
        stdout=subprocess.PIPE,
    )
    assert setter.stdout is not None
    try:
        assert setter.stdout.readline() == b"up\n"
        code, said = system.zc(
            ALICE, "recall-context", ZC_SYSTEM_SOCKET=str(trap), ZC_SESSION_TOKEN="zcst.a.b"
        )
        assert code == 7 and "not opened by root" in said
        assert setter.stdout.readline() == b"b''\n", "nothing was said to it"
    finally:
        setter.kill()
        setter.wait()
        setter.stdout.close()
