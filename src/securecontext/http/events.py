"""``GET /api/v1/events``: wakes an agent for broadcasts to it and for tasks of its role, as server-sent events.

Events carry ids alone: what they stand for is read, claimed and acknowledged by calls, and the store is the truth. A
stream holds no thread; it is woken by the bell, looks by itself now and then, and ends when the token does.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.policy import Standing
from securecontext.http import request_id
from securecontext.http.auth import Enter
from securecontext.http.callers import caller_of, one_value
from securecontext.http.problem import problem
from securecontext.operations.events import AT_ONCE, PendingOutput, pending
from securecontext.operations.queue import topic
from securecontext.pipeline.call import Answer
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput, LimitReached, ZcError
from securecontext.types.ids import timestamp

PATH = "/api/v1/events"
LAST = "Last-Event-ID"
LOOK_SECONDS = (5.0, 10.0)
"""Between two looks that nothing rang for, evenly spread; each also tells the client that the stream lives."""
MOST = 256
MOST_OF_ONE = 8
RETRY_MILLISECONDS = 1_000
_chance = random.SystemRandom()


class Events:
    """The open streams. Belongs to one event loop.

    Args:
        world: its bell wakes streams, its stores are the truth.
        corridor: each stream begins with a call.
        token: the door's.
        run: runs blocking work on a worker thread.
        enter: told of what is refused before it is a call.
    """

    def __init__(
        self,
        world: World,
        corridor: Corridor,
        token: DoorToken,
        run: Callable[[Callable[[], Any]], Awaitable[Any]],
        enter: Enter,
    ) -> None:
        self._world = world
        self._corridor = corridor
        self._token = token
        self._run = run
        self._enter = enter
        self._open: set[asyncio.Event] = set()
        self._of: Counter[str] = Counter()
        self._closing = False

    def close(self) -> None:
        """End every stream: the service ends."""
        self._closing = True
        for wake in self._open:
            wake.set()

    async def __call__(self, request: Request) -> Response:
        """Open a stream, or refuse."""
        scope, ident = request.scope, request_id.current()

        def begin() -> tuple[Caller, int, Answer]:
            after = _last(scope)
            caller = caller_of(self._world, scope, self._token, Standing.PERSON)
            return caller, after, caller.call(self._corridor, "events.pending", {"after": after}, "", ident)

        try:
            caller, after, answer = await self._run(begin)
            if answer.error is None:
                self._refuse_many(caller.principal.name)
        except ZcError as error:
            await self._enter(error, scope, known=True)
            return problem(error)
        if answer.error is not None:
            return problem(answer.error)
        said = PendingOutput.model_validate(answer.structured)
        return StreamingResponse(
            self._stream(caller, said, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def _refuse_many(self, name: str) -> None:
        if len(self._open) >= MOST or self._of[name] >= MOST_OF_ONE:
            raise LimitReached(
                "too_many_streams",
                f"Too many streams of events are open: {MOST_OF_ONE} of one caller and {MOST} of all are the limit.",
                "Close one, or ask zc_replay and zc_claim_task with wait.",
                limit=MOST_OF_ONE,
            )

    async def _stream(self, caller: Caller, who: PendingOutput, after: int) -> AsyncIterator[bytes]:
        assert caller.project is not None  # noqa: S101 - for the type checker; the corridor has refused before
        project, name = caller.project.id, caller.principal.name
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def look() -> tuple[list[int], bool]:
            if caller.principal.token:
                self._world.credentials.check(caller.principal.token)
            now = timestamp(self._world.clock())
            with self._world.store(project).read() as connection:
                return pending(connection, project, who.agent, who.role, after=after, now=now)

        def ring() -> None:
            loop.call_soon_threadsafe(wake.set)

        self._open.add(wake)
        self._of[name] += 1
        try:
            with self._world.bell.heard((project, topic(project, who.role)), ring):
                yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
                had, rung = False, True
                while not self._closing:
                    wake.clear()
                    try:
                        found, ready = await self._run(look)
                    except ZcError as error:
                        yield _event("end", {"code": error.code})
                        return
                    for after in found:
                        yield _event("broadcast", {"id": after}, after)
                    if ready and (rung or not had):
                        yield _event("tasks", {"role": who.role})
                    elif not found:
                        yield b": still here\n\n"
                    had, rung = ready, len(found) == AT_ONCE or await _woken(wake)
                yield _event("end", {"code": "service_stopping"})
        finally:
            self._open.discard(wake)
            self._of[name] -= 1
            if not self._of[name]:
                del self._of[name]


async def _woken(wake: asyncio.Event) -> bool:
    """Wait until it rings, at most until it is time to look; say whether it rang."""
    try:
        async with asyncio.timeout(_chance.uniform(*LOOK_SECONDS)):
            await wake.wait()
    except TimeoutError:
        return False
    return True


def _event(kind: str, data: dict[str, Any], ident: int | None = None) -> bytes:
    head = "" if ident is None else f"id: {ident}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _last(scope: Scope) -> int:
    """Return the broadcast after which a client that comes back goes on."""
    shown = one_value(scope, LAST)
    if not shown:
        return 0
    if not (shown.isascii() and shown.isdigit() and len(shown) < 19):
        raise InvalidInput(
            "bad_event_id",
            f"{LAST} is not the id of an event.",
            "Send the last one that you were given, or none.",
            field=LAST,
        )
    return int(shown)
