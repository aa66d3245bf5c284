"""What an installation remembers, for updates, for the doctor, and for its removal: ``<home>/install.json``.

It outlives the removal: sessions that ran meanwhile may bring traces back, and what was there before the installation
still says what of them may go.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from securecontext.cli.backups import Backups, copy_into
from securecontext.cli.client_files import read_object


@dataclass(frozen=True, slots=True)
class Installation:
    """What was installed, and what had been there before.

    Args:
        places: where the plugin is installed: for the user (None), or for one project's folder.
        client: the client's program, where a person named one.
        files: files that the installation touches, and the copies of what they held before it; None where there
            was no file.
        folders: folders that were not there before.
        ignore: the git ignore file that did not hold the client's rule for local settings before.
    """

    places: tuple[str | None, ...] = ()
    client: str | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    ignore: str | None = None

    @classmethod
    def load(cls, home: Path) -> Installation:
        """Return what is remembered in this data folder; nothing where nothing was ever installed.

        Raises:
            InvalidInput: ``client_file_corrupt``.
        """
        raw = read_object(_file(home), Backups(home))
        if raw is None:
            return cls()
        return cls(tuple(raw["places"]), raw["client"], raw["files"], tuple(raw["folders"]), raw["ignore"])

    def save(self, home: Path) -> None:
        """Remember this in the data folder."""
        value = {
            "places": self.places,
            "client": self.client,
            "files": dict(self.files),
            "folders": self.folders,
            "ignore": self.ignore,
        }
        draft = home / ".install.json"
        draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        draft.replace(_file(home))

    def noting(
        self, home: Path, contents: Mapping[Path, bytes | None], folders: Iterable[Path]
    ) -> Installation:
        """Return this with files and folders as they are now, but for those that were noted before.

        Args:
            home: the data folder.
            contents: what the files hold, None where there is no file.
            folders: folders that may come into being, beside those of the files.
        """
        files = dict(self.files)
        for path, content in contents.items():
            if str(path) not in files:
                copy = None if content is None else copy_into(_originals(home), path, content)
                files[str(path)] = None if copy is None else copy.name
        wanted = {*folders, *(parent for path in contents for parent in path.parents)}
        absent = {str(folder) for folder in wanted if not folder.exists()}
        return replace(self, files=files, folders=tuple(sorted({*self.folders, *absent})))

    def original(self, home: Path, path: Path, otherwise: bytes | None) -> bytes | None:
        """Return what a file held before the installation; ``otherwise`` where that is not known."""
        name = self.files.get(str(path), "")
        if name is None:
            return None
        try:
            return (_originals(home) / name).read_bytes() if name else otherwise
        except FileNotFoundError:
            return otherwise

    def settle(self, home: Path) -> None:
        """Remember this, and nothing of what was remembered before it."""
        if self == Installation():
            _file(home).unlink(missing_ok=True)
        else:
            self.save(home)
        folder = _originals(home)
        if folder.is_dir():
            for copy in folder.iterdir():
                if copy.name not in self.files.values():
                    copy.unlink()
            for each in (folder, folder.parent):
                with contextlib.suppress(OSError):  # it is not empty
                    each.rmdir()


def _file(home: Path) -> Path:
    return home / "install.json"


def _originals(home: Path) -> Path:
    return home.absolute() / "backups" / "original"
