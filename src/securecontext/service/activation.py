"""Sockets that were opened for the service by who started it, and that users other than its own may come to.

Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from securecontext.boundaries import limits
from securecontext.service.peers import Peers
from securecontext.types.errors import Unavailable

if TYPE_CHECKING:
    from securecontext.service.listener import Listener

log = logging.getLogger("securecontext.activation")
FIRST = 3
PAUSE_SECONDS = 0.1


def passed(count: int) -> list[socket.socket]:
    """Return the sockets that were passed to this process.

    Raises:
        Unavailable: ``passed_socket``: one of them is no unix socket that listens.
    """
    found = []
    for descriptor in range(FIRST, FIRST + count):
        os.set_inheritable(descriptor, False)
        each = socket.socket(fileno=descriptor)
        listens = each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if (each.family, each.type, listens) != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
            raise Unavailable(
                "passed_socket",
                "The service was given a socket that is no unix socket to listen on.",
                "Use the units that `zc install --system` writes.",
            )
        each.setblocking(False)
        found.append(each)
    return found


def listen(count: int, principals: Path, listener: Listener) -> list[asyncio.Task[None]]:
    """Serve the users of a map at the sockets that were passed, until the tasks are cancelled."""
    peers = Peers(principals)
    return [asyncio.create_task(_accept(each, peers, listener)) for each in passed(count)]


async def _accept(listening: socket.socket, peers: Peers, listener: Listener) -> None:
    """Take connections one after another.

    Not by a server of asyncio's, which would call ``listen`` again: the kernel tells clients who did so last, and it is
    root whom they trust.
    """
    loop = asyncio.get_running_loop()
    accept = functools.partial(listener.accept, peers=peers)

    def talk() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=limits.LINE_BYTES, loop=loop)
        return asyncio.StreamReaderProtocol(reader, accept, loop=loop)

    with listening:
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
                await loop.connect_accepted_socket(talk, connection)
            except OSError as error:  # no file is free, or the client has gone again
                log.warning("a connection could not be taken: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
