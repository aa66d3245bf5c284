"""Which agent has acknowledged which broadcast: each for itself, once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, text

from securecontext.contracts.session import has_a_moment
from securecontext.storage.tables import broadcast_acks

# Both engines know this form of an insert that leaves alone what is there; SQLAlchemy has one for each.
_INSERT = text(
    "INSERT INTO broadcast_acks (project, broadcast, agent, session, created_at) "
    "VALUES (:project, :broadcast, :agent, :session, :moment) ON CONFLICT (project, broadcast, agent) DO NOTHING"
)
_OF_BROADCAST = select(broadcast_acks.c.agent, broadcast_acks.c.session, broadcast_acks.c.created_at).where(
    broadcast_acks.c.project == bindparam("in_project"),
    broadcast_acks.c.broadcast == bindparam("which"),
)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """That an agent has taken note of a broadcast: who, in which session, when (a timestamp)."""

    agent: str
    session: str
    at: str


@has_a_moment
def acknowledge(
    connection: Connection, project: str, broadcast: int, agent: str, session: str, moment: str
) -> bool:
    """Note that an agent has taken note of a broadcast that exists; False where it had before."""
    given = {
        "project": project, "broadcast": broadcast, "agent": agent, "session": session, "moment": moment,
    }  # fmt: skip
    return connection.execute(_INSERT, given).rowcount == 1


def of_broadcast(connection: Connection, project: str, broadcast: int) -> list[Acknowledgement]:
    """Return who has acknowledged a broadcast, in the order of time."""
    found = connection.execute(_OF_BROADCAST, {"in_project": project, "which": broadcast})
    done = [Acknowledgement(*row) for row in found]
    return sorted(done, key=lambda each: (each.at, each.agent))  # engines sort text in orders of their own
