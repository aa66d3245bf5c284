"""What happened in a session: events as one-line rows, and checkpoints of working state.

A checkpoint is put together from events that hooks reported, without any model: which files were changed, which
commands ran and how they ended, the plan as the client's to-do tool has it, the last words of the agent. Nothing in
it is a file's content.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from securecontext.contracts import ensure, require
from securecontext.contracts.session import has_a_moment, names_a_session, reports_an_event
from securecontext.storage.tables import events

CHECKPOINT = "checkpoint"
KEPT_EVENTS = 5_000
"""Events kept per project; older ones are dropped when a session ends. The ledger keeps its own record of calls."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a session."""

    id: int
    session: str
    kind: str
    detail: str
    created_at: str


@dataclass(frozen=True, slots=True)
class WorkingState:
    """What a session was doing, as far as hooks could see.

    Attributes:
        files: paths that were changed, last changed first.
        commands: command lines with their outcome, last first.
        failures: last errors, last first.
        plan: to-do items with their state, in order.
        last_words: beginning of what the agent said last.
    """

    files: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    last_words: str = ""

    @property
    def worth_keeping(self) -> bool:
        """Say whether work was done: mere talk does not push out what an earlier session left behind."""
        return bool(self.files or self.commands or self.failures or self.plan)

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to restore."""
        return not (self.worth_keeping or self.last_words)

    def dump(self) -> str:
        """Return the stored form: JSON."""
        return json.dumps(
            {
                "files": self.files,
                "commands": self.commands,
                "failures": self.failures,
                "plan": self.plan,
                "last_words": self.last_words,
            },
            ensure_ascii=False,
        )

    @staticmethod
    def load(text: str) -> WorkingState:
        """Return the state of a stored checkpoint."""
        stored: dict[str, Any] = json.loads(text)
        return WorkingState(
            files=tuple(stored["files"]),
            commands=tuple(stored["commands"]),
            failures=tuple(stored["failures"]),
            plan=tuple(stored["plan"]),
            last_words=stored["last_words"],
        )


_INNER = (CHECKPOINT, "plan", "task", "said", "session_started", "session_ended")
"""Kinds that a list of recent events leaves out: they are shown in another form, or say nothing to a reader."""
TASKS = 400
"""Changes of a session's tasks that are read, newest first."""
_INSERT = insert(events)
_COLUMNS = (events.c.event, events.c.session, events.c.kind, events.c.detail, events.c.created_at)
_RECENT = (
    select(*_COLUMNS)
    .where(events.c.project == bindparam("in_project"), events.c.kind.not_in(_INNER))
    .order_by(events.c.event.desc())
    .limit(bindparam("most"))
)
_OF_SESSION = (
    select(*_COLUMNS)
    .where(events.c.project == bindparam("in_project"), events.c.session == bindparam("in_session"))
    .order_by(events.c.event.desc())
    .limit(400)
)
_NEWEST_OF_KIND = (
    select(events.c.detail)
    .where(
        events.c.project == bindparam("in_project"),
        events.c.session == bindparam("in_session"),
        events.c.kind == bindparam("of_kind"),
    )
    .order_by(events.c.event.desc())
    .limit(1)
)
_TASKS = (
    select(events.c.detail)
    .where(
        events.c.project == bindparam("in_project"),
        events.c.session == bindparam("in_session"),
        events.c.kind == "task",
    )
    .order_by(events.c.event.desc())
    .limit(TASKS)
)
_LAST_OF_SESSION = (
    select(*_COLUMNS)
    .where(
        events.c.project == bindparam("in_project"),
        events.c.session == bindparam("in_session"),
        events.c.kind == CHECKPOINT,
    )
    .order_by(events.c.event.desc())
    .limit(1)
)
_LAST_CHECKPOINT = (
    select(*_COLUMNS)
    .where(events.c.project == bindparam("in_project"), events.c.kind == CHECKPOINT)
    .order_by(events.c.event.desc())
    .limit(1)
)


@names_a_session
@reports_an_event
@has_a_moment
def report(
    connection: Connection, *, project: str, session: str, kind: str, detail: str, moment: str
) -> None:
    """Store one event; the detail is one line that has been redacted."""
    connection.execute(
        _INSERT,
        {"project": project, "session": session, "kind": kind, "detail": detail, "created_at": moment},
    )


def recent(connection: Connection, project: str, most: int) -> list[Event]:
    """Return the newest events of a project, newest first, checkpoints left out."""
    return [Event(*row) for row in connection.execute(_RECENT, {"in_project": project, "most": most})]


@dataclass(slots=True)
class _Gathered:
    files: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def gather(connection: Connection, project: str, session: str) -> WorkingState:
    """Return the working state that the events of a session add up to."""
    found = _Gathered()
    for row in connection.execute(_OF_SESSION, {"in_project": project, "in_session": session}):
        event = Event(*row)
        match event.kind:
            case "file_write":
                _note(found.files, event.detail, 15)
            case "command":
                _note(found.commands, event.detail, 6)
            case "error":
                _note(found.failures, event.detail, 4)
            case _:
                pass
    # A plan is made once and holds for long: it may be older than the events above.
    plan, said = (
        connection.execute(
            _NEWEST_OF_KIND, {"in_project": project, "in_session": session, "of_kind": kind}
        ).scalar()
        for kind in ("plan", "said")
    )
    return WorkingState(
        tuple(found.files),
        tuple(found.commands),
        tuple(found.failures),
        (*(json.loads(plan) if plan else ()), *_tasks(connection, project, session)),
        said or "",
    )


def _tasks(connection: Connection, project: str, session: str) -> list[str]:
    """Return the tasks of a session in order, as lines of a plan: what its changes add up to."""
    tasks: dict[str, dict[str, str]] = {}
    for (detail,) in connection.execute(_TASKS, {"in_project": project, "in_session": session}):
        change: dict[str, str] = json.loads(detail)
        known = tasks.setdefault(change["id"], {})
        for name, value in change.items():
            known.setdefault(name, value)  # newest first: what is known already is newer
    return [
        f"[{task.get('status', 'pending')}] {task['subject']}"
        for _, task in sorted(tasks.items(), key=lambda item: (len(item[0]), item[0]))
        if task.get("subject") and task.get("status") != "deleted"
    ]


def _note(into: list[str], detail: str, most: int) -> None:
    if detail not in into and len(into) < most:
        into.append(detail)


def last_checkpoint(
    connection: Connection, project: str, session: str = ""
) -> tuple[Event, WorkingState] | None:
    """Return the newest checkpoint of a project with its state; that of ``session`` if it has one."""
    row = None
    if session:
        row = connection.execute(_LAST_OF_SESSION, {"in_project": project, "in_session": session}).first()
    if row is None:
        row = connection.execute(_LAST_CHECKPOINT, {"in_project": project}).first()
    if row is None:
        return None
    event = Event(*row)
    return event, WorkingState.load(event.detail)


def sightings(connection: Connection, project: str, session: str) -> tuple[bool, int, str]:
    """Return whether a session's start was reported, how many events it has, and when any session started last."""
    mine = (events.c.project == project) & (events.c.session == session)
    starts = events.c.kind == "session_started"
    entries = connection.execute(select(func.count()).select_from(events).where(mine)).scalar() or 0
    started = connection.execute(select(func.count()).select_from(events).where(mine, starts)).scalar() or 0
    last = connection.execute(
        select(func.max(events.c.created_at)).where(events.c.project == project, starts)
    ).scalar()
    return bool(started), int(entries), str(last or "")


@require(lambda kept: kept > 0, "some events are kept")
@ensure(
    lambda connection, project, kept: (
        connection.execute(
            select(func.count()).select_from(events).where(events.c.project == project)
        ).scalar_one()
        <= kept
    ),
    "a project keeps no more events than that",
)
def trim(connection: Connection, project: str, kept: int = KEPT_EVENTS) -> int:
    """Drop the oldest events beyond the number that is kept; return how many went."""
    oldest_kept = (
        select(events.c.event)
        .where(events.c.project == project)
        .order_by(events.c.event.desc())
        .offset(kept - 1)
        .limit(1)
    )
    # Ids are shared by the projects of one database, so rows are counted, not ids.
    border = connection.execute(oldest_kept).scalar()
    if border is None:
        return 0
    gone = connection.execute(delete(events).where(events.c.project == project, events.c.event < border))
    return gone.rowcount


@ensure(
    lambda connection, project, session: not sightings(connection, project, session)[1],
    "no event of a dropped session is left",
)
def drop(connection: Connection, project: str, session: str) -> int:
    """Delete the events of a session; return how many there were."""
    whose = (events.c.project == project) & (events.c.session == session)
    return connection.execute(delete(events).where(whose)).rowcount


def copy_rows(connection: Connection, project: str, rows: Sequence[Event]) -> None:
    """Insert events of another project, oldest first; those that were brought before stand there already."""
    there = {(e.session, e.kind, e.detail, e.created_at) for e in every(connection, project)}
    rows = [r for r in rows if (r.session, r.kind, r.detail, r.created_at) not in there]
    if rows:
        connection.execute(
            _INSERT,
            [
                {
                    "project": project,
                    "session": r.session,
                    "kind": r.kind,
                    "detail": r.detail,
                    "created_at": r.created_at,
                }
                for r in rows
            ],
        )


def every(connection: Connection, project: str) -> list[Event]:
    """Return all events of a project, oldest first."""
    query = select(*_COLUMNS).where(events.c.project == project).order_by(events.c.event)
    return [Event(*row) for row in connection.execute(query)]
