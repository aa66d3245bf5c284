"""A large ledger, made as the product makes it: appended in batches, each placed, signed and anchored."""

from __future__ import annotations

import sys
import time
from functools import partial

from securecontext.app import App
from securecontext.app.checkpoints import EVERY_ENTRIES
from securecontext.storage.port import Transaction
from securecontext.types.ledger import EntryDraft

STREAMS = 50


def _job(transaction: Transaction, *, first: int, count: int) -> None:
    for number in range(first, first + count):
        body = {
            "operation": "zc_remember",
            "door": "mcp",
            "call": f"call_{number:012d}",
            "arguments": {"key": f"decision-{number % 80}", "importance": number % 5 + 1},
            "outcome": "ok",
        }
        transaction.record(
            EntryDraft(
                "uid:1000",
                f"session-{number % STREAMS}",
                f"agent-{number % STREAMS}",
                "call",
                body,
                {"value": f"what was decided in the matter {number}"},
            )
        )


def grow(app: App, project: str, entries: int) -> float:
    """Append so many entries to a project's ledger and return the seconds that it took.

    Args:
        app: in a data folder of its own.
        project: whose ledger.
        entries: how many.
    """
    begun = time.perf_counter()
    store = app.store(project)
    for first in range(0, entries, EVERY_ENTRIES):
        store.write(partial(_job, first=first, count=min(EVERY_ENTRIES, entries - first)))
        app.ledgers.checkpoint(store)
        if first % (EVERY_ENTRIES * 100) == 0 and first:
            print(f"  {first:,} entries", file=sys.stderr, flush=True)
    return time.perf_counter() - begun
