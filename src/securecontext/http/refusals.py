"""What this door refused, in the machine's ledger: refusals that never became a call.

Those of strangers are entries of the door's own stream, never of whoever the request claims to be, and a flood of them
is entered in part. Those of a token's holder are all entered, in the holder's stream.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope

from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.tokens import Claims
from securecontext.http import request_id
from securecontext.http.callers import CLAIMS, session_name
from securecontext.http.callers import PRINCIPAL as HOLDER
from securecontext.pipeline.refusals import SESSION, RefusalLog, kind_of
from securecontext.storage.port import Store
from securecontext.types.errors import ZcError
from securecontext.types.ledger import EntryDraft

PRINCIPAL = "door:http"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Refusals:
    """Enters this door's refusals.

    Args:
        machine: returns the machine's store.
        token: names the holder's stream.
        run: runs blocking work on a worker thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        machine: Callable[[], Store],
        token: DoorToken,
        run: Callable[[Callable[[], None]], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holder = (HOLDER, session_name(token))
        self._log = RefusalLog(machine, run, clock)

    async def enter(self, error: ZcError, scope: Scope, *, known: bool) -> None:
        """Enter a refusal.

        Args:
            error: what was said.
            scope: the request.
            known: whether it came with a token that opens the door.
        """
        if known:
            claims: Claims | None = scope.get(CLAIMS)
            holder = self._holder if claims is None else (f"agent:{claims.aid}", claims.sid)
            await self._log.write(draft_of(error, scope, holder))
        else:
            await self._log.enter(lambda left_out: draft_of(error, scope, (PRINCIPAL, SESSION), left_out))


def draft_of(error: ZcError, scope: Scope, stream: tuple[str, str], left_out: int = 0) -> EntryDraft:
    """Return the entry of a refusal; the path, which a stranger chose, only as a salted digest."""
    method = str(scope["method"])
    body: dict[str, Any] = {
        "door": "http",
        "operation": "request",
        "outcome": error.code,
        "method": method if method in _METHODS else "other",
        "arguments": {},
        "request": request_id.current(),
    }
    if reason := error.details.get("reason"):
        body["reason"] = reason
    if left_out:
        body["left_out"] = left_out
    path = str(scope["path"])[:2000].encode("utf-8", "replace").decode()
    principal, session = stream
    return EntryDraft(principal, session, "", kind_of(error), body, {"path": path})
