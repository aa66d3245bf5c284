"""From an authenticated peer and its claims to a caller: the principal of its calls, and its project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from securecontext.boundaries.policy import GRANTS, SHARED_NAMESPACE, Principal, Standing
from securecontext.boundaries.tokens import Claims, read_unverified
from securecontext.contracts.security import create_secure_agent_context
from securecontext.contracts.session import is_session_name
from securecontext.pipeline.call import Answer, Call
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.fields import refuse_relative
from securecontext.pipeline.operation import CATALOGUE
from securecontext.pipeline.passing import Passed
from securecontext.pipeline.world import Project, World
from securecontext.types.errors import Denied, InvalidInput, ZcError
from securecontext.types.ids import hook_session, new_id, now
from securecontext.types.security import SecurityContext
from securecontext.validators.input import validate_agent_id
from securecontext.validators.secrets import scan

CHANNEL_KEY = "channel_key"
"""The argument that shows the key of a project's channel."""


@dataclass(slots=True)
class Caller:
    """One connection's identity.

    Attributes:
        principal: who calls.
        project: the project of its folder; None where it has none.
        trouble: why it has none although it named a folder; told at every call that needs one.
        look_again: finds the project, or raises why not. Asked at each call, and cheap, because answers are kept:
            what was in the way may be gone, and nothing may be stored in a project that was merged or deleted
            since the connection began.
        bearer: the session token, where this service is a gateway and the token is another one's to judge.
        listed_as: whom the list of tools is for, where that is another than the principal.
        channel_key: shown with its broadcasts, so that no agent need write it into a call.
    """

    principal: Principal
    project: Project | None
    trouble: ZcError | None = None
    look_again: Callable[[], Project] | None = None
    bearer: str = field(default="", repr=False)
    listed_as: Principal | None = None
    channel_key: str = field(default="", repr=False)

    @property
    def has_project(self) -> bool:
        """Say whether it has one: by its folder, or by a token that another service judges."""
        return self.project is not None or bool(self.bearer)

    def call(
        self,
        corridor: Corridor,
        operation: str,
        arguments: dict[str, object],
        key: str = "",
        request: str = "",
    ) -> Answer:
        """Walk one call through the corridor; `key` and `request` as in `Call`."""
        self.find()
        key = key.encode("utf-8", "replace").decode()
        call = Call(
            new_id("call", 12),
            operation,
            self._with_key(operation, arguments),
            self.principal,
            now(),
            self.project,
            key,
            request,
            self.bearer,
        )
        answer = corridor.walk(call)
        if self.trouble is not None and answer.error is not None and answer.error.code == "no_project":
            return Answer({"error": self.trouble.as_dict()}, str(self.trouble), self.trouble)
        return answer

    def _with_key(self, operation: str, arguments: dict[str, object]) -> dict[str, object]:
        """Return the arguments of a call with the channel's key, where it takes one and names none."""
        asked = CATALOGUE.get(operation)
        if not self.channel_key or asked is None or CHANNEL_KEY not in asked.given.model_fields:
            return arguments
        return {CHANNEL_KEY: self.channel_key} | arguments

    def find(self) -> None:
        """Look for the project; what is in the way is kept, and told at every call that needs one."""
        if self.look_again is None:
            return
        try:
            self.project, self.trouble = self.look_again(), None
        except ZcError as error:
            if self.project is None:  # where a session's folder goes, its project stays
                self.trouble = error


def introduce(
    world: World,
    standing: Standing,
    door: str,
    peer: int | str,
    headers: dict[str, str],
    *,
    terminal: str = "",
    owner: str = "",
) -> Caller:
    """Return the caller behind a connection.

    Args:
        world: finds the project.
        standing: what the door stands for.
        door: its name, for the ledger.
        peer: its user id, as the kernel knows it, or the name of the token that it showed.
        headers: what the client says of itself: ``session``, ``client-session``, ``agent``, ``project-path``,
            ``scope``, ``channel-key``; and its session ``token``, which alone says who it is, where it shows one:
            never less strictly than without.
        terminal: of the peer's process, as the kernel knows it.
        owner: whose folders are meant, where several users come to one service; empty for the service's own user.

    Raises:
        Unauthenticated: it shows a token that does not count; a gateway looks at its form alone.
        Denied: ``token_of_other_agent``: it claims a name that its token does not say.
        InvalidInput: it claims an agent name or a session that no name can be, or that holds a secret.
        ContractBroken: the door found out too little, or nothing that the ledger can name.
    """
    token, channel_key = headers.get("token", ""), headers.get("channel-key", "")
    listed_as = None
    if token and world.facts.gateway:
        listed_as = principal_of(read_unverified(token), door)
    elif token:
        claims = world.credentials.identify(token)
        named = principal_of(claims, door, headers.get("agent", ""), hook=standing is Standing.HOOK)
        named = replace(named, client_session=_client_session(headers))
        return Caller(named, world.project(claims.ph), channel_key=channel_key)
    session = headers.get("session") or new_id(door, 12).replace("_", "-")
    if not is_session_name(session):
        raise InvalidInput("bad_session", "The session's name is not valid.", "Leave it out.")
    agent = headers.get("agent", "")
    for what, given in (("agent", agent), ("session", session)):
        if scan(given):  # a name stands as it is in the ledger and the log
            raise InvalidInput(
                "secret_in_name", f"The {what}'s name holds a secret.", "Use another name.", field=what
            )
    name = peer if isinstance(peer, str) else f"uid:{peer}"
    grounds = SecurityContext(name, session, door, frozenset(GRANTS.get(standing, ())), now())
    acting = create_secure_agent_context(validate_agent_id(agent or SHARED_NAMESPACE).value, grounds)
    claim = acting.agent_id if agent else ""
    principal = Principal(
        acting.security.principal,
        standing,
        door,
        acting.audit_trail.session,
        claim,
        terminal=terminal,
        client_session=_client_session(headers),
    )
    caller = Caller(principal, None, bearer=token, listed_as=listed_as, channel_key=channel_key)
    path = headers.get("project-path", "")
    if not path:
        return caller

    def find() -> Project:
        refuse_relative(path)
        return world.find_project(path, headers.get("scope", ""), owner)

    caller.look_again = find
    caller.find()
    return caller


def introduce_passed(world: World, claims: Claims, passed: Passed) -> Caller:
    """Return the caller of a call that a gateway passes on: the agent of the token beside it.

    Args:
        world: finds the project.
        claims: what the token says.
        passed: the call.

    Raises:
        Denied: ``token_of_other_agent``.
    """
    principal = principal_of(claims, "gateway", passed.agent, hook=passed.hook)
    told = hook_session(passed.client_session.removeprefix("claude-")) if passed.client_session else ""
    session = hook_session(passed.session.removeprefix("claude-")) if passed.hook else principal.session
    return Caller(replace(principal, session=session, client_session=told), world.project(claims.ph))


def _client_session(headers: dict[str, str]) -> str:
    given = headers.get("client-session", "")
    return hook_session(given) if given else ""


def principal_of(claims: Claims, door: str, claimed: str = "", *, hook: bool = False) -> Principal:
    """Return the agent that a session token names: with the rights of its role, at every door.

    Args:
        claims: what the token says.
        door: where it was shown.
        claimed: the agent's name that the client claims beside it.
        hook: whether it is a hook of the agent's session that shows it, which has a hook's rights alone.

    Raises:
        Denied: ``token_of_other_agent``.
    """
    if claimed not in ("", claims.aid):
        raise Denied(
            "token_of_other_agent",
            "The session token belongs to another agent than the one that is named.",
            "Leave the agent's name out: the token says it.",
        )
    return Principal(
        f"agent:{claims.aid}",
        Standing.HOOK if hook else Standing.AGENT,
        door,
        claims.sid,
        agent=claims.aid,
        role=claims.role,
        project=claims.ph,
        token=claims.tid,
    )
