"""The roots of all keys, for people: have one rotated. Carried out at the next start: see ``app/rotation.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from securecontext.boundaries.identity import token_register
from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput
from securecontext.types.ledger import EntryDraft

NAME = "keys.rotate-root"


class RotateRootInput(Input):
    """Arguments of keys.rotate-root."""

    root: Annotated[Literal["encryption", "tokens", "skills"], fields.Plain()]
    confirm: Annotated[bool, fields.Plain()] = False


class RotateRootOutput(Output):
    """What is planned."""

    root: str
    before: str
    after: str
    revoked: int = 0


def _render(out: RotateRootOutput) -> str:
    text = f"The {out.root} root {out.before} is replaced by {out.after} at the next start: `zc service restart`."
    if out.root == "tokens":
        text += f" {out.revoked} session token(s) were revoked; issue new ones after it."
    return text


def _plan(world: World, asker: Asker, given: RotateRootInput) -> tuple[str, str]:
    """Enter what is intended, then make the next root: it is a file, outside any transaction."""
    if not given.confirm:
        raise InvalidInput(
            "not_confirmed",
            "The old root is erased at the next start; with that of tokens, every session token ends now.",
            "Say so with --yes (confirm: true).",
        )
    who = asker.principal
    body = {"operation": NAME, "door": who.door, "arguments": {"root": given.root}, "outcome": "intended"}
    draft = EntryDraft(who.name, who.session, who.claimed_agent, "intent", body)
    world.machine.write(lambda transaction: transaction.record(draft))
    return world.plan_root(given.root)


@operation(
    NAME,
    host=Host.HERE,
    permission=Permission.KEYS_MANAGE,
    effects=Effects.DESTROYS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_plan,
    command=("keys", "rotate-root"),
    example={"root": "tokens"},
)
def rotate_root(context: Context, given: RotateRootInput) -> RotateRootOutput:
    """Replace a root at the next start: data keys are wrapped anew, session tokens end, the baseline is signed anew."""
    before, after = context.prepared
    revoked = 0
    if given.root == "tokens":
        revoked = token_register.revoke_all(context.connection, context.moment)
    return RotateRootOutput(root=given.root, before=before, after=after, revoked=revoked)
