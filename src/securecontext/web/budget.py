"""How many pages a project may fetch a day: counted before the first byte leaves, given back for what fails."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from securecontext.contracts.session import has_a_moment
from securecontext.storage.tables import fetch_budgets
from securecontext.types.errors import LimitReached

PAGES: Final = 50
"""A project and day of UTC."""

_OF_DAY = (
    fetch_budgets.c.project == bindparam("in_project"),
    fetch_budgets.c.day == bindparam("on_day"),
)
_CHARGE = (
    update(fetch_budgets).where(*_OF_DAY, fetch_budgets.c.used < PAGES).values(used=fetch_budgets.c.used + 1)
)
_REFUND = (
    update(fetch_budgets).where(*_OF_DAY, fetch_budgets.c.used > 0).values(used=fetch_budgets.c.used - 1)
)
_USED = select(fetch_budgets.c.used).where(*_OF_DAY)
_FORGET = delete(fetch_budgets).where(
    fetch_budgets.c.project == bindparam("in_project"), fetch_budgets.c.day < bindparam("on_day")
)


@has_a_moment
def charge(connection: Connection, project: str, moment: str) -> str:
    """Count a page, and return the day that it is counted on.

    Args:
        connection: inside the writer's transaction.
        project: id of the project.
        moment: timestamp.

    Raises:
        LimitReached: ``fetch_budget``.
    """
    wanted = {"in_project": project, "on_day": moment[:10]}
    if connection.execute(_CHARGE, wanted).rowcount:
        return wanted["on_day"]
    if connection.execute(_USED, wanted).scalar() is not None:
        raise LimitReached(
            "fetch_budget",
            f"This project has fetched {PAGES} pages today, which is the limit.",
            "It begins anew at midnight UTC; zc_search finds what was fetched before.",
            limit=PAGES,
        )
    connection.execute(_FORGET, wanted)
    connection.execute(insert(fetch_budgets), {"project": project, "day": wanted["on_day"], "used": 1})
    return wanted["on_day"]


def refund(connection: Connection, project: str, day: str) -> None:
    """Give back a page that did not come, on the day that it was counted on."""
    connection.execute(_REFUND, {"in_project": project, "on_day": day})


def left(connection: Connection, project: str, day: str) -> int:
    """Return how many pages may still be fetched on a day."""
    used = connection.execute(_USED, {"in_project": project, "on_day": day}).scalar()
    return PAGES - int(used or 0)
