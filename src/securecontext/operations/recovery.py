"""After a broken database file: see what was set aside, and start a fresh one."""

from __future__ import annotations

from contextlib import suppress

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.projects import register
from securecontext.types.errors import NotFound, ZcError


class RecoverInput(Input):
    """Arguments of recover."""

    file: fields.Name | None = Field(None, description="one file of the list, by its name; all by default")
    confirm: fields.Flag = False


class SetAside(Output):
    """A file that was not a sound database, or is missing: its name, its project, and what is kept of it where."""

    file: str
    project: str = ""
    kept: str = ""
    folder: str


class RecoverOutput(Output):
    """What was set aside, and whether fresh files may be made now."""

    set_aside: list[SetAside]
    fresh: bool


def _line(found: SetAside) -> str:
    name = f"{found.file} (project {found.project})" if found.project else found.file
    if not found.kept:
        return f"{name} is missing from {found.folder}."
    return f"{name} was not a sound database; it is kept as {found.kept} in {found.folder}."


def _render(out: RecoverOutput) -> str:
    if not out.set_aside:
        return "No file was set aside, and none is missing."
    lines = [_line(found) for found in out.set_aside]
    lines.append(
        f"Fresh files are made at the next call: {', '.join(found.file for found in out.set_aside)}. "
        "The kept files stay; restore a copy over them whenever you have one."
        if out.fresh
        else "Nothing is stored until you decide: put a backup there, or start fresh with `zc recover --yes` "
        "(one of them with --file NAME)."
    )
    return "\n".join(lines)


def _recover(world: World, asker: Asker, given: RecoverInput) -> list[SetAside]:
    found = [each for each in world.set_aside() if given.file in (None, each[0].name)]
    if given.file is not None and not found:
        raise NotFound(
            "no_such_file",
            "No file of that name was set aside or is missing.",
            "List them with `zc recover`.",
        )
    if given.confirm:
        for file, _kept in found:
            world.recover(file)
    names: dict[str, str] = {}
    with suppress(ZcError), world.machine.read() as connection:  # it may be the broken one
        names = {entry.id: entry.name for entry in register.every(connection)}
    return [
        SetAside(
            file=file.name,
            project=names.get(file.stem, ""),
            kept=kept.name if kept else "",
            folder=str(file.parent),
        )
        for file, kept in found
    ]


@operation(
    "recover",
    host=Host.HERE,
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.DESTROYS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_recover,
    command=("recover",),
)
def recover(context: Context, given: RecoverInput) -> RecoverOutput:
    """List database files that were set aside as broken or are missing; with --yes start fresh ones."""
    return RecoverOutput(set_aside=context.prepared, fresh=given.confirm)
