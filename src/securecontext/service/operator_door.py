"""The operator's own door: set a passphrase up, unlock a terminal, lock again.

Apart from the operations, so that a passphrase never comes near the corridor, which enters arguments into the ledger
and keeps answers. One line in, ``{"do", "passphrase"}``, one line out. What was asked and how it ended is an entry of
the machine's ledger; the passphrase is nowhere in it.
"""

from __future__ import annotations

import json
from typing import Any

from securecontext.app import App
from securecontext.types.errors import InvalidInput, ZcError
from securecontext.types.ledger import EntryDraft

SESSION = "operator"
DOOR = "operator"


def attend(app: App, uid: int, terminal: str, line: bytes) -> dict[str, Any]:
    """Return the answer to one request, having entered it."""
    operation = "operator.unknown"
    refused: ZcError | None = None
    try:
        do, passphrase = _parse(line)
        operation = f"operator.{do}"
        match do:
            case "init":
                app.operator.init(passphrase, terminal)
            case "unlock":
                app.operator.unlock(passphrase, terminal)
            case _:
                app.operator.lock()
    except ZcError as error:
        refused = error
    outcome = "ok" if refused is None else refused.code
    body = {"door": DOOR, "operation": operation, "outcome": outcome, "arguments": {}}
    kind = "call" if refused is None else "refusal"
    draft = EntryDraft(f"uid:{uid}", SESSION, "", kind, body)  # type: ignore[arg-type]  # both are kinds
    try:
        app.machine.write(lambda transaction: transaction.record(draft))
    except ZcError:
        app.operator.lock()  # what cannot be entered does not count
        raise
    if refused is not None:
        raise refused
    return {"ok": True}


def _parse(line: bytes) -> tuple[str, str]:
    try:
        asked = json.loads(line)
        do, passphrase = asked["do"], asked.get("passphrase", "")
        if do not in ("init", "unlock", "lock") or not isinstance(passphrase, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInput(
            "unknown_request", "The operator's door does not know this request.", "Use `zc operator --help`."
        ) from None
    return do, passphrase
