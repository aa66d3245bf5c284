"""The queue for persons: at a glance, in lists, and bringing tasks back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.coordination import requeueing, tasks
from securecontext.operations.queue import Ready, announce, ring_for
from securecontext.operations.queue_state import STATES, RoleCounts, TaskState, counts_of, line_of
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.pipeline.pages import Cursor, cursor_of, place_of
from securecontext.types.errors import InvalidInput
from securecontext.types.ids import parse_timestamp, timestamp
from securecontext.validators.input import clean_agent_id, one_line
from securecontext.validators.tasks import clean_role, clean_task_id

SHOWN = 60
"""Characters of a reason or of progress in a list; `--json` has it whole."""


class ListInput(Input):
    """Arguments of queue.list."""

    state: Annotated[
        Literal["queued", "delayed", "blocked", "claimed", "done", "dead"],
        Field(description="which; dead by default"),
        fields.Plain(),
    ] = "dead"
    role: fields.Role | None = Field(None, description="of one role")
    limit: Annotated[int, Field(ge=1, le=1_000), fields.Plain()] = 100
    cursor: Cursor = None


class ListOutput(Output):
    """Tasks in a state, in the order in which they are or would be claimed; ``next``: cursor of the next page."""

    tasks: list[TaskState]
    now: str
    next: str | None = None


def _render_list(out: ListOutput) -> str:
    now = parse_timestamp(out.now)
    return "\n".join(_row(each, now) for each in out.tasks) or "No task is in that state."


def _row(task: TaskState, now: datetime) -> str:
    note = task.progress if task.state == "claimed" else task.reason
    who = f" {task.claimed_by}, progress {_ago(task.progress_at, now)}" if task.state == "claimed" else ""
    due = f" until {task.due_at[11:19]}" if task.due_at else ""
    return (
        f"{task.role}/{task.task_id} {task.state}{due}{who}, attempt {task.attempts} of {task.max_attempts}"
        + (f": {one_line(note, SHOWN)}" if note else "")
    )


def _ago(moment: str | None, now: datetime) -> str:
    if moment is None:
        return "never"
    return f"{max(0, round((now - parse_timestamp(moment)).total_seconds()))} s ago"


@operation(
    "queue.list",
    permission=Permission.TASK_MANAGE,
    effects=Effects.READS,
    audience=Standing.PERSON,
    recorded=False,
    render=_render_list,
    command=("queue", "list"),
)
def list_tasks(context: Context, given: ListInput) -> ListOutput:
    """List tasks in a state: dead ones by default, with the reason; claimed ones with their agent's progress."""
    role = None if given.role is None else clean_role(given.role)
    listing = f"queue/{given.state}/{role or ''}"
    priority, task = place_of(given.cursor, listing, tasks.FIRST)
    found = tasks.in_state_of(
        context.connection,
        context.here.id,
        tasks.State(given.state),
        role=role,
        behind=(int(priority), int(task)),
        most=given.limit + 1,
    )
    shown = found[: given.limit]
    return ListOutput(
        tasks=[line_of(each) for each in shown],
        now=timestamp(context.moment),
        next=cursor_of(listing, shown[-1].priority, shown[-1].task) if len(found) > len(shown) else None,
    )


class InFlightInput(Input):
    """Arguments of queue.in-flight."""

    claimed_by: fields.Agent | None = Field(None, description="an agent; all by default")


class InFlightOutput(Output):
    """How many tasks are claimed."""

    count: int


@operation(
    "queue.in-flight",
    permission=Permission.TASK_READ,
    effects=Effects.READS,
    audience=Standing.PERSON,
    recorded=False,
    render=lambda out: f"{out.count} task(s) are claimed.",
    command=("queue", "in-flight"),
)
def in_flight(context: Context, given: InFlightInput) -> InFlightOutput:
    """Count the tasks that are claimed now, of one agent or of all."""
    if given.claimed_by is None:
        return InFlightOutput(count=sum(each.claimed for each in counts_of(context)))
    holder = f"agent:{clean_agent_id(given.claimed_by)}"
    return InFlightOutput(count=tasks.count_held_by(context.connection, context.here.id, holder))


class ShowInput(Input):
    """Arguments of queue.show: none."""


class ShowOutput(Output):
    """The queue at a glance."""

    roles: list[RoleCounts]
    claimed: list[TaskState]
    dead: list[TaskState]
    now: str


GLANCE = 20
"""Tasks of a state that one look shows."""


def _render_show(out: ShowOutput) -> str:
    if not out.roles:
        return "The queue of this project is empty."
    now = parse_timestamp(out.now)
    width = max(len(each.role) for each in out.roles)
    lines = [" " * width + "".join(f"{name:>9}" for name in STATES)]
    lines += [
        each.role.ljust(width) + "".join(f"{getattr(each, name):>9}" for name in STATES) for each in out.roles
    ]
    waiting = [f"{each.waiting_for_files} {each.role}" for each in out.roles if each.waiting_for_files]
    if waiting:
        lines += ["", f"Wait for reserved files: {', '.join(waiting)}."]
    for title, found in (("In work:", out.claimed), ("Dead:", out.dead)):
        if found:
            lines += ["", title, *(_row(each, now) for each in found)]
    return "\n".join(lines)


@operation(
    "queue.show",
    permission=Permission.TASK_MANAGE,
    effects=Effects.READS,
    audience=Standing.PERSON,
    recorded=False,
    render=_render_show,
    command=("queue", "show"),
)
def show_queue(context: Context, given: ShowInput) -> ShowOutput:
    """Show the queue at a glance: counts by role, what is in work and how far, what is dead and why."""
    connection, project = context.connection, context.here.id

    def some(state: tasks.State) -> list[TaskState]:
        return [line_of(each) for each in tasks.in_state_of(connection, project, state, most=GLANCE)]

    return ShowOutput(
        roles=counts_of(context),
        claimed=some(tasks.State.CLAIMED),
        dead=some(tasks.State.DEAD),
        now=timestamp(context.moment),
    )


class RequeueInput(Input):
    """Arguments of queue.requeue."""

    role: fields.Role | None = Field(None, description="role of the task")
    task_id: fields.TaskId | None = Field(
        None, description="the task; dead, or claimed by who does not get on"
    )
    every: fields.Flag = Field(False, description="every dead task of the project")


class RequeueOutput(Ready):
    """How many tasks are offered again."""

    requeued: int
    was: str = "dead"


@operation(
    "queue.requeue",
    permission=Permission.TASK_MANAGE,
    effects=Effects.WRITES,
    audience=Standing.PERSON,
    render=lambda out: f"{out.requeued} task(s) that were {out.was} are offered again.",
    after=ring_for,
    command=("queue", "requeue"),
)
def requeue(context: Context, given: RequeueInput) -> RequeueOutput:
    """Offer a dead task again with all its attempts, or take a claimed one from an agent that does not get on."""
    project = context.here.id
    if given.every is (given.task_id is not None or given.role is not None):
        raise InvalidInput(
            "name_one", "Say which task: its role and task_id, or every dead one.", "Give both, or every."
        )
    if given.every:
        roles = requeueing.requeue_dead(context.connection, project)
        context.noted["requeued"] = len(roles)
        announce(context.writing, project, roles)
        return RequeueOutput(requeued=len(roles)).making_ready(project, roles)
    if given.role is None or given.task_id is None:
        raise InvalidInput("name_one", "A task is named by its role and its task_id.", "Give both.")
    role, task_id = clean_role(given.role), clean_task_id(given.task_id)
    by, moment = context.principal.name, timestamp(context.writing.moment)
    was, ready = requeueing.requeue(context.connection, project, role, task_id, by=by, moment=moment)
    context.noted["was"] = str(was)
    announce(context.writing, project, ready)
    return RequeueOutput(requeued=1, was=str(was)).making_ready(project, ready)
