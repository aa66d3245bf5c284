"""Agents tell one another what they do: zc_broadcast, and what it does beside being said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from securecontext.boundaries.policy import OPERATOR, Permission, Policy, Principal
from securecontext.coordination import broadcasts, channel_keys, messages, ownership
from securecontext.coordination.broadcasts import Sender
from securecontext.coordination.messages import Message, MessageType
from securecontext.coordination.patterns import Pattern
from securecontext.operations.memory import redaction_note
from securecontext.operations.owned_files import localized
from securecontext.pipeline import fields
from securecontext.pipeline.operation import (
    Asker,
    Asking,
    Context,
    Effects,
    Input,
    Output,
    Redaction,
    operation,
)
from securecontext.pipeline.world import World
from securecontext.types.errors import Denied, InvalidInput
from securecontext.types.ids import timestamp

_FILE_LISTS = ("files", "file_ownership_exclusive", "file_ownership_read_only")
Agents = Annotated[
    list[str] | None,
    Field(max_length=messages.RECIPIENTS),
    fields.Words(64, plain=True, strip=True),
]
Files = Annotated[
    list[str] | None,
    Field(max_length=messages.FILES),
    fields.Words(messages.PATTERN_CHARACTERS, plain=True),
]
AgentId = Annotated[fields.Agent | None, Field(description="yours, as your token says")]


def _words(limit: int) -> fields.Words:
    return fields.Words(limit, multiline=True)


class BroadcastInput(Input):
    """Arguments of zc_broadcast; each type has some of them."""

    type: Annotated[MessageType, fields.Plain()]
    agent_id: AgentId = None
    to: Agents = Field(None, description="agents it is for; all by default")
    task: Annotated[
        str | None, Field(max_length=messages.TASK_CHARACTERS), _words(messages.TASK_CHARACTERS)
    ] = None
    files: Files = None
    state: Annotated[
        str | None, Field(max_length=messages.STATE_CHARACTERS), _words(messages.STATE_CHARACTERS)
    ] = None
    summary: Annotated[
        str | None, Field(max_length=messages.SUMMARY_CHARACTERS), _words(messages.SUMMARY_CHARACTERS)
    ] = None
    reason: Annotated[
        str | None, Field(max_length=messages.REASON_CHARACTERS), _words(messages.REASON_CHARACTERS)
    ] = None
    depends_on: Annotated[
        list[str] | None,
        Field(max_length=messages.DEPENDENCIES),
        _words(messages.DEPENDENCY_CHARACTERS),
    ] = None
    importance: fields.Importance = 3
    acceptance_criteria: Annotated[
        list[str] | None, Field(max_length=messages.CRITERIA), _words(messages.CRITERION_CHARACTERS)
    ] = None
    complexity_estimate: Annotated[int | None, Field(ge=1, le=5), fields.Plain()] = None
    file_ownership_exclusive: Files = Field(
        None, description="files, folders, globs that nobody else writes until the MERGE"
    )
    file_ownership_read_only: Files = None
    task_dependencies: Annotated[
        list[messages.Count] | None, Field(max_length=messages.TASK_DEPENDENCIES), fields.Plain()
    ] = None
    required_skills: Annotated[
        list[str] | None, Field(max_length=messages.SKILLS), _words(messages.SKILL_CHARACTERS)
    ] = None
    estimated_tokens: Annotated[int | None, Field(ge=0, le=messages.MOST_TOKENS), fields.Plain()] = None
    channel_key: Annotated[str | None, Field(max_length=1_000), fields.Credential()] = None


class BroadcastOutput(Output):
    """What was said to whom, and what it did: reservations made or ended, holders asked for their files."""

    id: int
    type: str
    to: list[str] = []
    verified: bool
    reserved: int = 0
    until: str = ""
    released: int = 0
    asked: list[str] = []
    redacted: list[Redaction] = []


@dataclass(frozen=True, slots=True)
class _Ready:
    """What may be said.

    Attributes:
        project: id of the project.
        sender: who says it.
        message: what.
    """

    project: str
    sender: Sender
    message: Message


def sender_of(principal: Principal, claimed: str | None) -> Sender:
    """Return who says something: the agent of the token, or the operator.

    Raises:
        Denied: ``other_sender``: it claims to be somebody else.
    """
    agent = principal.agent if principal.token else OPERATOR
    if claimed not in (None, agent):
        raise Denied(
            "other_sender",
            "Nobody speaks or acknowledges in another's name.",
            f"Leave agent_id out: you are {agent}.",
        )
    role = str(principal.role) if principal.token else OPERATOR
    return Sender(agent, role, principal.name, principal.session)


def _prepare(world: World, asker: Asker, given: BroadcastInput) -> _Ready:
    """Check who speaks, count the attempt, then the key of the channel: the dearest check comes last."""
    assert asker.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
    project = asker.project.id
    Policy(world.operator).check_broadcast(asker.principal, given.type, project)
    sender = sender_of(asker.principal, given.agent_id)
    message = _message(given)
    store = world.store(project)
    store.write(
        lambda transaction: broadcasts.take_attempt(
            transaction.connection, project, sender.agent, asker.moment
        )
    )
    with store.read() as connection:
        channel = channel_keys.read(connection, project)
    channel_keys.admit(channel, given.channel_key)
    return _Ready(project, sender, message)


def _localize(asking: Asking, given: BroadcastInput) -> dict[str, list[str]]:
    return localized(asking, {name: getattr(given, name) for name in _FILE_LISTS})


def _message(given: BroadcastInput) -> Message:
    said = {
        name: getattr(given, name)
        for name in given.model_fields_set
        if name not in ("type", "agent_id", "channel_key")
    }
    return messages.compose(given.type, said)


def _render(out: BroadcastOutput) -> str:
    text = f"b{out.id} {out.type} said to {', '.join(out.to) or 'all'}"
    text += "." if out.verified else ", shown as unverified."
    if out.reserved:
        text += (
            f" {out.reserved} reservation(s) until {out.until[:16]}Z, longer while there are signs of life."
        )
    if out.released:
        text += f" {out.released} reservation(s) ended."
    if out.asked:
        text += f" Asked to hand over: {', '.join(out.asked)}."
    return text + redaction_note(out.redacted)


def _ring(world: World, ready: _Ready) -> None:
    world.bell.ring(ready.project)


@operation(
    "zc_broadcast",
    permission=Permission.BROADCAST_SEND,
    effects=Effects.WRITES,
    stores=True,
    localize=_localize,
    prepare=_prepare,
    settle=_ring,
    render=_render,
    example={"type": "STATUS", "state": "in-progress", "summary": "parser done, tests next"},
)
def broadcast(context: Context, given: BroadcastInput) -> BroadcastOutput:
    """Tell agents of this project: give work with the files it owns, report, propose, ask for files, accept, refuse."""
    ready: _Ready = context.prepared
    message, sender, now = ready.message, ready.sender, context.moment
    asked = _asked(context, message, sender)
    to = list(dict.fromkeys([*message.to, *asked])) if message.to else []
    new = broadcasts.say(context.connection, context.here.id, sender, message, to, timestamp(now))
    context.writing.notify(context.here.id)
    out = BroadcastOutput(
        id=new, type=message.type, to=to, verified=sender.role in broadcasts.TRUSTED_ROLES, asked=asked,
        redacted=list(context.redactions),
    )  # fmt: skip
    match message:
        case messages.Assign(file_ownership_exclusive=files) if files:
            until = timestamp(now + ownership.LEASE)
            _reserve(context, sender, message, new, until)
            out = out.model_copy(update={"reserved": len(files), "until": until})
        case messages.Merge(task=task) if (
            task and out.verified
        ):  # a worker's ends nothing that is not its own
            by = sender.principal
            ended = ownership.release_task(
                context.connection, context.here.id, task, by=by, moment=timestamp(now)
            )
            out = out.model_copy(update={"released": ended})
    renew(context, sender.agent)
    context.noted.update({"broadcast": new, "reserved": out.reserved, "released": out.released})
    return out


def renew(context: Context, agent: str) -> None:
    """Take a call as a sign of life: what the agent was assigned stays its own for another lease."""
    now: datetime = context.moment
    ownership.renew(
        context.connection,
        context.here.id,
        agent,
        due=timestamp(now + ownership.LEASE / 2),
        until=timestamp(now + ownership.LEASE),
        moment=timestamp(now),
    )


def _asked(context: Context, message: Message, sender: Sender) -> list[str]:
    """Ask whoever holds the files of a dependency to hand them over; return their names."""
    if not (isinstance(message, messages.Dependency) and message.files):
        return []
    moment = timestamp(context.moment)
    there = ownership.live(context.connection, context.here.id, moment)
    wanted = [Pattern.of(text) for text in message.files]
    held = [each for each in ownership.meeting(there, wanted) if each.agent != sender.agent]
    ownership.ask_for(context.connection, held, asker=sender.agent, moment=moment)
    return list(dict.fromkeys(each.agent for each in held))


def _reserve(context: Context, sender: Sender, message: messages.Assign, new: int, until: str) -> None:
    """Reserve what an assignment gives for the agent that it names, or for its sender, who may hand it on."""
    if len(message.to) > 1 or (not message.to and sender.role == OPERATOR):
        raise InvalidInput(
            "assignee_needed",
            "Files are owned by one agent, and this assignment does not name one.",
            "Name one agent in `to`.",
            field="to",
        )
    agent = message.to[0] if message.to else sender.agent
    holder = ownership.Holder(agent, f"agent:{agent}", "", f"broadcast:{new}", message.task)
    patterns: list[Any] = [Pattern.of(text) for text in message.file_ownership_exclusive]
    ownership.reserve(
        context.connection, context.here.id, holder, patterns, until=until, moment=timestamp(context.moment)
    )
