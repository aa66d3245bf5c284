"""Projects for people: list, move, delete; merging is in ``merging``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.knowledge import archive
from securecontext.memory import facts
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.projects import register
from securecontext.storage.acting import MANAGE
from securecontext.types.errors import Conflict, InvalidInput, ZcError
from securecontext.types.ids import timestamp
from securecontext.types.ledger import EntryDraft
from securecontext.types.places import Place
from securecontext.validators.input import one_line

log = logging.getLogger("securecontext.projects")
LINE = 5_000
"""Characters of a line of the list: a path has up to 4,096."""

Reference = Annotated[str, Field(min_length=1, max_length=200), fields.Words(200, plain=True)]


class ProjectLine(Output):
    """One project."""

    id: str
    name: str
    state: str
    last_used: str
    paths: list[str]


class ProjectList(Output):
    """The projects of this machine."""

    projects: list[ProjectLine]


class ListInput(Input):
    """Arguments of project.list."""

    all: fields.Flag = Field(False, description="merged and deleted ones too")


def _line(entry: register.Entry) -> ProjectLine:
    return ProjectLine(
        id=entry.id,
        name=entry.name,
        state=entry.state,
        last_used=entry.last_used_at[:16].replace("T", " "),
        paths=list(entry.paths),
    )


def _render_list(out: ProjectList) -> str:
    return (
        "\n".join(
            one_line(f"{p.id}  {p.last_used}  {p.state:<7}  {p.name}  {', '.join(p.paths)}", LINE)
            for p in out.projects
        )
        or "No projects yet."
    )


@operation(
    "project.list",
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.READS,
    render=_render_list,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    command=("project", "list"),
)
def list_projects(context: Context, given: ListInput) -> ProjectList:
    """List projects with their folders, last used first."""
    states = ("active", "merged", "deleted") if given.all else ("active",)
    return ProjectList(projects=[_line(e) for e in register.every(context.connection, states)])


class MoveInput(Input):
    """Arguments of project.move."""

    project: Reference = Field(description="id or name")
    folder: fields.Path = Field(description="where it lives now")


class MoveOutput(Output):
    """Where the project lives."""

    id: str
    name: str
    folder: str
    given_up: list[str] = []


@dataclass(frozen=True, slots=True)
class _Move:
    """Where a project goes, and the empty projects that are in its way."""

    place: Place
    empty: tuple[str, ...]


def _find_place(world: World, asker: Asker, given: MoveInput) -> _Move:
    """Look at the place. To call from a folder makes a project of it: one that holds nothing yet is no obstacle."""
    fields.refuse_relative(given.folder)
    place = world.locate(given.folder)
    with world.machine.read() as connection:
        moved = register.get(connection, given.project)
        others = register.others_at(connection, place, moved.id)
    return _Move(place, tuple(other for other in others if _end_empty(world, other)))


def _end_empty(world: World, project: str) -> bool:
    """End a project that holds neither facts nor documents, and say whether it is one."""
    empty = False
    try:
        store = world.end_project(project)
    except ZcError:  # nobody knows what it holds: the move is refused
        return False
    try:
        with store.read() as connection:
            empty = not archive.counts(connection, project) and not facts.any_of(connection, project)
    finally:
        if not empty:
            settle(world, project)
    return empty


def _settle_move(world: World, move: _Move) -> None:
    for other in move.empty:
        settle(world, other)


def settle(world: World, project: str) -> None:
    """Settle a project after its call; what cannot be done now is done when the service tidies up."""
    try:
        world.settle_project(project)
    except ZcError as error:
        log.warning("project %s is not settled yet: %s", project, error)


@operation(
    "project.move",
    duty=MANAGE,
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.WRITES,
    audience=Standing.PERSON,
    render=lambda out: (
        f"{out.name} ({out.id}) lives at {out.folder} now."
        + (" The project that was there held nothing and is gone." if out.given_up else "")
    ),
    needs_project=False,
    on_machine=True,
    prepare=_find_place,
    after=lambda world, out: world.folders_changed(out.id),
    settle=_settle_move,
    command=("project", "move"),
)
def move_project(context: Context, given: MoveInput) -> MoveOutput:
    """Tell where a project's folder has moved to; its memory stays."""
    entry = register.get(context.connection, given.project)
    move: _Move = context.prepared
    for other in move.empty:
        register.remove(context.connection, other)
        body = {"operation": "project.delete", "outcome": "ok", "arguments": {"project": other}}
        context.writing.record(EntryDraft("system", "projects", "", "call", body))
    register.move(context.connection, entry.id, move.place, timestamp(context.moment))
    return MoveOutput(
        id=entry.id, name=move.place.name, folder=str(move.place.top), given_up=list(move.empty)
    )


class DeleteInput(Input):
    """Arguments of project.delete."""

    project: Reference = Field(description="id or name")
    confirm: Annotated[bool, Field(description="must be true: nothing brings it back"), fields.Plain()] = (
        False
    )


class DeleteOutput(Output):
    """What went."""

    id: str
    name: str
    file: str


def _ledger(out: DeleteOutput) -> str:
    # In a shared database a service may delete no entry, and says no more than it did.
    return "ledger" if out.file.endswith(".db") else "what its ledger says was done"


@operation(
    "project.delete",
    duty=MANAGE,
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    render=lambda out: (
        f"Deleted {out.name} ({out.id}): memory, archive and {_ledger(out)}. The machine's ledger has the deletion."
    ),
    needs_project=False,
    on_machine=True,
    after=lambda world, out: world.settle_project(
        out.id
    ),  # once the machine's ledger has the deletion for good
    command=("project", "delete"),
)
def delete_project(context: Context, given: DeleteInput) -> DeleteOutput:
    """Delete a project with its memory, archive and ledger."""
    entry = register.get(context.connection, given.project)
    if not given.confirm:
        raise InvalidInput(
            "not_confirmed",
            f"This deletes all that is stored for {entry.name}.",
            "Say so with --yes (confirm: true).",
            project=entry.id,
        )
    kept = context.world.kept_in(entry.id)
    if entry.state == "deleted" and not kept:
        raise Conflict(
            "project_not_active", "That project is deleted already.", "See `zc project list --all`."
        )
    register.remove(context.connection, entry.id)
    return DeleteOutput(id=entry.id, name=entry.name, file=kept)
