"""Projects for people: list, move, merge, delete."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from sqlalchemy import Connection

from securecontext.boundaries.policy import Permission, Standing
from securecontext.knowledge import archive
from securecontext.memory import facts, sessions
from securecontext.operations.importing import KEY_ROOM, SOURCE_ROOM, names
from securecontext.operations.memory import capacity_in
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.projects import register
from securecontext.storage.port import Store, Transaction
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
            _settle(world, project)
    return empty


def _settle_move(world: World, move: _Move) -> None:
    for other in move.empty:
        _settle(world, other)


def _settle(world: World, project: str) -> None:
    """Settle a project after its call; what cannot be done now is done when the service tidies up."""
    try:
        world.settle_project(project)
    except ZcError as error:
        log.warning("project %s is not settled yet: %s", project, error)


@operation(
    "project.move",
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


class MergeInput(Input):
    """Arguments of project.merge."""

    source: Reference = Field(description="project that ends: id or name")
    target: Reference = Field(description="project that goes on: id or name")


class MergeOutput(Output):
    """What went over."""

    source_id: str
    source: str
    target: str
    facts: int
    renamed: int
    documents: int
    events: int


@dataclass(frozen=True, slots=True)
class _Merged:
    source: register.Entry
    target: register.Entry
    facts: int
    renamed: int
    documents: int
    events: int


def _merge(world: World, asker: Asker, given: MergeInput) -> _Merged:
    """End the source, then copy all that it holds into the target's store; the register is changed afterwards.

    Whatever was acknowledged before the end is copied, and nothing is acknowledged after it. After a crash the source
    is as it was, and merging again copies what is not there yet.
    """
    with world.machine.read() as connection:
        source, target = _both(connection, given.source, given.target)
    ended = world.end_project(source.id)
    try:
        with ended.read() as connection:
            held = facts.every(connection, project=source.id, agent=None, states=("active", "archived"))
            documents = archive.every(connection, source.id)
            events = sessions.every(connection, source.id)
        return _copy(world.store(target.id), source, target, held, documents, events)
    except BaseException:
        _settle(world, source.id)
        raise


def _both(connection: Connection, *references: str) -> list[register.Entry]:
    """Return two different active projects.

    Raises:
        InvalidInput: they are one.
        Conflict: one of them has ended.
    """
    found = [register.get(connection, reference) for reference in references]
    if found[0].id == found[1].id:
        raise InvalidInput("same_project", "A project cannot be merged into itself.", "Name two projects.")
    if any(entry.state != "active" for entry in found):
        raise Conflict("project_not_active", "Both projects must be active.", "See `zc project list --all`.")
    return found


def _settle_merge(world: World, done: _Merged) -> None:
    world.folders_changed(done.target.id)
    _settle(world, done.source.id)


def _copy(
    store: Store,
    source: register.Entry,
    target: register.Entry,
    held: list[facts.Fact],
    documents: list[archive.Document],
    events: list[sessions.Event],
) -> _Merged:
    def job(transaction: Transaction) -> _Merged:
        connection = transaction.connection
        renamed = 0
        for fact in held:
            key = _free_key(connection, target.id, fact, source.name[:16])
            if key is None:
                continue
            renamed += key != fact.key
            done = facts.remember(
                connection,
                project=target.id,
                agent=fact.agent,
                key=key,
                value=fact.value,
                importance=fact.importance,
                supersedes=None,
                capacity=capacity_in(connection, target.id),
                moment=fact.created_at,
                origin=facts.Origin(fact.created_by, f"merged:{source.id}", fact.trust, fact.provenance),
                state=fact.state,
            )
            if not done.unchanged:
                archive.unindex(connection, store.text, archive.FACT, done.gone)
                archive.index(
                    connection,
                    store.text,
                    project=target.id,
                    parent_kind=archive.FACT,
                    parent=done.fact,
                    pieces=archive.pieces_of(key, fact.value),
                    session=f"merged:{source.id}",
                    moment=fact.created_at,
                )
        for document in documents:
            free = _free_source(connection, target.id, document, source.name[:16])
            if free is None:
                continue
            archive.put(
                connection,
                store.text,
                target.id,
                archive.Draft(
                    document.kind,
                    free,
                    document.content,
                    document.created_by,
                    document.session,
                    document.trust,
                    document.provenance,
                    expires_at=document.expires_at,
                ),
                document.created_at,
            )
        sessions.copy_rows(connection, target.id, events)
        counts = {"source": source.id, "facts": len(held), "documents": len(documents), "events": len(events)}
        body = {"operation": "project.merge", "outcome": "ok", "arguments": counts}
        transaction.record(EntryDraft("system", "projects", "", "call", body))
        return _Merged(source, target, len(held), renamed, len(documents), len(events))

    return store.write(job)


def _free_key(connection: Connection, project: str, fact: facts.Fact, mark: str) -> str | None:
    """Return the key for a fact among those of another project: where both have one, neither may hide the other.

    None where the very same fact counts there already.
    """
    for key in names(fact.key, fact.value, mark, KEY_ROOM):
        there = facts.history(connection, project=project, agent=fact.agent, key=key)
        current = [row for row in there if row.state in ("active", "archived")]
        if not current:
            return key
        if any(row.value == fact.value for row in current):
            break
    return None


def _free_source(connection: Connection, project: str, document: archive.Document, mark: str) -> str | None:
    """Return the source for a document among those of another project; None where it stands there already."""
    for source in names(document.source, document.content, mark, SOURCE_ROOM):
        there = archive.named(connection, project, document.kind, source)
        if there is None:
            return source
        if there.content == document.content:
            break
    return None


@operation(
    "project.merge",
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    render=lambda out: (
        f"Merged {out.source} into {out.target}: {out.facts} facts ({out.renamed} under a new key), "
        f"{out.documents} documents, {out.events} events. The ledger of {out.source} stays as it is."
    ),
    needs_project=False,
    on_machine=True,
    prepare=_merge,
    settle=_settle_merge,
    command=("project", "merge"),
)
def merge_projects(context: Context, given: MergeInput) -> MergeOutput:
    """Bring what one project holds into another and end it: its folders lead there, earlier values of its facts go."""
    done: _Merged = context.prepared
    _both(context.connection, done.source.id, done.target.id)  # much may have happened during the copy
    register.merge(context.connection, done.source.id, done.target.id)
    return MergeOutput(
        source_id=done.source.id,
        source=done.source.name,
        target=done.target.name,
        facts=done.facts,
        renamed=done.renamed,
        documents=done.documents,
        events=done.events,
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


@operation(
    "project.delete",
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    render=lambda out: (
        f"Deleted {out.name} ({out.id}): memory, archive and ledger. The machine's ledger has the deletion."
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
    file = context.world.project_path(entry.id)
    if entry.state == "deleted" and not file.exists():
        raise Conflict(
            "project_not_active", "That project is deleted already.", "See `zc project list --all`."
        )
    register.remove(context.connection, entry.id)
    return DeleteOutput(id=entry.id, name=entry.name, file=file.name)
