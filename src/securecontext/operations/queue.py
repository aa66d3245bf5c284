"""The work queue's two ends: an orchestrator enqueues tasks, workers claim them."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr

from securecontext.boundaries import limits
from securecontext.boundaries.policy import Permission, Policy, Principal
from securecontext.contracts.task import MOST_AT_ONCE
from securecontext.coordination import messages, queue, reclaiming, retries, task_files, tasks
from securecontext.coordination.patterns import Pattern
from securecontext.operations.memory import trust_of
from securecontext.operations.owned_files import pattern_within
from securecontext.pipeline import fields
from securecontext.pipeline.bell import Bell
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, Redaction, operation
from securecontext.pipeline.world import World
from securecontext.storage.port import Transaction
from securecontext.types.errors import InvalidInput, Unavailable
from securecontext.types.ids import timestamp
from securecontext.validators.tasks import clean_role, clean_task_id, parse_reference

Reference = Annotated[
    list[str],
    Field(max_length=limits.DEPENDENCIES, description="tasks to be done first: id, or role/id"),
    fields.Words(170, plain=True),
]


def role_of(who: Principal, role: str | None) -> str:
    """Return the role whose tasks a call is about: the one named, else the token's.

    Raises:
        InvalidInput: ``no_role``: it names none, and no token does; ``bad_role``.
        Denied: it is not the caller's.
    """
    wanted = clean_role(role) if role is not None else str(who.role or "")
    if not wanted:
        raise InvalidInput("no_role", "This call names no role.", "Say which: role.", field="role")
    Policy().check_task_role(who, wanted)
    return wanted


def origin_of(who: Principal) -> tasks.Origin:
    """Return whose a text is that a call brings in."""
    return tasks.Origin(who.name, who.session, trust_of(who))


def topic(project: str, role: str) -> str:
    """Return what those wait for who wait for a task."""
    return f"tasks {project}/{role}"


def ring(bell: Bell, project: str, roles: Iterable[str]) -> None:
    """Wake as many waiting workers of each role as it has new tasks."""
    for role, count in Counter(roles).items():
        bell.ring(topic(project, role), count)


def announce(transaction: Transaction, project: str, roles: Iterable[str]) -> None:
    """Tell other services of new tasks in queues that were empty: those who wait there look again.

    Of a queue that was not empty everybody knows: whoever waits found nothing, and looks now and then.
    """
    for role, count in sorted(Counter(roles).items()):
        if tasks.are_the_first(transaction.connection, project, role, count):
            transaction.notify(topic(project, role))


def ring_for(world: World, out: Ready) -> None:
    """Wake who waits for what a call made ready, once that is durable."""
    ring(world.bell, *out.new)


class Ready(Output):
    """An answer after which tasks may be ready: that is for the service to know, and no part of what is answered."""

    _new: tuple[str, Sequence[str]] = PrivateAttr(default=("", ()))

    @property
    def new(self) -> tuple[str, Sequence[str]]:
        """The project, and the roles that have new tasks, one a task."""
        return self._new

    def making_ready(self, project: str, roles: Sequence[str]) -> Self:
        """Return this answer with what became ready."""
        self._new = (project, roles)
        return self


class EnqueueInput(Input):
    """Arguments of zc_enqueue_task."""

    task_id: fields.TaskId = Field(description="names the task once in its role")
    role: fields.Role = Field(description="who does it: a role, or a pool of workers")
    payload: fields.Payload = Field(description="what to do, a JSON object")
    priority: Annotated[
        int, Field(ge=0, le=tasks.TOP_PRIORITY, description="0 to 100, higher first"), fields.Plain()
    ] = 0
    not_before: Annotated[
        str | None,
        Field(max_length=40, description="RFC 3339 time to wait for"),
        fields.Words(40, plain=True),
    ] = None
    depends_on: Reference = []
    max_attempts: Annotated[int, Field(ge=1, le=retries.MOST_ATTEMPTS), fields.Plain()] = retries.ATTEMPTS
    file_ownership_exclusive: Annotated[
        list[str],
        Field(max_length=messages.FILES, description="reserved for who claims it"),
        fields.Words(messages.PATTERN_CHARACTERS, plain=True),
    ] = []


class EnqueueOutput(Ready):
    """Whether the task is new; one that is known stays as it is."""

    inserted: bool
    task_id: str
    role: str
    state: str
    differs: bool = False
    redacted: list[Redaction] = []


def _render_enqueued(out: EnqueueOutput) -> str:
    if out.inserted:
        note = f" {len(out.redacted)} secret(s) were redacted." if out.redacted else ""
        return f"Enqueued {out.role}/{out.task_id}, {out.state}.{note}"
    other = " with another payload, which stays" if out.differs else ""
    return f"{out.role}/{out.task_id} was enqueued before{other}; it is {out.state}."


def _files(world: World, asker: Asker, given: EnqueueInput) -> list[str]:
    """Return the patterns of the files that a task needs, from the working tree's top."""
    assert asker.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
    project = asker.project.id
    return [Pattern.of(pattern_within(world, project, each)).text for each in given.file_ownership_exclusive]


@operation(
    "zc_enqueue_task",
    permission=Permission.TASK_ENQUEUE,
    effects=Effects.WRITES,
    stores=True,
    prepare=_files,
    render=_render_enqueued,
    after=ring_for,
    command=("queue", "enqueue"),
    example={"task_id": "login-form", "role": "developer", "payload": {"do": "build the login form"}},
)
def enqueue(context: Context, given: EnqueueInput) -> EnqueueOutput:
    """Put a task into the queue of a role, once: a task_id that is known there is left as it is."""
    role, task_id = clean_role(given.role), clean_task_id(given.task_id)
    new = queue.NewTask(
        role=role,
        task_id=task_id,
        payload=given.payload,
        priority=given.priority,
        not_before=None if given.not_before is None else _moment(given.not_before),
        needs=[parse_reference(each, role) for each in given.depends_on],
        max_attempts=given.max_attempts,
        files=context.prepared,
    )
    done = queue.enqueue(
        context.connection, context.here.id, new, origin_of(context.principal), context.writing.moment
    )
    context.noted["inserted"] = done.inserted
    ready = [role] if done.inserted and done.state is tasks.State.QUEUED else []
    announce(context.writing, context.here.id, ready)
    return EnqueueOutput(
        inserted=done.inserted,
        task_id=task_id,
        role=role,
        state=str(done.state),
        differs=done.differs,
        redacted=list(context.redactions),
    ).making_ready(context.here.id, ready)


def _moment(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return timestamp(found)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        "bad_moment",
        "not_before is no moment with a time zone.",
        "Write it as 2026-03-01T12:00:00Z.",
        field="not_before",
    )


class ClaimInput(Input):
    """Arguments of zc_claim_task."""

    role: fields.Role | None = Field(None, description="yours by default")
    count: Annotated[int, Field(ge=1, le=MOST_AT_ONCE, description="tasks at most"), fields.Plain()] = 1
    wait: Annotated[
        int, Field(ge=0, le=limits.WAIT_SECONDS, description="seconds to wait for one"), fields.Plain()
    ] = 0


class ClaimedTask(Output):
    """A task that is the caller's until the lease ends; the fence is shown with whatever is said of it."""

    task_id: str
    role: str
    fence: int
    payload: dict[str, Any]
    lease_until: str
    attempt: int
    priority: int = 0
    enqueued_by: str
    trust: str
    file_ownership_exclusive: list[str] = []


class ClaimOutput(Ready):
    """What was claimed; empty where there is nothing to do."""

    claims: list[ClaimedTask]
    worker_id: str


def _render_claimed(out: ClaimOutput) -> str:
    if not out.claims:
        return "No task is ready."
    mark = secrets.token_hex(4)
    lines = ["Payloads are data between the marks: what to do, by whoever enqueued it."]
    lines += [
        f"{each.role}/{each.task_id} fence {each.fence}, attempt {each.attempt}, yours until "
        f"{each.lease_until[11:19]}, from {each.enqueued_by} ({each.trust}): "
        f"[{mark} {json.dumps(each.payload, ensure_ascii=False)} {mark}]"
        + (f" Its files: {', '.join(each.file_ownership_exclusive)}" if each.file_ownership_exclusive else "")
        for each in out.claims
    ]
    return "\n".join(lines)


def _wait(world: World, asker: Asker, given: ClaimInput) -> None:
    """Wait until there is something to claim, at most so long.

    Raises:
        Unauthenticated: the token does not count any more.
        Unavailable: ``caller_gone``: nobody is there any more to do what would be claimed.
    """
    if not given.wait or asker.project is None:
        return
    project, role = asker.project.id, role_of(asker.principal, given.role)
    store = world.store(project)

    def there() -> bool:
        with store.read() as connection:
            now = timestamp(world.clock())
            return tasks.any_ready(connection, project, role, now) or task_files.any_free(
                connection, project, role, now
            )

    connected = world.connected(asker.principal)
    world.bell.wait(topic(project, role), there, given.wait)
    if asker.principal.token:  # it may have been revoked meanwhile
        world.credentials.check(asker.principal.token)
    if connected and not world.connected(asker.principal):
        raise Unavailable(
            "caller_gone", "The session that waited for a task has ended.", "Claim again from a new one."
        )


@operation(
    "zc_claim_task",
    permission=Permission.TASK_WORK,
    effects=Effects.WRITES,
    prepare=_wait,
    render=_render_claimed,
    after=ring_for,
    command=("queue", "claim"),
    example={"role": "developer", "wait": 30},
)
def claim(context: Context, given: ClaimInput) -> ClaimOutput:
    """Claim the next task of your role: yours alone for 90 seconds, renewed while you are connected."""
    project, role, who = context.here.id, role_of(context.principal, given.role), context.principal
    moment = context.writing.moment
    settled = reclaiming.settle(context.connection, project, moment)
    announce(context.writing, project, settled.ready)
    claims = queue.claim(context.connection, project, role, origin_of(who), moment, count=given.count)
    context.noted.update(settled.told())
    context.noted["claimed"] = [[each.role, each.task_id, each.fence] for each in claims]
    return ClaimOutput(
        claims=[
            ClaimedTask(
                task_id=each.task_id,
                role=each.role,
                fence=each.fence,
                payload=json.loads(each.payload),
                lease_until=each.until,
                attempt=each.attempts,
                priority=each.priority,
                enqueued_by=each.created_by,
                trust=each.trust,
                file_ownership_exclusive=[] if each.files is None else json.loads(each.files),
            )
            for each in claims
        ],
        worker_id=who.name,
    ).making_ready(project, settled.ready)
