"""What a door refused before it became a call, in the machine's ledger, in the door's own stream.

Of strangers, and of callers who are refused whole, nothing is believed: their entries never stand in the stream of
whoever they claim to be. A flood of them is entered in part: ten a minute, and the next says how many were left out.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from securecontext.storage.port import Store
from securecontext.types.errors import ContractBroken, ZcError
from securecontext.types.ledger import EntryDraft, EntryKind

log = logging.getLogger("securecontext.refusals")
SESSION = "refusals"
MOST = 10
SECONDS = 60.0

MakeDraft = Callable[[int], EntryDraft]
"""Makes the entry, given how many refusals were left out before it."""


def kind_of(error: ZcError) -> EntryKind:
    """Return the kind of the entry of what was refused: a broken contract is a failure of ours."""
    return "failure" if isinstance(error, ContractBroken) else "refusal"


class RefusalLog:
    """Enters refusals, so many a minute. Belongs to one event loop.

    Args:
        machine: returns the machine's store.
        run: runs blocking work on a worker thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        machine: Callable[[], Store],
        run: Callable[[Callable[[], None]], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._run = run
        self._clock = clock
        self._entered: deque[float] = deque()
        self._left_out = 0

    async def enter(self, make: MakeDraft) -> None:
        """Enter a refusal, or count it when there were many in the last minute."""
        now = self._clock()
        while self._entered and now - self._entered[0] >= SECONDS:
            self._entered.popleft()
        if len(self._entered) >= MOST:
            self._left_out += 1
            return
        self._entered.append(now)
        left_out, self._left_out = self._left_out, 0
        if not await self.write(make(left_out)):
            self._left_out += left_out + 1

    async def write(self, draft: EntryDraft) -> bool:
        """Enter a draft whatever came before; say whether that could be done."""
        try:
            await self._run(lambda: self._machine().write(lambda transaction: transaction.record(draft)))
        except (ZcError, RuntimeError) as failure:  # RuntimeError: the workers have ended
            log.error("a refusal could not be entered: %s", failure)
            return False
        return True
