"""A user's world with a real service: its own home, real shims with the official client, raw sockets, no leftovers."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from securecontext import rendezvous
from securecontext.rpc.client import Client as PersonClient
from securecontext.rpc.client import control
from tests.engine import data_of
from tests.waiting import wait_until

SOURCE = Path(rendezvous.__file__).parent
SHIM = SOURCE / "mcp" / "shim.py"
IMPATIENT = """
import sys
from securecontext.service import listener
listener.WRITE_SECONDS = listener.OPENING_SECONDS = 1.0
from securecontext.service.run import main
sys.exit(main())
"""
"""A service that waits for no client longer than a second."""


class Raw:
    """A connection without any client library."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(30)
        self.file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> dict[str, Any]:
        """Return the next line as JSON; an empty object at the end of the connection."""
        found: dict[str, Any] = json.loads(self.file.readline() or b"{}")
        return found

    def ask(self, message: object) -> dict[str, Any]:
        self.send((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
        return self.line()

    def at_end(self) -> bool:
        """Say whether the service has closed the connection; waits for it."""
        try:
            return self.file.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class World:
    """One data folder and everything that runs on it.

    Args:
        root: an empty folder with a short path.
        home: the data folder.
    """

    def __init__(self, root: Path, home: Path | None = None) -> None:
        self.root = root
        self.home = home or root / "zc"
        self.project = root / "project"
        self.project.mkdir(exist_ok=True)
        self.env = {
            "HOME": str(root),
            "PATH": os.environ["PATH"],
            "ZC_HOME": str(self.home),
            "ZC_SECRET_RULES": "own",  # compiling the others takes ten seconds; their own tests use them
            "ZC_HTTP_PORT": "off",
            "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
            "TMPDIR": os.environ["TMPDIR"],
        }
        self.shim_command = [sys.executable, "-I", "-S", str(SHIM)]
        self._raw: list[Raw] = []

    # Processes

    def processes(self) -> dict[int, str]:
        """Return the command lines of this world's processes by id."""
        mark = b"ZC_HOME=" + os.fsencode(self.home) + b"\0"
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with contextlib.suppress(OSError):
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z" and mark in (folder / "environ").read_bytes() + b"\0":
                        found[int(folder.name)] = (
                            (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        )
        return found

    def services(self) -> list[int]:
        return [pid for pid, command in self.processes().items() if "shim" not in command]

    def served(self) -> list[int]:
        """Return the process ids of every service that ever served here, from its log."""
        log = self.home / "logs" / "service.log"
        if not log.exists():
            return []
        events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
        return [int(e.rpartition("pid ")[2]) for e in events if e.startswith("serving ")]

    def log(self) -> str:
        return (self.home / "logs" / "service.log").read_text()

    def serve(self, code: str | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """Start a service in the foreground and wait until it answers."""
        command = [sys.executable, "-I", *(("-c", code) if code else ("-m", "securecontext", "serve"))]
        process = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, **more)
        wait_until(lambda: self.answers() or process.poll() is not None, "the service")
        return process

    def answers(self) -> bool:
        with contextlib.suppress(OSError, rendezvous.ServiceAway):
            rendezvous.connect(str(self.home), timeout=5).close()
            return True
        return False

    def control(self, **request: Any) -> dict[str, Any]:
        return control(rendezvous.connect(str(self.home), timeout=5), request)

    def pid(self) -> int:
        return int(self.control(do="status")["pid"])

    def kill(self, pid: int | None = None) -> int:
        """End the service as a crash would; return the id it had."""
        victim = pid or self.pid()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in self.processes(), "the killed service to be gone")
        return victim

    def stop(self) -> None:
        """Ask the service to end, and wait until it has."""
        with contextlib.suppress(OSError, ValueError, rendezvous.ServiceAway):
            self.control(do="stop")
        wait_until(lambda: not self.services(), "the service to end")

    # Clients

    @asynccontextmanager
    async def client(
        self, mode: str = "auto", project: Path | None = None, command: list[str] | None = None, **env: str
    ) -> AsyncIterator[Client]:
        """The official client over a real shim."""
        words = command or self.shim_command
        parameters = StdioServerParameters(
            command=words[0], args=words[1:], env={**self.env, **env}, cwd=project or self.project
        )
        with (self.root / "shim.stderr").open("a") as heard:
            async with Client(stdio_client(parameters, errlog=heard), mode=mode) as client:
                yield client

    def person(self, project: Path | None = None) -> PersonClient:
        """The command line's client, on a service that runs."""
        return PersonClient(str(self.home), str(project or self.project))

    def raw(self, opening: bytes | str = "mcp/1", greeted: bool = True, **headers: str) -> Raw:
        """Open a connection by hand; a string is a door, bytes are sent as they are."""
        connection = Raw(rendezvous.connect(str(self.home), timeout=30))
        self._raw.append(connection)
        if isinstance(opening, str):
            connection.send(rendezvous.preamble(opening, {"project-path": str(self.project), **headers}))
            if greeted:
                assert connection.line()["service"] == "securecontext"
        else:
            connection.send(opening)
        return connection

    def session(self) -> Raw:
        """A raw MCP connection after its handshake."""
        raw = self.raw()
        answer = raw.ask(
            {
                "jsonrpc": "2.0",
                "id": "hello",
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {},
                    "clientInfo": {"name": "raw", "version": "0"},
                },
            }
        )
        assert answer["result"]["serverInfo"]["name"] == "zc-ctx"
        raw.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        return raw

    def close(self) -> None:
        """End everything, and fail if a process is left."""
        for raw in self._raw:
            raw.close()
        try:
            self.stop()
            wait_until(lambda: not self.processes(), "every process of the test to end", 10)
        finally:
            left = self.processes()
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        assert left == {}


class Pipe:
    """A shim driven by hand over pipes."""

    def __init__(self, world: World, command: list[str] | None = None, **env: str) -> None:
        self.process = subprocess.Popen(
            command or world.shim_command,
            env={**world.env, **env},
            cwd=world.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._buffer = b""
        self.notified: list[str] = []

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def line(self, seconds: float = 30) -> bytes:
        """Return the next line; empty at the end."""
        assert self.process.stdout is not None
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            assert ready, f"no line within {seconds} s"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def ask(self, message: object) -> dict[str, Any]:
        self.send((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next message that is an answer; notifications before it are noted by their method."""
        while True:
            message: dict[str, Any] = json.loads(self.line() or b"{}")
            if "method" not in message:
                return message
            self.notified.append(message["method"])

    def initialize(self) -> dict[str, Any]:
        answer = self.ask(INITIALIZE)
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        return answer

    def close(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "pipe", "version": "0"},
    },
}


def call(ident: object, tool: str, **arguments: object) -> dict[str, Any]:
    """Return a tools/call request."""
    return {
        "jsonrpc": "2.0",
        "id": ident,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


@contextmanager
def piped(world: World, command: list[str] | None = None, **env: str) -> Iterator[Pipe]:
    """A shim over pipes that is gone afterwards."""
    pipe = Pipe(world, command, **env)
    try:
        yield pipe
    finally:
        if pipe.process.poll() is None:
            pipe.process.kill()
        pipe.close()


@contextmanager
def world_in(root: Path, home: Path | None = None, machine_secret: str = "") -> Iterator[World]:
    """A world of which nothing runs afterwards.

    Args:
        root: an empty folder with a short path.
        home: the data folder.
        machine_secret: in base64; the world's services have it.
    """
    made = World(root, home)
    if machine_secret:
        made.env["ZC_MACHINE_SECRET"] = machine_secret
    with data_of(made.home, base64.b64decode(machine_secret) or None) as more:
        made.env |= more
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of the test's own."""
    with world_in(tmp_path) as made:
        yield made
