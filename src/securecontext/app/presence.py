"""Who is connected just now: principal and session of every client that has a connection of its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from securecontext.boundaries.policy import Principal


class Presence:
    """The sessions that are connected. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: Counter[tuple[str, str, str, str]] = Counter()

    @contextmanager
    def here(self, who: Principal, bearer: str = "") -> Iterator[None]:
        """Count a connection of a principal's session, or of whoever shows a token that another service judges."""
        key = (who.name, who.session, who.token, bearer)
        with self._lock:
            self._there[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._there[key] -= 1
                if not self._there[key]:
                    del self._there[key]

    def bearers(self) -> set[str]:
        """Return the tokens that another service judges, of everybody who is connected."""
        with self._lock:
            return {bearer for *_, bearer in self._there if bearer}

    def sessions(self) -> dict[tuple[str, str], set[str]]:
        """Return principal and session of everybody who is connected, with the ids of the tokens that they showed.

        An empty id stands for no token. A token may have been revoked since.
        """
        with self._lock:
            found: dict[tuple[str, str], set[str]] = {}
            for name, session, token, _ in self._there:
                found.setdefault((name, session), set()).add(token)
            return found
