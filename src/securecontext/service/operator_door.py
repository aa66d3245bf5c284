"""The operator's own door: set a passphrase up, unlock a terminal, lock again; make an escrow, and check with one.

Apart from the operations, so that a passphrase never comes near the corridor, which enters arguments into the ledger
and keeps answers. One line in, ``{"do", "passphrase"}``, for ``recall`` also ``escrow`` and ``folder`` (of the project;
empty for the machine's ledger); one line out. What was asked and how it ended is an entry of the machine's ledger; the
passphrase is nowhere in it, nor is an escrow.
"""

from __future__ import annotations

import json
from typing import Any

from securecontext.app import App
from securecontext.storage.port import Store
from securecontext.types.errors import InvalidInput, ZcError
from securecontext.types.ledger import EntryDraft

SESSION = "operator"
DOOR = "operator"
DOES = ("init", "unlock", "lock", "escrow", "recall")


def attend(app: App, uid: int, terminal: str, line: bytes) -> dict[str, Any]:
    """Return the answer to one request, having entered it."""
    operation = "operator.unknown"
    refused: ZcError | None = None
    answer: dict[str, Any] = {"ok": True}
    try:
        do, passphrase, given = _parse(line)
        operation = f"operator.{do}"
        match do:
            case "init":
                app.operator.init(passphrase, terminal)
            case "unlock":
                app.operator.unlock(passphrase, terminal)
            case "escrow":
                app.operator.unlock(passphrase, terminal)
                answer["escrow"] = app.ledgers.escrow(passphrase)
            case "recall":
                app.operator.refuse_without(terminal)
                verdict = app.ledgers.verify_recalled(
                    _store(app, given["folder"]), given["escrow"], passphrase
                )
                answer |= {"structured": verdict.as_dict(), "text": verdict.as_text()}
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
    return answer


def _store(app: App, folder: str) -> Store:
    """Return the store whose ledger is meant."""
    if not folder:
        return app.machine
    project = app.known_project(folder)
    if project is None:
        raise InvalidInput(
            "no_project", "This folder has no project.", "Call from a project's folder, or use --machine."
        )
    return app.store(project)


def _parse(line: bytes) -> tuple[str, str, dict[str, str]]:
    try:
        asked = json.loads(line)
        do, passphrase = asked["do"], asked.get("passphrase", "")
        given = {name: asked[name] for name in ("escrow", "folder")} if do == "recall" else {}
        if do not in DOES or not all(isinstance(each, str) for each in (passphrase, *given.values())):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInput(
            "unknown_request", "The operator's door does not know this request.", "Use `zc operator --help`."
        ) from None
    return do, passphrase, given
