"""After a broken database file: see what was set aside, and start a fresh one."""

from __future__ import annotations

from pathlib import Path

from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World


class RecoverInput(Input):
    """Arguments of recover."""

    confirm: fields.Flag = False


class SetAside(Output):
    """A file that was not a sound database: its name, the name it is kept under, and the folder of both."""

    file: str
    kept: str
    folder: str


class RecoverOutput(Output):
    """What was set aside, and whether fresh files may be made now."""

    set_aside: list[SetAside]
    fresh: bool


def _render(out: RecoverOutput) -> str:
    if not out.set_aside:
        return "No file was set aside."
    lines = [
        f"{s.file} was not a sound database; it is kept as {s.kept} in {s.folder}." for s in out.set_aside
    ]
    lines.append(
        "Fresh files are made at the next call. The kept files stay; restore a copy over them whenever you have one."
        if out.fresh
        else "Nothing is stored until you decide: put a backup there, or start fresh with `zc recover --yes`."
    )
    return "\n".join(lines)


def _recover(world: World, asker: Asker, given: RecoverInput) -> list[tuple[Path, Path]]:
    found = list(world.set_aside())
    if given.confirm:
        for file, _kept in found:
            world.recover(file)
    return found


@operation(
    "recover",
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.READS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_recover,
    command=("recover",),
)
def recover(context: Context, given: RecoverInput) -> RecoverOutput:
    """List database files that were set aside as broken; with --yes start fresh ones."""
    found: list[tuple[Path, Path]] = context.prepared
    return RecoverOutput(
        set_aside=[SetAside(file=f.name, kept=k.name, folder=str(k.parent)) for f, k in found],
        fresh=given.confirm,
    )
