"""When a task that failed is tried again, and when no more. Pure.

Exponential backoff with equal jitter: half of the pause is certain, the other half is chance, so that tasks that failed
together do not come back together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from securecontext.contracts import ensure, require

ATTEMPTS: Final = 3
"""How often a task is tried unless its enqueuer says otherwise."""
MOST_ATTEMPTS: Final = 20
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=10)


def is_spent(attempts: int, most: int, *, final: bool = False) -> bool:
    """Say whether a task that failed is dead: its attempts are used up, or whoever failed says that none would help."""
    return final or attempts >= most


@require(lambda attempts: attempts >= 1, "what failed was tried")
@require(lambda chance: 0 <= chance < 1, "chance is a share")
@ensure(lambda result: FIRST_PAUSE / 2 <= result <= LONGEST_PAUSE, "a pause is bounded on both sides")
def pause_after(attempts: int, chance: float) -> timedelta:
    """Return how long a task rests after its so-many-th attempt failed.

    Args:
        attempts: 1, 2, 3 …
        chance: uniform in [0, 1).
    """
    doubled: timedelta = FIRST_PAUSE * 2 ** min(attempts - 1, 16)
    whole = min(doubled, LONGEST_PAUSE)
    return whole / 2 + whole / 2 * chance
