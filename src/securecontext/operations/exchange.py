"""Working memory as JSON: export, and import, which believes nothing that a file says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from securecontext.boundaries.policy import SHARED_NAMESPACE, Permission, Standing
from securecontext.memory import changes, facts
from securecontext.operations.memory import origin_of
from securecontext.operations.notebooks import Agent, store
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.storage.acting import KEEP
from securecontext.types.classification import SEALED
from securecontext.types.errors import InvalidInput
from securecontext.types.ids import parse_timestamp, timestamp
from securecontext.validators.input import clean_agent_id

IMPORTED_AT_ONCE = 2_000
"""Facts that one call imports, all or none. In plain letters a line of the socket holds them at their longest."""


class ExportInput(Input):
    """Arguments of memory.export."""

    history: fields.Flag = Field(False, description="replaced and superseded values too")
    sealed: fields.Flag = Field(False, description="confidential and restricted values too, in plain words")


class ExportedFact(Output):
    """A fact as export writes it and import reads it."""

    agent: str
    key: str
    value: str
    importance: int
    state: str
    created_at: str
    trust: str
    provenance: str
    classification: str


class Export(Output):
    """A project's memory as JSON.

    Attributes:
        sealed: confidential and restricted facts that were left out, because nobody asked for them.
        unreadable: facts that were left out because they cannot be read.
    """

    format: Literal["securecontext-memory/1"]
    project: str
    facts: list[ExportedFact]
    sealed: int = 0
    unreadable: int = 0


@operation(
    "memory.export",
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.READS,
    audience=Standing.PERSON,
    render=lambda out: out.model_dump_json(indent=2, exclude_defaults=True),
    command=("memory", "export"),
)
def export_facts(context: Context, given: ExportInput) -> Export:
    """Print the facts of this project as JSON; confidential and restricted ones only where they are asked for.

    What is printed is not encrypted any more. What is left out is counted.
    """
    states = ("active", "archived", "replaced", "superseded") if given.history else ("active", "archived")
    found = facts.every(
        context.connection, context.bodies, project=context.here.id, agent=None, states=states
    )
    wanted = [f for f in found if given.sealed or f.classification not in SEALED]
    readable = [f for f in wanted if f.trouble is None]
    return Export(
        format="securecontext-memory/1",
        project=context.here.name,
        facts=[
            ExportedFact(
                agent=f.agent,
                key=f.key,
                value=f.value,
                importance=f.importance,
                state=f.state,
                created_at=f.created_at,
                trust=f.trust,
                provenance=f.provenance,
                classification=f.classification,
            )
            for f in readable
        ],
        sealed=len(found) - len(wanted),
        unreadable=len(wanted) - len(readable),
    )


class ImportedFact(Input):
    """A fact to import, as an export has it."""

    key: fields.Key
    value: fields.Value
    importance: fields.Importance = 3
    agent: Agent = SHARED_NAMESPACE
    state: Annotated[Literal["active", "archived"], fields.Plain()] = "active"
    created_at: Annotated[str | None, Field(max_length=40), fields.Words(40, plain=True)] = None
    trust: Annotated[Literal["agent", "person", "system", "imported", "external"], fields.Plain()] = (
        "imported"
    )
    provenance: fields.Provenance = "UNKNOWN"
    classification: fields.Class = None


class ImportInput(Input):
    """Arguments of memory.import."""

    facts: Annotated[list[ImportedFact], Field(max_length=IMPORTED_AT_ONCE)]


class ImportOutput(Output):
    """What was imported."""

    imported: int
    unchanged: int
    redacted: int
    archived: int = 0


@operation(
    "memory.import",
    duty=KEEP,
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.WRITES,
    stores=True,
    large=True,
    audience=Standing.PERSON,
    render=lambda out: (
        f"Imported {out.imported} facts; {out.unchanged} stood there already; {out.redacted} secrets redacted."
        + (f" {out.archived} moved to the archive, where search finds them." if out.archived else "")
    ),
    command=("memory", "import"),
)
def import_facts(context: Context, given: ImportInput) -> ImportOutput:
    """Read facts from an export; all of them, or none where one is refused.

    A file says of itself whatever its writer likes, so its facts are labelled as imported, or as external where it
    says that; an archived one takes no other's place.
    """
    imported = unchanged = redacted = archived = 0
    for fact in given.facts:
        key, value, found = _clean(fact)
        redacted += found
        done = _import(context, fact, clean_agent_id(fact.agent), key, value)
        if done is None:
            unchanged += 1
            continue
        imported += 1
        archived += len(done.archived)
    return ImportOutput(imported=imported, unchanged=unchanged, redacted=redacted, archived=archived)


def _import(
    context: Context, fact: ImportedFact, agent: str, key: str, value: str
) -> changes.Remembered | None:
    """Store one fact; None where that changed nothing."""
    if fact.state == "archived":
        rows = facts.history(
            context.connection, context.bodies, project=context.here.id, agent=agent, key=key
        )
        if any(row.state in ("active", "archived") for row in rows):
            return None
    origin = replace(
        origin_of(context.principal, classification=fact.classification),
        trust="external" if fact.trust == "external" else "imported",
        provenance=fact.provenance,
    )
    moment = fact.created_at and _stored_time(fact.created_at)
    done = store(context, agent, key, value, fact.importance, origin=origin, moment=moment, state=fact.state)
    return None if done.unchanged else done


def _stored_time(text: str) -> str:
    try:
        return timestamp(parse_timestamp(text))
    except ValueError:
        raise InvalidInput(
            "bad_time",
            "The created_at of a fact is not a time as an export writes it.",
            "Leave it out, or write it as 2026-11-22T01:02:03.000004Z.",
            field="created_at",
        ) from None


def _clean(fact: ImportedFact) -> tuple[str, str, int]:
    key, value = (
        fields.cleaned(fact.key, "key", fields.KEY),
        fields.cleaned(fact.value, "value", fields.VALUE),
    )
    return key.text, value.text, len(key.findings) + len(value.findings)
