"""A proxy between two TCP sockets of this machine, which can do to a connection what networks do.

It listens on the IPv6 loopback address at the very port that the service has on the IPv4 one, so that the service is
called by a name that it knows for its own, and nothing in the bytes has to be changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

PART = 65_536


class Network:
    """What becomes of connections; changed by the test while they are open.

    Attributes:
        delay: seconds that each piece of bytes takes, in either direction.
        connections: how many were taken so far.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.delay = 0.0
        self.connections = 0
        self._target = port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._passing: asyncio.Event
        self._never: asyncio.Future[None]
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._run(self._listen())

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://[::1]:{self.port}"

    def swallow(self) -> None:
        """From now on nothing comes through, and nobody is told: the other end seems to be there."""
        self._run(self._set(False))

    def heal(self) -> None:
        """Let pass again what comes, and what was held back."""
        self._run(self._set(True))

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._run(self._reset())

    def close(self) -> None:
        self._run(self._reset())
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # On the loop

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> int:
        self._passing = asyncio.Event()
        self._passing.set()
        self._never = self._loop.create_future()
        self._server = await asyncio.start_server(self._serve, "::1", self._target, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def _set(self, passing: bool) -> None:
        (self._passing.set if passing else self._passing.clear)()

    async def _reset(self) -> None:
        for writer in tuple(self._open):
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._open.add(writer)
        try:
            there, out = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(out)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, out))
                    group.create_task(self._carry(there, writer))
            finally:
                self._open.discard(out)
                out.transport.abort()
        except* OSError:
            pass  # one of the two ends went away
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(PART):
            if self.delay:
                await asyncio.wait([self._never], timeout=self.delay)
            await self._passing.wait()
            writer.write(part)
            await writer.drain()
        await self._passing.wait()
        raise ConnectionResetError


@contextmanager
def network_to(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Network]:
    """Run a proxy before the service at a port; with ``tls`` it ends TLS too."""
    made = Network(port, tls)
    try:
        yield made
    finally:
        made.close()
