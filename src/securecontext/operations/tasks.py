"""What a worker says of a task that it holds: that it works on it, that it is done, that it failed."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field

from securecontext.boundaries import limits
from securecontext.boundaries.policy import Permission, Standing
from securecontext.coordination import leases
from securecontext.operations.queue import Ready, announce, origin_of, ring_for, role_of
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, Redaction, operation
from securecontext.validators.tasks import clean_task_id

CHANCES = 1 << 32


class HeldInput(Input):
    """What names a claimed task."""

    task_id: fields.TaskId
    fence: fields.Fence = Field(description="as the claim gave it")
    role: fields.Role | None = Field(None, description="yours by default")


def _held(context: Context, given: HeldInput) -> leases.Held:
    role = role_of(context.principal, given.role)
    return leases.Held(role, clean_task_id(given.task_id), given.fence, context.principal.name)


class HeartbeatInput(HeldInput):
    """Arguments of zc_heartbeat_task."""

    progress: Annotated[
        str | None,
        Field(max_length=limits.PROGRESS_CHARACTERS, description="how far you are"),
        fields.Words(limits.PROGRESS_CHARACTERS, multiline=True),
    ] = None


class HeartbeatOutput(Output):
    """The end of the prolonged lease."""

    task_id: str
    lease_until: str


@operation(
    "zc_heartbeat_task",
    permission=Permission.TASK_WORK,
    effects=Effects.WRITES,
    render=lambda out: f"{out.task_id} is yours until {out.lease_until[11:19]}.",
    command=("queue", "heartbeat"),
    example={"task_id": "login-form", "role": "developer", "fence": 1, "progress": "tests written"},
)
def heartbeat(context: Context, given: HeartbeatInput) -> HeartbeatOutput:
    """Say that you still work on a claimed task, and how far you are; prolongs its lease to 90 seconds from now."""
    until = leases.heartbeat(
        context.connection,
        context.here.id,
        _held(context, given),
        context.writing.moment,
        progress=given.progress,
    )
    return HeartbeatOutput(task_id=given.task_id, lease_until=until)


class CompleteInput(HeldInput):
    """Arguments of zc_complete_task."""

    result: fields.Payload = Field({}, description="what came of it, a JSON object")
    artefacts: Annotated[
        list[str],
        Field(max_length=limits.ARTEFACTS, description="paths or references"),
        fields.Words(limits.SOURCE_CHARACTERS),
    ] = []


class CompleteOutput(Ready):
    """The task is done; ``already`` where it was before."""

    task_id: str
    already: bool = False
    redacted: list[Redaction] = []


@operation(
    "zc_complete_task",
    permission=Permission.TASK_WORK,
    effects=Effects.WRITES,
    render=lambda out: f"{out.task_id} {'was done already' if out.already else 'is done'}.",
    after=ring_for,
    command=("queue", "complete"),
    example={"task_id": "login-form", "role": "developer", "fence": 1, "artefacts": ["src/login.ts"]},
)
def complete(context: Context, given: CompleteInput) -> CompleteOutput:
    """Give a claimed task back as done, with what came of it. Refused with lease_lost if it is another's by now."""
    released = leases.complete(
        context.connection,
        context.here.id,
        _held(context, given),
        context.writing.moment,
        origin_of(context.principal),
        result=given.result,
        artefacts=given.artefacts,
    )
    context.noted["done"] = released is not None
    announce(context.writing, context.here.id, released or [])
    return CompleteOutput(
        task_id=given.task_id,
        already=released is None,
        redacted=list(context.redactions),
    ).making_ready(context.here.id, released or [])


class FailInput(HeldInput):
    """Arguments of zc_fail_task."""

    reason: Annotated[
        str,
        Field(max_length=limits.REASON_CHARACTERS),
        fields.Words(limits.REASON_CHARACTERS, multiline=True),
    ]
    final: fields.Flag = Field(False, description="no other attempt would help")


class FailOutput(Ready):
    """What becomes of the task."""

    task_id: str
    state: str
    attempts: int
    again_at: str | None = None


def _render_failed(out: FailOutput) -> str:
    if out.again_at is None:
        return f"{out.task_id} is dead after {out.attempts} attempt(s); a person can requeue it."
    return f"{out.task_id} failed (attempt {out.attempts}) and is offered again at {out.again_at[11:19]}."


@operation(
    "zc_fail_task",
    permission=Permission.TASK_WORK,
    effects=Effects.WRITES,
    render=_render_failed,
    after=ring_for,
    command=("queue", "fail"),
    example={"task_id": "login-form", "role": "developer", "fence": 1, "reason": "the API answers 500"},
)
def fail(context: Context, given: FailInput) -> FailOutput:
    """Give a claimed task back as failed: it is tried again later, or is dead once its attempts are used up."""
    done = leases.fail(
        context.connection,
        context.here.id,
        _held(context, given),
        context.writing.moment,
        reason=given.reason,
        chance=secrets.randbelow(CHANCES) / CHANCES,
        final=given.final,
    )
    context.noted.update({"state": str(done.state), "attempts": done.attempts})
    announce(context.writing, context.here.id, done.ready)
    return FailOutput(
        task_id=given.task_id, state=str(done.state), attempts=done.attempts, again_at=done.again_at
    ).making_ready(context.here.id, done.ready)


class ConnectedInput(Input):
    """Arguments of queue.connected: none."""


class ConnectedOutput(Output):
    """How many leases were prolonged."""

    renewed: int


@operation(
    "queue.connected",
    permission=Permission.TASK_WORK,
    effects=Effects.WRITES,
    audience=Standing.HOOK,
    recorded=False,
    render=lambda out: f"{out.renewed} lease(s) prolonged.",
)
def connected(context: Context, given: ConnectedInput) -> ConnectedOutput:
    """Say for a session that its client is connected to a gateway, which prolongs the leases of its tasks."""
    who = context.principal
    renewed = leases.renew(
        context.connection, context.here.id, [(who.name, who.session)], context.writing.moment
    )
    return ConnectedOutput(renewed=renewed)
