"""The life of the user's service: serve, do the chores in the background, end when nobody needs it.

It binds before it imports what is heavy (see `doors`), so that a hook is answered within half a second of a cold start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securecontext import __version__, rendezvous
from securecontext.boundaries import limits
from securecontext.handover import numbers
from securecontext.service import activation, allocator, guard
from securecontext.service.address import Address
from securecontext.service.doors import WARM_SECONDS, Doors
from securecontext.service.status import Status
from securecontext.settings import Settings
from securecontext.types.errors import Expired, InvalidInput, ZcError

if TYPE_CHECKING:
    from securecontext.service.spool import Spool

log = logging.getLogger("securecontext.service")
DRAIN_SECONDS = 10.0
BACKLOG = 1024
"""Connections that may wait to be accepted."""
TIDY_SECONDS = 600.0
CHECKPOINT_SECONDS = 10.0
"""How often the service looks whether a ledger is due to be signed."""
QUEUE_SECONDS = 15.0
"""How often leases of tasks are renewed and looked at: several times within one."""
GIVE_BACK_SECONDS = 60.0
"""How often memory that lies free is given back to the system."""
RULES_SECONDS = 3.0
"""How long after its start the service begins to make the second set of rules against secrets ready."""
RESCAN_SECONDS = 30.0
"""How often it looks for what was stored before they were."""
VERIFY_SECONDS = 300.0
"""How often the service looks whether a ledger is due to be verified whole."""
REST_SECONDS = 0.05
"""How long that check rests after each thousand rows, which take it about 0.015 seconds."""
LOOK_SECONDS = 1.0
"""How often the service looks whether clients still find it: those that do not, wait."""


class Daemon:
    """The running service."""

    def __init__(self, settings: Settings, claim: guard.Claim) -> None:
        from securecontext.app import App
        from securecontext.service.listener import Listener

        self.settings = settings
        self._claim = claim
        self.app = App(settings)
        self.doors = Doors(self.touched)
        self.listener = Listener(self.app, self)
        self.status = Status(self.app, self.listener, self.doors)
        self._last_touch = time.monotonic()
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
        self.app.backups.committed = lambda: loop.call_soon_threadsafe(self._stop)
        if self.settings.strict_integrity:
            await asyncio.to_thread(self.app.code.require_sound)
        self.app.stores.listen(self.app.bell.ring)
        self._server = await self._listen(address)
        background = [
            asyncio.create_task(work)
            for work in (
                self._watch(address),
                self._guarded(self._warm),
                self._guarded(self._look_at_code),
                self._guarded(self._look_for_secrets),
                self._guarded(self._look_at_state),
                self._again(self._tidy, TIDY_SECONDS),
                self._again(self._checkpoint, CHECKPOINT_SECONDS),
                self._again(self._verify, VERIFY_SECONDS),
                self._again(self._drain_spool, guard.BEAT_SECONDS),
                self._again(self._give_back, GIVE_BACK_SECONDS),
                self._again(self._turn_queues, QUEUE_SECONDS),
            )
        ]
        background += self._serve_others()
        _forget_reason(self.settings.home)
        log.info("serving %s, version %s, pid %d", self.settings.home, __version__, os.getpid())
        try:
            await self._stopping.wait()
        finally:
            address.remove()
            self._server.close()
            self.app.bell.close()  # who waits is answered now
            self.app.secret_rules.close()
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

    def control(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the control door: ``status``, ``stop``, or ``handover`` to a newer version.

        Raises:
            InvalidInput: it asks for something else.
        """
        match request.get("do"):
            case "status":
                return self.status.told()
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

    # Background

    async def _listen(self, address: Address) -> asyncio.Server:
        return await asyncio.start_unix_server(
            self.listener.accept, sock=address.socket, limit=limits.LINE_BYTES, backlog=BACKLOG
        )

    def _serve_others(self) -> list[asyncio.Task[None]]:
        """Serve at the sockets that other users may come to, where this is a system service."""
        principals = self.settings.principals
        if principals is None:
            return []
        return activation.listen(self.settings.passed_sockets, principals, self.listener)

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
                and self.doors.http_clients == 0
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
        await self.doors.warm(self.app, self.listener)

    async def _tidy(self) -> None:
        await self.listener.run(self.app.tidy)
        await self.listener.run(self.app.ledgers.end_old_epoch)

    async def _checkpoint(self) -> None:
        await self.listener.run(self.app.ledgers.checkpoint_due)

    async def _verify(self) -> None:
        await asyncio.to_thread(self.app.ledgers.verify_due, self._rest)

    def _rest(self) -> None:
        """Let others go first: what runs in the background takes a small part of the time, and none at the end."""
        self.doors.let_pass()
        time.sleep(REST_SECONDS)
        if self._stopping is not None and self._stopping.is_set():
            raise Expired(
                "service_stopping", "The service is ending.", "What was begun is done at its next start."
            )

    async def _look_at_code(self) -> None:
        if self.settings.strict_integrity:
            return  # it was looked at before anybody was served
        await asyncio.sleep(WARM_SECONDS)
        await self.listener.run(lambda: self.app.code.check(self.doors.let_pass))

    async def _turn_queues(self) -> None:
        await self.listener.run(self.app.turn_queues)

    async def _give_back(self) -> None:
        await self.listener.run(allocator.give_back)

    async def _look_for_secrets(self) -> None:
        """Make the second set of rules ready, then scan again what came before it."""
        await self.listener.run(self.app.allow_secrets)
        await asyncio.sleep(RULES_SECONDS)
        await asyncio.to_thread(self.app.secret_rules.build)
        await self._again(self._rescan, RESCAN_SECONDS)

    async def _rescan(self) -> None:
        await self.listener.run(lambda: self.app.secret_rules.rescan(self.doors.let_pass))

    async def _look_at_state(self) -> None:
        await asyncio.sleep(WARM_SECONDS)
        await self.listener.run(lambda: self.app.state.check(self.doors.let_pass))

    async def _drain_spool(self) -> None:
        if self._spool is None:
            from securecontext.service.spool import Spool

            self._spool = Spool(self.app)
        await self.listener.run(self._spool.drain)


def _forget_reason(home: Path) -> None:
    with contextlib.suppress(OSError):
        (home / rendezvous.START_ERROR).unlink()
