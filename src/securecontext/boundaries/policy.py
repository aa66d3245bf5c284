"""Who may do what: one check, a permission enum, and refusal as the default.

A principal is who the door authenticated: the uid at the other end of the socket, or the holder of the service's
HTTP token. What a caller claims about itself (an agent's name, a role) selects a memory namespace and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from securecontext.contracts.security import named_in_the_ledger, only_allows
from securecontext.types.errors import Denied


class Permission(StrEnum):
    """Everything that can be allowed."""

    MEMORY_READ = "memory.read"
    MEMORY_WRITE = "memory.write"
    ARCHIVE_READ = "archive.read"
    ARCHIVE_WRITE = "archive.write"
    ARCHIVE_READ_ALL = "archive.read-all-projects"
    STATUS_READ = "status.read"
    SESSION_REPORT = "session.report"
    MEMORY_MANAGE = "memory.manage"
    PROJECT_MANAGE = "project.manage"
    LEDGER_READ = "ledger.read"
    LEDGER_MANAGE = "ledger.manage"
    SERVICE_MANAGE = "service.manage"
    KEYS_MANAGE = "keys.manage"


class Standing(StrEnum):
    """In what capacity a principal calls, decided by the door it came through."""

    AGENT = "agent"
    HOOK = "hook"
    PERSON = "person"


_AGENT = frozenset(
    {
        Permission.MEMORY_READ,
        Permission.MEMORY_WRITE,
        Permission.ARCHIVE_READ,
        Permission.ARCHIVE_WRITE,
        Permission.ARCHIVE_READ_ALL,
        Permission.STATUS_READ,
    }
)
GRANTS: dict[Standing, frozenset[Permission]] = {
    Standing.AGENT: _AGENT,
    Standing.HOOK: frozenset({Permission.SESSION_REPORT, Permission.MEMORY_READ}),
    Standing.PERSON: frozenset(Permission),
}
"""The whole matrix. A standing that is not here, or a permission that is not in its row, is refused."""

SHARED_NAMESPACE = "default"


@named_in_the_ledger
@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls.

    Attributes:
        name: the authenticated identity, e.g. ``uid:1000``.
        standing: in what capacity.
        door: ``mcp``, ``http``, ``hook`` or ``cli``.
        session: the session; with the name it makes the ledger's stream.
        claimed_agent: unverified agent name; empty when none is claimed.
    """

    name: str
    standing: Standing
    door: str
    session: str
    claimed_agent: str = ""

    @property
    def namespace(self) -> str:
        """The memory namespace that the claim selects."""
        return self.claimed_agent or SHARED_NAMESPACE


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of a policy, with its reason."""

    allowed: bool
    reason: str


def decide(principal: Principal, permission: Permission) -> Decision:
    """Return whether the principal may, and why."""
    granted = GRANTS.get(principal.standing, frozenset())
    if permission in granted:
        return Decision(True, f"{principal.standing} may {permission}")
    return Decision(False, f"{principal.standing} callers may not {permission}")


class Policy:
    """The one check that every door passes through."""

    @only_allows
    def check(self, principal: Principal, permission: Permission) -> Decision:
        """Return the decision that allowed the call.

        Raises:
            Denied: the principal may not; the message carries the reason.
        """
        decision = decide(principal, permission)
        if not decision.allowed:
            raise Denied(
                "not_permitted",
                f"Not permitted: {decision.reason}.",
                "A person can do this with `zc` on the command line.",
                permission=str(permission),
            )
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
