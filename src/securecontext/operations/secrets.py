"""What a person says is no secret: allowed by its fingerprint, for this installation, at the operator's terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from securecontext.boundaries import secret_allowances
from securecontext.boundaries.policy import Permission, Standing
from securecontext.boundaries.secret_allowances import Allowance
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.types.ids import timestamp
from securecontext.validators.secrets import wear


class AllowedInput(Input):
    """Arguments of secrets.allowed: none."""


class FingerprintInput(Input):
    """Arguments of secrets.allow and secrets.disallow."""

    fingerprint: fields.Name = Field(description="as the answer told it that said what was redacted")


class Allowed(Output):
    """One value that is no secret."""

    fingerprint: str
    by: str
    at: str


class AllowedOutput(Output):
    """Every value that is no secret, by its fingerprint."""

    allowed: list[Allowed]


def _output(found: Sequence[Allowance]) -> AllowedOutput:
    return AllowedOutput(
        allowed=[Allowed(fingerprint=each.fingerprint, by=each.by, at=each.at) for each in found]
    )


def _render(out: AllowedOutput) -> str:
    if not out.allowed:
        return "Nothing is allowed: whatever looks like a secret is redacted."
    return "\n".join(
        ["Not redacted:", *(f"  {each.fingerprint}  {each.at[:10]} by {each.by}" for each in out.allowed)]
    )


def _take_effect(_world: World, out: AllowedOutput) -> None:
    """Let the doors know, once the change is durable."""
    wear(allowed=frozenset(each.fingerprint for each in out.allowed))


@operation(
    "secrets.allowed",
    host=Host.HERE,
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.READS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    command=("secrets", "allowed"),
)
def allowed(context: Context, given: AllowedInput) -> AllowedOutput:
    """Show what is not redacted although it looks like a secret: fingerprints, never a value."""
    return _output(secret_allowances.read(context.connection))


@operation(
    "secrets.allow",
    host=Host.HERE,
    permission=Permission.SECRETS_ALLOW,
    effects=Effects.WRITES,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    after=_take_effect,
    command=("secrets", "allow"),
    example={"fingerprint": "0123456789abcdef"},
)
def allow(context: Context, given: FingerprintInput) -> AllowedOutput:
    """Say that a value is no secret, by its fingerprint: from now on it is stored and shown."""
    who = Allowance(given.fingerprint, context.principal.name, timestamp(context.moment))
    return _output(secret_allowances.add(context.connection, who))


@operation(
    "secrets.disallow",
    host=Host.HERE,
    permission=Permission.SECRETS_ALLOW,
    effects=Effects.WRITES,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    after=_take_effect,
    command=("secrets", "disallow"),
    example={"fingerprint": "0123456789abcdef"},
)
def disallow(context: Context, given: FingerprintInput) -> AllowedOutput:
    """Take that back: the value is redacted again, when it is stored and when it is shown."""
    return _output(secret_allowances.remove(context.connection, given.fingerprint))
