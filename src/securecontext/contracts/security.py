"""The core contracts: who is named, that somebody who acts is recorded, and what a ledger and a notebook always keep.

Conditions are plain predicates over values of `types`; what needs a database is stated where the database is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from securecontext.contracts import ensure, invariant, require
from securecontext.contracts.agent import is_agent_id
from securecontext.contracts.session import is_session_name
from securecontext.types.ledger import FIELD_LIMITS, stream_of
from securecontext.types.security import AgentId, AuditTrail, SecureAgentContext, SecurityContext


@require(lambda agent_id: is_agent_id(agent_id), "an agent that acts has an agent id")
@require(lambda security_ctx: security_ctx.is_valid(), "an agent acts on valid grounds")
@ensure(lambda result: result.audit_trail.is_complete(), "nothing that an agent does can go unrecorded")
def create_secure_agent_context(agent_id: AgentId, security_ctx: SecurityContext) -> SecureAgentContext:
    """Return the context in which an agent acts: no context, no acting.

    Args:
        agent_id: from `validators.input.validate_agent_id`.
        security_ctx: what the door found out.

    Raises:
        ContractBroken: the agent has no id, the grounds are not valid, or the ledger could not name what it does.
    """
    who, session = security_ctx.principal, security_ctx.session
    trail = AuditTrail(who, session, agent_id, stream_of(who, session))
    return SecureAgentContext(agent_id, security_ctx, trail)


class Named(Protocol):
    """Somebody whom the ledger names."""

    @property
    def name(self) -> str:
        """The authenticated identity."""

    @property
    def session(self) -> str:
        """The session."""

    @property
    def claimed_agent(self) -> str:
        """The claimed agent; empty for none."""


def is_nameable(who: Named) -> bool:
    """Say whether the ledger can name somebody in each of its entries: identity, session and claim."""
    return (
        bool(who.name)
        and who.name.isprintable()
        and len(who.name) <= FIELD_LIMITS["principal"]
        and is_session_name(who.session)
        and (not who.claimed_agent or is_agent_id(who.claimed_agent))
    )


named_in_the_ledger = invariant(lambda self: is_nameable(self), "the ledger can name a principal")
"""For classes that say who acts."""


class Place(Protocol):
    """An entry's place in its stream."""

    @property
    def stream(self) -> str:
        """The stream's name."""

    @property
    def seq(self) -> int:
        """Its number within the stream."""


def is_gapless(places: Sequence[Place]) -> bool:
    """Say whether the places of each stream follow one another: no number is left out, given twice, or goes back."""
    last: dict[str, int] = {}
    for place in places:
        if last.get(place.stream, place.seq - 1) != place.seq - 1:
            return False
        last[place.stream] = place.seq
    return True


places_every_draft = ensure(
    lambda result, drafts: [place.stream for place in result] == [draft.stream for draft in drafts],
    "every draft has its place, in its own stream and in the order given",
)
"""For what appends ``drafts`` to a ledger and returns their places."""

leaves_no_gap = ensure(lambda result: is_gapless(result), "a stream's numbers have no gap")
"""For what returns places in a ledger."""

only_allows = ensure(lambda result: result.allowed, "a check returns what is allowed, and raises what is not")
"""For what returns a decision only when it allows."""

keeps_its_target = invariant(
    lambda self: self.limit > 0 and 0 <= self.target <= self.limit,
    "an eviction leaves no more than the limit",
)
"""For classes with the ``limit`` of a notebook and the ``target`` of its eviction."""
