"""The archive for agents: index a text, search, search across projects."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission
from securecontext.boundaries.sight import sight_of
from securecontext.knowledge import archive, indexing
from securecontext.knowledge.search import Hit, search
from securecontext.operations.found import (
    DATA,
    PROJECT_SHOWN,
    GlobalOutput,
    SearchOutput,
    render_found,
    sealed_note,
    shown,
    shown_elsewhere,
)
from securecontext.operations.memory import class_note, redaction_note, scrub, trust_of
from securecontext.operations.reading import read, read_elsewhere
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, Redaction, operation
from securecontext.pipeline.world import Project, World
from securecontext.storage.acting import KEEP
from securecontext.types.classification import DEFAULT, SEALED
from securecontext.types.errors import InvalidInput, ZcError
from securecontext.types.ids import timestamp
from securecontext.validators.input import one_line

HITS = 10
HITS_GLOBAL = 20


class IndexInput(Input):
    """Arguments of zc_index."""

    content: fields.Content = Field(description="the text")
    source: fields.Source = Field(description="what names it; indexing the same source again replaces it")
    classification: fields.Class = None


class IndexOutput(Output):
    """What was indexed."""

    id: str
    source: str
    characters: int
    chunks: int
    replaced: bool
    classification: str = DEFAULT
    redacted: list[Redaction] = []


def _render_indexed(out: IndexOutput) -> str:
    verb = "Replaced" if out.replaced else "Indexed"
    return (
        f"{verb} {out.source} ({out.id}): {out.characters} characters, {out.chunks} chunks."
        + class_note(out.classification)
        + redaction_note(out.redacted)
    )


@operation(
    "zc_index",
    duty=KEEP,
    permission=Permission.ARCHIVE_WRITE,
    effects=Effects.WRITES,
    stores=True,
    large=True,
    render=_render_indexed,
    prepare=lambda world, asker, given: indexing.pieces_of(given.source, given.content, given.classification),
    example={"source": "docs/adr/0001.md", "content": "We use PostgreSQL because …"},
)
def index(context: Context, given: IndexInput) -> IndexOutput:
    """Put a text into the project's archive under a source, so that zc_search finds it."""
    stored = archive.put(
        context.connection,
        context.text,
        context.bodies,
        context.here.id,
        archive.Draft(
            kind="text",
            source=given.source,
            content=given.content,
            created_by=context.principal.name,
            session=context.principal.session,
            trust=trust_of(context.principal),
            classification=given.classification,
        ),
        timestamp(context.moment),
        context.prepared,
    )
    context.sealed = stored.classification in SEALED
    if stored.concealed:
        scrub(context)
    return IndexOutput(
        id=f"d{stored.document}",
        source=given.source,
        characters=len(given.content),
        chunks=stored.chunks,
        replaced=bool(stored.replaced),
        classification=stored.classification,
        redacted=list(context.redactions),
    )


class SearchInput(Input):
    """Arguments of zc_search."""

    queries: Annotated[fields.Queries | None, Field(description="questions or words, any form")] = None
    ids: Annotated[
        list[str] | None,
        Field(max_length=10, description="ids of hits to read whole; id@offset goes on"),
        fields.Words(40, plain=True),
    ] = None
    limit: Annotated[int, Field(ge=1, le=20), fields.Plain()] = HITS


@operation(
    "zc_search",
    permission=Permission.ARCHIVE_READ,
    effects=Effects.READS,
    render=render_found,
    prepare=lambda world, asker, given: read_elsewhere(world, asker, given.ids or ()),
    always_load=True,
    example={"queries": ["why did we choose PostgreSQL?"]},
)
def search_project(context: Context, given: SearchInput) -> SearchOutput:
    """Find facts, summaries and documents of this project by words, or read hits whole by their ids."""
    if bool(given.queries) == bool(given.ids):
        raise InvalidInput("queries_or_ids", "zc_search takes either queries or ids.", "Give one of the two.")
    fence = secrets.token_hex(4)
    if given.ids:
        return SearchOutput(texts=read(context, given.ids), note=DATA, fence=fence)
    found = search(
        context.connection,
        context.text,
        context.bodies,
        context.here.id,
        given.queries or [],
        sight_of(context.principal),
        given.limit,
    )
    note = DATA if found.hits else "Nothing found. Try other words, or zc_search_global for other projects."
    note += sealed_note(found.sealed)
    return SearchOutput(hits=[shown(h) for h in found.hits], note=note, fence=fence)


class SearchGlobalInput(Input):
    """Arguments of zc_search_global."""

    queries: Annotated[fields.Queries, Field(description="questions or words, any form")]
    max_projects: Annotated[int, Field(ge=1, le=10, description="projects used last"), fields.Plain()] = 5
    limit: Annotated[int, Field(ge=1, le=HITS_GLOBAL), fields.Plain()] = HITS_GLOBAL


def _search_everywhere(world: World, asker: Asker, given: SearchGlobalInput) -> GlobalOutput:
    """Search the projects used last; one that cannot be read is named, and does not spoil the rest."""
    hits: list[tuple[Project, Hit]] = []
    searched: list[str] = []
    failed: list[str] = []
    sealed, closed = "", 0
    for project in world.recent_projects(given.max_projects):
        here = asker.project is not None and asker.project.id == project.id
        sight = sight_of(asker.principal, elsewhere=not here)
        try:
            store = world.store(project.id)
            with store.read() as connection:
                found = search(
                    connection, store.text, world.bodies, project.id, given.queries, sight, HITS_GLOBAL
                )
        except ZcError as error:
            failed.append(f"{one_line(project.name, PROJECT_SHOWN)} ({error.code})")
            continue
        searched.append(one_line(project.name, PROJECT_SHOWN))
        if here:
            sealed += sealed_note(found.sealed)
        else:
            closed += found.sealed.left
        hits.extend((project, hit) for hit in found.hits)
    hits.sort(key=lambda pair: -pair[1].score)
    unique = {hit.opening: (project, hit) for project, hit in reversed(hits)}  # of copies the best one stays
    best = sorted(unique.values(), key=lambda pair: -pair[1].score)[: given.limit]
    note = f"{DATA} Searched {len(searched)} project(s): {', '.join(searched)}.{sealed}"
    if closed:
        note += f" {closed} text(s) were not: confidential and restricted ones are seen in their own project alone."
    if failed:
        note += f" Not readable: {', '.join(failed)}; see `zc doctor`."
    return GlobalOutput(
        hits=[shown_elsewhere(asker.project, project, hit) for project, hit in best],
        note=note,
        fence=secrets.token_hex(4),
        searched=searched,
        failed=failed,
    )


@operation(
    "zc_search_global",
    permission=Permission.ARCHIVE_READ_ALL,
    effects=Effects.READS,
    render=render_found,
    prepare=_search_everywhere,
    example={"queries": ["retry with backoff"]},
)
def search_global(context: Context, given: SearchGlobalInput) -> GlobalOutput:
    """Find facts and documents in the projects used last."""
    found: GlobalOutput = context.prepared
    return found
