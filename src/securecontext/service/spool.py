"""What hooks noted while the service was away: drained into the ledger, then removed.

The hook writes files ``spool/<time>-<pid>.json`` with names, ids and times only. A file that is no such note is set
aside as ``.bad``; one whose project cannot be used now stays for later.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from securecontext.app import App
from securecontext.boundaries.policy import Standing
from securecontext.hooks import handlers
from securecontext.pipeline import replay
from securecontext.pipeline.callers import Caller, introduce
from securecontext.types.errors import ZcError

log = logging.getLogger("securecontext.spool")
AT_ONCE = 1_000
EVENTS = {"pre-compact", "tool-used", "tool-failed", "stop", "session-end"}


def drain(app: App) -> int:
    """Enter what was spooled, oldest first; return how many notes were entered."""
    folder = app.settings.home / "spool"
    if not folder.is_dir():
        return 0
    entered = 0
    for file in sorted(folder.glob("*.json"))[:AT_ONCE]:
        try:
            note = handlers.parse(file.read_bytes())
        except OSError:
            continue
        event, cwd = note.get("event"), note.get("project_path") or note.get("cwd")
        if event not in EVENTS or not isinstance(cwd, str) or not cwd.startswith("/"):
            file.rename(file.with_suffix(".bad"))
            log.warning("%s is no note of a hook; it was set aside", file.name)
            continue
        if not Path(cwd).is_dir():
            file.rename(file.with_suffix(".bad"))
            log.warning("%s is about a folder that is gone; it was set aside", file.name)
            continue
        try:
            _enter(app, str(event), cwd, {**note, "spooled_as": file.stem})
        except ZcError as error:
            log.warning("%s stays in the spool: %s", file.name, error.code)
            continue
        file.unlink(missing_ok=True)
        entered += 1
    return entered


def _enter(app: App, event: str, cwd: str, note: dict[str, Any]) -> None:
    headers = {"project-path": cwd, "agent": str(note.get("agent", "")), "scope": str(note.get("scope", ""))}
    caller = introduce(app, Standing.HOOK, "hook", os.getuid(), headers)
    if caller.trouble is not None:
        raise caller.trouble
    if _told_before(app, caller, event, note):
        return
    payload = {
        **note,
        "tool_input": {"file_path": note.get("file_path", "")},
        "spooled_at": str(note.get("ts", "")),
    }
    handlers.answer(app.corridor, caller, event, payload)


def _told_before(app: App, caller: Caller, event: str, note: dict[str, Any]) -> bool:
    """Say whether a tool call was entered although its hook, which had waited long enough, spooled it too."""
    outcome = {"tool-used": "ok", "tool-failed": "failed"}.get(event)
    key = handlers.observation_key(note, outcome) if outcome else ""
    if not key or caller.project is None:
        return False
    with app.store(caller.project.id).read() as connection:
        return replay.known(connection, caller.principal.name, "session.observed", key)
