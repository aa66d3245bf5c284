"""Who acts in a database: the caller of a call, or a named part of the service.

A file has one user and does not ask. In a shared database each transaction says it (`boundaries.database_context`),
and the policies of every table go by it (`postgres_policies`). Who acts is known to whoever walks a call and to the
chores of the service; it is carried to the stores beside the calls, so that no store between has to hand it on, and
none can forget to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

EVERY_NOTEBOOK: Final = "*"
KEEP: Final = "keep"
"""Duty of a call that stores, changes or erases texts: it works on all of the caller's notebooks and of the archive."""
SURVEY: Final = "survey"
"""Duty of a count over all of a project: what a notebook may hold, how common a word is."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        name: the authenticated identity; ``system:<part>`` for a part of the service.
        kind: ``agent``, ``person`` or ``system``.
        role: of a session token; empty without one.
        notebooks: those that it sees and keeps, with commas between; `EVERY_NOTEBOOK` for all.
        project: of the call; in another one sealed texts are not seen.
        duty: what it does beyond what it may see; of a part of the service, which one it is.
    """

    name: str
    kind: str
    role: str = ""
    notebooks: str = ""
    project: str = ""
    duty: str = ""


def system(part: str) -> Actor:
    """Return a part of the service."""
    return Actor(f"system:{part}", "system", notebooks=EVERY_NOTEBOOK, duty=part)


SERVICE: Final = system("service")
"""What no call and no chore with a name of its own does: opening stores, registering projects."""
PURGE: Final = "purge"
"""Duty of a call that deletes what a session did: beside that, the bodies of its entries and answers that it got."""
MANAGE: Final = "projects"
"""Duty of a call that changes what projects there are, or carries what one holds into another."""
WRITER: Final = system("ledger")
"""Appends the entries of a batch."""
SEQUENCER: Final = system("sequencer")
AUDITOR: Final = system("auditor")
RETENTION: Final = system("retention")
RESCAN: Final = system("rescan")
QUEUE: Final = system("queue")
TOKENS: Final = system("tokens")
PROJECTS: Final = system(MANAGE)
_CURRENT: ContextVar[Actor] = ContextVar("actor", default=SERVICE)
_SAY: Final = "zc_say"
_SAID: Final = "zc_said"
_UNSURE: Final = "zc_unsure"
Say = Callable[[Connection, Actor], None]


def current() -> Actor:
    """Return who acts here."""
    return _CURRENT.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Have somebody act within: in every transaction that begins there, and in every job that is handed to a writer."""
    token = _CURRENT.set(actor)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def begun(connection: Connection, say: Say | None, actor: Actor) -> None:
    """Note who was said to act in the transaction that has begun, and how another one is said; None for not at all."""
    connection.info.update({_SAY: say, _SAID: actor, _UNSURE: False})


def say(connection: Connection, actor: Actor) -> None:
    """Have somebody act from here on in a transaction that has begun."""
    told: Say | None = connection.info.get(_SAY)
    if told is not None and (connection.info[_UNSURE] or connection.info[_SAID] != actor):
        told(connection, actor)
        connection.info.update({_SAID: actor, _UNSURE: False})


@contextmanager
def raised(connection: Connection, duty: str) -> Iterator[None]:
    """Have who acts do a duty within; a part of the service sees what it needs already."""
    before: Any = connection.info.get(_SAID)
    if connection.info.get(_SAY) is None or before.kind == "system":
        yield
        return
    say(connection, replace(before, duty=duty))
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # where the transaction has ended nobody acts in it any more
            say(connection, before)
        # A savepoint that is rolled back now takes back what was said since: it is said again.
        connection.info.update({_SAID: before, _UNSURE: True})
        raise
    say(connection, before)
