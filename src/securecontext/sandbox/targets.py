"""Real targets for attacks, made for one trial and gone after it: files, servers on loopback, a process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CODE: Final = Path(__file__).with_name("attacks.py")
MEMORY: Final = 3 << 30
FILE: Final = 160 << 20
FORKS: Final = 400


@dataclass(frozen=True, slots=True)
class Targets:
    """What there is to attack.

    Attributes:
        project: the folder that is the run's project.
        named: what the program is told of them.
    """

    project: Path
    named: dict[str, Any]

    def program(self, **more: Any) -> bytes:
        """Return the program that attacks them."""
        return f"TARGETS = {json.dumps({**self.named, **more})}\n".encode() + CODE.read_bytes()


@contextlib.contextmanager
def made(sleeper: str = "/bin/sleep") -> Iterator[Targets]:
    """Make targets; raises OSError.

    Args:
        sleeper: a program that waits as many seconds as it is told; the process that is attacked.
    """
    canary = secrets.token_hex(12)
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="zc-trial-")).resolve()
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        project, credentials, key = root / "project", root / "home" / ".ssh" / "id", root / "data" / "root"
        (project / ".git" / "hooks").mkdir(parents=True)
        (project / "source.py").touch()
        for file in (credentials, key):
            file.parent.mkdir(parents=True)
            file.write_text(canary)
        # Its name is the word too, for whoever lists processes.
        victim = subprocess.Popen(  # noqa: S603 - a program of the system, with our own words
            [canary, "600"],
            executable=sleeper,
            env={"SECRET": canary},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        addresses = stack.enter_context(_servers(canary.encode(), root / "socket"))
        named = {
            "canary": canary,
            "credentials": str(credentials),
            "key_file": str(key),
            "project": str(project),
            "victim": victim.pid,
            "memory": MEMORY,
            "file": FILE,
            "forks": FORKS,
            **addresses,
        }
        yield Targets(project, named)


@contextlib.contextmanager
def _servers(canary: bytes, path: Path) -> Iterator[dict[str, Any]]:
    """Serve the word to whoever asks: by TCP, by UDP, at a path, and at a name without one."""
    with contextlib.ExitStack() as stack:

        def listening(family: int, kind: int, address: Any) -> socket.socket:
            made = stack.enter_context(socket.socket(family, kind))
            made.bind(address)
            made.setblocking(False)
            return made

        name = f"zc-trial-{secrets.token_hex(8)}"
        tcp = listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        tcp.listen()
        udp = listening(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        by_path = listening(socket.AF_UNIX, socket.SOCK_DGRAM, str(path))
        by_name = listening(socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + name)
        stop = os.eventfd(0)
        stack.callback(os.close, stop)

        def serve() -> None:
            with selectors.DefaultSelector() as waiting:
                for each in (tcp, udp, by_path, by_name):
                    waiting.register(each, selectors.EVENT_READ, each)
                waiting.register(stop, selectors.EVENT_READ)
                while True:
                    for key, _ in waiting.select():
                        if key.fd == stop:
                            return
                        with contextlib.suppress(OSError):
                            _answer(key.data, canary)

        server = threading.Thread(target=serve, name="sandbox trial", daemon=True)
        server.start()
        stack.callback(server.join)
        stack.callback(os.eventfd_write, stop, 1)
        yield {
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix_socket": str(path),
            "abstract_socket": name,
        }


def _answer(asked: socket.socket, canary: bytes) -> None:
    if asked.type == socket.SOCK_STREAM:
        connection, _ = asked.accept()
        with connection:
            connection.sendall(canary)
        return
    _, sender = asked.recvfrom(16)
    asked.sendto(canary, sender)
