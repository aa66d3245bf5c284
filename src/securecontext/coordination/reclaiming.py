"""Time alone: leases that end, tasks that have rested, and clocks that jump.

A clock that jumps offers a task too early, which the fence makes harmless, or too late: so a lease that ends later than
any is given, which a clock made that has been set back since, ends now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from securecontext.coordination import dependencies, ownership, task_files
from securecontext.coordination.leases import LEASE
from securecontext.coordination.retries import LONGEST_PAUSE, is_spent
from securecontext.coordination.tasks import IN_PROJECT, State, t
from securecontext.storage.tables import in_state, tasks
from securecontext.types.ids import timestamp

CLOCKS: Final = timedelta(minutes=5)
"""How far apart clocks may be that write leases into one database."""
AT_ONCE: Final = 500
"""Tasks whose moment has come that one transaction looks at."""
FENCES_AFTER_RESTORE: Final = 1_000_000
"""By how much fences rise where a database goes on from a backup: no fence that was handed out since counts again."""
SYSTEM: Final = "system"
LEASE_ENDED: Final = "the lease ended: its holder gave no sign of life"


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle` did, as (role, id, fence) each; ``ready`` names the roles that have new work, one a task."""

    reclaimed: Sequence[tuple[str, str, int]] = ()
    dead: Sequence[tuple[str, str, int]] = ()
    ready: Sequence[str] = ()

    def told(self) -> dict[str, Any]:
        """Return what the ledger is told."""
        return {
            name: [list(each) for each in found]
            for name, found in (("reclaimed", self.reclaimed), ("dead", self.dead))
            if found
        }


_looked_at = select(t.task, t.role, t.task_id, t.state, t.attempts, t.max_attempts, t.fence, t.files)
_DUE = (
    _looked_at.where(IN_PROJECT, t.due_at.is_not(None), t.due_at <= bindparam("until"))
    .order_by(t.due_at, t.task)
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
)
_TOO_FAR = (
    _looked_at.where(
        IN_PROJECT,
        t.due_at.is_not(None),
        t.due_at > bindparam("until"),
        or_(
            in_state("claimed"),
            and_(
                in_state("delayed"),
                t.due_at > bindparam("rested"),
                or_(t.not_before.is_(None), t.due_at > t.not_before),
            ),
        ),
    )
    .order_by(t.due_at, t.task)
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
)
_SETTLE = (
    update(tasks)
    .where(t.task == bindparam("of_task"))
    .values(
        state=bindparam("new_state"),
        due_at=None,
        reason=bindparam("because"),
        ended_at=bindparam("ended"),
    )
)
_LET_GO = update(tasks).where(t.task == bindparam("of_task")).values(state=State.QUEUED.value, due_at=None)
_RAISE_FENCES = update(tasks).values(fence=t.fence + FENCES_AFTER_RESTORE)
_END_ALL = update(tasks).where(in_state("claimed")).values(state=State.QUEUED.value, due_at=None, attempts=0)


def settle(connection: Connection, project: str, moment: datetime, *, whole: bool = False) -> Settled:
    """Offer again what is due: tasks that have rested, and those whose lease has ended.

    Args:
        connection: in a transaction that writes.
        project: the project.
        moment: now.
        whole: whether to look as well for moments that no clock that goes right can have set, and for tasks whose
            needs are done.
    """
    now = timestamp(moment)
    rows = list(connection.execute(_DUE, {"in_project": project, "until": now}))
    released: list[str] = []
    if whole:
        too_far = {
            "in_project": project,
            "until": timestamp(moment + LEASE + CLOCKS),
            "rested": timestamp(moment + LONGEST_PAUSE + CLOCKS),
        }
        rows += connection.execute(_TOO_FAR, too_far).all()
        released = dependencies.release(connection, project, None, now)
    rested = [row for row in rows if row.state == State.DELAYED]
    ended = [row for row in rows if row.state == State.CLAIMED]
    if rested:
        connection.execute(_LET_GO, [{"of_task": row.task} for row in rested])
    if ended:
        connection.execute(_SETTLE, [_after_its_lease(row, now) for row in ended])
    held = [(row.role, row.task_id) for row in ended if row.files is not None]
    if held:  # after the rows, so that those that are offered again count among what can have the files
        released += task_files.release(connection, project, held, by=SYSTEM, moment=now)
    dead = [row for row in ended if is_spent(row.attempts, row.max_attempts)]
    back = [row for row in ended if not is_spent(row.attempts, row.max_attempts)]
    return Settled(
        [(row.role, row.task_id, row.fence) for row in back],
        [(row.role, row.task_id, row.fence) for row in dead],
        [*released, *(row.role for row in (*rested, *back))],
    )


def start_over(connection: Connection, moment: datetime) -> None:
    """Let the queue of a database that goes on from a backup do so: no lease and no fence from before counts."""
    connection.execute(_END_ALL)
    ownership.release_queue(connection, by=SYSTEM, moment=timestamp(moment))
    connection.execute(_RAISE_FENCES)


def _after_its_lease(row: Any, now: str) -> dict[str, Any]:
    dead = is_spent(row.attempts, row.max_attempts)
    return {
        "of_task": row.task,
        "new_state": (State.DEAD if dead else State.QUEUED).value,
        "because": LEASE_ENDED,
        "ended": now if dead else None,
    }
