"""What holds of tasks and their leases: names, fences, and what a claim hands out.

The alphabet of names stands here once; `validators.tasks` refuses with it, contracts insist on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from securecontext.contracts import ensure, require

TASK_ID_LIMIT: Final = 100
ROLE_LIMIT: Final = 64
MOST_AT_ONCE: Final = 100
"""Tasks that one claim hands out at most."""

_TASK_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@#+-]{0,99}", re.ASCII)
_ROLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def is_task_id(text: object) -> bool:
    """Say whether a text is a task's id: ASCII letters, digits and ``. _ : @ # + -``, begun by a letter or digit."""
    return isinstance(text, str) and _TASK_ID.fullmatch(text) is not None


def is_role(text: object) -> bool:
    """Say whether a text names a role or pool of workers: ASCII letters, digits and ``. _ -``."""
    return isinstance(text, str) and _ROLE.fullmatch(text) is not None


class Leased(Protocol):
    """A task that was just claimed."""

    @property
    def task(self) -> int:
        """Its row."""

    @property
    def fence(self) -> int:
        """Its fencing token."""

    @property
    def until(self) -> str:
        """When the lease ends."""


def are_leases(leases: Sequence[Leased], count: int, moment: str) -> bool:
    """Say whether these are leases as a claim hands them out: of different tasks, each fenced, none over already."""
    return (
        len(leases) <= count
        and len({lease.task for lease in leases}) == len(leases)
        and all(lease.fence >= 1 and lease.until > moment for lease in leases)
    )


names_a_role = require(lambda role: is_role(role), "a queue has the name of a role")
"""For functions with an argument ``role``."""

claims_within_bounds = require(
    lambda count: 1 <= count <= MOST_AT_ONCE, "a claim is for one task or a bounded batch"
)
"""For functions with an argument ``count``."""

hands_out_leases = ensure(
    lambda result, count, moment: are_leases(result, count, moment),
    "a claim hands out leases of different tasks, each with a fence",
)
"""For what claims: arguments ``count`` and ``moment``, a timestamp."""

holds_a_fence = require(
    lambda held: is_role(held.role) and is_task_id(held.task_id) and held.fence >= 1,
    "who speaks of a task names it and shows a fence",
)
"""For functions with an argument ``held``."""
