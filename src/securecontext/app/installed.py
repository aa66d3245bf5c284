"""The installed code against its signed baseline: decide, accept what vouches for itself, enter what was found."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from securecontext.boundaries.code.baseline import FILE, BaselineFile
from securecontext.boundaries.code.installation import Installation
from securecontext.boundaries.code.integrity import (
    ACCEPTED_BY_ITSELF,
    Baseline,
    Difference,
    Judgement,
    Seen,
    State,
    judge,
)
from securecontext.boundaries.keys import Keyring
from securecontext.storage import meta_rows
from securecontext.storage.port import Store, Transaction
from securecontext.types.errors import Tampered, Unavailable, ZcError
from securecontext.types.ledger import EntryDraft

log = logging.getLogger("securecontext.integrity")
REMEMBERED = "integrity"
"""Name of the row of the machine's `meta` that holds the MAC of the baseline accepted last."""
NAMED = 20
"""Files that an entry or a sentence names at most."""


def _go_on() -> None:
    """Wait for nobody."""


class InstalledCode:
    """The installed code of this service. Safe to share by threads.

    Args:
        installation: where it lies.
        keyring: signs the baseline.
        machine: returns the machine's store.
    """

    def __init__(self, installation: Installation, keyring: Keyring, machine: Callable[[], Store]) -> None:
        self._installation = installation
        self._file = BaselineFile(installation.home, keyring)
        self._machine = machine
        self._entered: Judgement | None = None
        self._lock = threading.Lock()

    def check(self, pause: Callable[[], None] = _go_on) -> Judgement:
        """Compare the code with its baseline; make a new one where the files vouch for themselves, as an entry.

        A finding is an entry of the machine's ledger and a line in the log, once as long as it stays the same.

        Args:
            pause: called between files; waits as long as others need the interpreter.

        Raises:
            Unavailable: files cannot be read or written, or the machine's store cannot be used.
        """
        with self._lock:
            return self._checked(pause)

    def _checked(self, pause: Callable[[], None]) -> Judgement:
        try:
            found = self._judged(pause)
        except Tampered as error:
            broken = (Difference(FILE, "changed"),)
            found = Judgement(State.CHANGED, error.message, broken, self._installation.version)
        except OSError as error:
            raise _unreadable(error) from error
        if found.state is State.CHANGED and found != self._entered:
            log.error(
                "the installed code is not what was accepted: %s %s", found.why, told(found.differences)
            )
            self._enter(found)
        self._entered = found
        return found

    def _judged(self, pause: Callable[[], None]) -> Judgement:
        baseline = self._file.load(self._remembered())
        seen = self._installation.look(pause)
        found = judge(baseline, seen)
        if found.state in ACCEPTED_BY_ITSELF:
            self._accept(seen, found)
        return found

    def accept(self) -> Judgement:
        """Make what is there now the baseline; return what would have been thought of it otherwise.

        Raises:
            Tampered: ``bytecode_forged``: bytecode that its source does not compile to cannot be accepted.
            Unavailable: as `check`.
        """
        with self._lock:
            found = self._checked(_go_on)
            forged = [each.name for each in found.differences if each.how == "forged"]
            if forged:
                raise Tampered(
                    "bytecode_forged",
                    f"Bytecode that its source does not compile to cannot be accepted: {_named(forged)}.",
                    "Remove those files, or install SecureContext again.",
                )
            try:
                self._accept(self._installation.look(_go_on), found, by="person")
            except OSError as error:
                raise _unreadable(error) from error
            return found

    def require_sound(self) -> None:
        """Refuse to go on with code that nobody accepted.

        Raises:
            Tampered: ``code_changed`` or ``code_unaccepted``.
            Unavailable: as `check`: what cannot be looked at is not sound.
        """
        found = self.check()
        if found.sound:
            return
        if found.state is State.CHANGED:
            raise Tampered(
                "code_changed",
                f"The service does not start with changed code, as ZC_STRICT_INTEGRITY demands. {found.why} "
                f"{told(found.differences)}",
                "Install SecureContext again; if the change is yours, start without ZC_STRICT_INTEGRITY and run "
                "`zc integrity accept --yes`.",
            )
        raise Tampered(
            "code_unaccepted",
            f"The service does not start with unaccepted code, as ZC_STRICT_INTEGRITY demands. {found.why}",
            "Start it without ZC_STRICT_INTEGRITY, run `zc integrity accept --yes`, then start it again.",
        )

    # What is kept

    def _remembered(self) -> str:
        with self._machine().read() as connection:
            return meta_rows.read(connection, REMEMBERED) or ""

    def _accept(self, seen: Seen, found: Judgement, by: str = "") -> None:
        """Make what was seen the baseline. A crash between file and row leaves a finding, never a silent change."""
        mac = self._file.save(Baseline(seen.version, seen.files))
        body = {
            "operation": "integrity.baseline",
            "outcome": "ok",
            "arguments": {
                "how": by or str(found.state),
                "version": seen.version,
                "before": found.before,
                "files": len(seen.files),
                "differences": [f"{each.how} {each.name}" for each in found.differences[:NAMED]],
            },
        }

        def remember(transaction: Transaction) -> None:
            meta_rows.put(transaction.connection, REMEMBERED, mac)
            transaction.record(EntryDraft("system", "integrity", "", "call", body))

        self._machine().write(remember)
        log.info("accepted version %s of the code (%s)", seen.version, by or found.state)

    def _enter(self, found: Judgement) -> None:
        body = {
            "operation": "integrity.check",
            "outcome": "code_changed",
            "arguments": {
                "why": found.why,
                "version": found.version,
                "before": found.before,
                "count": len(found.differences),
                "differences": [f"{each.how} {each.name}" for each in found.differences[:NAMED]],
            },
        }
        draft = EntryDraft("system", "integrity", "", "failure", body)
        try:
            self._machine().write(lambda transaction: transaction.record(draft))
        except ZcError as error:
            log.error("a finding about the code could not be entered: %s", error)


def remember_anew(transaction: Transaction, old: str, new: str) -> None:
    """Know the baseline that was accepted last by its MAC under another root; another one stays as it is."""
    if meta_rows.read(transaction.connection, REMEMBERED) == old:
        meta_rows.put(transaction.connection, REMEMBERED, new)


def told(found: Sequence[Difference]) -> str:
    """Return the differences as a sentence; empty where there are none."""
    return f"{_named([f'{each.how} {each.name}' for each in found])}." if found else ""


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _unreadable(error: OSError) -> Unavailable:
    return Unavailable(
        "code_unreadable",
        f"The installed code or its baseline cannot be looked at: {error}.",
        "Check the owner and mode of that file, then run `zc integrity check`.",
    )
