"""Planned rotations of roots: at a start, before anybody uses an old one, and so that a death harms nothing.

What depends on a root is made anew under the next one first, then the next one takes its place. A start that finds the
first done and not the second goes on there.

* encryption: the data keys are wrapped anew; what they protect is not touched.
* tokens: nothing; all session tokens end with their key.
* skills: the baseline of the installed code is signed anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from securecontext.boundaries.code import baseline
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.keyring import data_keys
from securecontext.boundaries.keyring.roots import RootName
from securecontext.boundaries.keys import Keyring
from securecontext.storage.port import Store, Transaction
from securecontext.types.errors import ZcError
from securecontext.types.ledger import EntryDraft

log = logging.getLogger("securecontext.rotation")


class Rotation:
    """The rotations that are planned at one start.

    Args:
        home: the data folder.
        keyring: its keys.
        clock: the present moment.
    """

    def __init__(self, home: Path, keyring: Keyring, clock: Callable[[], datetime]) -> None:
        self._home = home
        self._keyring = keyring
        self._clock = clock
        self._done: list[tuple[RootName, str]] = []

    def of_keys(self) -> None:
        """Carry out what needs no database: encryption and tokens.

        Raises:
            ZcError: the data keys cannot be wrapped anew; the old root goes on.
        """
        coming = self._keyring.planned("encryption")
        if coming is not None:
            data_keys.rewrap(self._keyring.folder, self._keyring.root("encryption"), coming, self._clock())
            self._adopt("encryption")
        if self._keyring.planned("tokens") is not None:
            self._adopt("tokens")

    def of_skills(
        self, machine: Callable[[], Store], remember: Callable[[Transaction, str, str], None]
    ) -> None:
        """Carry out that of the skills root, and enter what was done.

        Args:
            machine: returns the machine's store.
            remember: has the machine know the baseline by its new MAC, where it knew it by its old one.
        """
        try:
            coming = self._keyring.planned("skills")
            if coming is not None:
                macs = baseline.sign_anew(self._home, self._keyring.root("skills"), coming)
                if macs is not None:
                    machine().write(lambda transaction: remember(transaction, *macs))
                self._adopt("skills")
            if self._done:
                machine().write(self._enter)
        except ZcError as error:
            log.error("a rotation of roots is not finished, or not entered: %s", error)

    def _adopt(self, name: RootName) -> None:
        before = self._keyring.root_id(name)
        self._keyring.adopt(name)
        self._done.append((name, before))
        log.warning("the %s root was rotated: %s instead of %s", name, self._keyring.root_id(name), before)

    def _enter(self, transaction: Transaction) -> None:
        for name, before in self._done:
            if name == "tokens":  # those that were issued since this was planned
                token_register.revoke_all(transaction.connection, self._clock())
            told = {"root": name, "before": before, "after": self._keyring.root_id(name)}
            body = {"operation": "keys.rotate-root", "outcome": "ok", "arguments": told}
            transaction.record(EntryDraft("system", "keys", "", "result", body))
