"""Who may do what: one check, a permission enum, and refusal as the default.

A principal is who the door authenticated: the agent that a session token names, the uid at the other end of the
socket, or the holder of the service's HTTP token. What a caller claims about itself without a token (an agent's name,
a role) selects a memory namespace and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from securecontext.contracts.security import named_in_the_ledger, only_allows
from securecontext.types.errors import Denied, Unauthenticated


class Permission(StrEnum):
    """Everything that can be allowed."""

    MEMORY_READ = "memory.read"
    MEMORY_WRITE = "memory.write"
    ARCHIVE_READ = "archive.read"
    ARCHIVE_WRITE = "archive.write"
    ARCHIVE_READ_ALL = "archive.read-all-projects"
    WEB_FETCH = "web.fetch"
    EGRESS_READ = "egress.read"
    EGRESS_ALLOW = "egress.allow"
    STATUS_READ = "status.read"
    SESSION_REPORT = "session.report"
    SESSION_PURGE = "session.purge"
    SESSION_PURGE_ANY = "session.purge-any"
    BACKUP_MAKE = "backup.make"
    BACKUP_RESTORE = "backup.restore"
    MEMORY_MANAGE = "memory.manage"
    PROJECT_MANAGE = "project.manage"
    LEDGER_READ = "ledger.read"
    LEDGER_MANAGE = "ledger.manage"
    LEDGER_VERIFY = "ledger.verify"
    SERVICE_MANAGE = "service.manage"
    KEYS_MANAGE = "keys.manage"
    SECRETS_ALLOW = "secrets.allow"
    TASK_ENQUEUE = "task.enqueue"
    TASK_WORK = "task.work"
    TASK_READ = "task.read"
    TASK_MANAGE = "task.manage"
    TOKEN_MANAGE = "token.manage"  # noqa: S105 - the name of a permission
    CHANNEL_MANAGE = "channel.manage"
    BROADCAST_READ = "broadcast.read"
    BROADCAST_ACK = "broadcast.ack"
    BROADCAST_SEND = "broadcast.send"
    BROADCAST_ASSIGN = "broadcast.assign"
    BROADCAST_STATUS = "broadcast.status"
    BROADCAST_PROPOSED = "broadcast.proposed"
    BROADCAST_DEPENDENCY = "broadcast.dependency"
    BROADCAST_MERGE = "broadcast.merge"
    BROADCAST_REJECT = "broadcast.reject"
    BROADCAST_REVISE = "broadcast.revise"
    BROADCAST_LAUNCH_ROLE = "broadcast.launch-role"
    BROADCAST_RETIRE_ROLE = "broadcast.retire-role"
    OWNERSHIP_READ = "ownership.read"
    OWNERSHIP_CHECK = "ownership.check"
    OWNERSHIP_GIVE = "ownership.give"
    OWNERSHIP_GIVE_ANY = "ownership.give-any"
    CODE_EXECUTE = "code.execute"
    SANDBOX_MANAGE = "sandbox.manage"


class Standing(StrEnum):
    """In what capacity a principal calls, decided by the door it came through; a session token makes an agent."""

    AGENT = "agent"
    HOOK = "hook"
    PERSON = "person"
    MEMBER = "member"
    """A user of a system service, by whichever door: works in projects of its own, and manages nothing."""


class Role(StrEnum):
    """What an agent with a session token is; one without is a single session and has no role."""

    ORCHESTRATOR = "orchestrator"
    DEVELOPER = "developer"
    MARKETER = "marketer"
    RESEARCHER = "researcher"
    WORKER = "worker"


_IN_PROJECT = frozenset(
    {
        Permission.MEMORY_READ,
        Permission.MEMORY_WRITE,
        Permission.ARCHIVE_READ,
        Permission.ARCHIVE_WRITE,
        Permission.WEB_FETCH,
        Permission.STATUS_READ,
    }
)
GRANTS: dict[Standing, frozenset[Permission]] = {
    Standing.AGENT: _IN_PROJECT | {Permission.ARCHIVE_READ_ALL, Permission.CODE_EXECUTE},
    Standing.HOOK: frozenset({Permission.SESSION_REPORT, Permission.MEMORY_READ, Permission.OWNERSHIP_CHECK}),
    Standing.PERSON: frozenset(Permission),
    Standing.MEMBER: _IN_PROJECT | {Permission.LEDGER_VERIFY},
}
"""The matrix of callers without a session token. What is not in a row is refused."""

_MEMBER = _IN_PROJECT | {
    Permission.LEDGER_VERIFY,
    Permission.SESSION_PURGE,
    Permission.TASK_WORK,
    Permission.TASK_READ,
    Permission.BROADCAST_READ,
    Permission.BROADCAST_ACK,
    Permission.BROADCAST_SEND,
    Permission.BROADCAST_STATUS,
    Permission.BROADCAST_MERGE,
    Permission.OWNERSHIP_READ,
    Permission.OWNERSHIP_CHECK,
    Permission.OWNERSHIP_GIVE,
    Permission.CODE_EXECUTE,
}
OF_ONES_OWN_WORK = frozenset({Permission.BROADCAST_PROPOSED, Permission.BROADCAST_DEPENDENCY})
"""What only who works says, of its own work. An orchestrator has no use for it, and hands it on all the same."""
_WORKER = _MEMBER | OF_ONES_OWN_WORK
_LEADING = frozenset(
    {
        Permission.TOKEN_MANAGE,
        Permission.SESSION_PURGE_ANY,
        Permission.TASK_ENQUEUE,
        Permission.BROADCAST_ASSIGN,
        Permission.BROADCAST_REJECT,
        Permission.BROADCAST_REVISE,
        Permission.BROADCAST_LAUNCH_ROLE,
        Permission.BROADCAST_RETIRE_ROLE,
        Permission.OWNERSHIP_GIVE_ANY,
    }
)
ROLE_GRANTS: dict[Role, frozenset[Permission]] = {
    Role.ORCHESTRATOR: _MEMBER | _LEADING,
    Role.DEVELOPER: _WORKER,
    Role.MARKETER: _WORKER,
    Role.RESEARCHER: _WORKER,
    Role.WORKER: _WORKER,
}
"""The matrix of agents with a session token. It is bound to one project, so no role looks into all of them.

What a hook reports for such an agent is reported in its name, with the rights of a hook and no others.
"""

OPERATOR_ONLY = frozenset(
    {
        Permission.SECRETS_ALLOW,
        Permission.EGRESS_ALLOW,
        Permission.TOKEN_MANAGE,
        Permission.KEYS_MANAGE,
        Permission.LEDGER_MANAGE,
        Permission.SESSION_PURGE_ANY,
        Permission.BACKUP_RESTORE,
        Permission.CHANNEL_MANAGE,
        Permission.OWNERSHIP_GIVE_ANY,
        Permission.SANDBOX_MANAGE,
        *(permission for permission in Permission if permission.startswith("broadcast.")),
    }
) - {Permission.BROADCAST_READ}
"""What a person may only at a terminal that the operator has unlocked."""

SHARED_NAMESPACE = "default"
OPERATOR = "operator"
"""How a person stands among agents; no agent has this name."""


@named_in_the_ledger
@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls.

    Attributes:
        name: the authenticated identity, e.g. ``uid:1000`` or ``agent:alice``.
        standing: in what capacity.
        door: ``mcp``, ``http``, ``hook`` or ``cli``.
        session: the session; with the name it makes the ledger's stream.
        claimed_agent: unverified agent name; empty when none is claimed, or a token tells it.
        agent: the agent that a session token names; empty without one.
        role: its role; None without a token.
        project: id of the project that the token is bound to; empty without one.
        token: id of the token, by which it is looked up at each call; empty without one.
        terminal: the terminal of the peer's process, as the kernel knows it; empty where it has none.
        client_session: the client's own session as its hooks report it, unverified; empty where it tells none.
    """

    name: str
    standing: Standing
    door: str
    session: str
    claimed_agent: str = ""
    agent: str = ""
    role: Role | None = None
    project: str = ""
    token: str = ""
    terminal: str = ""
    client_session: str = ""

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions that are the caller's own."""
        return tuple(dict.fromkeys(s for s in (self.session, self.client_session) if s))

    @property
    def namespace(self) -> str:
        """The caller's own notebook: the token's agent, else the one that the claim selects."""
        return self.agent or self.claimed_agent or SHARED_NAMESPACE


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of a policy, with its reason."""

    allowed: bool
    reason: str


def decide(principal: Principal, permission: Permission) -> Decision:
    """Return whether the matrix lets the principal, and why."""
    if principal.token:
        granted = ROLE_GRANTS.get(principal.role, frozenset()) if principal.role else frozenset()
        who = f"the role {principal.role}"
        if granted and principal.standing is Standing.HOOK:
            granted, who = GRANTS[Standing.HOOK], f"hooks of the role {principal.role}"
    else:
        granted, who = GRANTS.get(principal.standing, frozenset()), f"{principal.standing} callers"
    if permission in granted:
        return Decision(True, f"{who} may {permission}")
    return Decision(False, f"{who} may not {permission}")


class Unlocked(Protocol):
    """Knows at which terminals the operator is; see `operator.Operator`."""

    def refuse_locked(self, terminal: str) -> None:
        """Refuse unless the operator has unlocked this terminal."""


class Policy:
    """The one check that every door passes through.

    Args:
        operator: knows where the operator is; without one, nothing that needs an operator is allowed.
    """

    def __init__(self, operator: Unlocked | None = None) -> None:
        self._operator = operator

    @only_allows
    def check(self, principal: Principal, permission: Permission, resource: str = "") -> Decision:
        """Return the decision that allowed the call.

        Args:
            principal: who calls.
            permission: what for.
            resource: id of the project that the call works on; empty where it works on none.

        Raises:
            Unauthenticated: ``token_of_other_project``: a session token says nothing about another project.
            Denied: the principal may not; the message carries the reason.
        """
        if principal.token and resource != principal.project and resource:
            raise other_project()
        decision = decide(principal, permission)
        if not decision.allowed:
            raise Denied(
                "not_permitted",
                f"Not permitted: {decision.reason}.",
                "A person can do this with `zc` on the command line.",
                permission=str(permission),
            )
        if permission in OPERATOR_ONLY and not principal.token:
            if self._operator is None:
                raise Denied(
                    "operator_needed",
                    "Only an operator may do this.",
                    "Ask the operator.",
                    permission=str(permission),
                )
            self._operator.refuse_locked(principal.terminal)
        return decision

    def check_namespace(self, principal: Principal, namespace: str) -> None:
        """Refuse an agent that names another agent's notebook; its own and the shared one are open to it.

        Raises:
            Denied: the namespace belongs to another agent.
        """
        if principal.standing is Standing.PERSON or namespace in (principal.namespace, SHARED_NAMESPACE):
            return
        raise Denied(
            "other_agent",
            "That notebook belongs to another agent.",
            f"Leave agent_id out (yours is {principal.namespace}), or name {SHARED_NAMESPACE}, which all agents share.",
        )

    def check_purge(self, principal: Principal, session: str | None, resource: str) -> bool:
        """Say whether a caller may purge whatever a session left (True), or only its own part of its own (False).

        Args:
            principal: who calls.
            session: which; None for the caller's own.
            resource: id of the project.

        Raises:
            Denied: neither: it is another's session, and the caller is no orchestrator or operator.
        """
        try:
            self.check(principal, Permission.SESSION_PURGE_ANY, resource)
        except Denied:
            if session is not None and session not in principal.sessions:
                raise
            return False
        return True

    def check_task_role(self, principal: Principal, role: str) -> None:
        """Refuse an agent the tasks of another role than its token's.

        A queue that has no role's name is a pool of workers', and the role ``worker`` works for all of them.

        Raises:
            Denied: ``other_role``.
        """
        if not principal.token or role == principal.role:
            return
        if principal.role is Role.WORKER and role not in tuple(Role):
            return
        raise Denied(
            "other_role",
            f"The role {principal.role} does not work on tasks of the role {role}.",
            "Claim tasks of your own role, or ask the orchestrator for a token of that one.",
        )

    def check_broadcast(self, principal: Principal, kind: str, resource: str) -> None:
        """Refuse a type of broadcast that is not for the caller's role.

        Args:
            principal: who wants to send it.
            kind: the type, e.g. ``LAUNCH_ROLE``.
            resource: id of the project.

        Raises:
            Denied: as `check`.
        """
        self.check(principal, Permission(f"broadcast.{kind.lower().replace('_', '-')}"), resource)

    def check_issue(self, principal: Principal, role: Role) -> None:
        """Refuse to hand on more than the issuer has.

        Raises:
            Denied: ``role_above_own``.
        """
        if principal.role is None or ROLE_GRANTS[role] - OF_ONES_OWN_WORK <= ROLE_GRANTS[principal.role]:
            return
        raise Denied(
            "role_above_own",
            f"The role {principal.role} cannot issue a token of the role {role}.",
            "Ask the operator: `zc token issue`.",
        )


def other_project() -> Unauthenticated:
    """Return the refusal of a session token at another project than its own."""
    return Unauthenticated(
        "token_of_other_project",
        "The session token belongs to another project.",
        "Ask for a token of this project, or leave the project's folder out: the token names it.",
        reason="other project",
    )
