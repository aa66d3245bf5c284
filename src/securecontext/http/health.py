"""``/health``: whether the parts work, found out by using them. No token, no ledger entry, no names."""

from __future__ import annotations

from typing import Any

from securecontext import __version__
from securecontext.pipeline.world import World
from securecontext.types.errors import ZcError


def health(world: World) -> dict[str, Any]:
    """Return ``{"status", "version", "store", "ledger", "search"}``; each part is ``ok`` or the code of its trouble.

    Reads the machine's store: its ledger's end, and one look into its full-text index.
    """
    parts = {"store": "unknown", "ledger": "unknown", "search": "unknown"}
    part = "store"
    try:
        machine = world.machine
        with machine.read() as connection:
            parts[part], part = "ok", "ledger"
            entries, streams = world.ledgers.size(connection)
            parts[part], part = "ok" if entries and streams else "empty", "search"
            machine.text.match(connection, "", ["health"], 1)
            parts[part] = "ok"
    except ZcError as error:
        parts[part] = error.code
    ok = all(said == "ok" for said in parts.values())
    return {"status": "ok" if ok else "degraded", "version": __version__, **parts}
