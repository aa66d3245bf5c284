"""What hooks noted while the service was away: drained into the ledger, then removed.

The hook writes files ``spool/<time>-<pid>.json`` with names, ids and times only. They are read through a jail: a link
among them leads nowhere, and a pipe is not waited for. A file that is no such note, or that nobody can enter, is set
aside as ``.bad``; one whose project cannot be used now stays for later. No note keeps those behind it from being
entered.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

from securecontext.app import App
from securecontext.boundaries.jail import Jail
from securecontext.boundaries.policy import Standing
from securecontext.hooks import handlers
from securecontext.pipeline import replay
from securecontext.pipeline.callers import Caller, introduce
from securecontext.types.errors import Denied, InvalidInput, NotFound, Unavailable, ZcError
from securecontext.types.ledger import EntryDraft
from securecontext.validators.filesystem import SafePath

log = logging.getLogger("securecontext.spool")
AT_ONCE = 1_000
NOTE_BYTES = 1024 * 1024
"""More than any note of names, ids and times has."""
EVENTS = frozenset({"pre-compact", "tool-used", "tool-failed", "stop", "session-end"})
PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""Troubles of the machine, not of the note."""


class _NoNote(Exception):
    """A file that will never be entered; the text says why."""


class Spool:
    """The notes of a data folder.

    Args:
        app: where they are entered.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._told: set[str] = set()

    def drain(self) -> int:
        """Enter what was spooled, oldest first; return how many notes were entered."""
        folder = self._app.settings.home / "spool"
        try:
            jail = Jail.at(folder)
        except (NotFound, Denied, InvalidInput):  # files of another folder are no notes
            return 0
        except Unavailable as error:
            self._tell(folder, f"cannot be read: {error.message}")
            return 0
        with jail:
            return self._drain(folder, jail)

    def _drain(self, folder: Path, jail: Jail) -> int:
        self._count_dropped(folder / "dropped")
        entered = 0
        closed: set[tuple[str, str, str]] = set()
        for name in [each for each in jail.names() if each.endswith(".json")]:
            entered += self._take(jail, folder / name, closed)
            if entered >= AT_ONCE:
                break
        return entered

    def _count_dropped(self, file: Path) -> None:
        """Enter how many notes found no room: hooks add a byte to a file for each."""
        counted = file.with_name("dropped.counted")
        try:
            if not counted.exists():
                file.rename(counted)  # hooks begin a new one
            count = counted.stat().st_size
            body = {"operation": "spool.dropped", "outcome": "lost", "arguments": {"notes": count}}
            draft = EntryDraft("system", "hooks", "", "observed", body)
            self._app.machine.write(lambda transaction: transaction.record(draft))
            counted.unlink()
        except FileNotFoundError:
            return
        except (OSError, ZcError) as error:
            self._tell(file, f"cannot be entered: {error}")
            return
        log.warning("%d notes of hooks found no room in the spool and are lost", count)

    def _take(self, jail: Jail, file: Path, closed: set[tuple[str, str, str]]) -> bool:
        """Enter one note; say whether it was.

        Args:
            jail: the folder, through which it is read.
            file: holds it.
            closed: projects that cannot be used now; found out once in a round.
        """
        try:
            note = _read(jail, file.name)
            session = str(note.get("session_id", "")) if self._app.upstreams else ""
            place = str(note["project_path"]), str(note.get("scope", "")), session
            if place in closed:
                return False
            try:
                _enter(self._app, note | {"spooled_as": file.stem})
            except InvalidInput as error:
                raise _NoNote(f"cannot be entered ({error.code})") from error
            except ZcError as error:
                closed.add(place)
                self._tell(file, f"stays in the spool: {error.code}")
                return False
            file.unlink(missing_ok=True)
        except FileNotFoundError:
            return False
        except (_NoNote, OSError, ValueError, TypeError) as error:
            if isinstance(error, OSError) and error.errno in PASSING:
                self._tell(file, f"stays in the spool: {error.strerror}")
                return False
            self._set_aside(file, str(error) if isinstance(error, _NoNote) else "cannot be entered")
            return False
        return True

    def _set_aside(self, file: Path, why: str) -> None:
        try:
            file.rename(file.with_suffix(".bad"))
        except OSError:
            self._tell(file, f"{why}; it cannot be set aside")
        else:
            log.warning("%s %s; it was set aside", file.name, why)

    def _tell(self, file: Path, what: str) -> None:
        """Say once what becomes of a note that is met again in every round."""
        if file.name not in self._told:
            self._told.add(file.name)
            log.warning("%s %s", file.name, what)


def _read(jail: Jail, name: str) -> dict[str, Any]:
    """Return a note; its ``project_path`` names a folder that exists."""
    try:
        raw = jail.read(SafePath.of(name), NOTE_BYTES, one_name=True)
    except NotFound as error:
        raise FileNotFoundError(name) from error
    except Unavailable as error:
        raise error.__cause__ or error from None  # the machine's own trouble, which may pass
    except ZcError as error:
        raise _NoNote(f"is no note of a hook ({error.code})") from error
    note = handlers.parse(raw)
    event, folder = note.get("event"), note.get("project_path") or note.get("cwd")
    if not (
        isinstance(event, str) and event in EVENTS and isinstance(folder, str) and folder.startswith("/")
    ):
        raise _NoNote("is no note of a hook")
    if not os.path.isdir(folder):  # noqa: PTH112 - any text may stand there, and this one never raises
        raise _NoNote("is about a folder that is gone")
    return note | {"project_path": folder}


def _enter(app: App, note: dict[str, Any]) -> None:
    event = str(note["event"])
    headers = {"project-path": note["project_path"], "scope": str(note.get("scope", ""))}
    agent = {"agent": str(note.get("agent", ""))}
    if app.bearers is not None:
        headers["token"] = app.bearers.of(handlers.session_of(note))
    try:
        caller = introduce(app, Standing.HOOK, "hook", os.getuid(), headers | agent)
    except InvalidInput:  # what the session did is entered all the same, without the name that is none
        caller = introduce(app, Standing.HOOK, "hook", os.getuid(), headers)
    if caller.trouble is not None and not caller.has_project:
        raise caller.trouble
    if _told_before(app, caller, event, note):
        return
    payload = {
        **note,
        "tool_input": {"file_path": note.get("file_path", "")},
        "spooled_at": str(note.get("ts", "")),
    }
    trouble = handlers.answer(app.corridor, caller, event, payload).trouble
    if trouble is not None and not (app.upstreams and trouble.code == "idempotency_key_reused"):
        raise trouble  # a key that was used says that the upstream has it: its hook had not waited for the answer


def _told_before(app: App, caller: Caller, event: str, note: dict[str, Any]) -> bool:
    """Say whether a tool call was entered although its hook, which had waited long enough, spooled it too."""
    outcome = {"tool-used": "ok", "tool-failed": "failed"}.get(event)
    key = handlers.observation_key(note, outcome) if outcome else ""
    if not key or caller.project is None or app.upstreams:
        return False
    with app.store(caller.project.id).read() as connection:
        if note.get("with_token") is True and replay.known_of_agents(
            connection, caller.project, "session.observed", key
        ):
            return True
        return replay.known(connection, caller.principal, caller.project, "session.observed", key)
