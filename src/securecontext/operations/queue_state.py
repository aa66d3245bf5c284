"""How the queue stands, for agents: counts by role, what the caller holds, one task. For persons: ``queue_keeping``."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from securecontext.boundaries.policy import Permission
from securecontext.coordination import task_files, tasks
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.types.errors import InvalidInput, NotFound
from securecontext.types.ids import timestamp
from securecontext.validators.input import one_line
from securecontext.validators.tasks import clean_role, clean_task_id


class StatsInput(Input):
    """Arguments of zc_queue_stats."""

    task_id: fields.TaskId | None = Field(None, description="tell of this task, with its result")
    role: fields.Role | None = Field(None, description="its role; yours by default")


class RoleCounts(Output):
    """Tasks of a role by state; ``failed`` have failed before and have not ended.

    Of the queued, ``waiting_for_files`` are passed over until files are free.
    """

    role: str
    queued: int = 0
    delayed: int = 0
    blocked: int = 0
    claimed: int = 0
    done: int = 0
    dead: int = 0
    failed: int = 0
    waiting_for_files: int = 0


class TaskState(Output):
    """One task as it stands."""

    task_id: str
    role: str
    state: str
    priority: int
    attempts: int
    max_attempts: int
    fence: int
    created_at: str
    enqueued_by: str
    claimed_by: str | None = None
    due_at: str | None = None
    progress: str | None = None
    progress_at: str | None = None
    reason: str | None = None
    ended_at: str | None = None
    needs: list[str] = []
    file_ownership_exclusive: list[str] = []
    result: dict[str, Any] | None = None
    artefacts: list[str] = []


class HeldTask(Output):
    """A task that the caller holds."""

    task_id: str
    role: str
    fence: int
    lease_until: str


class StatsOutput(Output):
    """Tasks of the project by state, and by role within; what the caller holds; the one task that was asked for."""

    queued: int
    delayed: int
    blocked: int
    claimed: int
    done: int
    dead: int
    failed: int
    waiting_for_files: int = 0
    roles: list[RoleCounts] = []
    held: list[HeldTask] = []
    task: TaskState | None = None


STATES = ("queued", "delayed", "blocked", "claimed", "done", "dead", "failed")


def _render_stats(out: StatsOutput) -> str:
    if out.task is not None:
        return _told(out.task)
    lines = [" ".join(f"{getattr(out, name)} {name}" for name in STATES)]
    if out.waiting_for_files:
        lines.append(
            f"{out.waiting_for_files} queued task(s) wait for files that are reserved: zc_reservations"
        )
    lines += [
        f"{each.role}: " + " ".join(f"{getattr(each, name)} {name}" for name in STATES if getattr(each, name))
        for each in out.roles
    ]
    lines += [
        f"Yours: {each.role}/{each.task_id} fence {each.fence} until {each.lease_until[11:19]}"
        for each in out.held
    ]
    return "\n".join(lines)


def _told(task: TaskState) -> str:
    said = f"{task.role}/{task.task_id} is {task.state}, attempt {task.attempts} of {task.max_attempts}."
    for what, text in (
        ("Waits for", ", ".join(task.needs)),
        ("Files:", ", ".join(task.file_ownership_exclusive)),
        ("Claimed by", task.claimed_by or ""),
        ("Progress:", task.progress or ""),
        ("Failed:", task.reason or ""),
        ("Artefacts:", ", ".join(task.artefacts)),
    ):
        if text:
            said += f"\n{what} {one_line(text, 500)}"
    return said + ("" if task.result is None else f"\nResult: {one_line(tasks.as_json(task.result), 2_000)}")


@operation(
    "zc_queue_stats",
    permission=Permission.TASK_READ,
    effects=Effects.READS,
    render=_render_stats,
    command=("queue", "stats"),
)
def stats(context: Context, given: StatsInput) -> StatsOutput:
    """Count the tasks of this project by state and role, list those you hold, or tell how one task stands."""
    roles = counts_of(context)
    return StatsOutput(
        **{name: sum(getattr(each, name) for each in roles) for name in STATES},
        waiting_for_files=sum(each.waiting_for_files for each in roles),
        roles=roles,
        held=[
            HeldTask(task_id=each.task_id, role=each.role, fence=each.fence, lease_until=each.due_at or "")
            for each in tasks.held_by(context.connection, context.here.id, context.principal.name)
        ],
        task=None if given.task_id is None else _one(context, given.task_id, given.role),
    )


def counts_of(context: Context) -> list[RoleCounts]:
    """Return how many tasks there are, by role."""
    roles: dict[str, dict[str, int]] = {}
    for found in tasks.counts(context.connection, context.here.id):
        counts = roles.setdefault(found.role, dict.fromkeys(STATES, 0))
        counts[found.state.value] += found.tasks
        if found.state not in (tasks.State.DONE, tasks.State.DEAD):
            counts["failed"] += found.failed
    held_up = task_files.held_up(context.connection, context.here.id, timestamp(context.moment))
    return [
        RoleCounts(role=role, **counts, waiting_for_files=held_up[role]) for role, counts in roles.items()
    ]


def _one(context: Context, task_id: str, role: str | None) -> TaskState:
    wanted = clean_role(role) if role is not None else str(context.principal.role or "")
    if not wanted:
        raise InvalidInput("no_role", "This call names no role.", "Say which: role.", field="role")
    task = tasks.find(context.connection, context.here.id, wanted, clean_task_id(task_id))
    if task is None:
        raise NotFound(
            "no_such_task", f"There is no task {task_id} for the role {wanted}.", "See zc_queue_stats."
        )
    result = tasks.result_of(context.connection, task.task)
    line = line_of(task)
    if result is None:
        return line
    return line.model_copy(update={"result": dict(result.result), "artefacts": list(result.artefacts)})


def line_of(task: tasks.Task) -> TaskState:
    """Return what is told of a task."""
    return TaskState(
        task_id=task.task_id,
        role=task.role,
        state=str(task.state),
        priority=task.priority,
        attempts=task.attempts,
        max_attempts=task.max_attempts,
        fence=task.fence,
        created_at=task.created_at,
        enqueued_by=task.created_by,
        claimed_by=task.claimed_by,
        due_at=task.due_at,
        progress=task.progress,
        progress_at=task.progress_at,
        reason=task.reason,
        ended_at=task.ended_at,
        needs=list(task.needs),
        file_ownership_exclusive=[] if task.files is None else json.loads(task.files),
    )
