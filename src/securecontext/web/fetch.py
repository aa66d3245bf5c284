"""Fetching a page: robots.txt and pace first, redirects by hand, each through the same checks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from securecontext.boundaries.egress import rules as egress_rules
from securecontext.boundaries.egress.door import Door
from securecontext.boundaries.egress.rules import Rule
from securecontext.boundaries.policy import Principal
from securecontext.types.errors import Denied, LimitReached, Unavailable, ZcError
from securecontext.types.pages import Known, Page
from securecontext.validators.url import WebUrl
from securecontext.web import guard, robots
from securecontext.web.exchange import AGENT, Answer, Asking, ask
from securecontext.web.pace import Pace
from securecontext.web.robots import Robots

AT_ONCE: Final = 32
"""Pages that are fetched at once: of the calls that the service works on, others keep half."""
ROBOTS_SECONDS: Final = 3_600.0
SITES: Final = 500
"""Whose robots.txt is remembered."""


class Fetcher:
    """Fetches pages. Safe to share by threads.

    Args:
        door: by which questions leave.
        clock: monotonic seconds, for pace and memory; deadlines go by the machine's.
    """

    def __init__(self, door: Door, clock: Callable[[], float] = time.monotonic) -> None:
        self._door = door
        self._clock = clock
        self._pace = Pace(clock)
        self._robots: OrderedDict[str, tuple[float, Robots]] = OrderedDict()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def fetch(
        self, who: Principal, project: str, url: WebUrl, rules: Sequence[Rule], known: Known | None = None
    ) -> Page:
        """Return a page.

        Args:
            who: on whose behalf.
            project: id of the project.
            url: of the page.
            rules: of the operator.
            known: what is remembered of it.

        Raises:
            ZcError: as the egress door, `guard` and `exchange` say; ``robots_disallow``, ``host_rate``,
                ``too_many_fetches``.
        """
        with self._slot():
            asking = Asking(who, project, rules, time.monotonic() + guard.SECONDS)
            left: list[str] = []
            answer, here = self._follow(asking, url, known, left)
            if known is not None and answer.status == 304:
                return self._page(answer, here, left)
            guard.refuse_status(answer.status)
            guard.refuse_kind(answer.content_type)
            return self._page(answer, here, left)

    def _page(self, answer: Answer, here: WebUrl, left: Sequence[str]) -> Page:
        return Page(
            url=str(here),
            status=answer.status,
            content_type=answer.content_type,
            charset=answer.charset,
            body=answer.body,
            wire=answer.wire,
            etag=answer.headers.get("etag", ""),
            last_modified=answer.headers.get("last-modified", ""),
            left=tuple(left),
            address=answer.address,
        )

    def _follow(
        self, asking: Asking, url: WebUrl, known: Known | None, left: list[str]
    ) -> tuple[Answer, WebUrl]:
        here, ports, hops = url, egress_rules.ports(asking.rules), 0
        while True:
            self._refuse_by_robots(asking, here, left)
            self._pace.take(here.host)
            # A server is shown its own validators alone: after a redirect it is another page's.
            answer = ask(
                self._door,
                asking,
                here,
                most=guard.BODY_BYTES,
                reads=_reads,
                known=known if hops == 0 else None,
            )
            left.append(answer.left)
            if answer.status in (429, 503) and "retry-after" in answer.headers:
                self._pace.leave_alone(here.host, answer.retry_after(time.time()))
            if answer.status not in guard.MOVED:
                return answer, here
            here = guard.next_url(here, answer.headers.get("location", ""), ports, hops)
            hops += 1

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            raise LimitReached(
                "too_many_fetches",
                f"{AT_ONCE} pages are being fetched already, which is the limit.",
                "Try again in some seconds.",
                limit=AT_ONCE,
            )
        try:
            yield
        finally:
            self._slots.release()

    # robots.txt

    def _refuse_by_robots(self, asking: Asking, url: WebUrl, left: list[str]) -> None:
        if not self._robots_of(asking, url, left).allows(url.target):
            raise Denied(
                "robots_disallow",
                "The site's robots.txt does not let programs read this page.",
                "Read it yourself, or name another page.",
            )

    def _robots_of(self, asking: Asking, url: WebUrl, left: list[str]) -> Robots:
        site = f"{url.scheme}://{url.host}:{url.port}"
        with self._lock:
            until, found = self._robots.get(site, (0.0, robots.NOTHING))
            if self._clock() < until:
                return found
        found = self._read_robots(asking, url, left)
        with self._lock:
            self._robots[site] = (self._clock() + ROBOTS_SECONDS, found)
            self._robots.move_to_end(site)
            while len(self._robots) > SITES:
                self._robots.popitem(last=False)
        return found

    def _read_robots(self, asking: Asking, url: WebUrl, left: list[str]) -> Robots:
        """Return what a site says; one that cannot say it now closes it (RFC 9309, 2.3.1).

        Raises:
            ZcError: the site cannot be reached at all, or must not be; nothing is remembered of that.
        """
        here = WebUrl(url.scheme, url.host, url.address, url.port, "/robots.txt")
        ports = egress_rules.ports(asking.rules)
        for hops in range(guard.REDIRECTS + 1):
            try:
                answer = ask(self._door, asking, here, most=robots.BYTES, reads=lambda status: status == 200)
            except ZcError as error:
                if hops == 0 and not isinstance(error, LimitReached):
                    raise
                return robots.NOTHING
            left.append(answer.left)
            if answer.status in guard.MOVED:
                try:
                    here = guard.next_url(here, answer.headers.get("location", ""), ports, hops)
                except ZcError:
                    return robots.NOTHING
                continue
            if answer.status == 200:
                return robots.parse(answer.body.decode("utf-8", "replace"), AGENT)
            if answer.status == 429 or answer.status >= 500:
                raise Unavailable(
                    "robots_unknown",
                    "The site does not say now what programs may read.",
                    "Try again later.",
                    status=answer.status,
                )
            return robots.EVERYTHING
        return robots.NOTHING


def _reads(status: int) -> bool:
    return status in (200, 203)
