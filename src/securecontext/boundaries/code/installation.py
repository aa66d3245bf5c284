"""Where the running code lies, and what lies there now: the package, the plugin's sources, the plugin as installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from securecontext import __version__
from securecontext.boundaries.code import inventory
from securecontext.boundaries.code.integrity import CLIENT, Seen
from securecontext.boundaries.code.plugin_files import Machine, package_folder, plugin_files, plugin_source
from securecontext.boundaries.code.wheel_record import record_of
from securecontext.types.errors import Unavailable

PACKAGE, PLUGIN = "package", "plugin"
"""What the names of the package's files, and of plugin sources beside it, begin with."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the code lies, and what is known of it.

    Attributes:
        package: the package's folder.
        plugin: the plugin's sources beside it; None where they are in it.
        home: the data folder; the plugin as it was written for the client lies in it.
        version: what the package says that it is.
        python: the interpreter that it runs in.
    """

    package: Path
    plugin: Path | None
    home: Path
    version: str
    python: Path

    @classmethod
    def of_this_process(cls, home: Path) -> Installation:
        """Return where the running code lies."""
        package = package_folder()
        try:
            source: Path | None = plugin_source()
        except Unavailable:
            source = None
        beside = None if source is None or source.is_relative_to(package) else source
        return cls(package, beside, home, __version__, Path(sys.executable).absolute())

    def look(self, pause: Callable[[], None]) -> Seen:
        """Return what is there now.

        Args:
            pause: called between files; waits as long as others need the interpreter.

        Raises:
            OSError: a file or folder cannot be read.
        """
        trees = [(self.package, PACKAGE), (self.home / "claude-code", CLIENT.rstrip("/"))]
        if self.plugin is not None:
            trees.append((self.plugin, PLUGIN))
        files: dict[str, str] = {}
        forged: list[str] = []
        for folder, name in trees:
            files |= inventory.files(folder, name, pause)
            forged += inventory.forged_bytecode(folder, name, pause)
        record = record_of(self.package, PACKAGE)
        return Seen(self.version, files, tuple(forged), record, self._written())

    def _written(self) -> dict[str, frozenset[str]]:
        """Return what this package writes of the plugin: for each file the digests that it may have.

        The interpreter may be spelled in more than one way, as long as it is the one that runs here.
        """
        source = self.plugin or self.package / "_plugin"
        found: dict[str, set[str]] = {}
        try:
            for machine in self._machines():
                for path, content in plugin_files(source, machine):
                    found.setdefault(f"{CLIENT}{path.as_posix()}", set()).add(sha256(content).hexdigest())
        except (Unavailable, OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # sources that cannot be written out vouch for nothing
        return {name: frozenset(digests) for name, digests in found.items()}

    def _machines(self) -> Iterator[Machine]:
        python = self.python
        same = [each for each in sorted(python.parent.glob("python*")) if _same(each, python)]
        for spelled in {python, *same}:
            for home in (None, self.home.absolute()):
                yield Machine(spelled, home)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
