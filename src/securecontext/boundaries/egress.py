"""The one place through which anything leaves this machine.

Certificates are checked, by the authorities of the system or by one's own; no proxy is taken from the environment, no
redirect is followed, no cookie kept. Every wait has a deadline: for a connection, for the next byte, for the whole; and
an answer has a size that it may not exceed. Connections are kept for the next request, and a peer that went away
without a word is noticed: by the kernel, which asks it, and by the deadline for the next byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx2

from securecontext.boundaries.limits import LINE_BYTES
from securecontext.types.errors import InvalidInput

CONNECT_SECONDS = 3.0
SILENCE_SECONDS = 12.0
"""Without a byte, after which a peer is given up; whoever works longer on an answer sends a sign of life meanwhile."""
KEEP_SECONDS: Final = 8.0
"""How long an idle connection is kept: less than the peer does, so that it is not closed under a request."""
CONNECTIONS: Final = 512
ANSWER_BYTES: Final = LINE_BYTES
END_SECONDS: Final = 2.0
_PROBES: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 12_000))
"""Asked by the kernel: after so many seconds of silence, so often; and how long (ms) bytes may go unacknowledged."""


logging.getLogger("httpx2").setLevel(logging.WARNING)  # it says each request, which the ledger says better


class Unreached(Exception):
    """Nothing that can be called an answer came back; the text says why, to be read after the peer's address."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: of HTTP.
        body: whole.
    """

    status: int
    body: bytes


class Egress:
    """Sends requests from any thread; its work is done on an event loop of its own, begun at the first request.

    Args:
        authorities: a PEM file with the only ones that may vouch for a peer; None for the system's.

    Raises:
        InvalidInput: ``bad_authorities``: there is no certificate in that file.
    """

    def __init__(self, authorities: Path | None = None) -> None:
        try:
            self._tls = ssl.create_default_context(cafile=None if authorities is None else str(authorities))
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                "bad_authorities",
                f"ZC_API_CA names {authorities}, in which no certificate can be read.",
                "Name a PEM file with the certificate of your authority.",
                field="ZC_API_CA",
            ) from error
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx2.AsyncClient | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Reply:
        """Send a request and return the answer to it. Blocks.

        Args:
            url: of a peer that settings name.
            body: JSON.
            headers: beside those that say what the body is.
            seconds: for the whole.

        Raises:
            Unreached: there is no answer.
        """
        done = self._begin(lambda client: _post(client, url, body, headers, seconds))
        with _in_plain_words():
            return done.result()

    def close(self) -> None:
        """End what is under way, and take no more."""
        with self._lock:
            ended, self._closed = self._closed, True
            loop, client, thread = self._loop, self._client, self._thread
        if ended or loop is None or client is None or thread is None:
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end(client), loop).result(END_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(END_SECONDS)
        if not thread.is_alive():
            loop.close()

    def _begin(self, work: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, Reply]]) -> Future[Reply]:
        with self._lock:
            if self._closed:
                raise Unreached("is not asked any more: this service is ending")
            if self._loop is None:
                self._client = _client(self._tls)
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="egress", daemon=True)
                self._thread.start()
            assert self._client is not None  # noqa: S101 - for the type checker: they are made together
            return asyncio.run_coroutine_threadsafe(work(self._client), self._loop)


def _client(tls: ssl.SSLContext) -> httpx2.AsyncClient:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in _PROBES
        if hasattr(socket, name)  # not every system has all of them
    ]
    limits = httpx2.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEP_SECONDS
    )
    transport = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits, socket_options=options)
    return httpx2.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
    )


async def _post(
    client: httpx2.AsyncClient, url: str, body: bytes, headers: Mapping[str, str], seconds: float
) -> Reply:
    async with (
        asyncio.timeout(seconds),
        client.stream("POST", url, content=body, headers=headers) as response,
    ):
        whole = bytearray()
        async for part in response.aiter_raw():
            whole += part
            if len(whole) > ANSWER_BYTES:
                raise Unreached(f"answered with more than {ANSWER_BYTES >> 20} MiB")
        return Reply(response.status_code, bytes(whole))


async def _end(client: httpx2.AsyncClient) -> None:
    under_way = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    await client.aclose()


@contextlib.contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except CancelledError as error:
        raise Unreached("is not asked any more: this service is ending") from error
    except httpx2.ConnectTimeout as error:
        raise Unreached("does not answer") from error
    except httpx2.ConnectError as error:
        _not_connected(error)
    except (httpx2.TimeoutException, TimeoutError) as error:
        raise Unreached("did not answer in time") from error
    except httpx2.TransportError as error:
        raise Unreached("ended the connection without an answer") from error


def _not_connected(error: BaseException) -> NoReturn:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Unreached(f"has a certificate that is not trusted ({cause.verify_message})") from error
        if isinstance(cause, ssl.SSLError):
            raise Unreached("speaks no TLS that we do") from error
        cause = cause.__cause__ or cause.__context__
    raise Unreached("cannot be connected to") from error
