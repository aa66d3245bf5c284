"""Which session tokens were issued, and which still count. Never the tokens themselves, nor their MACs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from securecontext.boundaries.policy import Role
from securecontext.boundaries.tokens import TOKEN_ID, TTL_SECONDS, Claims
from securecontext.storage.tables import tokens
from securecontext.types.errors import Unauthenticated
from securecontext.types.ids import new_id, timestamp

KEPT = timedelta(days=30)
"""How long the row of a token that has ended stays, for people to look at."""
_ROW = select(tokens).where(tokens.c.token == bindparam("wanted"))


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as the register keeps it."""

    token: str
    agent: str
    role: str
    project: str
    session: str
    issued_at: str
    expires_at: str
    revoked_at: str | None
    issued_by: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """How many tokens count no longer.

    Attributes:
        named: those that were meant.
        issued: those that the meant ones had issued, and those had issued in turn.
    """

    named: int
    issued: int


def issuer(name: str, token: str) -> str:
    """Return how the register names an issuer that shows a token; see `_with_issued`."""
    return f"{name}/{token}"


def issue(
    connection: Connection,
    *,
    agent: str,
    role: Role,
    project: str,
    issued_by: str,
    key: str,
    moment: datetime,
) -> Claims:
    """Enter a new token and return what it says; it counts once the transaction is durable.

    Args:
        connection: inside the writer's transaction of the machine's store.
        agent: its name, cleaned.
        role: its role.
        project: id of the project.
        issued_by: who issues it.
        key: id of the key that will sign it; a part of its id.
        moment: now.
    """
    start = int(moment.timestamp())
    claims = Claims(
        new_id(f"{TOKEN_ID}{key}"), agent, role, project, new_id("ses"), start, start + TTL_SECONDS
    )
    connection.execute(
        insert(tokens),
        {
            "token": claims.tid,
            "agent": agent,
            "role": str(role),
            "project": project,
            "session": claims.sid,
            "issued_at": stamp(claims.iat),
            "expires_at": stamp(claims.exp),
            "revoked_at": None,
            "issued_by": issued_by,
        },
    )
    return claims


def check(connection: Connection, token: str, moment: datetime) -> Issued:
    """Return the row of a token that counts.

    Raises:
        Unauthenticated: ``token_revoked`` (also where it was never entered), ``token_expired``.
    """
    row = connection.execute(_ROW, {"wanted": token}).first()
    hint = "Ask for a new one: `zc token issue`, or the orchestrator's zc_issue_token."
    if row is None or row.revoked_at is not None:
        raise Unauthenticated("token_revoked", "The session token was revoked.", hint, reason="revoked")
    if row.expires_at <= timestamp(moment):
        raise Unauthenticated("token_expired", "The session token has expired.", hint, reason="expired")
    return Issued(*row)


def revoke(
    connection: Connection,
    *,
    project: str,
    moment: datetime,
    agent: str | None = None,
    token: str | None = None,
) -> Revoked:
    """Revoke tokens of a project, all of it, an agent's, or one, and with them whatever they issued.

    Those that they issued end too where the issuing one had ended before: it must not live on in them.
    """
    meant = [tokens.c.project == project]
    if agent is not None:
        meant.append(tokens.c.agent == agent)
    if token is not None:
        meant.append(tokens.c.token == token)
    counting = _counting(project, moment)
    named = connection.execute(select(func.count()).select_from(tokens).where(*meant, *counting)).scalar_one()
    ending = update(tokens).where(tokens.c.token.in_(_with_issued(project, meant)), *counting)
    ended = connection.execute(ending.values(revoked_at=timestamp(moment))).rowcount
    return Revoked(int(named), ended - int(named))


def _with_issued(project: str, meant: Sequence[ColumnElement[bool]]) -> Select[str]:
    """Select the ids of the meant tokens and of those that they issued, to the last generation.

    A token's issuer is told by its authenticated name and the token it showed. No caller without one has that name,
    whatever session it claims.
    """
    found = select(tokens.c.token, tokens.c.agent).where(*meant).cte("found", recursive=True, nesting=True)
    child = tokens.alias("child")
    issued = child.c.issued_by == literal("agent:") + found.c.agent + literal("/") + found.c.token
    children = select(child.c.token, child.c.agent).select_from(child.join(found, issued))
    whole = found.union(children.where(child.c.project == project))
    return select(whole.c.token)


def revoke_all(connection: Connection, moment: datetime) -> int:
    """Revoke what counts in any project; return how many those were."""
    wanted = (tokens.c.revoked_at.is_(None), tokens.c.expires_at > timestamp(moment))
    return connection.execute(update(tokens).where(*wanted).values(revoked_at=timestamp(moment))).rowcount


def count(connection: Connection, project: str, moment: datetime) -> int:
    """Return how many tokens of a project count."""
    found = connection.execute(select(func.count()).select_from(tokens).where(*_counting(project, moment)))
    return int(found.scalar_one())


def counting_agents(connection: Connection, project: str, moment: datetime) -> list[str]:
    """Return the agents of a project that have a token which counts, by name."""
    found = select(tokens.c.agent).distinct().where(*_counting(project, moment))
    return sorted(connection.execute(found).scalars())


def every(connection: Connection, project: str) -> Sequence[Issued]:
    """Return the tokens of a project, newest first, ended ones included."""
    newest = (
        select(tokens).where(tokens.c.project == project).order_by(tokens.c.issued_at.desc(), tokens.c.token)
    )
    return [Issued(*row) for row in connection.execute(newest)]


def counting_with_issuers(connection: Connection, moment: datetime) -> Iterator[tuple[Issued, bool]]:
    """Yield every token that counts, of all projects, and whether the token that issued it was revoked."""
    parent = tokens.alias("parent")
    issued = tokens.c.issued_by == literal("agent:") + parent.c.agent + literal("/") + parent.c.token
    now = timestamp(moment)
    query = (
        select(tokens, parent.c.revoked_at)
        .select_from(tokens.outerjoin(parent, issued & (tokens.c.project == parent.c.project)))
        .where(tokens.c.revoked_at.is_(None), tokens.c.expires_at > now)
    )
    for *row, revoked in connection.execute(query):
        yield Issued(*row), revoked is not None


def drop_old(connection: Connection, moment: datetime) -> None:
    """Drop the rows of tokens that ended long ago; such a token is refused by its own time."""
    connection.execute(delete(tokens).where(tokens.c.expires_at < timestamp(moment - KEPT)))


def _counting(project: str, moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        tokens.c.project == project,
        tokens.c.revoked_at.is_(None),
        tokens.c.expires_at > timestamp(moment),
    )


def stamp(seconds: int) -> str:
    """Return the timestamp of seconds since the epoch."""
    return timestamp(datetime.fromtimestamp(seconds, UTC))
