"""The doctor's look at the stored state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from securecontext.cli.answers import ask
from securecontext.cli.findings import Check, Health, guarded


def stored_state() -> Iterator[Check]:
    """Yield each invariant of the stored state that is broken, or that all hold."""
    found: list[Any] = []

    def ask_for_it() -> Check:
        found.extend(ask("state.check", {}).structured.get("flaws", ()))
        return Check("state", Health.OK, "heads, leases, trees, notebooks and tokens are as they always are")

    asked = guarded("state", ask_for_it)
    yield from (
        [Check("state", Health.FAIL, f"{f['says']} [{f['code']}]", f["next"]) for f in found] or [asked]
    )
