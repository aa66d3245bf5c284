"""The routes: one for each operation, ``/health`` and ``/openapi.json``. What they do is the corridor's."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from securecontext import __version__
from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.policy import Standing
from securecontext.http.auth import OPEN_PATHS, Enter
from securecontext.http.body import parse_object
from securecontext.http.callers import caller_of, idempotency_key
from securecontext.http.health import health
from securecontext.http.openapi import HEALTH_ROUTE, Parts
from securecontext.http.problem import problem
from securecontext.pipeline.corridor import Answer, Corridor
from securecontext.pipeline.operation import CATALOGUE, Operation
from securecontext.pipeline.world import World
from securecontext.types.errors import ContractBroken, InvalidInput, NotFound, ZcError

log = logging.getLogger("securecontext.http")
PREFIX = "/api/v1"

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs blocking work on a worker thread."""


def make_api(world: World, corridor: Corridor, token: DoorToken, run: Run, enter: Enter) -> FastAPI:
    """Return the application with all routes; the guard stands before it.

    Args:
        world: projects and stores.
        corridor: where calls go.
        token: what callers were admitted by.
        run: worker threads for calls.
        enter: told of what is refused before it is a call.
    """
    operations = [o for o in CATALOGUE.values() if o.audience is not Standing.HOOK]
    parts = Parts(operations)
    api = _Api(parts)
    for operation in operations:
        api.add_api_route(
            PREFIX + operation.route,
            _endpoint(operation, world, corridor, token, run, enter),
            methods=["POST"],
            operation_id=operation.name,
            summary=operation.summary,
            description=operation.description,
            openapi_extra=parts.route(operation),
        )

    async def show_health() -> Response:
        found = await run(lambda: health(world))
        return JSONResponse(found, 200 if found["status"] == "ok" else 503)

    async def show_openapi() -> Response:
        return JSONResponse(api.openapi())

    api.add_api_route("/health", show_health, operation_id="health", openapi_extra=HEALTH_ROUTE)
    api.add_api_route("/openapi.json", show_openapi, include_in_schema=False)
    api.add_exception_handler(HTTPException, _no_route(enter))
    api.add_exception_handler(Exception, _failed)
    return api


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
    world: World,
    corridor: Corridor,
    token: DoorToken,
    run: Run,
    enter: Enter,
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()

        def call() -> Answer:
            caller = caller_of(world, request.scope, token, Standing.PERSON)
            return caller.call(corridor, operation.name, parse_object(body), idempotency_key(request.scope))

        try:
            answer = await run(call)
        except ZcError as error:  # before the corridor: there is no call yet
            await enter(error, request.scope, known=True)
            return problem(error)
        if answer.error is not None:
            return problem(answer.error)
        out = {"ok": True, "text": answer.text, "result": answer.structured}
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
            headers = dict(error.headers or {})
        await enter(refused, request.scope, known=request.url.path not in OPEN_PATHS)
        return problem(refused, error.status_code, headers)

    return answer


async def _failed(_request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return problem(
        ContractBroken("internal_error", "The service failed at this request.", "See `zc service logs`.")
    )
