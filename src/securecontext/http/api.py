"""The routes: one for each operation, the paths of ``paths``, ``/health`` and ``/openapi.json``.

What they do is the corridor's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from securecontext import __version__
from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.policy import Standing
from securecontext.http import request_id
from securecontext.http.asked import asked
from securecontext.http.auth import ADMITTED, OPEN_PATHS, Enter
from securecontext.http.callers import CLAIMS, caller_of, idempotency_key, speaker
from securecontext.http.events import PATH as EVENTS
from securecontext.http.events import Events
from securecontext.http.health import HEALTH_SECONDS, health, unanswered
from securecontext.http.openapi import EVENTS_ROUTE, HEALTH_ROUTE, Parts
from securecontext.http.paths import PATHS, Path
from securecontext.http.problem import problem
from securecontext.pipeline.call import Answer
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.operation import CATALOGUE, Operation
from securecontext.pipeline.world import World
from securecontext.types.errors import ContractBroken, InvalidInput, NotFound, ZcError

log = logging.getLogger("securecontext.http")
PREFIX = "/api/v1"

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs blocking work on a worker thread."""


def make_api(
    world: World, corridor: Corridor, token: DoorToken, run: Run, enter: Enter, events: Events
) -> FastAPI:
    """Return the application with all routes; the guard stands before it.

    Args:
        world: projects and stores.
        corridor: where calls go.
        token: what callers were admitted by.
        run: worker threads for calls.
        enter: told of what is refused before it is a call.
        events: streams of events.
    """
    parts = Parts([operation for _, _, operation, _ in lines()])
    api = _Api(parts)
    for method, route, operation, path in lines():
        own = method == "POST" and route == operation.route
        api.add_api_route(
            PREFIX + route,
            _endpoint(operation, path, world, corridor, token, run, enter),
            methods=[method],
            operation_id=operation.name if own or path is None else path.id,
            summary=operation.summary,
            description=operation.description,
            openapi_extra=parts.route(operation, path),
        )

    async def show_health(request: Request) -> Response:
        known = ADMITTED in request.scope
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                found = await run(lambda: health(world, known=known))
        except TimeoutError:
            found = unanswered()
        return JSONResponse(found, 200 if found["status"] == "ok" else 503)

    async def show_openapi() -> Response:
        return JSONResponse(api.openapi())

    async def show_events(request: Request) -> Response:
        return await events(request)

    api.add_api_route(EVENTS, show_events, operation_id="get_events", openapi_extra=EVENTS_ROUTE)
    api.add_api_route("/health", show_health, operation_id="health", openapi_extra=HEALTH_ROUTE)
    api.add_api_route("/openapi.json", show_openapi, include_in_schema=False)
    api.add_exception_handler(HTTPException, _no_route(enter))
    api.add_exception_handler(Exception, _failed)
    return api


def lines() -> Iterator[tuple[str, str, Operation[Any, Any], Path | None]]:
    """Yield method, path below the prefix, operation, and line of `paths` of every route that leads to an operation."""
    known = {(path.method, path.path): path for path in PATHS}
    for operation in CATALOGUE.values():
        if operation.audience is not Standing.HOOK:
            path = known.get(("POST", operation.route))
            if path is not None and path.operation == operation.name:
                del known["POST", operation.route]
                yield "POST", operation.route, operation, path
            else:
                yield "POST", operation.route, operation, None
    for (method, route), path in known.items():
        yield method, route, CATALOGUE[path.operation], path


class _Api(FastAPI):
    """FastAPI with our document and nothing that it would add by itself."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            title="SecureContext",
            version=__version__,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self._parts = parts

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            self.openapi_schema = self._parts.complete(document)
        return self.openapi_schema


def _endpoint(
    operation: Operation[Any, Any],
    path: Path | None,
    world: World,
    corridor: Corridor,
    token: DoorToken,
    run: Run,
    enter: Enter,
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body() if request.method == "POST" else b""
        scope, ident = request.scope, request_id.current()

        def call() -> Answer:
            wanted = asked(operation, path, scope, body)
            if wanted.token:
                scope[CLAIMS] = speaker(world, wanted.token, scope)
            caller = caller_of(
                world, scope, token, Standing.PERSON, project=wanted.project, agent=wanted.agent
            )
            return caller.call(corridor, operation.name, wanted.arguments, idempotency_key(scope), ident)

        try:
            answer = await run(call)
        except ZcError as error:  # before the corridor: there is no call yet
            await enter(error, scope, known=True)
            return problem(error)
        if answer.error is not None:
            return problem(answer.error)
        out: dict[str, Any] = {"ok": True, "text": answer.text, "result": answer.structured}
        if path is not None:
            out |= {name: told(answer.structured) for name, told in path.tells.items()}
        return Response(json.dumps(out, ensure_ascii=False), media_type="application/json")

    return endpoint


def _no_route(enter: Enter) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker: it is registered for these
        refused: ZcError = NotFound("unknown_path", "There is nothing at this path.", "See /openapi.json.")
        headers: dict[str, str] = {}
        if error.status_code == 405:
            refused = InvalidInput(
                "wrong_method", f"This path does not answer {request.method}.", "See /openapi.json."
            )
            headers = {"Allow": ", ".join(_methods(request))}
        await enter(refused, request.scope, known=request.url.path not in OPEN_PATHS)
        return problem(refused, error.status_code, headers)

    return answer


def _methods(request: Request) -> list[str]:
    """Return the methods of a request's path."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return sorted({m for r in routes if r.path == request.url.path for m in r.methods or ()})


async def _failed(_request: Request, error: Exception) -> Response:
    log.error("request %s failed", request_id.current(), exc_info=error)
    return problem(
        ContractBroken("internal_error", "The service failed at this request.", "See `zc service logs`.")
    )
