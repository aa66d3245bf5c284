"""What a caller sees of the texts of a project, by notebook, class and author."""

from __future__ import annotations

from dataclasses import dataclass

from securecontext.boundaries.policy import SHARED_NAMESPACE, Principal, Standing
from securecontext.storage.acting import EVERY_NOTEBOOK, Actor
from securecontext.types.classification import CLASSIFICATIONS, SEALED


@dataclass(frozen=True, slots=True)
class Sight:
    """What a caller may see of the texts of a project.

    Attributes:
        name: the authenticated identity, whose own restricted texts it sees.
        notebooks: notebooks whose facts it sees; None for all.
        person: whether it is a person, who sees every class.
        elsewhere: whether it looks from another project: sealed classes are seen in their own project alone.
    """

    name: str
    notebooks: frozenset[str] | None
    person: bool = False
    elsewhere: bool = False

    def sees(self, classification: str, created_by: str) -> bool:
        """Say whether a text of this class and author is for the caller; a class that nobody knows never is."""
        if classification in SEALED:
            own = classification != "restricted" or self.person or created_by == self.name
            return own and not self.elsewhere
        return classification in CLASSIFICATIONS

    def sees_fact(self, agent: str, classification: str, created_by: str) -> bool:
        """Say whether a fact of a notebook is for the caller."""
        in_sight = self.notebooks is None or agent in self.notebooks
        return in_sight and self.sees(classification, created_by)


def sight_of(principal: Principal, *, elsewhere: bool = False) -> Sight:
    """Return what a caller sees: its own notebook and the shared one, a person all of them."""
    if principal.standing is Standing.PERSON:
        return Sight(principal.name, None, person=True, elsewhere=elsewhere)
    return Sight(principal.name, frozenset({principal.namespace, SHARED_NAMESPACE}), elsewhere=elsewhere)


def actor_of(principal: Principal, project: str, duty: str = "") -> Actor:
    """Return a caller as databases know it, for which the same holds.

    Args:
        principal: who calls.
        project: id of the project of the call; empty for none.
        duty: what the call does beyond what the caller may see; see `storage.acting`.
    """
    person = principal.standing is Standing.PERSON
    own = dict.fromkeys((principal.namespace, SHARED_NAMESPACE))
    return Actor(
        name=principal.name,
        kind="person" if person else "agent",
        role=principal.role or "",
        notebooks=EVERY_NOTEBOOK if person else ",".join(own),
        project=project,
        duty=duty,
    )
