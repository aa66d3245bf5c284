"""The installed code against its signed baseline: check it, and accept a change that is one's own."""

from __future__ import annotations

from securecontext.boundaries.code.integrity import Judgement, State
from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World

SHOWN = 200
"""Files that an answer names at most."""


class IntegrityInput(Input):
    """Arguments of integrity.check: none."""


class AcceptInput(Input):
    """Arguments of integrity.accept."""

    confirm: fields.Flag = False


class FileDiffers(Output):
    """A file that is not what it should be: added, removed, changed, or forged (bytecode)."""

    name: str
    how: str


class IntegrityOutput(Output):
    """How the code stands: sound, first, upgraded, installed, unaccepted or changed."""

    state: str
    why: str
    version: str
    before: str = ""
    count: int = 0
    differences: list[FileDiffers] = []
    next: str = ""
    accepted: bool = False


def _output(found: Judgement, *, accepted: bool = False) -> IntegrityOutput:
    return IntegrityOutput(
        state=found.state,
        why=found.why,
        version=found.version,
        before=found.before,
        count=len(found.differences),
        differences=[FileDiffers(name=each.name, how=each.how) for each in found.differences[:SHOWN]],
        next="" if accepted else _next(found),
        accepted=accepted,
    )


def _next(found: Judgement) -> str:
    if found.sound:
        return ""
    accept = "run `zc integrity accept --yes`"
    if found.state is State.UNACCEPTED:
        return f"If these files are yours, {accept}."
    if found.differences and all(each.name.startswith("client/") for each in found.differences):
        return "Run `zc install claude-code` again."
    return f"Install SecureContext again from where you trust it; if the change is yours, {accept}."


def _render(out: IntegrityOutput) -> str:
    lines = [f"{out.state}: {out.why}", *(f"  {each.how:<8} {each.name}" for each in out.differences)]
    if out.count > len(out.differences):
        lines.append(f"  and {out.count - len(out.differences)} more")
    if out.accepted:
        lines.append(f"Accepted: the files of version {out.version} as they are now are the baseline.")
    elif out.next:
        lines.append(out.next)
    return "\n".join(lines)


def _check(world: World, asker: Asker, given: IntegrityInput) -> Judgement:
    return world.code.check()


def _accept(world: World, asker: Asker, given: AcceptInput) -> Judgement:
    return world.code.accept() if given.confirm else world.code.check()


@operation(
    "integrity.check",
    host=Host.HERE,
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.READS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_check,
    command=("integrity", "check"),
)
def check(context: Context, given: IntegrityInput) -> IntegrityOutput:
    """Compare the installed code, the plugin and its hooks with the signed baseline; name each file that differs."""
    return _output(context.prepared)


@operation(
    "integrity.accept",
    host=Host.HERE,
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.WRITES,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_accept,
    command=("integrity", "accept"),
)
def accept(context: Context, given: AcceptInput) -> IntegrityOutput:
    """Make the installed code as it is now the signed baseline; without a yes only show what differs."""
    return _output(context.prepared, accepted=given.confirm)
