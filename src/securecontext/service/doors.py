"""The doors whose imports are heavy: the MCP SDK and the HTTP server are loaded when a client or nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from securecontext.types.errors import ZcError

if TYPE_CHECKING:
    from securecontext.app import App
    from securecontext.service.listener import Listener

log = logging.getLogger("securecontext.service")
WARM_SECONDS = 1.0
"""How long after its start the service begins to import for doors that nobody has used yet."""
HEAVY = ("pydantic", "mcp_types", "mcp.server.lowlevel", "securecontext.mcp.server")
"""Imported one by one, with a look in between whether a hook waits: an import holds the interpreter."""
HEAVY_FOR_HTTP = ("fastapi", "uvicorn", "mcp.server.streamable_http_manager", "securecontext.http.door")


class Doors:
    """What is known of the heavy doors.

    Args:
        touched: is told that somebody was here.

    Attributes:
        http_url: where the HTTP door listens; empty while it does not.
        http_trouble: why it cannot.
        http_clients: how many clients of it are there.
    """

    def __init__(self, touched: Callable[[], None]) -> None:
        self.http_url = ""
        self.http_trouble = ""
        self.http_clients = 0
        self._touched = touched
        self._urgent = 0
        self._mcp: asyncio.Task[ModuleType] | None = None

    @contextlib.contextmanager
    def urgent(self) -> Iterator[None]:
        """While this is held, nothing heavy is imported in the background."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1

    async def mcp(self) -> ModuleType:
        """Return the MCP door's module, importing it at its first use."""
        if self._mcp is None:
            self._mcp = asyncio.create_task(self._import_mcp())
        return await asyncio.shield(self._mcp)

    async def _import_mcp(self) -> ModuleType:
        module: ModuleType
        for name in HEAVY:
            while self._urgent:
                await asyncio.sleep(0.005)
            module = await asyncio.to_thread(importlib.import_module, name)
        return module

    def let_pass(self) -> None:
        """Hold up a worker thread while a hook waits."""
        while self._urgent:
            time.sleep(0.005)

    async def warm(self, app: App, listener: Listener) -> None:
        """Import what no client has needed yet, and serve the HTTP door where it is wanted."""
        await asyncio.sleep(WARM_SECONDS)
        mcp = await self.mcp()
        gc.freeze()  # modules stay: nobody needs to look through them again
        if app.settings.http_port is None:
            return
        for name in HEAVY_FOR_HTTP:
            while self._urgent:
                await asyncio.sleep(0.005)
            door = await asyncio.to_thread(importlib.import_module, name)
        gc.freeze()
        around = door.Surroundings(
            listener.run,
            mcp.make_server,
            mcp.no_message,
            mcp.in_our_words,
            self._present,
            self._http_is_at,
        )
        try:
            await door.serve(app, app.settings, around)
        except ZcError as error:
            self.http_trouble = str(error)
            raise

    @contextlib.contextmanager
    def _present(self) -> Iterator[None]:
        """While this is held, a client of the HTTP door is there."""
        self.http_clients += 1
        self._touched()
        try:
            yield
        finally:
            self.http_clients -= 1
            self._touched()

    def _http_is_at(self, url: str) -> None:
        self.http_url = url
        log.info("HTTP door at %s", url)
