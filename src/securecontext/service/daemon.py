"""The life of the user's service: claim the folder, bind, then import; serve; end when nobody needs it.

It binds before it imports what is heavy, and imports the heavier part (the MCP SDK, the HTTP server) only when a
client of that door comes or when no hook is waiting, so that a hook is answered within half a second of a cold start.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from securecontext import __version__, rendezvous
from securecontext.boundaries import limits, usage
from securecontext.handover import numbers
from securecontext.service import guard, journal
from securecontext.service.address import Address
from securecontext.settings import Settings
from securecontext.types.errors import Expired, InvalidInput, Tampered, ZcError

if TYPE_CHECKING:
    from securecontext.service.spool import Spool

log = logging.getLogger("securecontext.service")
DRAIN_SECONDS = 10.0
BACKLOG = 1024
"""Connections that may wait to be accepted."""
TIDY_SECONDS = 600.0
CHECKPOINT_SECONDS = 10.0
"""How often the service looks whether a ledger is due to be signed."""
VERIFY_SECONDS = 300.0
"""How often the service looks whether a ledger is due to be verified whole."""
REST_SECONDS = 0.05
"""How long that check rests after each thousand rows, which take it about 0.015 seconds."""
LOOK_SECONDS = 1.0
"""How often the service looks whether clients still find it: those that do not, wait."""
WARM_SECONDS = 1.0
"""How long after its start the service begins to import for doors that nobody has used yet."""

COLLECT_AFTER = (10_000, 20, 50)
"""Thresholds of the garbage collector. A call makes some thousand objects and hardly a cycle among them; with Python's
700, each call would be interrupted to look through them all."""

HEAVY = ("pydantic", "mcp_types", "mcp.server.lowlevel", "securecontext.mcp.server")
"""Imported one by one, with a look in between whether a hook waits: an import holds the interpreter."""
HEAVY_FOR_HTTP = ("fastapi", "uvicorn", "mcp.server.streamable_http_manager", "securecontext.http.door")


def serve(settings: Settings) -> int:
    """Run the service until it ends; return the exit code.

    0 done, or another one serves already; 6 the code or the ledger is not what it was; 7 not startable.
    """
    home = settings.home
    gc.set_threshold(*COLLECT_AFTER)
    try:
        claim = _claimed(home)
        if claim is None:
            sys.stderr.write(f"{rendezvous.SERVED}\n")
            return 0
        journal.start(home, settings.log_level)
        usage.raise_file_limit()
    except (ZcError, OSError) as error:
        _leave_reason(home, str(error))
        return _exit_code(error)
    try:
        address = Address(home)
        _turn_away_standard_error()
        try:
            return asyncio.run(Daemon(settings, claim).run(address))
        except (ZcError, OSError) as error:
            _leave_reason(
                home, str(error)
            )  # before the socket closes: a client that waits at it looks at once
            raise
        finally:
            address.close()
    except (ZcError, rendezvous.ServiceAway, OSError) as error:
        log.exception("the service could not start")
        _leave_reason(home, str(error))
        return _exit_code(error)
    finally:
        claim.release()


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, Tampered) else 7


def _claimed(home: Path) -> guard.Claim | None:
    """Return the claim to the folder; None if another service answers there. One that is ending is waited for."""
    until = time.monotonic() + DRAIN_SECONDS + 5.0
    while True:
        claim = guard.claim(home, boot_id=guard.boot_id(), mounts=guard.mounts(), now=guard.wall_clock())
        if claim is not None or time.monotonic() > until:
            return claim
        try:
            rendezvous.connect(str(home), timeout=1.0).close()
        except (OSError, rendezvous.ServiceAway):
            time.sleep(0.02)
        else:
            return None


def _turn_away_standard_error() -> None:
    """Let the client that started this process know that it serves: the end of its pipe says so."""
    if stat.S_ISFIFO(os.fstat(2).st_mode):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 2)
        os.close(null)


class Daemon:
    """The running service."""

    def __init__(self, settings: Settings, claim: guard.Claim) -> None:
        from securecontext.app import App
        from securecontext.service.listener import Listener

        self.settings = settings
        self._claim = claim
        self.app = App(settings)
        self.listener = Listener(self.app, self)
        self._last_touch = time.monotonic()
        self._started = time.time()
        self._urgent = 0
        self._mcp: asyncio.Task[ModuleType] | None = None
        self._http_url = ""
        self._http_trouble = ""
        self._http_clients = 0
        self._stopping: asyncio.Event | None = None
        self._server: asyncio.Server | None = None
        self._spool: Spool | None = None

    async def run(self, address: Address) -> int:
        """Serve until told to stop, or until nobody has needed the service for the idle time.

        Args:
            address: where clients find it; taken anew when it is lost, closed by the caller.
        """
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if self.settings.strict_integrity:
            await asyncio.to_thread(self.app.code.require_sound)
        self._server = await self._listen(address)
        background = [
            asyncio.create_task(work)
            for work in (
                self._watch(address),
                self._guarded(self._warm),
                self._guarded(self._look_at_code),
                self._again(self._tidy, TIDY_SECONDS),
                self._again(self._checkpoint, CHECKPOINT_SECONDS),
                self._again(self._verify, VERIFY_SECONDS),
                self._again(self._drain_spool, guard.BEAT_SECONDS),
            )
        ]
        _forget_reason(self.settings.home)
        log.info("serving %s, version %s, pid %d", self.settings.home, __version__, os.getpid())
        try:
            await self._stopping.wait()
        finally:
            address.remove()
            self._server.close()
            for task in background:
                task.cancel()
            await self.listener.drain(DRAIN_SECONDS)
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.to_thread(self.app.close)
            log.info("ended")
        return 0

    async def _again(self, work: Callable[[], Awaitable[None]], pause: float) -> None:
        """Do background work now and then; what fails once is tried again at the next turn."""
        while True:
            await self._guarded(work)
            await asyncio.sleep(pause)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run background work whose failure must not end the service, and say it in the log."""
        try:
            await work()
        except ZcError as error:
            log.error("background work was refused: %s", error)
        except Exception:  # a door of its own: nobody else would hear of it
            log.exception("background work failed")

    # What the listener asks for

    def touched(self) -> None:
        """Somebody was here."""
        self._last_touch = time.monotonic()

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

    def control(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the control door: ``status``, ``stop``, or ``handover`` to a newer version.

        Raises:
            InvalidInput: it asks for something else.
        """
        match request.get("do"):
            case "status":
                return self._status()
            case "stop":
                self._stop()
                return {"ok": True, "pid": os.getpid()}
            case "handover":
                newer = numbers(str(request.get("version", ""))) > numbers(__version__)
                if newer:
                    log.info("handing over to version %s", request.get("version"))
                    self._stop()
                return {"ok": newer, "pid": os.getpid(), "version": __version__}
            case _:
                raise InvalidInput(
                    "unknown_request",
                    "The control door does not know this request.",
                    "Use `zc service --help`.",
                )

    def _stop(self) -> None:
        if self._stopping is not None:
            self._stopping.set()

    def _status(self) -> dict[str, Any]:
        return {
            "ok": True,
            "version": __version__,
            "pid": os.getpid(),
            "home": str(self.settings.home),
            "http": self._http_url,
            "http_trouble": self._http_trouble,
            "http_wanted": self.settings.http_port is not None,
            "token_file": str(self.app.door_token_file) if self._http_url else "",
            "uptime_seconds": round(time.time() - self._started),
            "connections": self.listener.open - 1 + self._http_clients,
            "memory_mb": round(usage.resident_bytes() / limits.MB, 1),
            "idle_minutes": self.settings.idle_minutes,
            "limits": self._limits(),
        }

    def _limits(self) -> dict[str, list[float]]:
        """Return what is used of each limit, and the limit."""
        at = self.app.limits
        http = usage.within_files(limits.HTTP_CONNECTIONS, limits.FILES_FOR_HTTP)
        sizes = (_size(file) for file in (self.settings.home / "projects").glob("*.db"))
        largest = max(sizes, default=0)
        return {
            "connections": [self.listener.open - 1, self.listener.most],
            "http_connections": [self._http_clients, http],
            "open_files": [usage.open_files(), usage.file_limit()],
            "calls_under_way": [self.app.gate.under_way, self.listener.workers],
            "memory_mb": [round(usage.resident_bytes() / limits.MB, 1), at.memory_mb],
            "largest_project_mb": [round(largest / limits.MB, 1), at.quota_mb],
        }

    # Background

    async def _listen(self, address: Address) -> asyncio.Server:
        return await asyncio.start_unix_server(
            self.listener.accept, sock=address.socket, limit=limits.LINE_BYTES, backlog=BACKLOG
        )

    async def _watch(self, address: Address) -> None:
        idle = self.settings.idle_minutes * 60
        pause = min(guard.BEAT_SECONDS, LOOK_SECONDS, max(0.05, idle / 4))
        beaten = time.monotonic()
        while True:
            await asyncio.sleep(pause)
            if not self._claim.held():
                log.warning("the data folder was taken away")
                self._stop()
                return
            if time.monotonic() - beaten >= guard.BEAT_SECONDS:
                beaten = time.monotonic()
                self._claim.beat()
            await self._stay_found(address)
            if (
                self.listener.open == 0
                and self._http_clients == 0
                and time.monotonic() - self._last_touch > idle
            ):
                log.info("nobody has called for %.1f minutes", self.settings.idle_minutes)
                self._stop()

    async def _stay_found(self, address: Address) -> None:
        """Put back what clients find the service by: a log-out empties the folder of sockets, and links get lost.

        Where that cannot be, the service ends, so that the next client starts one that says why.
        """
        try:
            if not address.has_socket():
                if self._server is not None:
                    self._server.close()
                address.take()
                self._server = await self._listen(address)
            elif not address.has_link():
                address.point()
            else:
                return
        except (ZcError, rendezvous.ServiceAway, OSError) as error:
            log.error("clients do not find the service any more: %s", error)
            self._stop()
        else:
            log.warning("clients did not find the service; it is at %s again", address.path)

    async def _warm(self) -> None:
        await asyncio.sleep(WARM_SECONDS)
        mcp = await self.mcp()
        gc.freeze()  # modules stay: nobody needs to look through them again
        if self.settings.http_port is None:
            return
        for name in HEAVY_FOR_HTTP:
            while self._urgent:
                await asyncio.sleep(0.005)
            door = await asyncio.to_thread(importlib.import_module, name)
        gc.freeze()
        around = door.Surroundings(
            self.listener.run,
            mcp.make_server,
            mcp.no_message,
            mcp.in_our_words,
            self._present,
            self._http_is_at,
        )
        try:
            await door.serve(self.app, self.settings, around)
        except ZcError as error:
            self._http_trouble = str(error)
            raise

    @contextlib.contextmanager
    def _present(self) -> Iterator[None]:
        """While this is held, a client of the HTTP door is there."""
        self._http_clients += 1
        self.touched()
        try:
            yield
        finally:
            self._http_clients -= 1
            self.touched()

    def _http_is_at(self, url: str) -> None:
        self._http_url = url
        log.info("HTTP door at %s", url)

    async def _tidy(self) -> None:
        await self.listener.run(self.app.tidy)
        await self.listener.run(self.app.end_old_epoch)

    async def _checkpoint(self) -> None:
        await self.listener.run(self.app.checkpoint_due)

    async def _verify(self) -> None:
        await asyncio.to_thread(self.app.verify_due, self._rest)

    def _rest(self) -> None:
        """Let others go first: what runs in the background takes a small part of the time, and none at the end."""
        self._let_pass()
        time.sleep(REST_SECONDS)
        if self._stopping is not None and self._stopping.is_set():
            raise Expired(
                "service_stopping", "The service is ending.", "What was begun is done at its next start."
            )

    async def _look_at_code(self) -> None:
        if self.settings.strict_integrity:
            return  # it was looked at before anybody was served
        await asyncio.sleep(WARM_SECONDS)
        await self.listener.run(lambda: self.app.code.check(self._let_pass))

    def _let_pass(self) -> None:
        """Hold up a worker thread while a hook waits."""
        while self._urgent:
            time.sleep(0.005)

    async def _drain_spool(self) -> None:
        if self._spool is None:
            from securecontext.service.spool import Spool

            self._spool = Spool(self.app)
        await self.listener.run(self._spool.drain)


def _leave_reason(home: Path, reason: str) -> None:
    """Leave the reason where the client that started the service looks for it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"zc serve: {reason}\n")
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        file = os.open(home / rendezvous.START_ERROR, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(reason)


def _forget_reason(home: Path) -> None:
    with contextlib.suppress(OSError):
        (home / rendezvous.START_ERROR).unlink()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # it was deleted meanwhile
        return 0
