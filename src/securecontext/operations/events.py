"""What waits for an agent, by its ids alone: a stream of events begins with it, and whoever has none can ask."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlalchemy import Connection

from securecontext.boundaries.policy import Permission, Standing
from securecontext.coordination import broadcasts, messages, task_files, tasks
from securecontext.operations.broadcasting import sender_of
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.types.ids import timestamp

AT_ONCE = 100
"""Broadcasts that one look names; more are named by the next."""


class PendingInput(Input):
    """Arguments of events.pending."""

    after: Annotated[int, Field(ge=0, le=messages.LARGEST_ID), fields.Plain()] = Field(
        0, description="only broadcasts after this id"
    )


class PendingOutput(Output):
    """Broadcasts for the caller that it has not acknowledged, oldest first, and whether a task of its role is ready."""

    agent: str
    role: str = ""
    broadcasts: list[int] = []
    tasks: bool = False


def pending(
    connection: Connection, project: str, agent: str, role: str, *, after: int, now: str
) -> tuple[list[int], bool]:
    """Return what waits for an agent: ids of broadcasts, and whether a task of its role is ready.

    Args:
        connection: of the project's store.
        project: its id.
        agent: whose.
        role: its role; empty for nobody who works on tasks.
        after: only broadcasts with a larger id.
        now: a timestamp.
    """
    found = broadcasts.replay(connection, project, agent, after=after, most=AT_ONCE)
    ready = bool(role) and (
        tasks.any_ready(connection, project, role, now) or task_files.any_free(connection, project, role, now)
    )
    return [each.id for each in found], ready


def _render(out: PendingOutput) -> str:
    said = f"{len(out.broadcasts)} broadcast(s) for {out.agent}"
    return f"{said}; a task is ready." if out.tasks else f"{said}; no task is ready."


@operation(
    "events.pending",
    permission=Permission.BROADCAST_READ,
    effects=Effects.READS,
    audience=Standing.PERSON,
    render=_render,
    command=("pending",),
)
def show_pending(context: Context, given: PendingInput) -> PendingOutput:
    """Say which broadcasts wait for you and whether a task of your role is ready, by ids alone."""
    agent = sender_of(context.principal, None).agent
    role = str(context.principal.role or "")
    found, ready = pending(
        context.connection,
        context.here.id,
        agent,
        role,
        after=given.after,
        now=timestamp(context.moment),
    )
    return PendingOutput(agent=agent, role=role, broadcasts=found, tasks=ready)
