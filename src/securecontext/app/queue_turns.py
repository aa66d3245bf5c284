"""What the service does for the work queues without being asked: renew, reclaim, wake.

A lease that its agent had to renew would be forgotten; so it is renewed for as long as the agent's session is
connected, and what the agent itself says of its progress is kept apart. What nobody renews is offered again.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from securecontext.app import chores
from securecontext.app.presence import Presence
from securecontext.app.stores import Stores
from securecontext.boundaries.identity.credentials import Credentials
from securecontext.coordination import leases, tasks
from securecontext.operations.queue import ring
from securecontext.pipeline.bell import Bell
from securecontext.storage.acting import QUEUE, acting
from securecontext.storage.port import Store
from securecontext.types.errors import Expired, Unauthenticated, Unavailable

log = logging.getLogger("securecontext.queue")


class QueueTurns:
    """The queues of the open projects.

    Args:
        stores: hold them.
        presence: who is connected.
        bell: wakes who waits for a task.
        credentials: know which tokens still count.
    """

    def __init__(self, stores: Stores, presence: Presence, bell: Bell, credentials: Credentials) -> None:
        self._stores = stores
        self._presence = presence
        self._bell = bell
        self._credentials = credentials

    def turn(self) -> None:
        """Do what is due in every open project; one that cannot be written now is looked at in the next turn."""
        for project, store in self._stores.open_projects().items():
            with (
                acting(QUEUE),
                suppress(Expired, Unavailable),
            ):  # it has just ended, or its file has a trouble that calls tell
                self._project(project, store)

    def _project(self, project: str, store: Store) -> None:
        with store.read() as connection:
            if not tasks.any_unsettled(connection, project):
                return
            holders = leases.holders(connection, project)
        connected = self._presence.sessions()
        present = [each for each in holders if self._any_counts(connected.get(each, set()))]
        settled = store.write(partial(chores.turn_queue, project=project, present=present))
        if settled.reclaimed or settled.dead:
            log.warning(
                "project %s: %d task(s) of silent agents are offered again, %d are dead",
                project,
                len(settled.reclaimed),
                len(settled.dead),
            )
        ring(self._bell, project, settled.ready)

    def _any_counts(self, tokens: set[str]) -> bool:
        """Say whether one of these tokens counts; a connection outlives the revocation of what it showed."""
        for token in tokens:
            try:
                if token:
                    self._credentials.check(token)
            except Unauthenticated:
                continue
            return True
        return False
