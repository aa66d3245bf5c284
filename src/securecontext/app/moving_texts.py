"""Sealed texts of a store that is moved: a text opens in its row alone, and rows get new numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.keyring.bodies import (
    Bodies,
    Place,
    document_place,
    fact_place,
    is_plain,
    text_of,
)
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.boundaries.keys import Keyring
from securecontext.storage.moved_rows import Row
from securecontext.types.errors import ZcError


class Texts:
    """Opens sealed texts in their old rows and seals them for their new ones.

    Args:
        folder: the key folder.
        keyring: its roots.
        clock: the present moment.
    """

    def __init__(self, folder: Path, keyring: Keyring, clock: Callable[[], datetime]) -> None:
        root = keyring.root("encryption")
        self._bodies = Bodies(StateEncryption(DataKeys(folder, root, clock)), root)

    def reseal(self, project: str, table: str, old: Row, new: Row) -> str:
        """Return what is stored of a text in its new row; one that does not open stays as unreadable as it is."""
        stored = _stored(table, old)
        if is_plain(stored, old["classification"]):
            return stored
        found = self._bodies.open(_place(project, table, old), stored)
        return stored if isinstance(found, ZcError) else self._bodies.seal(_place(project, table, new), found)

    def opened(self, project: str, table: str, row: Row) -> str:
        """Return what a text says; of one that does not open, the code of why."""
        stored = _stored(table, row)
        if is_plain(stored, row["classification"]):
            return stored
        found = self._bodies.open(_place(project, table, row), stored)
        return found.code if isinstance(found, ZcError) else text_of(found)


def _stored(table: str, row: Row) -> str:
    stored: str = row["value" if table == "facts" else "content"]
    return stored


def _place(project: str, table: str, row: Row) -> Place:
    labels = (row["created_by"], row["trust"], row["provenance"])
    if table == "facts":
        return fact_place(project, row["fact"], row["agent"], row["key"], labels, row["classification"])
    return document_place(project, row["document"], row["kind"], row["source"], labels, row["classification"])
