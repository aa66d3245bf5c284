"""Working memory for people: list, show, edit, undo; export and import are in ``exchange``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import SHARED_NAMESPACE, Permission, Standing
from securecontext.knowledge import indexing
from securecontext.memory import changes, facts
from securecontext.operations.memory import (
    capacity_of,
    index_again,
    origin_of,
    redaction_note,
    scrub,
    settle_index,
)
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, Redaction, operation
from securecontext.storage.acting import KEEP
from securecontext.types.classification import DEFAULT
from securecontext.types.errors import NotFound
from securecontext.types.ids import timestamp
from securecontext.validators.input import clean_agent_id, one_line

Agent = Annotated[str, Field(max_length=64, description="notebook"), fields.Words(64, plain=True)]


class FactLine(Output):
    """One fact."""

    id: str
    agent: str
    key: str
    value: str
    importance: int
    state: str
    created_at: str
    trust: str
    provenance: str
    classification: str = DEFAULT
    trouble: str = ""


class FactList(Output):
    """Facts."""

    facts: list[FactLine]


def _line(fact: facts.Fact) -> FactLine:
    return FactLine(
        id=f"m{fact.id}",
        agent=fact.agent,
        key=fact.key,
        value="" if fact.trouble else fact.value,
        importance=fact.importance,
        state=fact.state,
        created_at=fact.created_at,
        trust=fact.trust,
        provenance=fact.provenance,
        classification=fact.classification,
        trouble=f"{fact.trouble.code}: {fact.trouble.message}" if fact.trouble else "",
    )


def _class_mark(line: FactLine) -> str:
    return f" [{line.classification}]" if line.classification != DEFAULT else ""


def _text(line: FactLine) -> str:
    return f"cannot be read, {line.trouble}" if line.trouble else line.value


class ListInput(Input):
    """Arguments of memory.list."""

    agent: Annotated[
        str | None, Field(max_length=64, description="one notebook"), fields.Words(64, plain=True)
    ] = None
    archived: fields.Flag = Field(False, description="evicted facts too")


def _render_list(out: FactList) -> str:
    return (
        "\n".join(
            f"{f.id:>6} {'*' * f.importance:<5} {f.agent}/{f.key}"
            f"{' [archived]' if f.state == 'archived' else ''}{_class_mark(f)}: "
            f"{one_line(_text(f), 100)}"
            for f in out.facts
        )
        or "No facts here: nothing is remembered in this project, or not in that notebook."
    )


@operation(
    "memory.list",
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.READS,
    render=_render_list,
    audience=Standing.PERSON,
    command=("memory", "list"),
)
def list_facts(context: Context, given: ListInput) -> FactList:
    """List the facts of this project."""
    states = ("active", "archived") if given.archived else ("active",)
    agent = given.agent and clean_agent_id(given.agent)
    found = facts.every(
        context.connection, context.bodies, project=context.here.id, agent=agent, states=states
    )
    return FactList(facts=[_line(f) for f in found])


class ShowInput(Input):
    """Arguments of memory.show."""

    key: fields.Key
    agent: Agent = SHARED_NAMESPACE


def _render_history(out: FactList) -> str:
    return "\n\n".join(
        f"{f.id} {'*' * f.importance} {f.agent}/{f.key} [{f.state}] {f.created_at[:19].replace('T', ' ')} "
        f"trust {f.trust}, provenance {f.provenance}, {f.classification}\n{_text(f)}"
        for f in out.facts
    )


@operation(
    "memory.show",
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.READS,
    render=_render_history,
    audience=Standing.PERSON,
    command=("memory", "show"),
)
def show_fact(context: Context, given: ShowInput) -> FactList:
    """Show a fact whole, with its history, newest first."""
    found = facts.history(
        context.connection, context.bodies, project=context.here.id, agent=given.agent, key=given.key
    )
    if not found:
        raise NotFound("no_such_fact", "There is no fact under that key.", "List keys with `zc memory list`.")
    return FactList(facts=[_line(f) for f in reversed(found)])


class EditInput(Input):
    """Arguments of memory.edit."""

    key: fields.Key
    value: fields.Value = Field(description="the new text")
    importance: Annotated[
        int | None, Field(ge=1, le=5, description="1 to 5; unchanged by default"), fields.Plain()
    ] = None
    agent: Agent = SHARED_NAMESPACE
    classification: fields.Class = Field(None, description="public … restricted; unchanged by default")


class EditOutput(Output):
    """The fact as it is now."""

    id: str
    key: str
    importance: int
    changed: bool
    redacted: list[Redaction] = []


@operation(
    "memory.edit",
    duty=KEEP,
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.WRITES,
    stores=True,
    audience=Standing.PERSON,
    render=lambda out: (
        (
            f"{out.key} is {out.id} now. Take it back with `zc memory undo {out.key}`."
            if out.changed
            else f"{out.key} says that already; nothing was changed."
        )
        + redaction_note(out.redacted)
    ),
    command=("memory", "edit"),
)
def edit_fact(context: Context, given: EditInput) -> EditOutput:
    """Give a fact a new text; the old one stays in its history."""
    rows = facts.history(
        context.connection, context.bodies, project=context.here.id, agent=given.agent, key=given.key
    )
    current = next((f for f in reversed(rows) if f.state in ("active", "archived")), None)
    if current is None:
        raise NotFound("no_such_fact", "There is no fact under that key.", "List keys with `zc memory list`.")
    importance = given.importance or current.importance
    origin = origin_of(context.principal, classification=given.classification)
    if current.classification == "restricted":
        origin = replace(
            origin, created_by=current.created_by
        )  # for whom it is does not change with a correction
    stored = store(context, given.agent, given.key, given.value, importance, origin=origin)
    return EditOutput(
        id=f"m{stored.fact}",
        key=given.key,
        importance=importance,
        changed=not stored.unchanged,
        redacted=list(context.redactions),
    )


def store(
    context: Context,
    agent: str,
    key: str,
    value: str,
    importance: int,
    *,
    origin: facts.Origin | None = None,
    moment: str | None = None,
    state: str = "active",
) -> changes.Remembered:
    """Store a fact and let search find it.

    Args:
        context: of the call.
        agent: the notebook.
        key: name of the fact.
        value: its text.
        importance: 1 to 5.
        origin: where it comes from; the caller by default.
        moment: timestamp; that of the call by default.
        state: ``active``, or ``archived`` for one that was evicted where it comes from.
    """
    done = changes.remember(
        context.connection,
        context.bodies,
        project=context.here.id,
        agent=agent,
        key=key,
        value=value,
        importance=importance,
        supersedes=None,
        origin=origin or origin_of(context.principal),
        capacity=capacity_of(context),
        moment=moment or timestamp(context.moment),
        state=state,
    )
    settle_index(context, done, key, value)
    return done


class UndoOutput(Output):
    """What counts now."""

    key: str
    taken_back: str
    now: str | None = None
    back: list[str] = []


@operation(
    "memory.undo",
    duty=KEEP,
    permission=Permission.MEMORY_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    render=lambda out: (
        f"Took back {out.taken_back} of {out.key}. "
        + (f"{out.now} counts again." if out.now else "Nothing stands under it now.")
        + (f" Superseded before, now back: {', '.join(out.back)}." if out.back else "")
    ),
    command=("memory", "undo"),
)
def undo_fact(context: Context, given: ShowInput) -> UndoOutput:
    """Take the newest value of a fact back; the one before counts again. What was forgotten is gone for good."""
    project = context.here.id
    done = changes.undo(
        context.connection,
        context.bodies,
        project=project,
        agent=given.agent,
        key=given.key,
        capacity=capacity_of(context),
    )
    indexing.unindex(context.connection, context.text, indexing.FACT, [done.taken.id])
    scrub(context)
    for fact in done.back:
        index_again(context, fact)
    return UndoOutput(
        key=given.key,
        taken_back=f"m{done.taken.id}",
        now=f"m{done.now.id}" if done.now else None,
        back=[f.key for f in done.back if f.key != given.key],
    )
