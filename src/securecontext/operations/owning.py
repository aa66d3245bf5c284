"""Whose files are whose: the list, handing them on, and the check before a file is written or committed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission, Policy, Standing
from securecontext.coordination import messages, ownership
from securecontext.coordination.ownership import Reservation
from securecontext.coordination.patterns import Pattern
from securecontext.operations.broadcasting import renew
from securecontext.operations.owned_files import Named, Written, held_against, localized, written
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Asking, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.types.errors import Conflict, Denied, NotFound
from securecontext.types.ids import timestamp
from securecontext.validators.input import clean_agent_id, one_line

CHECKED = 10_000
"""Files of one commit that are looked at."""


class ReservationsInput(Input):
    """Arguments of zc_reservations: none."""


class ShownReservation(Output):
    """A reservation that counts."""

    pattern: str
    agent: str
    task: str
    cause: str
    until: str
    requested_by: str = ""


class ReservationsOutput(Output):
    """The reservations that count now."""

    reservations: list[ShownReservation] = []


def _render_list(out: ReservationsOutput) -> str:
    return (
        "\n".join(
            f"{r.pattern}  {r.agent}  {r.cause}  until {r.until[:16]}Z"
            + (f"  asked for by {r.requested_by}" if r.requested_by else "")
            for r in out.reservations
        )
        or "No file is reserved."
    )


@operation(
    "zc_reservations",
    permission=Permission.OWNERSHIP_READ,
    effects=Effects.READS,
    render=_render_list,
    command=("ownership", "list"),
)
def reservations(context: Context, given: ReservationsInput) -> ReservationsOutput:
    """List which files are reserved, for whom, for which broadcast or task, and who asks for them."""
    there = ownership.live(context.connection, context.here.id, timestamp(context.moment))
    return ReservationsOutput(
        reservations=[
            ShownReservation(
                pattern=each.pattern.text,
                agent=each.agent,
                task=one_line(each.task, 80),
                cause=each.cause,
                until=each.expires_at,
                requested_by=each.requested_by or "",
            )
            for each in there
        ]
    )


class HandOverInput(Input):
    """Arguments of zc_hand_over."""

    files: Annotated[
        list[str],
        Field(min_length=1, max_length=messages.FILES, description="as they were reserved"),
        fields.Words(messages.PATTERN_CHARACTERS, plain=True),
    ]
    to: fields.Agent | None = Field(None, description="who has them next; nobody by default")


class HandOverOutput(Output):
    """What was handed over."""

    files: list[str]
    to: str = ""


def _ring(world: World, prepared: tuple[str, list[Pattern]]) -> None:
    world.bell.ring(prepared[0])


def _named(world: World, asker: Asker, given: HandOverInput) -> tuple[str, list[Pattern]]:
    assert asker.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
    return asker.project.id, [Pattern.of(text) for text in given.files]


@operation(
    "zc_hand_over",
    permission=Permission.OWNERSHIP_GIVE,
    effects=Effects.WRITES,
    localize=lambda asking, given: localized(asking, {"files": given.files}),
    prepare=_named,
    settle=_ring,
    render=lambda out: f"{', '.join(out.files)}: {f'now held by {out.to}' if out.to else 'held by nobody'}.",
    command=("ownership", "hand-over"),
    example={"files": ["src/parser"], "to": "bob"},
)
def hand_over(context: Context, given: HandOverInput) -> HandOverOutput:
    """Hand files that you hold over to another agent, or let them go; an orchestrator does so with anybody's."""
    project, moment = context.here.id, timestamp(context.moment)
    wanted = {pattern.parts: pattern.text for pattern in context.prepared[1]}
    there = {each.pattern.parts: each for each in ownership.live(context.connection, project, moment)}
    missing = [text for parts, text in wanted.items() if parts not in there]
    if missing:
        raise NotFound(
            "not_reserved",
            f"{missing[0]} is not reserved in these words.",
            "Name files as zc_reservations lists them.",
        )
    chosen = [there[parts] for parts in wanted]
    _refuse_foreign(context, chosen)
    agent = clean_agent_id(given.to) if given.to else ""
    if agent:
        ownership.give(
            context.connection, chosen, agent=agent, until=timestamp(context.moment + ownership.LEASE)
        )
    else:
        ownership.release(context.connection, chosen, by=context.principal.name, moment=moment)
    context.writing.notify(project)
    return HandOverOutput(files=[each.pattern.text for each in chosen], to=agent)


def _refuse_foreign(context: Context, chosen: list[Reservation]) -> None:
    """Refuse to hand over what is not the caller's, and what a task of the queue holds: that goes with its lease."""
    queued = next((each for each in chosen if not each.cause.startswith("broadcast:")), None)
    if queued is not None:
        raise Conflict(
            "held_by_task",
            f"{queued.pattern.text} belongs to {queued.cause}, and is free when that ends.",
            "Complete or fail the task.",
        )
    who = context.principal
    if any(each.principal != who.name or not who.token for each in chosen):
        try:
            Policy(context.world.operator).check(who, Permission.OWNERSHIP_GIVE_ANY, context.here.id)
        except Denied as error:
            raise Denied(
                "not_the_holder",
                "Another agent holds these files.",
                "Ask for them with a DEPENDENCY that names them, or ask the orchestrator.",
            ) from error


class PatternsInput(Input):
    """Arguments of ownership.patterns: none."""


class PatternsOutput(Output):
    """What is reserved, without by whom."""

    patterns: list[str] = []


@operation(
    "ownership.patterns",
    permission=Permission.OWNERSHIP_CHECK,
    effects=Effects.READS,
    audience=Standing.HOOK,
    recorded=False,
    render=lambda out: f"{len(out.patterns)} reservation(s).",
)
def patterns(context: Context, given: PatternsInput) -> PatternsOutput:
    """Tell which patterns are reserved, so that a machine can look which of its files they mean."""
    there = ownership.live(context.connection, context.here.id, timestamp(context.moment))
    return PatternsOutput(patterns=sorted({each.pattern.text for each in there}))


class CheckInput(Input):
    """Arguments of ownership.check: what somebody is about to write."""

    files: Annotated[list[str], Field(max_length=CHECKED)] = []
    unread: fields.Flag = Field(False, description="what is written is not known")
    places: Annotated[
        list[Written] | None,
        Field(max_length=CHECKED, description="of each file, found out on its own machine"),
    ] = None


class CheckOutput(Output):
    """Nothing is in the way."""

    checked: int


def _look(asking: Asking, given: CheckInput) -> dict[str, list[list[Named]]]:
    """Return where each file lies; where nothing is reserved, or the folders are other users', nothing is looked at."""
    if given.places is not None:
        return {}
    project = asking.asker.project
    if not given.files or project is None or asking.world.facts.for_many:
        return {"places": []}
    there = [Pattern.of(text) for text in asking.ask("ownership.patterns", {}).get("patterns", [])]
    files = given.files if there else []
    return {"places": [written(asking.world, project.id, file, there) for file in files]}


@operation(
    "ownership.check",
    permission=Permission.OWNERSHIP_CHECK,
    effects=Effects.WRITES,
    audience=Standing.HOOK,
    recorded=False,
    localize=_look,
    render=lambda out: f"{out.checked} file(s), none held by another agent.",
)
def check(context: Context, given: CheckInput) -> CheckOutput:
    """Refuse to write a file that another agent holds; to write one's own is a sign of life."""
    there = ownership.live(context.connection, context.here.id, timestamp(context.moment))
    agent = context.principal.agent
    if given.unread and (held := next((each for each in there if each.agent != agent), None)):
        raise _file_held("A file that cannot be seen", held)
    for name, file in zip(given.files, given.places or (), strict=False):
        held = held_against(there, agent, file)
        if held is not None:
            raise _file_held(one_line(name, 200), held)
    if agent and any(each.agent == agent for each in there):
        renew(context, agent)
    return CheckOutput(checked=len(given.files))


def _file_held(file: str, held: Reservation) -> Conflict:
    return Conflict(
        "file_held",
        f"{file} is held by {held.agent} ({held.pattern.text}, {held.cause}) until {held.expires_at[:16]}Z.",
        "Work on other files, or ask for it: zc_broadcast DEPENDENCY with this file in `files`.",
        holder=held.agent,
        pattern=held.pattern.text,
        cause=held.cause,
    )
