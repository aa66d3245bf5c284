"""Connections on the service's socket: who is there, which door, and nobody may hold up the rest."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from securecontext import rendezvous
from securecontext.app import App
from securecontext.boundaries import limits
from securecontext.boundaries.policy import Standing
from securecontext.boundaries.usage import within_files
from securecontext.hooks import handlers
from securecontext.mcp.flow import Flow
from securecontext.pipeline.callers import Caller, introduce
from securecontext.pipeline.refusals import SESSION, RefusalLog, kind_of
from securecontext.rpc.server import answer_line, refusal_line
from securecontext.service import operator_door
from securecontext.service.peers import DOORS as SHARED_DOORS
from securecontext.service.peers import Peer, Peers
from securecontext.service.terminal import terminal_of
from securecontext.service.wire import LineTooLong, Opening, greeting, hang_up, read_line, read_opening
from securecontext.types.errors import ContractBroken, Denied, InvalidInput, LimitReached, ZcError
from securecontext.types.ledger import EntryDraft

if TYPE_CHECKING:
    from securecontext.service.daemon import Daemon

log = logging.getLogger("securecontext.listener")
T = TypeVar("T")
OPENING_SECONDS = 10.0
WRITE_SECONDS = 30.0
"""How long a client may leave an answer unread before its connection is closed."""
LAST_SECONDS = 1.0
"""The same while the service ends."""
TOO_LONG_HINT = f"Keep messages below {limits.LINE_BYTES >> 20} MiB; a message goes on one line."
HOOK_BYTES = 8 * 1024 * 1024
"""Of a hook's larger payload it is entered that there was one: parsing it would hold up all other clients."""
WORKERS = 64
"""Calls that are worked on at once; further ones wait for their turn, while those that wait for others stand aside."""
DOOR = "socket"


class Listener:
    """Serves connections.

    Args:
        app: the composition root.
        daemon: what the control door asks about and tells to stop.
    """

    def __init__(self, app: App, daemon: Daemon) -> None:
        self._app = app
        self._daemon = daemon
        self._pool = ThreadPoolExecutor(WORKERS + limits.WAITERS, thread_name_prefix="call")
        self._places = threading.Semaphore(WORKERS)
        app.bell.aside = self._aside
        self.open = 0
        self.workers = WORKERS
        self.most = within_files(limits.CONNECTIONS, limits.FILES_FOR_SOCKET)
        self._under_way = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flows: set[Flow] = set()
        self._stopping = False
        self._refusals = RefusalLog(lambda: app.machine, self.run)

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work on a worker thread; a call that was begun is finished even if its client goes."""
        self._under_way += 1

        def in_place() -> T:
            with self._places:
                return work()

        future = asyncio.get_running_loop().run_in_executor(self._pool, in_place)
        future.add_done_callback(self._finished)
        return await asyncio.shield(future)

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Give up one's place among the workers: held by a call while it waits for others."""
        self._places.release()
        try:
            yield
        finally:
            self._places.acquire()

    def _finished(self, future: asyncio.Future[Any]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # retrieved here too, for a client that went away

    @contextlib.contextmanager
    def _owing(self) -> Iterator[None]:
        """Count a call until its answer is on its way, not only until it is done."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def drain(self, seconds: float) -> None:
        """Take no further call, wait until those under way are answered, at most so long; close every connection.

        What was sent but not yet taken up is done by the next service: shims send it again.
        """
        self._stopping = True
        for flow in self._flows:
            flow.stop()
        deadline = asyncio.get_running_loop().time() + seconds
        while self._busy() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _busy(self) -> bool:
        return self._under_way > 0 or any(flow.asked for flow in self._flows)

    async def accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peers: Peers | None = None
    ) -> None:
        """Serve one connection to its end.

        Args:
            reader: from the client.
            writer: to it.
            peers: who may come; None for this user alone.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: a coroutine of a server runs in a task
        self._tasks.add(task)
        self.open += 1
        self._daemon.touched()
        try:
            await self._attend(reader, writer, peers)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            # Ended by `drain`. Passed on, it would be a failure to asyncio, and a trace in the log for every client.
        finally:
            self.open -= 1
            self._tasks.discard(task)
            self._daemon.touched()

    async def _attend(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peers: Peers | None
    ) -> None:
        try:
            await self._serve(reader, writer, peers)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away, or does not read: it is owed nothing
        except LineTooLong:
            await self._refuse(writer, InvalidInput("line_too_long", "The line is too long.", TOO_LONG_HINT))
        except ZcError as error:
            await self._refuse(writer, error)
        except Exception:  # the door's last line: one connection must not end the service
            log.exception("a connection failed")
        finally:
            await hang_up(writer, LAST_SECONDS if self._stopping else WRITE_SECONDS)

    async def _admitted(self, uid: int, peers: Peers | None) -> Peer:
        try:
            if peers is not None:
                return await self.run(lambda: peers.admit(uid))
            if uid == os.getuid():
                return Peer(uid)
            raise Denied(
                "foreign_user", "This service belongs to another user.", "Use a service of your own."
            )
        except ZcError:
            log.warning("a process of uid %d was refused", uid)
            raise

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peers: Peers | None
    ) -> None:
        peer = writer.get_extra_info("socket")
        who = await self._admitted(rendezvous.peer_uid(peer), peers)
        if self.open > self.most:
            raise LimitReached(
                "too_many_connections",
                f"Too many clients are connected: {self.most} are the limit.",
                "Close some, then try again.",
                limit=self.most,
            )
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                opening = await read_opening(reader)
        except TimeoutError as error:
            raise InvalidInput(
                "opening_timeout",
                "The connection was not opened in time.",
                "Use `zc`, the plugin, or an MCP client with `zc mcp`.",
            ) from error
        if who.name and opening.door not in SHARED_DOORS:
            raise Denied(
                "not_at_this_socket",
                "A system service is managed by its own user, not at the socket that others use.",
                "Ask the administrator.",
            )
        terminal = "" if who.name else terminal_of(rendezvous.peer_pid(peer))
        match opening.door:
            case "hook":
                await self._hook(opening, who, reader, writer)
            case "rpc":
                await self._rpc(opening, who, terminal, reader, writer)
            case "mcp":
                await self._mcp(opening, who, reader, writer)
            case "operator":
                await self._operator(who.uid, terminal, reader, writer)
            case _:
                await self._control(reader, writer)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.drain()
        except TimeoutError:
            log.warning("a client did not read for %.0f s; its connection was closed", WRITE_SECONDS)
            writer.transport.abort()
            raise

    async def _refuse(self, writer: asyncio.StreamWriter, error: ZcError) -> None:
        if isinstance(error, ContractBroken):  # a defect of ours: its trace is what a report needs
            log.error("a connection broke a contract", exc_info=error)
        with contextlib.suppress(OSError, TimeoutError):  # the client may be gone
            await self._send(writer, refusal_line(error))
        await self._enter(error)

    async def _enter(self, error: ZcError, caller: Caller | None = None) -> None:
        """Enter a refusal that is no call's: in the stream of the caller, or of the door where nobody was let in."""

        def draft(left_out: int) -> EntryDraft:
            body: dict[str, Any] = {
                "door": DOOR,
                "operation": "connection",
                "outcome": error.code,
                "arguments": {},
            }
            if left_out:
                body["left_out"] = left_out
            if caller is None:
                return EntryDraft(f"door:{DOOR}", SESSION, "", kind_of(error), body)
            who = caller.principal
            return EntryDraft(who.name, who.session, who.claimed_agent, kind_of(error), body)

        if caller is None:
            await self._refusals.enter(draft)
        else:
            await self._refusals.write(draft(0))

    # Doors

    async def _hook(
        self, opening: Opening, who: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        parts: list[bytes] = []
        size = 0
        async with asyncio.timeout(OPENING_SECONDS):
            while chunk := await reader.read(1 << 16):
                size += len(chunk)
                if size <= HOOK_BYTES:
                    parts.append(chunk)
        raw = b"".join(parts) if size <= HOOK_BYTES else b'{"unread_bytes": %d}' % size
        with self._daemon.doors.urgent(), self._owing():
            answer, caller = await self.run(lambda: self._answer_hook(opening, who, raw))
            await self._send(writer, answer.wire())
            if answer.refused is not None:
                await self._enter(answer.refused, caller)

    def _answer_hook(
        self, opening: Opening, who: Peer, raw: bytes
    ) -> tuple[handlers.HookAnswer, Caller | None]:
        """Return the answer, and whose hook it is; None where the caller is refused."""
        payload = handlers.parse(raw)
        headers = dict(opening.headers)
        if isinstance(payload.get("cwd"), str) and not headers.get("project-path"):
            headers["project-path"] = payload["cwd"]
        headers.pop("session", None)
        try:
            caller = self._introduced(Standing.HOOK, "hook", who, headers)
        except ZcError as error:
            log.warning("a hook was refused: %s", error.code)
            claims = [headers.pop(name, "") for name in ("token", "agent")]
            if opening.word == "session-start" or not any(claims):
                return handlers.refused(opening.word, error), None
            # The start has told the person. What tools do is entered all the same, as nobody's whose name it is not.
            caller = self._introduced(Standing.HOOK, "hook", who, headers)
        if self._app.bearers is not None and caller.bearer:
            self._app.bearers.remember(handlers.session_of(payload), caller.bearer)
        done = handlers.answer(self._app.corridor, caller, opening.word, payload)
        return done, handlers.in_session(caller, payload)

    def _introduced(
        self, own: Standing, door: str, who: Peer, headers: dict[str, str], terminal: str = ""
    ) -> Caller:
        """Return the caller at a door where the service's own user would have the standing named."""
        standing = who.standing(own)
        return introduce(self._app, standing, door, who.principal, headers, terminal=terminal, owner=who.name)

    async def _rpc(
        self,
        opening: Opening,
        who: Peer,
        terminal: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        caller = await self.run(
            lambda: self._introduced(Standing.PERSON, "cli", who, opening.headers, terminal)
        )
        await self._send(writer, greeting())
        with self._app.presence.here(caller.principal, caller.bearer):
            while (line := await read_line(reader)).endswith(b"\n") and not self._stopping:
                self._daemon.touched()
                with self._owing():
                    work = functools.partial(answer_line, self._app.corridor, caller, line)
                    answer, refused = await self.run(work)
                    if refused is not None:
                        await self._enter(refused, caller)
                    await self._send(writer, answer)

    async def _mcp(
        self, opening: Opening, who: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server_module = await self._daemon.doors.mcp()
        caller = await self.run(lambda: self._introduced(Standing.AGENT, "mcp", who, opening.headers))
        await self._send(writer, greeting())

        async def run(work: Callable[[], T]) -> T:
            self._daemon.touched()
            return await self.run(work)

        async def enter(error: ZcError, _context: Any) -> None:
            await self._enter(error, caller)

        send: Callable[[bytes], Awaitable[None]] = functools.partial(self._send, writer)
        server = server_module.make_server(self._app.corridor, run, lambda _context: caller, enter)
        flow = Flow()
        if self._stopping:
            return
        self._flows.add(flow)
        try:
            with self._app.presence.here(caller.principal, caller.bearer):
                await server_module.serve_lines(
                    server, reader, send, flow, functools.partial(self._enter, caller=caller)
                )
        finally:
            self._flows.discard(flow)

    async def _operator(
        self, uid: int, terminal: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(OPENING_SECONDS):
            line = await read_line(reader)
        with self._owing():
            try:
                answer = await self.run(lambda: operator_door.attend(self._app, uid, terminal, line))
            except ZcError as error:  # entered already
                await self._send(writer, refusal_line(error))
            else:
                await self._send(writer, json.dumps(answer).encode() + b"\n")

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(OPENING_SECONDS):
            line = await read_line(reader)
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = {}
        refused = None
        try:
            answer = self._daemon.control(request if isinstance(request, dict) else {})
        except InvalidInput as error:
            refused, answer = error, {"ok": False, "error": error.as_dict()}
        await self._send(writer, json.dumps(answer).encode() + b"\n")
        if refused is not None:
            await self._enter(refused)
