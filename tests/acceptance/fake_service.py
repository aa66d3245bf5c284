"""A stand-in for the service's door for hooks: records each event and answers what the test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Heard:
    """One event as it arrived: its name, the headers (decoded) and the payload."""

    event: str
    headers: dict[str, str]
    payload: bytes


def parse(raw: bytes) -> Heard:
    """Take the bytes of one hook connection apart."""
    head, _, payload = raw.partition(b"\n\n")
    first, *lines = head.decode().split("\n")
    pairs = (line.split(": ", 1) for line in lines)
    return Heard(
        first.removeprefix("hook/1 "),
        {name: value.replace("%0A", "\n").replace("%25", "%") for name, value in pairs},
        payload,
    )


@dataclass
class FakeService:
    """A context manager that listens in the folder ``home``.

    ``answer`` gets each event and returns the raw bytes of the answer; None keeps the connection open without
    a word until the service ends.
    """

    home: Path
    answer: Callable[[Heard], bytes | None] = lambda heard: b"exit 0 0 0\n"
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> FakeService:
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / "fake.sock"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._open: list[socket.socket] = []
        link = self.home / "service.sock"
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        received = bytearray()  # bytes added to bytes would be copied anew with each piece
        try:
            while chunk := connection.recv(1 << 20):
                received += chunk
        except OSError:
            return  # the client is gone
        raw = bytes(received)
        if not raw.startswith(b"hook/1 "):
            return  # an MCP shim: it is kept waiting, so that it does not start a service of its own
        heard = parse(raw)
        self.heard.append(heard)
        said = self.answer(heard)
        if said is not None:
            try:
                connection.sendall(said)
            finally:
                connection.close()
