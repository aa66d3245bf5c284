"""What one MCP connection has under way: it bounds what a client may pile up, and says when a service may end."""

from __future__ import annotations

import asyncio

MOST_ASKED = 32
"""Requests of one connection that may be unanswered; further lines stay unread, so that nobody starves the others."""


class Flow:
    """The unanswered requests of one connection.

    Attributes:
        asked: their ids.
    """

    def __init__(self, most: int = MOST_ASKED) -> None:
        self.asked: set[int | str] = set()
        self._most = most
        self._free = asyncio.Event()
        self._free.set()
        self._stopped = False

    async def may_read(self) -> None:
        """Wait until a further message may be taken up: at once, or after an answer, or never while stopping."""
        await self._free.wait()

    def ask(self, ident: int | str) -> None:
        """Note a request that was taken up."""
        self.asked.add(ident)
        self._look()

    def settle(self, ident: int | str | None) -> None:
        """Note that a request was answered, or that its client no longer wants an answer."""
        if ident is not None:
            self.asked.discard(ident)
        self._look()

    def stop(self) -> None:
        """Take up nothing more."""
        self._stopped = True
        self._look()

    def _look(self) -> None:
        if self._stopped or len(self.asked) >= self._most:
            self._free.clear()
        else:
            self._free.set()
