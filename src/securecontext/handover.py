"""Only newer replaces older: a newer client asks the running service to finish. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import time

from securecontext import __version__, rendezvous

TRIES = 3
"""Services that one client asks to finish at most: another client may start an older one again."""
ANSWER_SECONDS = 5.0
LONGEST_VERSION = 100
"""Characters of a version; what is longer is none."""


def reach(home: str, seconds: float, command: list[str] | None = None) -> socket.socket:
    """Return a connection to a service that is not older than this program, if that can be had.

    Args:
        home: the data folder.
        seconds: until it gives up waiting for a service to start, or to end.
        command: how to start a service; None for this interpreter's own.

    Raises:
        ServiceAway: none answers and none could be started.
    """
    connection = rendezvous.connect_or_start(home, seconds, command)
    for _ in range(TRIES):
        if rendezvous.system_socket() or not _older_runs(home):
            break
        connection.close()
        agreed = _ask(home, seconds)
        connection = rendezvous.connect_or_start(home, seconds, command)
        if not agreed:
            break
    return connection


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for comparing; what is no version is older than any."""
    parts = version.split("+")[0].split(".") if len(version) <= LONGEST_VERSION else []
    return tuple(int(p) for p in parts) if all(p.isascii() and p.isdigit() for p in parts) else ()


def _older_runs(home: str) -> bool:
    try:
        with open(os.path.join(home, "service.version"), encoding="ascii") as file:
            running = numbers(file.read().strip())
    except (OSError, ValueError):
        return False
    return () < running < numbers(__version__)


def _ask(home: str, seconds: float) -> bool:
    """Ask an older service to finish, and wait until it has; say whether it agreed."""
    try:
        with rendezvous.connect(home, timeout=ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            request = json.dumps({"do": "handover", "version": __version__}).encode()
            connection.sendall(rendezvous.preamble("control/1", {"version": __version__}) + request + b"\n")
            with connection.makefile("rb") as file:
                agreed = bool(json.loads(file.readline() or b"{}").get("ok"))
    except (OSError, ValueError, rendezvous.ServiceAway):
        return False
    until = time.monotonic() + seconds
    while agreed and time.monotonic() < until:
        try:
            rendezvous.connect(home, timeout=1.0).close()
        except OSError:
            break
        time.sleep(0.02)
    return agreed
