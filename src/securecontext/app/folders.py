"""Which project a folder is; a folder that is new gets one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from securecontext.app import chores
from securecontext.app.stores import Stores, gone
from securecontext.pipeline.world import Project
from securecontext.projects import register
from securecontext.projects.identity import locate, machine_id, marks, told
from securecontext.types.errors import InvalidInput, ZcError
from securecontext.types.ids import new_id
from securecontext.types.places import Place

USED_AGAIN = timedelta(hours=1)
"""How stale a project's `last used` may become before it is written again."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A folder that was looked up: its project, when that was, and what tells it from one made there later."""

    project: Project
    moment: datetime
    marks: tuple[int, ...] | None
    changes: int


class Folders:
    """The folders that lead to projects. Safe to share by threads.

    Args:
        stores: the machine's holds the register.
        user_home: the user's home folder, which is no project.
        clock: the present moment.
    """

    def __init__(self, stores: Stores, user_home: Path, clock: Callable[[], datetime]) -> None:
        self._stores = stores
        self._user_home = user_home
        self._clock = clock
        self._machine_id = machine_id()
        self._entering = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}

    def locate(self, path: str, scope: str = "") -> Place:
        """Return what a folder is as a project, without registering it."""
        if scope not in ("", "worktree", "repository"):
            raise InvalidInput(
                "bad_setting", "ZC_PROJECT_SCOPE is not worktree or repository.", "Set it anew or unset it."
            )
        return locate(path, home=self._user_home, machine=self._machine_id, scope=scope)

    def find(self, path: str, scope: str) -> Project:
        """Return the project of a folder; a folder that is new gets one."""
        moment = self._clock()
        seen = marks(path)
        known = self._known.get((path, scope))
        # Where a folder is gone, what is known of it stays true; another one in its place may be another project.
        if (
            known is not None
            and known.changes == self._stores.changes
            and moment - known.moment < USED_AGAIN
            and seen in (None, known.marks)
        ):
            return known.project
        place = self.locate(path, scope)
        changes = self._stores.changes
        with self._entering:
            project = self._stores.machine.write(
                partial(chores.enter_project, path=path, place=place, fresh=new_id("prj"), moment=moment)
            )
            found = Project(project, place.name, path)
            self._known[(path, scope)] = _Known(found, moment, seen, changes)
        store = self._stores.opened(project)
        # One that is opened later is told then, so that it is the call that hears of trouble.
        if store is not None:
            self._stores.note(store, project)
        return found

    def of_another(self, path: str, owner: str) -> Project:
        """Return the project of another user's folder, which we do not look into; nobody else's leads there."""
        moment = self._clock()
        known = self._known.get((path, f"of {owner}"))
        if known is not None and known.changes == self._stores.changes and moment - known.moment < USED_AGAIN:
            return known.project
        place = told(path, machine=self._machine_id, owner=owner)
        changes = self._stores.changes
        with self._entering:
            enter = partial(
                chores.enter_project,
                path=path,
                place=place,
                fresh=new_id("prj"),
                moment=moment,
                imported=False,
            )
            found = Project(self._stores.machine.write(enter), place.name, path)
            self._known[(path, f"of {owner}")] = _Known(found, moment, None, changes)
        return found

    def known(self, path: str, scope: str = "") -> str | None:
        """Return the id of a folder's project, registering nothing; None where it has none."""
        place = self.locate(path, scope)
        with self._stores.machine.read() as connection:
            return register.find(connection, place)

    def project(self, project: str) -> Project:
        """Return a project by its id.

        Raises:
            Expired: it was merged or deleted.
        """
        with self._stores.machine.read() as connection:
            entry = register.get(connection, project)
        if entry.state != "active":
            raise gone()
        return Project(entry.id, entry.name)

    def recent(self, limit: int) -> Sequence[Project]:
        """Return the projects used last, newest first."""
        with self._stores.machine.read() as connection:
            return [Project(e.id, e.name) for e in register.every(connection)[:limit]]

    def changed(self, project: str) -> None:
        """Look every folder up again, and let the project's file say which ones lead to it now."""
        with self._entering:
            self._known.clear()
        with suppress(ZcError):
            self._stores.note(self._stores.project(project), project)
