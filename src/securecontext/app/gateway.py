"""A gateway's way to the services that hold its data, put together."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from securecontext.boundaries.policy import Principal, Standing
from securecontext.pipeline.bell import Bell
from securecontext.pipeline.call import Call, refusal
from securecontext.pipeline.upstreams import Upstreams
from securecontext.settings import Settings
from securecontext.types.errors import Unavailable, ZcError
from securecontext.types.ids import new_id

if TYPE_CHECKING:
    from securecontext.boundaries.egress.upstream import Egress


log = logging.getLogger("securecontext.gateway")
MOST_SESSIONS: Final = 1_000


class Bearers:
    """Which token the hooks of a session showed last: what was spooled holds none. In memory alone; safe to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: OrderedDict[str, str] = OrderedDict()

    def remember(self, session: str, token: str) -> None:
        """Keep the token of a session; that of the one seen longest ago is forgotten."""
        with self._lock:
            self._of[session] = token
            self._of.move_to_end(session)
            if len(self._of) > MOST_SESSIONS:
                self._of.popitem(last=False)

    def of(self, session: str) -> str:
        """Return the token of a session.

        Raises:
            Unavailable: ``session_not_seen``: no hook of it has shown one since this service started.
        """
        with self._lock:
            token = self._of.get(session)
        if token is None:
            raise Unavailable(
                "session_not_seen",
                "No hook of this session has shown a token since the service started.",
                "What it did is handed on when the session goes on.",
            )
        return token


@dataclass(frozen=True, slots=True)
class Gateway:
    """The way out.

    Attributes:
        upstreams: choose where a call goes.
        bearers: with whose token what was spooled goes there.
    """

    upstreams: Upstreams
    bearers: Bearers
    _egress: Egress

    def say_connected(self, tokens: Iterable[str], moment: datetime) -> None:
        """Tell the upstream that clients with these tokens are connected: leases of their tasks are prolonged."""
        me = Principal(f"uid:{os.getuid()}", Standing.AGENT, "gateway", "presence")
        for token in tokens:
            call = Call(new_id("call", 12), "queue.connected", {}, me, moment, bearer=token)
            try:
                answer = self.upstreams.pass_on(call)
            except Unavailable as error:  # then the next one would wait as long
                log.warning("leases of tasks could not be renewed: %s", error.code)
                return
            except ZcError as error:
                answer = refusal(error)
            if answer.error is not None:
                log.info("leases of tasks were not renewed: %s", answer.error.code)

    def close(self) -> None:
        """End what is under way."""
        self._egress.close()


def open_gateway(settings: Settings, bell: Bell) -> Gateway | None:
    """Return the way to the upstreams of a gateway; None where the data is here. Nothing is connected yet.

    Raises:
        InvalidInput: ``bad_authorities``.
    """
    if not settings.upstreams:
        return None
    from securecontext.boundaries.egress.upstream import (
        Egress,  # its library is not loaded where nothing leaves
    )

    egress = Egress(settings.upstream_ca)
    return Gateway(Upstreams(settings.upstreams, egress, lambda: bell.aside()), Bearers(), egress)
