"""Reading what a search found: by id, from this project or another, whole or from an offset on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from securecontext.boundaries.keyring.bodies import Bodies, Body
from securecontext.boundaries.policy import Permission, Policy
from securecontext.boundaries.sight import Sight, sight_of
from securecontext.knowledge import archive
from securecontext.memory import facts
from securecontext.operations.found import FoundText
from securecontext.pipeline.operation import Asker, Context
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput, NotFound, ZcError

SHOWN_CHARACTERS = 8_000
"""Characters of whole texts in one answer; the rest is fetched with an offset."""
MOST_PROJECTS = 100_000
"""All of them: a hit's id is good for as long as its project is there."""
NOT_ELSEWHERE = "Confidential and restricted texts are seen in their own project alone."
_ID = re.compile(r"(?:(prj_[0-9a-z]{1,20}):)?([md])([0-9]{1,15})(?:@([0-9]{1,11}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A parsed id: ``m12``, ``d3``, ``d3@8000`` to go on, ``prj_…:m12`` in another project."""

    project: str
    kind: str
    number: int
    offset: int

    @property
    def id(self) -> str:
        """The id without its offset."""
        return f"{self.project}:{self.kind}{self.number}" if self.project else f"{self.kind}{self.number}"


@dataclass(frozen=True, slots=True)
class _Whole:
    """A stored text with what is to be said of it."""

    source: str
    trust: str
    text: Body


def read(context: Context, ids: Sequence[str]) -> list[FoundText]:
    """Return the texts of some ids, in their order; those of other projects have been prepared."""
    room = SHOWN_CHARACTERS
    out: list[FoundText] = []
    for wanted in map(_parse_id, ids):
        if wanted.project:
            found = context.prepared[wanted.id]
        else:
            sight = sight_of(context.principal)
            found = _whole(context.connection, context.bodies, context.here.id, sight, wanted)
        if isinstance(found.text, ZcError):
            said = f"cannot be read: {found.text.message} ({found.text.code})"
            out.append(FoundText(id=wanted.id, source=found.source, trust=found.trust, text="", trouble=said))
            continue
        part = found.text[wanted.offset : wanted.offset + room]
        room -= len(part)
        end = wanted.offset + len(part)
        following = f"{wanted.id}@{end}" if end < len(found.text) else None
        out.append(FoundText(id=wanted.id, source=found.source, trust=found.trust, text=part, next=following))
    return out


def read_elsewhere(world: World, asker: Asker, ids: Sequence[str]) -> dict[str, _Whole]:
    """Return the texts of other projects that are asked for: one transaction never spans two stores."""
    elsewhere = [wanted for wanted in map(_parse_id, ids) if wanted.project]
    if not elsewhere:
        return {}
    Policy().check(asker.principal, Permission.ARCHIVE_READ_ALL)
    known = {project.id for project in world.recent_projects(MOST_PROJECTS)}
    out: dict[str, _Whole] = {}
    for wanted in elsewhere:
        if wanted.project not in known:
            raise _nothing(wanted)
        with world.store(wanted.project).read() as connection:
            here = asker.project is not None and asker.project.id == wanted.project
            sight = sight_of(asker.principal, elsewhere=not here)
            out[wanted.id] = _whole(connection, world.bodies, wanted.project, sight, wanted)
    return out


def _parse_id(wanted: str) -> _Wanted:
    found = _ID.fullmatch(wanted)
    if found is None:
        raise InvalidInput(
            "bad_id", "An id looks like m12 or d3, or d3@8000 to go on.", "Take ids from zc_search's hits."
        )
    project, kind, number, offset = found.groups()
    return _Wanted(project or "", kind, int(number), int(offset or 0))


def _whole(connection: Connection, bodies: Bodies, project: str, sight: Sight, wanted: _Wanted) -> _Whole:
    if wanted.kind == "m":
        fact = facts.by_ids(connection, bodies, project, [wanted.number]).get(wanted.number)
        if fact is not None and sight.sees_fact(fact.agent, fact.classification, fact.created_by):
            old = "" if fact.state in ("active", "archived") else f" [{fact.state} by m{fact.replaced_by}]"
            return _Whole(f"memory:{fact.agent}:{fact.key}{old}", fact.trust, fact.body)
    else:
        document = archive.by_ids(connection, bodies, project, [wanted.number]).get(wanted.number)
        if document is not None and sight.sees(document.classification, document.created_by):
            return _Whole(document.source, document.trust, document.body)
    raise _nothing(wanted)


def _nothing(wanted: _Wanted) -> NotFound:
    hint = "Take ids from zc_search's hits." + (f" {NOT_ELSEWHERE}" if wanted.project else "")
    return NotFound("no_such_id", f"Nothing is stored as {wanted.id}.", hint)
