"""What left this machine, and what may: the ledger's entries of it, and the operator's rules."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from securecontext.boundaries.egress import rules
from securecontext.boundaries.egress.door import OPERATION
from securecontext.boundaries.egress.rules import Rule
from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.types.ids import timestamp


class SentInput(Input):
    """Arguments of egress.list."""

    limit: Annotated[int, Field(ge=1, le=1_000), fields.Plain()] = 50


class Sent(Output):
    """One parcel that left, or was about to: the entry is written first."""

    id: str
    at: str
    destination: str
    purpose: str
    bytes: int
    fingerprint: str
    project: str
    principal: str


class SentOutput(Output):
    """What left, newest first."""

    sent: list[Sent]


def _render_sent(out: SentOutput) -> str:
    lines = [
        f"{each.at[:19].replace('T', ' ')}  {each.destination}  {each.bytes} bytes  {each.fingerprint}  "
        f"{each.purpose} for {each.principal}, {each.project or 'no project'}"
        for each in out.sent
    ]
    return "\n".join(lines) or "Nothing has left this machine."


@operation(
    "egress.list",
    permission=Permission.EGRESS_READ,
    effects=Effects.READS,
    render=_render_sent,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    command=("egress", "list"),
)
def sent(context: Context, given: SentInput) -> SentOutput:
    """List what left this machine by name of its destination: when, for whom, how much, and its fingerprint."""
    found: list[Sent] = []
    for row in context.world.ledgers.tail(context.connection, given.limit, kind="intent"):
        body: dict[str, Any] = row.body or {}
        if body.get("operation") != OPERATION:
            continue
        told = {
            name: body[name] for name in ("id", "destination", "purpose", "bytes", "fingerprint", "project")
        }
        found.append(Sent(at=row.ts, principal=row.principal, **told))
    return SentOutput(sent=found)


class RulesInput(Input):
    """Arguments of egress.allowed."""

    machine: fields.Flag = Field(False, description="what holds for every project")


class HostInput(RulesInput):
    """Arguments of egress.allow and egress.disallow."""

    host: Annotated[
        fields.Name,
        Field(description="docs.python.org, *.python.org, docs.python.org:8443, or * for all public ones"),
    ]


class Allowed(Output):
    """One rule."""

    host: str
    by: str
    at: str


class AllowedOutput(Output):
    """Whither something may go."""

    allowed: list[Allowed]


def _output(found: list[Rule]) -> AllowedOutput:
    return AllowedOutput(allowed=[Allowed(host=each.host, by=each.by, at=each.at) for each in found])


def _render_allowed(out: AllowedOutput) -> str:
    if not out.allowed:
        return "Nothing may leave this machine by these rules."
    return "\n".join(
        ["May be reached:", *(f"  {each.host}  {each.at[:10]} by {each.by}" for each in out.allowed)]
    )


@operation(
    "egress.allowed",
    permission=Permission.EGRESS_READ,
    effects=Effects.READS,
    render=_render_allowed,
    audience=Standing.PERSON,
    machine_flag="machine",
    command=("egress", "allowed"),
)
def allowed(context: Context, given: RulesInput) -> AllowedOutput:
    """Show which hosts this project may reach; those for every project with --machine."""
    return _output(rules.read(context.connection))


@operation(
    "egress.allow",
    permission=Permission.EGRESS_ALLOW,
    effects=Effects.WRITES,
    render=_render_allowed,
    audience=Standing.PERSON,
    machine_flag="machine",
    command=("egress", "allow"),
    example={"host": "docs.python.org"},
)
def allow(context: Context, given: HostInput) -> AllowedOutput:
    """Let this project reach a host, at the operator's terminal; nothing leaves the machine without such a rule."""
    made = Rule(rules.clean(given.host), context.principal.name, timestamp(context.moment))
    return _output(rules.add(context.connection, made))


@operation(
    "egress.disallow",
    permission=Permission.EGRESS_ALLOW,
    effects=Effects.WRITES,
    render=_render_allowed,
    audience=Standing.PERSON,
    machine_flag="machine",
    command=("egress", "disallow"),
    example={"host": "docs.python.org"},
)
def disallow(context: Context, given: HostInput) -> AllowedOutput:
    """Take that back."""
    return _output(rules.remove(context.connection, given.host.strip().lower()))
