"""The sandbox for people: which rung holds and why not a better one, the profiles, and the operator's choices."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.operations.execution import executor
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.sandbox import profiles
from securecontext.sandbox.ladder import Tried
from securecontext.sandbox.plan import Rung
from securecontext.sandbox.profiles import Profile
from securecontext.types.errors import Unavailable


class StatusInput(Input):
    """Arguments of sandbox.status: none."""


class RungTried(Output):
    """A rung that was attacked; ``why`` says what is against it."""

    rung: str
    holds: bool
    why: str = ""
    next: str = ""


class StatusOutput(Output):
    """How code is isolated here. ``rung`` is empty where none is run."""

    rung: str = ""
    tried: list[RungTried]
    unconfined: bool = False
    together: list[str] = []


def _tried(world: World, _asker: Asker, _given: StatusInput) -> tuple[str, tuple[Tried, ...]]:
    ladder = executor(world).ladder
    try:
        return str(ladder.best()), ladder.tried()
    except Unavailable:
        return "", ladder.tried()


def _render_status(out: StatusOutput) -> str:
    lines = [f"Code runs under: {out.rung}" if out.rung else "No code is run: nothing here confines it."]
    for each in out.tried:
        lines.append(f"  {each.rung}: {'every attack failed' if each.holds else each.why}")
        if each.next:
            lines.append(f"    -> {each.next}")
    lines.append(
        f"Counted together by a control group: {', '.join(out.together) or 'nothing; each process by itself'}"
    )
    if out.unconfined:
        lines.append("The operator has chosen to run code without isolation where no rung holds.")
    return "\n".join(lines)


@operation(
    "sandbox.status",
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.READS,
    render=_render_status,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    host=Host.HERE,
    prepare=_tried,
    command=("sandbox", "status"),
)
def status(context: Context, given: StatusInput) -> StatusOutput:
    """Attack every rung of isolation that this machine may have, and show which one holds."""
    rung, tried = context.prepared
    return StatusOutput(
        rung=rung,
        tried=[RungTried(rung=str(t.rung), holds=t.holds, why=t.why, next=t.next) for t in tried],
        unconfined=rung == Rung.ENVIRONMENT or profiles.unconfined(context.connection),
        together=list(executor(context.world).ladder.runner.groups.folders),
    )


class ProfilesInput(Input):
    """Arguments of sandbox.profiles: none."""


class ShownProfile(Output):
    """One profile."""

    name: str
    write: list[str] = []
    seconds: int
    memory_mb: int
    processes: int
    file_mb: int
    stdout_kb: int
    stderr_kb: int


class ProfilesOutput(Output):
    """Every profile."""

    profiles: list[ShownProfile]


def _output(context: Context) -> ProfilesOutput:
    return ProfilesOutput(profiles=[_shown(each) for each in profiles.read(context.connection).values()])


def _shown(profile: Profile) -> ShownProfile:
    limits = profile.limits
    return ShownProfile(
        name=profile.name,
        write=list(profile.write),
        seconds=profile.seconds,
        memory_mb=profile.memory_mb,
        processes=profile.processes,
        file_mb=limits.file_bytes >> 20,
        stdout_kb=limits.stdout_bytes >> 10,
        stderr_kb=limits.stderr_bytes >> 10,
    )


def _render(out: ProfilesOutput) -> str:
    return "\n".join(
        f"{p.name}: {p.seconds} s, {p.memory_mb} MiB, {p.processes} processes, files of {p.file_mb} MiB, output "
        f"{p.stdout_kb} KiB and errors {p.stderr_kb} KiB; writes to {', '.join(p.write) or 'nothing'}; no network"
        for p in out.profiles
    )


@operation(
    "sandbox.profiles",
    permission=Permission.CODE_EXECUTE,
    effects=Effects.READS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    host=Host.HERE,
    command=("sandbox", "profiles"),
)
def listed(context: Context, given: ProfilesInput) -> ProfilesOutput:
    """Show the profiles that a run may name, with their limits and the folders that they may write to."""
    return _output(context)


class DefineInput(Input):
    """Arguments of sandbox.define."""

    name: fields.Name = Field(description="such as build")
    write: Annotated[
        list[str],
        Field(max_length=16, description="a folder below the project's top"),
        fields.Words(4096, plain=True),
    ] = []
    seconds: Annotated[int, Field(ge=1, le=profiles.SECONDS), fields.Plain()] = 600
    memory_mb: Annotated[int, Field(ge=64, le=profiles.MEMORY_MB), fields.Plain()] = 4096
    processes: Annotated[int, Field(ge=1, le=profiles.PROCESSES), fields.Plain()] = 256


@operation(
    "sandbox.define",
    permission=Permission.SANDBOX_MANAGE,
    effects=Effects.WRITES,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    host=Host.HERE,
    command=("sandbox", "define"),
    example={"name": "build", "write": ["build", "dist"], "seconds": 600},
)
def define(context: Context, given: DefineInput) -> ProfilesOutput:
    """Name a profile for builds and tests: what it may write to in a project, for how long, with how much."""
    profiles.put(
        context.connection,
        Profile(given.name, tuple(given.write), given.seconds, given.memory_mb, given.processes),
    )
    return _output(context)


class RemoveInput(Input):
    """Arguments of sandbox.remove."""

    name: fields.Name


@operation(
    "sandbox.remove",
    permission=Permission.SANDBOX_MANAGE,
    effects=Effects.WRITES,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    host=Host.HERE,
    command=("sandbox", "remove"),
    example={"name": "build"},
)
def remove(context: Context, given: RemoveInput) -> ProfilesOutput:
    """Remove a profile; runs that name it are refused from now on."""
    profiles.remove(context.connection, given.name)
    return _output(context)


class UnconfinedInput(Input):
    """Arguments of sandbox.unconfined."""

    allow: Annotated[bool, fields.Plain()] = Field(
        False, description="run code without isolation where no rung holds"
    )


class UnconfinedOutput(Output):
    """The operator's choice."""

    allowed: bool


@operation(
    "sandbox.unconfined",
    permission=Permission.SANDBOX_MANAGE,
    effects=Effects.WRITES,
    render=lambda out: (
        "Where nothing confines it, code runs with an environment of its own and limits, and can do whatever you can."
        if out.allowed
        else "Where nothing confines it, no code is run."
    ),
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    host=Host.HERE,
    command=("sandbox", "unconfined"),
    example={"allow": True},
)
def unconfined(context: Context, given: UnconfinedInput) -> UnconfinedOutput:
    """Choose whether code runs without isolation on a machine where no rung holds. By default it does not."""
    profiles.choose_unconfined(context.connection, given.allow)
    return UnconfinedOutput(allowed=given.allow)
