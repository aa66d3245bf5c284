"""The way of one broadcast: who sent it to whom, who has acknowledged it, what it reserved; zc_explain."""

from __future__ import annotations

from securecontext.boundaries.identity import token_register
from securecontext.boundaries.policy import Permission
from securecontext.coordination import acknowledgements, broadcasts, ownership
from securecontext.operations.replaying import BroadcastId
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World


class ExplainInput(Input):
    """Arguments of zc_explain."""

    broadcast_id: BroadcastId


class Held(Output):
    """A reservation that a broadcast made."""

    pattern: str
    agent: str
    until: str
    ended: str = ""
    ended_by: str = ""


class Acknowledged(Output):
    """Who has acknowledged, and when."""

    agent: str
    at: str


class ExplainOutput(Output):
    """The way of a broadcast."""

    id: int
    type: str
    agent: str
    role: str
    at: str
    to: list[str] = []
    acknowledged: list[Acknowledged] = []
    open: list[str] = []
    reservations: list[Held] = []


def _agents(world: World, asker: Asker, _given: ExplainInput) -> list[str]:
    """Return the agents of the project whose tokens count."""
    assert asker.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
    with world.machine.read() as connection:
        return token_register.counting_agents(connection, asker.project.id, asker.moment)


def _render_trace(out: ExplainOutput) -> str:
    lines = [
        f"b{out.id} {out.type} by {out.agent} ({out.role}) {out.at[:19]}Z",
        f"to: {', '.join(out.to) or 'all agents of the project'}",
        f"acknowledged: {', '.join(f'{a.agent} {a.at[:19]}Z' for a in out.acknowledged) or 'by nobody'}",
        f"open: {', '.join(out.open) or 'with nobody'}",
    ]
    for each in out.reservations:
        end = f"ended {each.ended[:19]}Z by {each.ended_by}" if each.ended else f"until {each.until[:19]}Z"
        lines.append(f"reserved: {each.pattern} for {each.agent}, {end}")
    return "\n".join(lines)


@operation(
    "zc_explain",
    permission=Permission.BROADCAST_READ,
    effects=Effects.READS,
    prepare=_agents,
    render=_render_trace,
    example={"broadcast_id": 1},
)
def explain(context: Context, given: ExplainInput) -> ExplainOutput:
    """Trace a broadcast: who sent it, for whom, who has acknowledged it and who has not, what it reserved."""
    project = context.here.id
    found = broadcasts.get(context.connection, project, given.broadcast_id)
    to = broadcasts.recipients_of(context.connection, project, found.id)
    done = acknowledgements.of_broadcast(context.connection, project, found.id)
    known = {each.agent for each in done} | {found.agent}
    held = ownership.of_cause(context.connection, project, f"broadcast:{found.id}")
    return ExplainOutput(
        id=found.id,
        type=found.message.type,
        agent=found.agent,
        role=found.role,
        at=found.created_at,
        to=to,
        acknowledged=[Acknowledged(agent=each.agent, at=each.at) for each in done],
        open=[agent for agent in to or context.prepared if agent not in known],
        reservations=[
            Held(
                pattern=each.pattern.text,
                agent=each.agent,
                until=each.expires_at,
                ended=each.released_at or "",
                ended_by=each.released_by or "",
            )
            for each in held
        ],
    )
