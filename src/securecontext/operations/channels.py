"""The key of a project's channel, for people: set it, waive it, see how it stands."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.coordination import channel_keys
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.types.ids import timestamp


class SetInput(Input):
    """Arguments of channel.set."""

    key: Annotated[str | None, Field(max_length=1_000), fields.Credential()] = Field(
        None, description="a key of your own; leave it out, and a good one is made"
    )


class SetOutput(Output):
    """The key, shown this once."""

    key: str


def _prepare(_world: World, _asker: Asker, given: SetInput) -> tuple[str, str]:
    """Return the key and what is kept of it; deriving that takes longer than a transaction may."""
    key = given.key or channel_keys.fresh()
    return key, channel_keys.verifier_of(key)


@operation(
    "channel.set",
    permission=Permission.CHANNEL_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    prepare=_prepare,
    secret_answer=True,
    render=lambda out: out.key,
    command=("channel-key", "set"),
)
def set_key(context: Context, given: SetInput) -> SetOutput:
    """Set the key that agents must show to broadcast in this project; it is shown once, and an earlier one ends."""
    key, verifier = context.prepared
    _keep(context, verifier)
    return SetOutput(key=key)


class WaiveInput(Input):
    """Arguments of channel.waive: none."""


class StatusInput(Input):
    """Arguments of channel.status: none."""


class StatusOutput(Output):
    """How the channel stands: set, waived or missing."""

    state: str
    since: str = ""
    by: str = ""


_SAID = {
    "set": "Broadcasting needs the channel's key",
    "waived": "Broadcasting needs a session token alone",
    "missing": "Nobody can broadcast: set a key with `zc channel-key set`, or waive it with `zc channel-key waive`.",
}


def _render(out: StatusOutput) -> str:
    said = _SAID[out.state]
    return said if out.state == "missing" else f"{said}, since {out.since[:16].replace('T', ' ')} ({out.by})."


@operation(
    "channel.waive",
    permission=Permission.CHANNEL_MANAGE,
    effects=Effects.DESTROYS,
    audience=Standing.PERSON,
    render=_render,
    command=("channel-key", "waive"),
)
def waive(context: Context, given: WaiveInput) -> StatusOutput:
    """Let agents of this project broadcast with their session tokens alone; an earlier key ends."""
    _keep(context, channel_keys.WAIVED)
    return _status(context)


@operation(
    "channel.status",
    permission=Permission.BROADCAST_READ,
    effects=Effects.READS,
    audience=Standing.PERSON,
    render=_render,
    command=("channel-key", "status"),
)
def status(context: Context, given: StatusInput) -> StatusOutput:
    """Say whether this project's channel has a key."""
    return _status(context)


def _keep(context: Context, verifier: str) -> None:
    moment = timestamp(context.moment)
    channel_keys.keep(context.connection, context.here.id, verifier, context.principal.name, moment)


def _status(context: Context) -> StatusOutput:
    found = channel_keys.read(context.connection, context.here.id)
    return StatusOutput(state=found.state, since=found.since, by=found.by)
