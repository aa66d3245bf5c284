"""Where gateways pass calls on: the agent of a session token calls, whatever the operation, also as its hook.

An answer that takes long is preceded by signs of life, line ends before its JSON: whoever waits can tell a service that
works from one that went away without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from securecontext.boundaries.tokens import Claims
from securecontext.http.api import Run
from securecontext.http.auth import Enter
from securecontext.http.body import parse_object
from securecontext.http.callers import CLAIMS, idempotency_key
from securecontext.http.problem import problem
from securecontext.pipeline.call import Answer
from securecontext.pipeline.callers import introduce_passed
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.passing import answer_bytes, parse_passed
from securecontext.pipeline.world import World
from securecontext.types.errors import Unauthenticated, ZcError

BEAT_SECONDS = 4.0
"""Between two signs of life; a gateway gives up after three of them have not come."""
MEDIA_TYPE = "application/json"


def passed_on(
    world: World, corridor: Corridor, run: Run, enter: Enter
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint.

    Args:
        world: projects.
        corridor: where calls go.
        run: worker threads for them.
        enter: told of what is refused before it is a call.
    """

    async def endpoint(request: Request) -> Response:
        body = await request.body()

        def call() -> Answer:
            passed = parse_passed(parse_object(body))
            caller = introduce_passed(world, _claims(request), passed)
            return caller.call(
                corridor, passed.operation, dict(passed.arguments), idempotency_key(request.scope)
            )

        work = asyncio.ensure_future(run(call))
        try:
            done, _ = await asyncio.wait([work], timeout=BEAT_SECONDS)
            if not done:
                return StreamingResponse(_beating(work), media_type=MEDIA_TYPE)
            return Response(answer_bytes(work.result()), media_type=MEDIA_TYPE)
        except ZcError as error:  # before the corridor: there is no call yet
            await enter(error, request.scope, known=True)
            return problem(error)

    return endpoint


async def _beating(work: asyncio.Future[Answer]) -> AsyncIterator[bytes]:
    while not (await asyncio.wait([work], timeout=BEAT_SECONDS))[0]:
        yield b"\n"
    yield answer_bytes(work.result())


def _claims(request: Request) -> Claims:
    claims: Claims | None = request.scope.get(CLAIMS)
    if claims is None:
        raise Unauthenticated(
            "token_needed",
            "A gateway passes calls on with a session token, and with nothing else.",
            "Set ZC_SESSION_TOKEN where the gateway's client starts.",
            reason="missing",
        )
    return claims
