"""Session tokens: issue, revoke, list, verify.

An orchestrator does it within its project; a person as unlocked operator. Whoever has a token may verify it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from securecontext.boundaries import tokens
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.policy import OPERATOR, Permission, Policy, Role, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import Project, World
from securecontext.types.errors import InvalidInput, NotFound, Unauthenticated
from securecontext.types.ids import timestamp
from securecontext.validators.input import clean_agent_id


def _project(context: Context) -> Project:
    """Return the project of the call: these operations work on the machine's store, which needs none."""
    if context.project is None:
        raise InvalidInput(
            "no_project", "This call names no project.", "Call from a project's folder, or name one."
        )
    return context.project


class IssueInput(Input):
    """Arguments of zc_issue_token."""

    agent_id: fields.Agent
    role: Annotated[Literal["orchestrator", "developer", "marketer", "researcher", "worker"], fields.Plain()]


class IssueOutput(Output):
    """The token, shown this once."""

    token: str
    agent: str
    role: str
    session: str
    expires_at: str
    active: int


@operation(
    "zc_issue_token",
    permission=Permission.TOKEN_MANAGE,
    effects=Effects.WRITES,
    on_machine=True,
    secret_answer=True,
    render=lambda out: out.token,
    command=("token", "issue"),
    example={"agent_id": "alice", "role": "developer"},
)
def issue(context: Context, given: IssueInput) -> IssueOutput:
    """Issue a session token, valid for 24 hours, for an agent of this project, which shows it as ZC_SESSION_TOKEN."""
    project = _project(context)
    agent = clean_agent_id(given.agent_id)
    if agent == OPERATOR:
        raise InvalidInput(
            "reserved_name",
            f"No agent is called {OPERATOR}: a person is.",
            "Use another name.",
            field="agent_id",
        )
    who = context.principal
    role = Role(given.role)
    Policy().check_issue(who, role)
    if who.token:  # in this transaction: it may have been revoked since the call came in
        context.world.credentials.check_within(context.connection, who.token)
    claims = token_register.issue(
        context.connection,
        agent=agent,
        role=role,
        project=project.id,
        issued_by=token_register.issuer(who.name, who.token or who.session),
        key=context.world.credentials.key_id,
        moment=context.moment,
    )
    return IssueOutput(
        token=context.world.credentials.sign(claims),
        agent=agent,
        role=given.role,
        session=claims.sid,
        expires_at=token_register.stamp(claims.exp),
        active=token_register.count(context.connection, project.id, context.moment),
    )


class RevokeInput(Input):
    """Arguments of zc_revoke_token."""

    agent_id: Annotated[
        str | None, Field(max_length=64, description="all tokens of this agent"), fields.Words(64, plain=True)
    ] = None
    token_id: Annotated[
        str | None, Field(max_length=64, description="one token, by its id"), fields.Words(64, plain=True)
    ] = None
    every: fields.Flag = Field(False, description="all tokens of the project")


class RevokeOutput(Output):
    """How many tokens count no longer, those among them that the others had issued, and how many still do."""

    revoked: int
    issued_by_them: int = 0
    active: int


def _render_revoked(out: RevokeOutput) -> str:
    more = f", {out.issued_by_them} of them issued by the others" if out.issued_by_them else ""
    return f"Revoked {out.revoked} token(s){more}; {out.active} still count in this project."


@operation(
    "zc_revoke_token",
    permission=Permission.TOKEN_MANAGE,
    effects=Effects.DESTROYS,
    on_machine=True,
    render=_render_revoked,
    command=("token", "revoke"),
    example={"agent_id": "alice"},
)
def revoke(context: Context, given: RevokeInput) -> RevokeOutput:
    """Revoke session tokens of this project: an agent's, one, or every one, and what they issued."""
    project = _project(context)
    if (given.agent_id is not None) + (given.token_id is not None) + given.every != 1:
        raise InvalidInput(
            "name_one",
            "Say which tokens: of one agent, one by its id, or every one.",
            "Give one of agent_id, token_id and every.",
        )
    revoked = token_register.revoke(
        context.connection,
        project=project.id,
        moment=context.moment,
        agent=None if given.agent_id is None else clean_agent_id(given.agent_id),
        token=given.token_id,
    )
    total = revoked.named + revoked.issued
    if not total and not given.every:
        raise NotFound(
            "no_such_token", "No such token counts in this project.", "List them with `zc token list`."
        )
    return RevokeOutput(
        revoked=total,
        issued_by_them=revoked.issued,
        active=token_register.count(context.connection, project.id, context.moment),
    )


class VerifyInput(Input):
    """Arguments of token.verify."""

    token: Annotated[str, Field(max_length=tokens.CHARACTERS), fields.Credential()]


class Payload(Output):
    """What a token says; see `boundaries.tokens.Claims`."""

    tid: str
    aid: str
    role: str
    sid: str
    iat: int
    exp: int


class VerifyOutput(Output):
    """Whether a token counts here and now, why not, and what it says."""

    valid: bool
    reason: str = ""
    payload: Payload | None = None


def _verify(world: World, asker: Asker, given: VerifyInput) -> VerifyOutput:
    """Look at a token; of one that belongs elsewhere nothing is told."""
    try:
        claims = world.credentials.identify(given.token)
    except Unauthenticated as error:
        return VerifyOutput(valid=False, reason=error.code)
    if asker.project is None or claims.ph != asker.project.id:
        return VerifyOutput(valid=False, reason="token_of_other_project")
    said = {name: getattr(claims, name) for name in ("tid", "aid", "sid", "iat", "exp")}
    return VerifyOutput(valid=True, payload=Payload(**said, role=str(claims.role)))


@operation(
    "token.verify",
    permission=Permission.STATUS_READ,
    effects=Effects.READS,
    audience=Standing.PERSON,
    on_machine=True,
    prepare=_verify,
    render=lambda out: "The token counts." if out.valid else f"The token does not count: {out.reason}.",
)
def verify_token(context: Context, given: VerifyInput) -> VerifyOutput:
    """Say whether a session token counts in this project, and what it says."""
    _project(context)
    done: VerifyOutput = context.prepared
    return done


class TokenLine(Output):
    """One token, without its secret."""

    id: str
    agent: str
    role: str
    session: str
    state: str
    expires_at: str
    issued_by: str


class TokenList(Output):
    """The tokens of a project."""

    tokens: list[TokenLine]


class ListInput(Input):
    """Arguments of token.list."""

    all: fields.Flag = Field(False, description="expired and revoked ones too")


def _render_list(out: TokenList) -> str:
    return (
        "\n".join(
            f"{t.id} {t.role:<12} {t.agent} {t.state} until {t.expires_at[:16].replace('T', ' ')}, by {t.issued_by}"
            for t in out.tokens
        )
        or "No token counts in this project."
    )


@operation(
    "token.list",
    permission=Permission.TOKEN_MANAGE,
    effects=Effects.READS,
    audience=Standing.PERSON,
    on_machine=True,
    render=_render_list,
    command=("token", "list"),
)
def show_tokens(context: Context, given: ListInput) -> TokenList:
    """List the session tokens of this project."""
    moment = timestamp(context.moment)
    lines = []
    for row in token_register.every(context.connection, _project(context).id):
        state = "revoked" if row.revoked_at else "active" if row.expires_at > moment else "expired"
        if state == "active" or given.all:
            lines.append(
                TokenLine(
                    id=row.token,
                    agent=row.agent,
                    role=row.role,
                    session=row.session,
                    state=state,
                    expires_at=row.expires_at,
                    issued_by=row.issued_by,
                )
            )
    return TokenList(tokens=lines)
