"""What a session starts and ends with: recall, the summary of a session, how memory stands."""

from __future__ import annotations

import secrets
from datetime import timedelta

from pydantic import Field

from securecontext.boundaries import limits
from securecontext.boundaries.policy import SHARED_NAMESPACE, Permission
from securecontext.boundaries.sight import sight_of
from securecontext.knowledge import archive
from securecontext.memory import facts, recall, sessions
from securecontext.operations.memory import capacity_of, class_note, namespace, redaction_note, trust_of
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, Redaction, operation
from securecontext.storage import schema
from securecontext.storage.acting import KEEP
from securecontext.types.classification import DEFAULT, SEALED, highest
from securecontext.types.ids import timestamp
from securecontext.validators.input import one_line

SUMMARY_DAYS = 365
RECENT_EVENTS = 20


def mark_of(trust: str) -> str:
    """Return the label that a text from elsewhere carries wherever it is shown."""
    return f"[{trust}] " if trust in ("external", "imported") else ""


class RecallInput(Input):
    """Arguments of zc_recall_context."""

    agent_id: fields.Agent | None = Field(None, description="notebook; yours by default")
    force: fields.Flag = Field(False, description="without effect: recall is always fresh")


class RecallOutput(Output):
    """What is remembered.

    Clients hand this object to the model in place of the text, so it holds nothing twice.
    """

    text: str
    left_out: int
    count: int
    limit: int


def material(context: Context, agent: str, session: str = "") -> recall.Material:
    """Gather what a recall may show.

    Args:
        context: of the call.
        agent: the notebook.
        session: the session that goes on, where one does: it gets its own working state back, not that of a session
            beside it, and its own summary is in its context already.
    """
    project = context.here.id
    pools = [agent] if agent == SHARED_NAMESPACE else [agent, SHARED_NAMESPACE]
    sight = sight_of(context.principal)
    held = [
        fact
        for fact in facts.active(context.connection, context.bodies, project=project, agents=pools)
        if sight.sees(fact.classification, fact.created_by)
    ]
    held.sort(key=lambda f: f.agent != agent)  # own facts first; the order within stays
    held.sort(key=lambda f: -f.importance)
    last = archive.last(context.connection, context.bodies, project, "summary")
    if last is not None and (
        (session and last.session == session) or not sight.sees(last.classification, last.created_by)
    ):
        last = None
    checkpoint = sessions.last_checkpoint(context.connection, project, session)
    allowed = capacity_of(context)
    mine = sum(1 for f in held if f.agent == agent)
    return recall.Material(
        facts=held,
        summary=(last.created_at, _summary_text(last), f"d{last.id}") if last else None,
        checkpoint=(checkpoint[0].created_at, checkpoint[1]) if checkpoint else None,
        events=sessions.recent(context.connection, project, RECENT_EVENTS),
        status=(
            f"Project {one_line(context.here.name, 60)}: {mine} of {allowed.limit} facts in notebook {agent}; "
            "ledger on."
        ),
        namespace=agent,
        limit=allowed.limit,
    )


def _summary_text(last: archive.Document) -> str:
    if last.trouble is not None:
        return f"it cannot be read ({last.trouble.code})"
    return mark_of(last.trust) + last.content


def _render_recalled(out: RecallOutput) -> str:
    return out.text


@operation(
    "zc_recall_context",
    permission=Permission.MEMORY_READ,
    effects=Effects.READS,
    render=_render_recalled,
    always_load=True,
)
def recall_context(context: Context, given: RecallInput) -> RecallOutput:
    """Restore what earlier sessions left: facts by importance, last summary, working state, recent events."""
    agent = namespace(context.principal, given.agent_id)
    found = material(context, agent)
    shown = recall.compose(found, fence=secrets.token_hex(4), tokens=limits.RECALL_TOKENS)
    return RecallOutput(
        text=shown.text,
        left_out=shown.left_out,
        count=sum(1 for f in found.facts if f.agent == agent),
        limit=found.limit,
    )


def class_of_session(context: Context) -> str | None:
    """Return the class of what a session may repeat: the highest of the sealed facts and documents that it may see.

    None where there are none. Earlier summaries do not count: one of them would make all that follow alike.
    """
    sight = sight_of(context.principal)
    pools = [context.principal.namespace, SHARED_NAMESPACE]
    found = facts.sealed_classes(context.connection, context.here.id, pools)
    found += archive.sealed_classes(context.connection, context.here.id)
    return highest(each for each, created_by in found if sight.sees(each, created_by))


class SummarizeInput(Input):
    """Arguments of zc_summarize_session."""

    summary: fields.Summary = Field(description="what was done, decided, and what comes next")
    classification: fields.Class = None


class SummarizeOutput(Output):
    """Where the summary lies."""

    id: str
    source: str
    kept_until: str
    classification: str = DEFAULT
    redacted: list[Redaction] = []


def _render_summarized(out: SummarizeOutput) -> str:
    return (
        f"Session summary stored as {out.source} ({out.id}), kept until {out.kept_until}."
        + class_note(out.classification)
        + redaction_note(out.redacted)
    )


@operation(
    "zc_summarize_session",
    duty=KEEP,
    permission=Permission.MEMORY_WRITE,
    effects=Effects.WRITES,
    stores=True,
    render=_render_summarized,
    example={"summary": "Chose PostgreSQL; schema done; next: migrations."},
)
def summarize_session(context: Context, given: SummarizeInput) -> SummarizeOutput:
    """Archive a summary of this session for a year; the next recall shows it."""
    until = timestamp(context.moment + timedelta(days=SUMMARY_DAYS))
    when = timestamp(context.moment)
    source = f"[SESSION_SUMMARY] {when[:10]} {when[11:19]} {secrets.token_hex(8)}"
    stored = archive.put(
        context.connection,
        context.text,
        context.bodies,
        context.here.id,
        archive.Draft(
            kind="summary",
            source=source,
            content=given.summary,
            created_by=context.principal.name,
            session=context.principal.session,
            trust=trust_of(context.principal),
            classification=given.classification or class_of_session(context),
            expires_at=until,
        ),
        when,
    )
    context.sealed = stored.classification in SEALED
    return SummarizeOutput(
        id=f"d{stored.document}",
        source=source,
        kept_until=until[:10],
        classification=stored.classification,
        redacted=list(context.redactions),
    )


class StatusInput(Input):
    """Arguments of zc_status."""

    agent_id: fields.Agent | None = Field(None, description="notebook; yours by default")


class StatusOutput(Output):
    """How things stand."""

    version: str
    project: str
    project_id: str
    notebook: str
    facts: int
    limit: int
    limit_parts: dict[str, int]
    documents: int
    summaries: int
    size_kib: int
    schema_revision: str
    search: str
    ledger_entries: int
    ledger_streams: int


def _render_status(out: StatusOutput) -> str:
    parts = ", ".join(f"{name} {n}" for name, n in out.limit_parts.items())
    return "\n".join(
        (
            f"SecureContext {out.version}, project {one_line(out.project, 60)} ({out.project_id})",
            f"Working memory: {out.facts} of {out.limit} facts in notebook {out.notebook} (limit: {parts})",
            f"Archive: {out.documents} documents, {out.summaries} summaries; search: {out.search}",
            f"Database: {out.size_kib} KiB with the ledger, schema {out.schema_revision}",
            f"Ledger: {out.ledger_entries} entries in {out.ledger_streams} streams; verify with `zc audit verify`",
            "Secrets: redacted before storing and before showing",
        )
    )


@operation("zc_status", permission=Permission.STATUS_READ, effects=Effects.READS, render=_render_status)
def status(context: Context, given: StatusInput) -> StatusOutput:
    """Say how memory, archive and ledger of this project stand."""
    agent = namespace(context.principal, given.agent_id)
    allowed = capacity_of(context)
    counted = archive.counts(context.connection, context.here.id)
    entries, streams = context.world.ledgers.size(context.connection)
    return StatusOutput(
        version=context.world.facts.version,
        project=context.here.name,
        project_id=context.here.id,
        notebook=agent,
        facts=facts.count_active(context.connection, context.here.id, agent),
        limit=allowed.limit,
        limit_parts={
            "base": 100,
            "sources": allowed.from_sources,
            "broadcasts": allowed.from_broadcasts,
            "agents": allowed.from_agents,
        },
        documents=counted.get("text", 0),
        summaries=counted.get("summary", 0),
        size_kib=context.world.store(context.here.id).used(0) // 1024,
        schema_revision=schema.CURRENT,
        search="words (BM25)",
        ledger_entries=entries,
        ledger_streams=streams,
    )
