"""What a fetch lets itself in for: pure decisions, limits as data. Which hosts and addresses: see the egress door.

=======================  ============================================================================================
code                     refused because
=======================  ============================================================================================
``too_many_redirects``   more than five
``redirect_broken``      a redirect that leads nowhere
``redirect_downgrade``   a redirect from https to http
``page_too_large``       more than 2 MiB on the wire, or uncompressed
``page_bomb``            it grows more than a hundred times when it is uncompressed
``page_encoding``        compressed in a way that we did not ask for
``page_kind``            no text
``page_charset``         text in a character set that we do not read
``page_status``          the server has no page there, or not now
=======================  ============================================================================================
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

from securecontext.types.errors import Denied, InvalidInput, LimitReached, NotFound, Unavailable
from securecontext.validators.url import WebUrl, parse_url

REDIRECTS: Final = 5
SECONDS: Final = 15.0
"""From the first name that is resolved to the last byte, redirects and robots.txt included."""
WIRE_BYTES: Final = 2 * 1024 * 1024
BODY_BYTES: Final = 2 * 1024 * 1024
RATIO: Final = 100
RATIO_FROM: Final = 64 * 1024
"""Bytes, uncompressed, up to which no ratio is asked for: a page of nothing but spaces is small."""
HEAD_BYTES: Final = 64 * 1024
MOVED: Final = frozenset({301, 302, 303, 307, 308})
_TEXTS: Final = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml",
     "application/javascript", "application/x-ndjson", "application/rtf"}
)  # fmt: skip
HTML: Final = frozenset({"text/html", "application/xhtml+xml"})


def next_url(here: WebUrl, location: str, ports: frozenset[int], hops: int) -> WebUrl:
    """Return where a redirect leads; it passes the same checks as the first URL.

    Args:
        here: the URL that answered with it.
        location: the header, as it came.
        ports: that may be connected to.
        hops: redirects that were followed before this one.

    Raises:
        LimitReached: ``too_many_redirects``.
        InvalidInput: as `parse_url`; ``redirect_broken``.
        Denied: ``redirect_downgrade``, ``url_not_public``.
    """
    if hops >= REDIRECTS:
        raise LimitReached(
            "too_many_redirects", f"The page redirects more than {REDIRECTS} times.", "Name its last URL."
        )
    if not location:
        raise InvalidInput("redirect_broken", "The page redirects to nowhere.", "Name another URL.")
    try:
        joined = urljoin(str(here), location)
    except ValueError:
        raise InvalidInput("redirect_broken", "The page redirects to no URL.", "Name another URL.") from None
    there = parse_url(joined, ports)
    if here.scheme == "https" and there.scheme != "https":
        raise Denied(
            "redirect_downgrade",
            "The page redirects from https to http, where anybody on the way could change it.",
            "Name the http URL yourself if that is meant.",
        )
    return there


def refuse_kind(content_type: str) -> None:
    """Refuse what is no text; what says nothing of itself is none.

    Raises:
        InvalidInput: ``page_kind``.
    """
    if not (
        content_type.startswith("text/")
        or content_type in _TEXTS
        or content_type in HTML
        or content_type.endswith(("+json", "+xml", "+yaml"))
    ):
        raise InvalidInput(
            "page_kind",
            "The page is no text: its content type is none that is read.",
            "Name a page of text, HTML, JSON or XML.",
        )


def refuse_status(status: int) -> None:
    """Refuse an answer without a page.

    Raises:
        NotFound, Unavailable: ``page_status``.
    """
    if status in (200, 203):
        return
    if 400 <= status < 500 and status != 429:
        raise NotFound(
            "page_status",
            f"The server answered with status {status} and no page.",
            "Check the URL.",
            status=status,
        )
    raise Unavailable(
        "page_status", f"The server has no page now, and answers with status {status}.", "Try later."
    )


class Amounts:
    """Counts what comes in against the limits.

    Args:
        most: bytes on the wire, and uncompressed.
    """

    def __init__(self, most: int = WIRE_BYTES) -> None:
        self.wire = 0
        self.body = 0
        self._most = most

    @property
    def room(self) -> int:
        """Bytes that may still come of decompressing, and one more, so that it shows."""
        return self._most - self.body + 1

    def arrived(self, count: int) -> None:
        """Count bytes of the body on the wire.

        Raises:
            LimitReached: ``page_too_large``.
        """
        self.wire += count
        self._refuse(self.wire)

    def uncompressed(self, count: int) -> None:
        """Count bytes of the body as it is read.

        Raises:
            LimitReached: ``page_too_large``, ``page_bomb``.
        """
        self.body += count
        if self.body > RATIO_FROM and self.body > RATIO * self.wire:
            raise LimitReached(
                "page_bomb",
                f"The page grows more than {RATIO} times when it is uncompressed.",
                "Name another page.",
            )
        self._refuse(self.body)

    def _refuse(self, amount: int) -> None:
        if amount > self._most:
            raise LimitReached(
                "page_too_large",
                f"The page is larger than {self._most} bytes.",
                "Name a part of it.",
                limit=self._most,
            )
