"""A raw MCP client: JSON-RPC lines through a real shim, so that no client library's own time is counted."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from types import TracebackType
from typing import Any

from bench.home import SHIM, Home

PROTOCOL = "2025-06-18"
PATIENCE = 60.0
"""Seconds after which an answer is given up for lost."""


class Lost(Exception):
    """An answer did not come."""


class Session:
    """One agent's session.

    Args:
        home: folders and environment.
        agent: notebook; empty for the session's own.
    """

    def __init__(self, home: Home, agent: str = "") -> None:
        environ = home.environ() | ({"ZC_AGENT_ID": agent} if agent else {})
        self._process = subprocess.Popen(
            SHIM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=home.project
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self.out = self._process.stdout.fileno()
        self._rest = b""
        self._number = 0
        self._ready: list[dict[str, Any]] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The shim's process id."""
        return self._process.pid

    def close(self) -> None:
        """End the session as a client does: close the shim's input."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # One call after another

    def shake_hands(self) -> None:
        """Introduce ourselves."""
        params = {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        }
        self.ask("initialize", params)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a request.

        Raises:
            Lost: no answer, or an error of the protocol.
        """
        number = self.send(method, params)
        while True:
            for answer in self.receive(PATIENCE):
                if answer.get("id") == number:
                    if "result" not in answer:
                        raise Lost(str(answer)[:500])
                    return dict(answer["result"])

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a tool that was done.

        Raises:
            Lost: it was refused, or not answered.
        """
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise Lost(str(result)[:500])
        return result

    def timed(self, tool: str, arguments: dict[str, Any]) -> float:
        """Return how many milliseconds a call took."""
        begun = time.perf_counter()
        self.call(tool, arguments)
        return (time.perf_counter() - begun) * 1000

    # Many sessions at once

    def send(self, method: str, params: dict[str, Any]) -> int:
        """Send a request and return its number."""
        self._number += 1
        self._write({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        return self._number

    def receive(self, patience: float = 0.0) -> list[dict[str, Any]]:
        """Return the answers that are there.

        Args:
            patience: seconds to wait for the first.

        Raises:
            Lost: none came in time, or the shim ended.
        """
        while True:
            if patience and not select.select([self.out], [], [], patience)[0]:
                raise Lost("no answer in time")
            data = os.read(self.out, 1 << 18)
            if not data:
                raise Lost("the shim ended")
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines or not patience:
                return [json.loads(line) for line in lines]

    def _write(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._in, data) :]


def session(home: Home, agent: str = "") -> Session:
    """Return a session that has shaken hands."""
    made = Session(home, agent)
    made.shake_hands()
    return made
