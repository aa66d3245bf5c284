"""Merging one project into another: end it, copy what it holds, register that, empty it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import Connection

from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.boundaries.policy import Permission, Standing
from securecontext.coordination import keeping, tasks
from securecontext.knowledge import archive, indexing
from securecontext.memory import changes, facts, sessions
from securecontext.operations.importing import KEY_ROOM, SOURCE_ROOM, names
from securecontext.operations.memory import capacity_in
from securecontext.operations.projects import Reference, settle
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.projects import register
from securecontext.storage.acting import MANAGE
from securecontext.storage.port import Store, Transaction
from securecontext.types.classification import SEALED, rank
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
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Merged:
    source: register.Entry
    target: register.Entry
    facts: int
    renamed: int
    documents: int
    events: int
    lost: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What the source holds.

    Attributes:
        facts, documents, events, broadcasts: what goes over.
        lost: texts whose key was destroyed: nobody can read them, so nobody can seal them for another project.
    """

    facts: list[facts.Fact]
    documents: list[archive.Document]
    events: list[sessions.Event]
    broadcasts: keeping.Carried
    lost: int


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
            held = _held(connection, world.bodies, source.id)
        return _copy(world.store(target.id), world.bodies, source, target, held)
    except BaseException:
        settle(world, source.id)
        raise


def _held(connection: Connection, bodies: Bodies, project: str) -> _Held:
    """Return what a project holds.

    Raises:
        Conflict: ``tasks_open``: agents still work on its tasks, or are to.
        ZcError: a text cannot be read although its key was not destroyed: it would be lost with the project.
    """
    if tasks.any_open(connection, project):
        raise Conflict(
            "tasks_open",
            "The project that would end has tasks that have not ended.",
            "See `zc queue` there; let them end, then merge.",
        )
    every_fact = facts.every(connection, bodies, project=project, agent=None, states=("active", "archived"))
    every_document = archive.every(connection, bodies, project)
    troubles = [fact.trouble for fact in every_fact] + [document.trouble for document in every_document]
    found = [trouble for trouble in troubles if trouble is not None]
    for trouble in found:
        if trouble.code != "key_destroyed":
            raise trouble
    return _Held(
        [fact for fact in every_fact if fact.trouble is None],
        [document for document in every_document if document.trouble is None],
        sessions.every(connection, project),
        keeping.every(connection, project),
        len(found),
    )


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
    store: Store, bodies: Bodies, source: register.Entry, target: register.Entry, held: _Held
) -> _Merged:
    def job(transaction: Transaction) -> _Merged:
        connection = transaction.connection
        renamed = 0
        concealed = False
        for fact in held.facts:
            key = _free_key(connection, bodies, target.id, fact, source)
            if key is None:
                continue
            renamed += key != fact.key
            done = changes.remember(
                connection,
                bodies,
                project=target.id,
                agent=fact.agent,
                key=key,
                value=fact.value,
                importance=fact.importance,
                supersedes=None,
                capacity=capacity_in(connection, target.id),
                moment=fact.created_at,
                origin=facts.Origin(
                    fact.created_by, f"merged:{source.id}", fact.trust, fact.provenance, fact.classification
                ),
                state=fact.state,
            )
            concealed = concealed or done.concealed
            if not done.unchanged:
                indexing.unindex(connection, store.text, indexing.FACT, done.gone)
                indexing.index(
                    connection,
                    store.text,
                    project=target.id,
                    parent_kind=indexing.FACT,
                    parent=done.fact,
                    pieces=indexing.pieces_of(key, fact.value, done.classification),
                    session=f"merged:{source.id}",
                    moment=fact.created_at,
                )
        for document in held.documents:
            free = _free_source(connection, bodies, target.id, document, source)
            if free is None:
                continue
            put = archive.put(
                connection,
                store.text,
                bodies,
                target.id,
                archive.Draft(
                    document.kind,
                    free,
                    document.content,
                    document.created_by,
                    document.session,
                    document.trust,
                    document.provenance,
                    document.classification,
                    document.expires_at,
                ),
                document.created_at,
            )
            concealed = concealed or put.concealed
        if concealed:
            store.text.scrub(connection)
            transaction.scrub_after_commit()
        sessions.copy_rows(connection, target.id, held.events)
        keeping.copy_rows(connection, target.id, held.broadcasts)
        counts = {
            "facts": len(held.facts), "documents": len(held.documents), "events": len(held.events),
            "lost": held.lost,
        }  # fmt: skip
        body = {
            "operation": "project.merge",
            "outcome": "ok",
            "arguments": {"source": source.id, **counts},
        }
        transaction.record(EntryDraft("system", "projects", "", "call", body))
        return _Merged(source, target, renamed=renamed, **counts)

    return store.write(job)


def _free_key(
    connection: Connection, bodies: Bodies, project: str, fact: facts.Fact, source: register.Entry
) -> str | None:
    """Return the key for a fact among those of another project: where both have one, neither may hide the other.

    None where the very same fact counts there already; where it counts under a lower class, its key, so that it rises.
    """
    told = _told(fact.value, fact.classification, f"{source.id} m{fact.id}")
    for key in names(fact.key, told, source.name[:16], KEY_ROOM):
        there = facts.history(connection, bodies, project=project, agent=fact.agent, key=key)
        current = [row for row in there if row.state in ("active", "archived")]
        if not current:
            return key
        same = next((row for row in current if row.says(fact.value)), None)
        if same is not None:
            return key if rank(same.classification) < rank(fact.classification) else None
    return None


def _free_source(
    connection: Connection, bodies: Bodies, project: str, document: archive.Document, source: register.Entry
) -> str | None:
    """Return the source for a document among those of another project, as `_free_key` does for a fact."""
    told = _told(document.content, document.classification, f"{source.id} d{document.id}")
    for name in names(document.source, told, source.name[:16], SOURCE_ROOM):
        there = archive.named(connection, bodies, project, document.kind, name)
        if there is None:
            return name
        if there.says(document.content):
            return name if rank(there.classification) < rank(document.classification) else None
    return None


def _told(text: str, classification: str, place: str) -> str:
    """Return what a second name may be made of: not of a sealed text, whose digest would let it be guessed."""
    return place if classification in SEALED else text


@operation(
    "project.merge",
    duty=MANAGE,
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    render=lambda out: (
        f"Merged {out.source} into {out.target}: {out.facts} facts ({out.renamed} under a new key), "
        f"{out.documents} documents, {out.events} events. The ledger of {out.source} stays as it is."
        + (f" {out.lost} texts were lost with their key." if out.lost else "")
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
        lost=done.lost,
    )
