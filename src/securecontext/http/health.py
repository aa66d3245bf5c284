"""``/health``: whether the parts work, found out by using them. No token, no ledger entry, no names.

Who shows a token that counts is told more: which engine holds the data, who signs the ledger, when it was verified.
"""

from __future__ import annotations

from typing import Any

from securecontext import __version__
from securecontext.pipeline.world import World
from securecontext.types.errors import ZcError
from securecontext.types.ids import timestamp

HEALTH_SECONDS = 5.0
"""How long the parts may take to answer; a store that takes longer does not work."""
PARTS = ("store", "ledger", "search")
EMBEDDER = "none"
"""Search is by words: there is no embedder that could be up or down."""


def health(world: World, *, known: bool) -> dict[str, Any]:
    """Return ``{"status", "version", "store", "ledger", "search", "embedder"}``; each part is ``ok`` or a code.

    Reads the machine's store: a query through its pool, its ledger's end, and one look into its full-text index.

    Args:
        world: of the service.
        known: whether who asks showed a token that counts.
    """
    parts = dict.fromkeys(PARTS, "unknown")
    more: dict[str, Any] = {}
    part = "store"
    try:
        machine = world.machine
        with machine.read() as connection:
            parts[part], part = "ok", "ledger"
            entries, streams = world.ledgers.size(connection)
            parts[part], part = "ok" if entries and streams else "empty", "search"
            machine.text.match(connection, "", ["health"], 1)
            parts[part] = "ok"
        if known:
            more = {
                "engine": world.facts.engine,
                "signer": world.ledgers.signer,
                "verified_at": world.ledgers.verified_at(machine) or None,
                "moment": timestamp(world.clock()),
            }
    except ZcError as error:
        parts[part] = error.code
    return {**_said(parts), **more}


def unanswered() -> dict[str, Any]:
    """Return what is said where the parts did not answer in time."""
    return _said({**dict.fromkeys(PARTS, "unknown"), "store": "no_answer"})


def _said(parts: dict[str, str]) -> dict[str, Any]:
    ok = all(said == "ok" for said in parts.values())
    return {
        "status": "ok" if ok else "degraded",
        "version": __version__,
        **parts,
        "embedder": EMBEDDER,
    }
