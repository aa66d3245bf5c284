"""How long the ledgers say what was done: bodies of old entries are purged now and then, if a person wishes so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from securecontext.app import chores
from securecontext.app.recorders import log_of
from securecontext.storage.acting import RETENTION, acting
from securecontext.storage.port import Store
from securecontext.types.errors import Expired


class Retention:
    """Purges bodies of entries that are older than so many days.

    Args:
        days: None for never.
    """

    def __init__(self, days: float | None) -> None:
        self._days = days
        self._done: dict[str, int] = {}
        """By log, the last row that was looked at since the service started: old rows are not read again and again."""

    def apply(self, stores: Sequence[Store], moment: datetime) -> None:
        """Purge what is old enough in some stores.

        Raises:
            ZcError: a store cannot be written now.
        """
        if self._days is None:
            return
        before = moment - timedelta(days=self._days)
        for store in stores:
            with acting(RETENTION), suppress(Expired):  # the project has just ended
                self._purge(store, before, moment)

    def _purge(self, store: Store, before: datetime, moment: datetime) -> None:
        with store.read() as connection:
            log = log_of(connection)
        more = True
        while more:
            after = self._done.get(log, 0)
            job = partial(chores.purge_old, log=log, after=after, before=before, moment=moment)
            aged = store.write(job)
            self._done[log], more = aged.up_to, aged.more
