"""What hooks report of a session, and what they are told: start, tool calls, checkpoints, the end of a turn."""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from securecontext.boundaries import limits
from securecontext.boundaries.policy import Permission, Standing
from securecontext.knowledge import archive
from securecontext.memory import recall, sessions
from securecontext.operations.recall import SUMMARY_DAYS, class_of_session, material
from securecontext.pipeline import fields
from securecontext.pipeline.fields import Words
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.storage.acting import KEEP
from securecontext.types.classification import SEALED
from securecontext.types.ids import hook_session, timestamp

Detail = Annotated[str, Field(max_length=4_000), Words(4_000, multiline=True)]
LONGEST_MS = 10**12


class Done(Output):
    """Nothing to tell."""

    done: bool = True


def _render_done(_out: Done) -> str:
    return "Noted."


class StartInput(Input):
    """Arguments of session.start."""

    source: Annotated[str, Field(max_length=40), Words(40, plain=True)] = "startup"
    budget: Annotated[int, Field(ge=100, le=10_000), fields.Plain()] = limits.RECALL_TOKENS


class StartOutput(Output):
    """What the session is told."""

    text: str


_GOES_ON = frozenset({"resume", "compact"})
"""Sources of a start at which the session has its own past in its context."""


@operation(
    "session.start",
    permission=Permission.SESSION_REPORT,
    effects=Effects.WRITES,
    tells_memory=True,
    render=lambda out: out.text,
    audience=Standing.HOOK,
)
def start(context: Context, given: StartInput) -> StartOutput:
    """Note that a session started, and tell it what is remembered."""
    known = context.principal.session if given.source in _GOES_ON else ""
    shown = recall.compose(
        material(context, context.principal.namespace, known), fence=secrets.token_hex(4), tokens=given.budget
    )
    _report(context, "session_started", given.source)
    return StartOutput(text=shown.text)


class ObservedInput(Input):
    """Arguments of session.observed: a tool call of the client's own, as its hook reported it."""

    tool: fields.Name
    tool_use_id: fields.Name
    outcome: Annotated[Literal["ok", "failed"], fields.Plain()]
    duration_ms: Annotated[int | None, Field(ge=0, le=LONGEST_MS), fields.Plain()] = None
    file: Annotated[str | None, Field(max_length=4_000), Words(4_000)] = None
    command: Detail | None = None
    error: Detail | None = None
    plan: Annotated[list[str] | None, Field(max_length=100), Words(400)] = None
    task: Annotated[str | None, Field(max_length=400), Words(400)] = None
    spooled_at: Annotated[str | None, Field(max_length=40), Words(40, plain=True)] = None


_WRITING_TOOLS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit"})


@operation(
    "session.observed",
    permission=Permission.SESSION_REPORT,
    effects=Effects.WRITES,
    render=_render_done,
    audience=Standing.HOOK,
    kind="observed",
)
def observed(context: Context, given: ObservedInput) -> Done:
    """Note a tool call that the client reports; never complete, never a file's content."""
    if given.outcome == "failed":
        what = f"{given.tool} `{_first_line(given.command)[:200]}`" if given.command else given.tool
        _report(context, "error", f"{what}: {_first_line(given.error or 'failed')}"[:400])
    elif given.tool in _WRITING_TOOLS and given.file:
        _report(context, "file_write", given.file[:400])
    elif given.tool == "Bash" and given.command:
        _report(context, "command", _first_line(given.command)[:300])
    if given.plan:
        _report(context, "plan", json.dumps(given.plan, ensure_ascii=False))
    if given.task and given.outcome == "ok" and _readable(given.task):
        _report(context, "task", given.task)
    return Done()


def _readable(task: str) -> bool:
    """Say whether a task's change is still JSON with an id: a redaction may have taken more than a word out of it."""
    try:
        return isinstance(json.loads(task)["id"], str)
    except (ValueError, KeyError, TypeError):
        return False


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


class CheckpointInput(Input):
    """Arguments of session.checkpoint."""

    reason: Annotated[str, Field(max_length=80), Words(80, plain=True)]
    ended: fields.Flag = False


class CheckpointOutput(Output):
    """What was kept."""

    files: int
    commands: int
    plan: int
    empty: bool


@operation(
    "session.checkpoint",
    permission=Permission.SESSION_REPORT,
    effects=Effects.WRITES,
    render=lambda out: (
        "Nothing to keep."
        if out.empty
        else f"Kept {out.files} files, {out.commands} commands, {out.plan} plan items."
    ),
    audience=Standing.HOOK,
)
def checkpoint(context: Context, given: CheckpointInput) -> CheckpointOutput:
    """Keep the session's working state, so that compaction or the session's end does not lose it."""
    project = context.here.id
    state = sessions.gather(context.connection, project, context.principal.session)
    last = sessions.last_checkpoint(context.connection, project)
    if state.worth_keeping or not (state.empty or (last and last[1].worth_keeping)):
        _report(context, sessions.CHECKPOINT, state.dump())
    if given.ended:
        _report(context, "session_ended", given.reason)
        sessions.trim(context.connection, project)
    return CheckpointOutput(
        files=len(state.files), commands=len(state.commands), plan=len(state.plan), empty=state.empty
    )


class CompactedInput(Input):
    """Arguments of session.compacted."""

    summary: fields.Content


@operation(
    "session.compacted",
    duty=KEEP,
    permission=Permission.SESSION_REPORT,
    effects=Effects.WRITES,
    stores=True,
    render=_render_done,
    audience=Standing.HOOK,
)
def compacted(context: Context, given: CompactedInput) -> Done:
    """Archive the summary that the client made when it compacted the session: the next session starts from it."""
    when = timestamp(context.moment)
    stored = archive.put(
        context.connection,
        context.text,
        context.bodies,
        context.here.id,
        archive.Draft(
            kind="summary",
            source=f"[COMPACTION] {when[:10]} {when[11:19]} {secrets.token_hex(8)}",
            content=given.summary,
            created_by=context.principal.name,
            session=context.principal.session,
            provenance="INFERRED",
            classification=class_of_session(context),
            expires_at=timestamp(context.moment + timedelta(days=SUMMARY_DAYS)),
        ),
        when,
    )
    context.sealed = stored.classification in SEALED
    return Done()


class TurnInput(Input):
    """Arguments of session.turn."""

    said: Detail | None = None


@operation(
    "session.turn",
    permission=Permission.SESSION_REPORT,
    effects=Effects.WRITES,
    render=_render_done,
    audience=Standing.HOOK,
)
def turn(context: Context, given: TurnInput) -> Done:
    """Note the end of an agent's turn, with the beginning of what it said."""
    if given.said and class_of_session(context) is None:  # events are not sealed, and it may repeat what is
        _report(context, "said", " ".join(given.said.split())[:600])
    return Done()


class SeenInput(Input):
    """Arguments of session.seen."""

    session: Annotated[str | None, Field(max_length=100), Words(100, plain=True)] = None


class SeenOutput(Output):
    """What hooks have reported.

    Attributes:
        started: the session's start was reported.
        entries: events of the session.
        last: timestamp of the newest start of any session, empty for none.
    """

    started: bool
    entries: int
    last: str


@operation(
    "session.seen",
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=lambda out: f"Last session started at {out.last}." if out.last else "No session was seen yet.",
    audience=Standing.PERSON,
    command=("session",),
)
def seen(context: Context, given: SeenInput) -> SeenOutput:
    """Say whether the hooks of a client's session were seen in this project."""
    name = hook_session(given.session or "")
    started, entries, last = sessions.sightings(context.connection, context.here.id, name)
    return SeenOutput(started=started, entries=entries, last=last)


def _report(context: Context, kind: str, detail: str) -> None:
    sessions.report(
        context.connection,
        project=context.here.id,
        session=context.principal.session,
        kind=kind,
        detail=detail,
        moment=timestamp(context.moment),
    )
