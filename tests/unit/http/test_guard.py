"""The guard while the service ends: nothing more is let in, and what is under way has its answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from securecontext.boundaries.identity.door_token import open_token
from securecontext.http.auth import Guard
from securecontext.http.reach import reach_of
from securecontext.settings import Settings


class Door:
    """A guard before an application that answers when it is told to."""

    def __init__(self, folder: Path) -> None:
        token = open_token(folder)
        self.bearer = f"Bearer {token.path.read_text('ascii').strip()}".encode()
        self.may_answer = asyncio.Event()
        self.reached = asyncio.Event()
        self.clients = 0
        self.entered: list[str] = []
        self.guard = Guard(
            self._answer,
            token=token,
            identify=self._identify,
            reach=reach_of(Settings(home=folder, user_home=folder), 1),
            enter=self._enter,
            present=self._present,
        )

    async def _identify(self, shown: str, _scope: Any) -> Any:
        raise AssertionError(f"nobody shows a session token here: {shown[:9]}")

    async def _answer(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.reached.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def _enter(self, error: Any, _scope: Any, *, known: bool) -> None:
        self.entered.append(f"{error.code} {known}")

    @contextlib.contextmanager
    def _present(self) -> Any:
        self.clients += 1
        try:
            yield
        finally:
            self.clients -= 1

    async def ask(self, method: str = "POST", path: str = "/api/v1/status") -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [
            (b"host", b"127.0.0.1:1"),
            (b"authorization", self.bearer),
            (b"content-type", b"application/json"),
        ]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "client": ("127.0.0.1", 9),
        }
        await self.guard(scope, receive, send)
        return sent[0]["status"], sent[1]["body"]


def test_a_call_under_way_has_its_answer_and_no_other_is_let_in(tmp_path: Path) -> None:
    async def play() -> None:
        door = Door(tmp_path)
        under_way = asyncio.create_task(door.ask())
        await door.reached.wait()
        assert door.clients == 1
        closing = asyncio.create_task(door.guard.close(3600))
        await asyncio.sleep(0)
        status, body = await door.ask()
        assert (status, json.loads(body)["code"]) == (503, "service_stopping")
        assert not closing.done()
        door.may_answer.set()
        assert (await under_way)[0] == 200
        await closing
        assert door.clients == 0
        assert door.entered == []

    asyncio.run(play())


def test_a_stream_is_not_waited_for(tmp_path: Path) -> None:
    async def play() -> None:
        door = Door(tmp_path)
        stream = asyncio.create_task(door.ask("GET", "/mcp"))
        await door.reached.wait()
        await door.guard.close(3600)
        assert not stream.done()
        door.may_answer.set()
        await stream

    asyncio.run(play())


def test_it_waits_no_longer_than_it_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        door = Door(tmp_path)
        under_way = asyncio.create_task(door.ask())
        await door.reached.wait()
        await door.guard.close(0)
        assert not under_way.done()
        door.may_answer.set()
        await under_way

    asyncio.run(play())
