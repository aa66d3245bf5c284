"""How the service starts: claim the folder, bind, and leave the reason where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import stat
import sys
import time
from pathlib import Path

from securecontext import rendezvous
from securecontext.boundaries import usage
from securecontext.service import allocator, guard, journal
from securecontext.service.address import Address
from securecontext.service.daemon import DRAIN_SECONDS, Daemon
from securecontext.settings import Settings
from securecontext.types.errors import Tampered, ZcError

log = logging.getLogger("securecontext.service")
COLLECT_AFTER = (10_000, 20, 50)
"""Thresholds of the garbage collector. A call makes some thousand objects and hardly a cycle among them; with Python's
700, each call would be interrupted to look through them all."""


def serve(settings: Settings) -> int:
    """Run the service until it ends; return the exit code.

    0 done, or another one serves already; 6 the code or the ledger is not what it was; 7 not startable.
    """
    home = settings.home
    gc.set_threshold(*COLLECT_AFTER)
    allocator.share()
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
            daemon = Daemon(settings, claim)
            gc.freeze()  # modules stay: nobody needs to look through them
            gc.enable()
            return asyncio.run(daemon.run(address))
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


def _leave_reason(home: Path, reason: str) -> None:
    """Leave the reason where the client that started the service looks for it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"zc serve: {reason}\n")
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        file = os.open(home / rendezvous.START_ERROR, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(reason)
