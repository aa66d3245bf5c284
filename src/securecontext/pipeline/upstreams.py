"""The services that hold the data of a gateway: one is used until it fails, then the next, with the same key.

The services are equals on one database, so the same call with the same idempotency key is done once however many of
them it reaches: a call whose answer was lost is simply sent again. Each call that has an effect to enter has a key, the
caller's or ours.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from securecontext.boundaries.egress.upstream import Reply, Unreached
from securecontext.boundaries.limits import WAITERS
from securecontext.boundaries.policy import Standing
from securecontext.boundaries.tokens import read_unverified
from securecontext.pipeline.call import Answer, Call, refusal
from securecontext.pipeline.operation import CATALOGUE
from securecontext.pipeline.passing import PATH, NoAnswer, Passed, parse_answer
from securecontext.types.errors import (
    Denied,
    InvalidInput,
    LimitReached,
    Unauthenticated,
    Unavailable,
    ZcError,
    told,
)
from securecontext.types.ids import new_id
from securecontext.validators.upstreams import Upstream

log = logging.getLogger("securecontext.gateway")
PATIENCE_SECONDS = 6.0
"""How long a call goes round among upstreams of which none can be used; a hook's goes round once."""
WHOLE_SECONDS: Final = 60.0
"""For one answer, beyond what the call itself waits; an upstream that is silent is given up much earlier."""
LONG_SECONDS: Final = 600.0
"""The same for what people call, and for large work."""
_PAUSE_SECONDS: Final = (0.1, 0.5)
_BY_STATUS: Final[dict[int, type[ZcError]]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Denied,
    413: InvalidInput,
    415: InvalidInput,
    429: LimitReached,
    503: Unavailable,
}
_chance = random.SystemRandom()


class Sender(Protocol):
    """What sends; see `egress.upstream.Egress`."""

    def post(self, url: str, body: bytes, headers: dict[str, str], seconds: float) -> Reply:
        """Send a request and return the answer to it, or raise `Unreached`."""


class Upstreams:
    """Passes calls on. Safe to share by threads.

    Args:
        addresses: of the services, in the order in which they are tried; at least one.
        sender: sends.
        aside: held while a call waits for others, so that another one can be worked on.
    """

    def __init__(
        self,
        addresses: Sequence[Upstream],
        sender: Sender,
        aside: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._addresses = tuple(addresses)
        self._sender = sender
        self._aside = aside
        self._places = threading.BoundedSemaphore(WAITERS)
        self._lock = threading.Lock()
        self._at = 0
        self._used = False
        self._trouble: dict[Upstream, str] = {}

    def pass_on(self, call: Call) -> Answer:
        """Return the answer of an upstream.

        Raises:
            Unauthenticated: ``token_needed``, ``token_malformed``.
            Unavailable: ``upstream_unreachable``: none can be used.
            LimitReached: ``too_many_waiting``.
        """
        if not call.bearer:
            raise Unauthenticated(
                "token_needed",
                "This service is a gateway, and passes on only calls with a session token.",
                "Ask the orchestrator for one (zc_issue_token), or the operator of the upstream service (`zc token "
                "issue` there); set it as ZC_SESSION_TOKEN before the client starts.",
                reason="missing",
            )
        read_unverified(call.bearer)  # nothing but a token goes into the header
        waits = _seconds_to_wait(call)
        if not waits:
            return self._sent(call, 0.0)
        with self._waiting():
            return self._sent(call, waits)

    def told(self) -> dict[str, Any]:
        """Return which upstream is in use (empty before the first call), all of them, and what was wrong with which."""
        with self._lock:
            return {
                "in_use": str(self._addresses[self._at]) if self._used else "",
                "all": [str(each) for each in self._addresses],
                "trouble": {str(each): why for each, why in self._trouble.items()},
            }

    def _sent(self, call: Call, waits: float) -> Answer:
        body = Passed.of(call).as_bytes()
        declared = CATALOGUE[call.operation]
        headers = {"Authorization": f"Bearer {call.bearer}"}
        if call.idempotency_key or (declared.writes and declared.recorded):
            headers["Idempotency-Key"] = call.idempotency_key or new_id("key")
        seconds = LONG_SECONDS if declared.large or declared.audience is Standing.PERSON else WHOLE_SECONDS
        patience = 0.0 if call.principal.standing is Standing.HOOK else PATIENCE_SECONDS
        until = time.monotonic() + patience
        while True:
            unavailable: Answer | None = None
            for number, address in self._in_order():
                try:
                    reply = self._sender.post(str(address) + PATH, body, headers, seconds + waits)
                    answer = _answer_of(reply)
                except Unreached as error:
                    self._note(number, str(error))
                    continue
                if not isinstance(answer.error, Unavailable):
                    self._works(number)
                    return answer
                self._note(number, answer.error.message)
                unavailable = answer
            if time.monotonic() >= until:
                if unavailable is None:
                    raise self._unreachable()
                return unavailable
            time.sleep(_chance.uniform(*_PAUSE_SECONDS))

    def _in_order(self) -> list[tuple[int, Upstream]]:
        with self._lock:
            first = self._at
        count = len(self._addresses)
        return [(i % count, self._addresses[i % count]) for i in range(first, first + count)]

    def _works(self, number: int) -> None:
        with self._lock:
            changed = number != self._at or not self._used
            self._at, self._used = number, True
            self._trouble.pop(self._addresses[number], None)
        if changed:
            log.info("upstream in use: %s", self._addresses[number])

    def _note(self, number: int, why: str) -> None:
        address = self._addresses[number]
        with self._lock:
            new = self._trouble.get(address) != why
            self._trouble[address] = why
        if new:
            log.warning("upstream %s cannot be used: %s", address, why)

    def _unreachable(self) -> Unavailable:
        with self._lock:
            said = "; ".join(f"{each} {self._trouble.get(each, 'was not asked')}" for each in self._addresses)
        return Unavailable(
            "upstream_unreachable",
            f"No upstream service can be used: {said}.",
            "Ask again; see `zc service status`, and ZC_API_URL.",
        )

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise LimitReached(
                "too_many_waiting",
                f"{WAITERS} calls wait at this gateway already.",
                "Call without waiting, or a little later.",
                limit=WAITERS,
            )
        try:
            with self._aside():
                yield
        finally:
            self._places.release()


def _seconds_to_wait(call: Call) -> float:
    """Return how long a call waits for others; what the argument may be is for the upstream to say."""
    wait = call.arguments.get("wait")
    return float(min(wait, LONG_SECONDS)) if isinstance(wait, int) and wait > 0 else 0.0


def _answer_of(reply: Reply) -> Answer:
    """Return the answer in a reply.

    Raises:
        Unreached: it is none of a service of ours.
    """
    if 300 <= reply.status < 400:
        raise Unreached("answers with a redirect, which is not followed")
    try:
        if reply.status == 200:
            return parse_answer(reply.body)
        return refusal(_problem(reply))
    except (NoAnswer, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreached(
            f"answers as no SecureContext service for gateways does (status {reply.status})"
        ) from error


def _problem(reply: Reply) -> ZcError:
    """Return the refusal that problem details tell."""
    said = json.loads(reply.body)
    kind = _BY_STATUS[reply.status]
    details = {"details": said["details"]} if "details" in said else {}
    return told(
        kind.__name__, {"code": said["code"], "message": said["detail"], "hint": said["hint"], **details}
    )
