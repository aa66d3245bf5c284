"""What was broadcast in a project, whoever it was for: for people and programs that look on."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.coordination import broadcasts, messages
from securecontext.coordination.messages import MessageType
from securecontext.operations.replaying import DATA, ShownBroadcast, fitting, lines_of
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.pipeline.pages import Cursor, cursor_of, place_of
from securecontext.validators.input import clean_agent_id

SHOWN = 30


class ListInput(Input):
    """Arguments of broadcast.list."""

    limit: Annotated[int, Field(ge=1, le=broadcasts.MOST_SHOWN), fields.Plain()] = SHOWN
    since_id: Annotated[int, Field(ge=0, le=messages.LARGEST_ID), fields.Plain()] = Field(
        0, description="only after this id"
    )
    type: Annotated[MessageType | None, fields.Plain()] = Field(None, description="only of this type")
    agent: fields.Agent | None = Field(None, description="only by this agent")
    cursor: Cursor = None


class ListOutput(Output):
    """Broadcasts, newest first; ``next`` is the cursor of the next page, where there is one."""

    fence: str
    note: str = ""
    broadcasts: list[ShownBroadcast] = []
    next: str | None = None


def _render(out: ListOutput) -> str:
    if not out.broadcasts:
        return "There is no such broadcast."
    more = [f"There are more: cursor={out.next}"] if out.next else []
    return "\n".join([out.note, *lines_of(out.broadcasts), *more])


@operation(
    "broadcast.list",
    permission=Permission.BROADCAST_READ,
    effects=Effects.READS,
    audience=Standing.PERSON,
    render=_render,
    command=("broadcasts",),
)
def list_broadcasts(context: Context, given: ListInput) -> ListOutput:
    """List what was broadcast in this project, newest first."""
    (before,) = place_of(given.cursor, "broadcasts", (messages.LARGEST_ID,))
    found = broadcasts.newest(
        context.connection,
        context.here.id,
        after=given.since_id,
        before=int(before),
        kind=given.type or "",
        agent="" if given.agent is None else clean_agent_id(given.agent),
        most=given.limit + 1,
    )
    fence = secrets.token_hex(4)
    shown = fitting(found[: given.limit], fence)
    more = len(shown) < len(found)
    return ListOutput(
        fence=fence,
        note=DATA if shown else "",
        broadcasts=shown,
        next=cursor_of("broadcasts", shown[-1].id) if more else None,
    )
