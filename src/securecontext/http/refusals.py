"""What this door refused, in the machine's ledger: refusals that never became a call.

Those of strangers are entries of the door's own stream, never of whoever the request claims to be. A flood of them is
entered in part: ten a minute, and the next one says how many were left out. Those of the token's holder are all
entered, in the holder's stream.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope

from securecontext.boundaries.door_token import DoorToken
from securecontext.http.callers import PRINCIPAL as HOLDER
from securecontext.http.callers import session_name
from securecontext.storage.port import Store
from securecontext.types.errors import ZcError
from securecontext.types.ledger import EntryDraft

log = logging.getLogger("securecontext.http")
PRINCIPAL = "door:http"
SESSION = "refusals"
MOST = 10
SECONDS = 60.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Refusals:
    """Enters refusals, so many a minute.

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
        self._machine = machine
        self._holder = (HOLDER, session_name(token))
        self._run = run
        self._clock = clock
        self._entered: deque[float] = deque()
        self._left_out = 0

    async def enter(self, error: ZcError, scope: Scope, *, known: bool) -> None:
        """Enter a refusal, or count it when it is a stranger's and there were many in the last minute.

        Args:
            error: what was said.
            scope: the request.
            known: whether it came with the token.
        """
        if known:
            await self._write(draft_of(error, scope, self._holder))
            return
        now = self._clock()
        while self._entered and now - self._entered[0] >= SECONDS:
            self._entered.popleft()
        if len(self._entered) >= MOST:
            self._left_out += 1
            return
        self._entered.append(now)
        left_out, self._left_out = self._left_out, 0
        if not await self._write(draft_of(error, scope, (PRINCIPAL, SESSION), left_out)):
            self._left_out += left_out + 1

    async def _write(self, draft: EntryDraft) -> bool:
        try:
            await self._run(lambda: self._machine().write(lambda transaction: transaction.record(draft)))
        except (ZcError, RuntimeError) as failure:  # RuntimeError: the workers have ended
            log.error("a refusal could not be entered: %s", failure)
            return False
        return True


def draft_of(error: ZcError, scope: Scope, stream: tuple[str, str], left_out: int = 0) -> EntryDraft:
    """Return the entry of a refusal; the path, which a stranger chose, only as a salted digest."""
    method = str(scope["method"])
    body: dict[str, Any] = {
        "door": "http",
        "operation": "request",
        "outcome": error.code,
        "method": method if method in _METHODS else "other",
        "arguments": {},
    }
    if reason := error.details.get("reason"):
        body["reason"] = reason
    if left_out:
        body["left_out"] = left_out
    path = str(scope["path"])[:2000].encode("utf-8", "replace").decode()
    principal, session = stream
    return EntryDraft(principal, session, "", "refusal", body, {"path": path})
