"""Working memory for agents: remember and forget, and what other operations share of it."""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import Connection, select

from securecontext.boundaries.policy import Permission, Policy, Principal, Standing
from securecontext.coordination import broadcasts
from securecontext.knowledge import archive, indexing
from securecontext.memory import changes, facts
from securecontext.memory.capacity import MOST_AGENTS, MOST_BROADCASTS, MOST_SOURCES, Capacity, capacity
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, Redaction, operation
from securecontext.storage.acting import KEEP, SURVEY, raised
from securecontext.types.classification import DEFAULT, SEALED
from securecontext.types.ids import timestamp
from securecontext.validators.input import clean_agent_id


def trust_of(principal: Principal) -> str:
    """Return the trust label of what a caller stores."""
    return "person" if principal.standing is Standing.PERSON else "agent"


def origin_of(
    principal: Principal, provenance: str = "EXTRACTED", classification: str | None = None
) -> facts.Origin:
    """Return the origin of what a caller stores; without a class that of the value before is kept."""
    return facts.Origin(principal.name, principal.session, trust_of(principal), provenance, classification)


def namespace(principal: Principal, agent_id: str | None) -> str:
    """Return the notebook that a call means.

    Raises:
        Denied: it is another agent's.
        InvalidInput: it is no valid name.
    """
    if agent_id is None:
        return principal.namespace
    wanted = clean_agent_id(agent_id)
    Policy().check_namespace(principal, wanted)
    return wanted


def capacity_of(context: Context) -> Capacity:
    """Return the limit of a notebook in the call's project."""
    return capacity_in(context.connection, context.here.id)


_COUNTED = select(
    archive.up_to(MOST_SOURCES, "text", "summary"),
    archive.up_to(MOST_BROADCASTS, "broadcast")
    + broadcasts.up_to(MOST_BROADCASTS),  # imported, and said here
    facts.agents_up_to(MOST_AGENTS),
)
"""One statement: each call that remembers or recalls asks it."""


def capacity_in(connection: Connection, project: str) -> Capacity:
    """Return the limit of a notebook in a project as it is now."""
    with raised(connection, SURVEY):
        sources, said, agents = connection.execute(_COUNTED, {"in_project": project}).one()
    return capacity(sources=sources, broadcasts=said, agents=agents)


def settle_index(context: Context, done: changes.Remembered, key: str, value: str) -> None:
    """Let search find what was remembered, and nothing that it took the place of."""
    context.sealed = context.sealed or done.classification in SEALED
    if done.unchanged:
        return
    indexing.unindex(context.connection, context.text, indexing.FACT, done.gone)
    if done.classification not in SEALED:
        index_fact(context, done.fact, key, value)
    if done.concealed:
        scrub(context)


def scrub(context: Context) -> None:
    """Have the traces go that engines keep of what is no longer there: in the index's pages, in write-ahead copies."""
    context.text.scrub(context.connection)
    context.writing.scrub_after_commit()


def index_again(context: Context, fact: facts.Fact, session: str | None = None) -> None:
    """Let search find a fact that counts again; what is sealed, or cannot be read, has no words in the index."""
    if fact.classification not in SEALED and fact.trouble is None:
        index_fact(context, fact.id, fact.key, fact.value, session)


def index_fact(context: Context, fact: int, key: str, value: str, session: str | None = None) -> None:
    """Let search find a fact that is stored as it is, as one of the session that stored it; the caller's by default."""
    indexing.index(
        context.connection,
        context.text,
        project=context.here.id,
        parent_kind=indexing.FACT,
        parent=fact,
        pieces=indexing.pieces_of(key, value),
        session=context.principal.session if session is None else session,
        moment=timestamp(context.moment),
    )


def redaction_note(redactions: list[Redaction]) -> str:
    """Return the sentence that tells a caller what was not stored."""
    if not redactions:
        return ""
    named = ", ".join(f"{r.type} in {r.field} (fingerprint {r.fingerprint})" for r in redactions)
    return f"\nRedacted before storing: {named}."


class RememberInput(Input):
    """Arguments of zc_remember."""

    key: fields.Key = Field(description="short name of the fact")
    value: fields.Value = Field(description="the fact, kept whole")
    importance: fields.Importance = Field(3, description="1 ephemeral … 5 critical")
    agent_id: fields.Agent | None = Field(None, description="notebook; yours by default")
    supersedes: fields.Key | None = Field(None, description="key of a fact this one replaces")
    provenance: fields.Provenance = (
        "EXTRACTED"  # what the words mean is in the skill: a list of tools is dear
    )
    classification: fields.Class = Field(None, description="the two higher are stored encrypted")


class RememberOutput(Output):
    """What was remembered."""

    key: str
    id: str
    importance: int
    count: int
    limit: int
    changed: bool
    archived: int = 0
    superseded: str | None = None
    classification: str = DEFAULT
    redacted: list[Redaction] = []


def class_note(classification: str) -> str:
    """Return the sentence that tells a caller under which class a text was stored, where that is not the usual one."""
    if classification == DEFAULT:
        return ""
    return f" It is {classification}{', stored encrypted' if classification in SEALED else ''}."


def _render_remembered(out: RememberOutput) -> str:
    verb = "Remembered" if out.changed else "Already remembered"
    text = f"{verb} {'*' * out.importance} {out.key} ({out.id}). {out.count} of {out.limit} facts."
    if out.superseded:
        text += f" It supersedes {out.superseded}."
    if out.archived:
        text += f" {out.archived} older or less important facts moved to the archive; zc_search finds them."
    return text + class_note(out.classification) + redaction_note(out.redacted)


@operation(
    "zc_remember",
    duty=KEEP,
    permission=Permission.MEMORY_WRITE,
    effects=Effects.WRITES,
    stores=True,
    render=_render_remembered,
    always_load=True,
    example={"key": "db", "value": "PostgreSQL 16, decided for row-level security", "importance": 5},
)
def remember(context: Context, given: RememberInput) -> RememberOutput:
    """Store a fact for later sessions under a key. The same key again replaces it; history is kept."""
    agent = namespace(context.principal, given.agent_id)
    allowed = capacity_of(context)
    done = changes.remember(
        context.connection,
        context.bodies,
        project=context.here.id,
        agent=agent,
        key=given.key,
        value=given.value,
        importance=given.importance,
        supersedes=given.supersedes,
        origin=origin_of(context.principal, given.provenance, given.classification),
        capacity=allowed,
        moment=timestamp(context.moment),
    )
    settle_index(context, done, given.key, given.value)
    return RememberOutput(
        key=given.key,
        id=f"m{done.fact}",
        importance=given.importance,
        count=done.count,
        limit=allowed.limit
        if done.count > 1
        else capacity_of(context).limit,  # a first fact makes a notebook
        changed=not done.unchanged,
        archived=len(done.archived),
        superseded=given.supersedes if given.supersedes != given.key else None,
        classification=done.classification,
        redacted=list(context.redactions),
    )


class ForgetInput(Input):
    """Arguments of zc_forget."""

    key: fields.Key = Field(description="key of the fact")
    agent_id: fields.Agent | None = Field(None, description="notebook; yours by default")


class ForgetOutput(Output):
    """What was forgotten."""

    key: str
    forgotten: bool
    versions: int
    count: int
    limit: int


def _render_forgotten(out: ForgetOutput) -> str:
    if not out.forgotten:
        return f"Nothing is stored under {out.key}. {out.count} of {out.limit} facts."
    return (
        f"Forgot {out.key} ({out.versions} version(s), archive included). {out.count} of {out.limit} facts."
    )


def erase(context: Context, agent: str, key: str) -> tuple[int, ...]:
    """Delete a key with its history, its chunks, and the traces that engines keep."""
    gone = changes.forget(context.connection, project=context.here.id, agent=agent, key=key)
    indexing.unindex(context.connection, context.text, indexing.FACT, gone)
    if gone:  # of a value that was replaced the words are out of the index already, but still in its pages
        scrub(context)
    return gone


@operation(
    "zc_forget",
    duty=KEEP,
    permission=Permission.MEMORY_WRITE,
    effects=Effects.DESTROYS,
    render=_render_forgotten,
    example={"key": "db"},
)
def forget(context: Context, given: ForgetInput) -> ForgetOutput:
    """Delete a fact for good, with its history and its copy in the archive."""
    agent = namespace(context.principal, given.agent_id)
    gone = erase(context, agent, given.key)
    return ForgetOutput(
        key=given.key,
        forgotten=bool(gone),
        versions=len(gone),
        count=facts.count_active(context.connection, context.here.id, agent),
        limit=capacity_of(context).limit,
    )
