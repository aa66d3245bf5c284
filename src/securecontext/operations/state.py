"""The stored state against its invariants, for people."""

from __future__ import annotations

from collections.abc import Sequence

from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.types.state import Flaw


class StateInput(Input):
    """Arguments of state.check: none."""


class FlawFound(Output):
    """An invariant that does not hold: code, file, how many cases, one sentence, and the next step."""

    code: str
    where: str
    count: int
    says: str
    next: str


class StateOutput(Output):
    """What is broken; empty where everything holds."""

    flaws: list[FlawFound] = []


def _render(out: StateOutput) -> str:
    lines = [f"{each.code}: {each.says}\n  -> {each.next}" for each in out.flaws]
    return "\n".join(lines) or "Heads, leases, trees, notebooks and tokens are as they always are."


def _check(world: World, asker: Asker, given: StateInput) -> Sequence[Flaw]:
    return world.state.check()


@operation(
    "state.check",
    host=Host.HERE,
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_check,
    command=("state", "check"),
)
def check(context: Context, given: StateInput) -> StateOutput:
    """Look whether what is stored keeps its invariants: heads, leases, trees, notebooks, tokens."""
    found: Sequence[Flaw] = context.prepared
    return StateOutput(
        flaws=[
            FlawFound(code=f.code, where=f.where, count=f.count, says=f.sentence(), next=f.next)
            for f in found
        ]
    )
