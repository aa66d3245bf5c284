"""Merging one project into another: end it, copy what it holds, register that, empty it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import Connection

from securecontext.boundaries.policy import Permission, Standing
from securecontext.knowledge import archive
from securecontext.memory import facts, sessions
from securecontext.operations.importing import KEY_ROOM, SOURCE_ROOM, names
from securecontext.operations.memory import capacity_in
from securecontext.operations.projects import Reference, settle
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.projects import register
from securecontext.storage.port import Store, Transaction
from securecontext.types.errors import Conflict, InvalidInput
from securecontext.types.ledger import EntryDraft


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
        settle(world, source.id)
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
    settle(world, done.source.id)


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
