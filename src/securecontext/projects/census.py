"""Each project's own file says which folder it belongs to, so that a lost register can be made again from the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from securecontext.projects import register
from securecontext.storage.tables import meta, projects
from securecontext.types.places import Place

_NAME = "place"
_READ = select(meta.c.value).where(meta.c.name == _NAME)
_PROJECT = select(meta.c.value).where(meta.c.name == "project")


@dataclass(frozen=True, slots=True)
class Noted:
    """What a project's file says of itself."""

    project: str
    place: Place
    moment: str


def differs(connection: Connection, place: Place) -> bool:
    """Say whether the file names another folder, or none."""
    found = connection.execute(_READ).scalar()
    return found is None or _place(str(found)) != place


def note(connection: Connection, place: Place, moment: str) -> None:
    """Write the folder into the project's file."""
    value = json.dumps(
        {
            "top": str(place.top),
            "name": place.name,
            "path_alias": place.path_alias,
            "tree_alias": place.tree_alias,
            "moment": moment,
        }
    )
    if connection.execute(update(meta).where(meta.c.name == _NAME).values(value=value)).rowcount == 0:
        connection.execute(insert(meta), {"name": _NAME, "value": value})


def read(connection: Connection) -> Noted | None:
    """Return what a project's file says; None for a file that says nothing."""
    project, value = connection.execute(_PROJECT).scalar(), connection.execute(_READ).scalar()
    if not project or value is None:
        return None
    return Noted(str(project), _place(str(value)), str(json.loads(str(value))["moment"]))


def rebuild(connection: Connection, found: Sequence[Noted], moment: str) -> int:
    """Register projects anew from what their files say; where two name one folder, the later note wins.

    Returns:
        How many were registered.
    """
    for noted in sorted(found, key=lambda n: n.moment):
        row = {
            "project": noted.project,
            "name": noted.place.name,
            "state": "active",
            "created_at": moment,
            "last_used_at": noted.moment,
        }
        connection.execute(insert(projects), row)
        for alias in (noted.place.path_alias, noted.place.tree_alias):
            if alias is not None:
                register.point(connection, alias, noted.project, moment)
    return len(found)


def _place(value: str) -> Place:
    stored = json.loads(value)
    return Place(Path(stored["top"]), stored["name"], stored["path_alias"], stored["tree_alias"])
