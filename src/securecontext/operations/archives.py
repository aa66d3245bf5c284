"""The archive for people: list what lies in it, show a text whole, forget it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from securecontext.boundaries import limits
from securecontext.boundaries.policy import Permission, Standing
from securecontext.knowledge import archive
from securecontext.operations.memory import scrub
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.storage.acting import KEEP
from securecontext.types.classification import DEFAULT
from securecontext.types.errors import Conflict, NotFound
from securecontext.validators.input import one_line

SHOWN = 120
"""Characters of a source in the list; `--json` has it whole."""

Reference = Annotated[
    str,
    Field(max_length=limits.SOURCE_CHARACTERS, description="id such as d3, or source"),
    fields.Words(limits.SOURCE_CHARACTERS, plain=True, strip=True),
]


class DocumentLine(Output):
    """One document: a text, the summary of a session, or an imported broadcast."""

    id: str
    kind: str
    source: str
    characters: int
    created_at: str
    trust: str
    provenance: str
    classification: str = DEFAULT
    trouble: str = ""


class DocumentList(Output):
    """What the archive holds, oldest first."""

    documents: list[DocumentLine]


class ListInput(Input):
    """Arguments of archive.list."""


def _line(document: archive.Document) -> DocumentLine:
    return DocumentLine(
        id=f"d{document.id}",
        kind=document.kind,
        source=document.source,
        characters=0 if document.trouble else len(document.content),
        created_at=document.created_at,
        trust=document.trust,
        provenance=document.provenance,
        classification=document.classification,
        trouble=document.trouble.code if document.trouble else "",
    )


def _render_list(out: DocumentList) -> str:
    return (
        "\n".join(
            f"{d.id:>6} {d.created_at[:16].replace('T', ' ')} {d.kind:<9} {d.characters:>8}  "
            f"{one_line(d.source, SHOWN)}"
            f"{f' [{d.trust}]' if d.trust in ('external', 'imported') else ''}"
            f"{f' [{d.classification}]' if d.classification != DEFAULT else ''}"
            f"{f' cannot be read: {d.trouble}' if d.trouble else ''}"
            for d in out.documents
        )
        or "The archive of this project is empty."
    )


@operation(
    "archive.list",
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.READS,
    render=_render_list,
    audience=Standing.PERSON,
    command=("archive", "list"),
)
def list_documents(context: Context, given: ListInput) -> DocumentList:
    """List the documents and session summaries of this project; facts are in `zc memory list`."""
    return DocumentList(
        documents=[_line(d) for d in archive.every(context.connection, context.bodies, context.here.id)]
    )


class ShowInput(Input):
    """Arguments of archive.show."""

    document: Reference


class DocumentText(DocumentLine):
    """A document with its whole text."""

    text: str


@operation(
    "archive.show",
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.READS,
    render=lambda out: out.text,
    audience=Standing.PERSON,
    command=("archive", "show"),
)
def show_document(context: Context, given: ShowInput) -> DocumentText:
    """Print a document of the archive whole."""
    found = _find(context, given.document)
    return DocumentText(**dict(_line(found)), text=found.content)


class ForgotDocument(Output):
    """What was forgotten."""

    id: str
    source: str


@operation(
    "archive.forget",
    duty=KEEP,
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.DESTROYS,
    render=lambda out: f"Forgot {one_line(out.source, SHOWN)} ({out.id}).",
    audience=Standing.PERSON,
    command=("archive", "forget"),
)
def forget_document(context: Context, given: ShowInput) -> ForgotDocument:
    """Delete a document for good: its text, its chunks and its words in the index."""
    found = _find(context, given.document)
    archive.drop(context.connection, context.text, [found.id])
    scrub(context)
    return ForgotDocument(id=f"d{found.id}", source=found.source)


def _find(context: Context, reference: str) -> archive.Document:
    """Return the document that a person names.

    Raises:
        NotFound: there is none.
        Conflict: a text, a summary and a broadcast may have one source; an id names one of them.
    """
    project = context.here.id
    found = archive.under(context.connection, context.bodies, project, reference)
    number = reference.removeprefix("d")
    if not found and reference != number and number.isascii() and number.isdigit() and len(number) <= 15:
        found = list(archive.by_ids(context.connection, context.bodies, project, [int(number)]).values())
    if not found:
        raise NotFound(
            "no_such_document",
            "There is no such document in the archive.",
            "List them with `zc archive list`.",
        )
    if len(found) > 1:
        raise Conflict(
            "ambiguous_document",
            f"{len(found)} documents have that source.",
            f"Name one by its id: {', '.join(f'd{d.id}' for d in found)}.",
        )
    return found[0]
