"""Each project's own file says which folders lead to it, so that a lost register can be made again from the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert

from securecontext.projects import register
from securecontext.storage import meta_rows
from securecontext.storage.tables import projects

_PLACES, _MERGED = "places", "merged_into"


@dataclass(frozen=True, slots=True)
class Noted:
    """What a project's file says of itself.

    Attributes:
        project: id.
        name: for people.
        aliases: what leads to it.
        moment: when that was noted.
        merged_into: the project that it went into; None for one that goes on.
    """

    project: str
    name: str
    aliases: tuple[str, ...]
    moment: str
    merged_into: str | None


def read(connection: Connection) -> Noted | None:
    """Return what a project's file says; None for a file that says nothing."""
    said = meta_rows.read_all(connection)
    if not said.get("project") or _PLACES not in said:
        return None
    places = json.loads(said[_PLACES])
    return Noted(
        said["project"], places["name"], tuple(places["aliases"]), places["moment"], said.get(_MERGED)
    )


def note(connection: Connection, name: str, aliases: Sequence[str], moment: str) -> None:
    """Write into the project's file what leads to it."""
    meta_rows.put(connection, _PLACES, json.dumps({"name": name, "aliases": list(aliases), "moment": moment}))


def note_merged(connection: Connection, target: str) -> None:
    """Write into the project's file that it went into another one."""
    meta_rows.put(connection, _MERGED, target)


def merged_into(connection: Connection) -> str | None:
    """Return the project that this file's project went into, if its file was told."""
    return meta_rows.read(connection, _MERGED)


def rebuild(connection: Connection, found: Sequence[Noted], moment: str) -> int:
    """Register projects anew from what their files say: where two name one folder, the later note wins.

    A project that went into another is registered as such, and nothing leads to it.

    Returns:
        How many were registered.
    """
    for noted in sorted(found, key=lambda n: n.moment):
        row = {
            "project": noted.project,
            "name": noted.name,
            "state": "active" if noted.merged_into is None else "merged",
            "merged_into": noted.merged_into,
            "created_at": moment,
            "last_used_at": noted.moment,
        }
        connection.execute(insert(projects), row)
        for alias in noted.aliases if noted.merged_into is None else ():
            register.point(connection, alias, noted.project, moment)
    return len(found)
