"""One request and its answer over the egress door: HTTP/1.1 by h11, within the limits of `guard`.

The request is ours alone: no caller adds a header, and no cookie or credential is ever sent.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import h11

from securecontext.boundaries.egress.door import Channel, Door, Parcel
from securecontext.boundaries.egress.rules import Rule
from securecontext.boundaries.policy import Principal
from securecontext.types.errors import InvalidInput, Unavailable
from securecontext.types.pages import Known
from securecontext.validators.url import PORTS, WebUrl
from securecontext.web.guard import HEAD_BYTES, Amounts

AGENT: Final = "SecureContext"
"""Our name in ``User-Agent`` and in robots.txt."""
ACCEPT: Final = "text/html,application/xhtml+xml,text/plain,application/json;q=0.9,*/*;q=0.1"
_HEADER: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,398}[\x21-\x7e])?")
"""What of a server's validators is sent back to it: visible ASCII, at most 400 characters."""
_GZIP: Final = 31


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: of HTTP.
        headers: the last value of each, names in lower case.
        body: uncompressed; empty for a redirect and whatever is not read.
        wire: bytes of the body on the wire.
        left: id of the entry in the machine's ledger.
        address: of the other end.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    wire: int
    left: str
    address: str

    @property
    def content_type(self) -> str:
        """The media type, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The character set that the server names; empty without one."""
        found = re.search(
            r";\s*charset\s*=\s*[\"']?([\w.:-]{1,40})", self.headers.get("content-type", ""), re.I
        )
        return found[1].lower() if found else ""

    def retry_after(self, now: float) -> float:
        """Return how many seconds the server wants to be left alone.

        Args:
            now: seconds since the epoch.
        """
        said = self.headers.get("retry-after", "").strip()
        if said.isascii() and said.isdigit() and len(said) < 10:
            return float(said)
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - now)
        except (ValueError, TypeError, OverflowError):
            return 0.0


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and within which bounds.

    Attributes:
        who: on whose behalf.
        project: id of the project.
        rules: of the operator.
        deadline: `time.monotonic` by which everything is over.
    """

    who: Principal
    project: str
    rules: Sequence[Rule]
    deadline: float


def ask(
    door: Door,
    asking: Asking,
    url: WebUrl,
    *,
    most: int,
    reads: Callable[[int], bool],
    known: Known | None = None,
) -> Answer:
    """Ask a server for a page.

    Args:
        door: by which the question leaves.
        asking: who asks.
        url: what for.
        most: bytes of the body.
        reads: whether the body of an answer with this status is read.
        known: what is remembered of the page.

    Raises:
        ZcError: as `Door.send`; as this module and `guard` say.
    """
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    data = peer.send(_request(url, known)) or b""
    data += peer.send(h11.EndOfMessage()) or b""
    parcel = Parcel(asking.who, asking.project, "zc_fetch", url, data)
    channel = door.send(parcel, asking.rules, asking.deadline)
    try:
        return _read(channel, peer, Amounts(most), reads)
    except h11.RemoteProtocolError as error:
        raise Unavailable(
            "answer_broken",
            "The server's answer is no whole HTTP answer.",
            "Try again later, or another URL.",
        ) from error
    finally:
        channel.close()


def _request(url: WebUrl, known: Known | None) -> h11.Request:
    shown = f"[{url.host}]" if url.address is not None and ":" in url.host else url.host
    host = shown if url.port == PORTS[url.scheme] else f"{shown}:{url.port}"
    headers = [
        ("Host", host),
        ("User-Agent", AGENT),
        ("Accept", ACCEPT),
        ("Accept-Encoding", "gzip"),
        ("Connection", "close"),
    ]
    if known is not None and _HEADER.fullmatch(known.etag):
        headers.append(("If-None-Match", known.etag))
    elif known is not None and _HEADER.fullmatch(known.last_modified):
        headers.append(("If-Modified-Since", known.last_modified))
    return h11.Request(method="GET", target=url.target, headers=headers)


def _read(channel: Channel, peer: h11.Connection, amounts: Amounts, reads: Callable[[int], bool]) -> Answer:
    head: h11.Response | None = None
    headers: dict[str, str] = {}
    parts: list[bytes] = []
    opener: _Opener | None = None
    heads = 0
    while True:
        event = peer.next_event()
        if event is h11.NEED_DATA:
            data = channel.read()
            heads += len(data) if head is None else 0
            if heads > 2 * HEAD_BYTES:  # of answers before the answer there may be many
                raise _endless()
            peer.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            if not reads(event.status_code):
                break
            opener = _opener(headers.get("content-encoding", "").strip().lower(), amounts)
        elif isinstance(event, h11.Data) and opener is not None:
            amounts.arrived(len(event.data))
            parts.append(opener(bytes(event.data)))
        elif isinstance(event, h11.EndOfMessage):
            if opener is not None:
                opener.end()
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise _endless()
    if head is None:
        raise _endless()
    return Answer(head.status_code, headers, b"".join(parts), amounts.wire, channel.id, str(channel.address))


def _endless() -> Unavailable:
    return Unavailable(
        "answer_broken", "The server's answer is no whole HTTP answer.", "Try again later, or another URL."
    )


class _Opener:
    """Uncompresses a body, or passes it on, and counts what comes of it."""

    def __init__(self, amounts: Amounts, compressed: bool) -> None:
        self._amounts = amounts
        self._inflating = zlib.decompressobj(_GZIP) if compressed else None

    def __call__(self, data: bytes) -> bytes:
        if self._inflating is None:
            self._amounts.uncompressed(len(data))
            return data
        out: list[bytes] = []
        while data:
            try:
                made = self._inflating.decompress(data, self._amounts.room)
            except zlib.error as error:
                raise _endless() from error
            self._amounts.uncompressed(len(made))
            out.append(made)
            data = self._inflating.unconsumed_tail
            if self._inflating.eof:
                if self._inflating.unused_data.strip(b"\0"):
                    raise _endless()
                break
        return b"".join(out)

    def end(self) -> None:
        """Refuse what was cut off."""
        if self._inflating is not None and not self._inflating.eof and self._amounts.wire:
            raise _endless()


def _opener(encoding: str, amounts: Amounts) -> _Opener:
    if encoding in ("", "identity"):
        return _Opener(amounts, compressed=False)
    if encoding in ("gzip", "x-gzip"):
        return _Opener(amounts, compressed=True)
    raise InvalidInput(
        "page_encoding", "The page is compressed in a way that was not asked for.", "Name another page."
    )


def deadline(seconds: float) -> float:
    """Return the moment by which everything is over."""
    return time.monotonic() + seconds
