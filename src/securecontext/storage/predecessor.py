"""Reads the predecessor's project files: from a private copy, so that the originals stay as they are to the byte.

A file is ``<hash16>.db``, SQLite in WAL mode with FTS5, of any age of its schema. Tables and columns that a file does
not have are taken as empty; a value of an odd type is read as text. Bytes that are no UTF-8 become U+FFFD.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from securecontext.types.errors import Unavailable
from securecontext.types.ids import timestamp

FILE: Final = re.compile(r"([0-9a-f]{16})\.db")
"""Name of a project's file: the first 16 hexadecimal digits of the SHA-256 of the project's path."""
SUMMARY_PREFIX: Final = "[SESSION_SUMMARY]"
_TABLES: Final = ("working_memory", "knowledge", "broadcasts")
_PARTS: Final = ("", "-wal", "-journal")
_ATTEMPTS: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LISTS: Final = (
    "files",
    "depends_on",
    "acceptance_criteria",
    "file_ownership_exclusive",
    "file_ownership_read_only",
    "task_dependencies",
    "required_skills",
)
_WORDS: Final = (
    "task",
    "state",
    "summary",
    "reason",
    "importance",
    "complexity_estimate",
    "estimated_tokens",
)

Value = bytes | int | float | None


@dataclass(frozen=True, slots=True)
class OldFact:
    """A row of ``working_memory``.

    Attributes:
        importance: as a number, whatever it is; 3 where it is none.
        created_at: stored timestamp; empty where the row's was none.
        provenance: as it stands there; empty where the file is older than the column.
    """

    key: str
    value: str
    agent: str
    importance: int
    created_at: str
    provenance: str


@dataclass(frozen=True, slots=True)
class OldDocument:
    """A row of ``knowledge`` with its row of ``source_meta``.

    Attributes:
        external: it came from outside the project.
        created_at: stored timestamp; empty where the row's was none.
    """

    source: str
    content: str
    external: bool
    created_at: str
    provenance: str

    @property
    def summary(self) -> bool:
        """Say whether it is the summary of a session."""
        return self.source.startswith(SUMMARY_PREFIX)


@dataclass(frozen=True, slots=True)
class OldBroadcast:
    """A row of ``broadcasts``.

    Attributes:
        words: (name, text) of its single values that are not empty.
        lists: (name, texts) of its lists that are not empty.
    """

    id: str
    type: str
    agent: str
    words: tuple[tuple[str, str], ...]
    lists: tuple[tuple[str, tuple[str, ...]], ...]
    created_at: str


class Predecessor:
    """One file, open for reading.

    Args:
        connection: to the private copy.
        name: the file's name, for messages.

    Every method raises `Unavailable` with the code ``predecessor_unreadable`` where the file is damaged.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self.tables = frozenset(_text(row[0]) for row in self._rows("SELECT name FROM sqlite_master"))

    @property
    def recognised(self) -> bool:
        """Say whether the file has any table that is read here."""
        return not self.tables.isdisjoint(_TABLES)

    def label(self) -> str:
        """Return the project's label; empty where it has none."""
        for table in ("project_meta", "db_meta"):
            if {"key", "value"} <= self._columns(table):
                query = f"SELECT value FROM {table} WHERE key = 'project_label'"  # noqa: S608 - a fixed name
                for row in self._rows(query):
                    if label := _text(row[0]).strip():
                        return label
        return ""

    def facts(self) -> Iterator[OldFact]:
        """Yield working memory, oldest row first."""
        names = ("key", "value", "agent_id", "importance", "created_at", "provenance")
        for row in self._select("working_memory", names, ("key", "value")):
            yield OldFact(
                key=_text(row[0]),
                value=_text(row[1]),
                agent=_text(row[2]),
                importance=_number(row[3]),
                created_at=_moment(row[4]),
                provenance=_text(row[5]).strip().upper(),
            )

    def documents(self) -> Iterator[OldDocument]:
        """Yield the archive, oldest row first."""
        meta = self._columns("source_meta")
        known = meta & {"source_type", "created_at", "provenance"} if "source" in meta else frozenset[str]()
        extra = [
            f"(SELECT m.{name} FROM source_meta m WHERE m.source = knowledge.source LIMIT 1)"  # noqa: S608 - fixed names
            if name in known
            else "NULL"
            for name in ("source_type", "created_at", "provenance")
        ]
        for row in self._select(
            "knowledge", ("source", "content", "created_at"), ("source", "content"), extra
        ):
            source, kind = _text(row[0]), _text(row[3]).strip().lower()
            yield OldDocument(
                source=source,
                content=_text(row[1]),
                external=kind == "external" or source.lower().startswith(("http://", "https://")),
                created_at=_moment(row[2]) or _moment(row[4]),
                provenance=_text(row[5]).strip().upper(),
            )

    def broadcasts(self) -> Iterator[OldBroadcast]:
        """Yield broadcasts, oldest row first. Hashes and session tokens are not read."""
        names = ("id", "type", "agent_id", "created_at", *_WORDS, *_LISTS)
        for row in self._select("broadcasts", names, ("type",)):
            values = dict(zip(names, row, strict=True))
            yield OldBroadcast(
                id=_text(values["id"]),
                type=_text(values["type"]).strip(),
                agent=_text(values["agent_id"]).strip(),
                words=tuple((n, t) for n in _WORDS if (t := _text(values[n]).strip())),
                lists=tuple((n, each) for n in _LISTS if (each := _list(values[n]))),
                created_at=_moment(values["created_at"]),
            )

    def _select(
        self, table: str, names: Sequence[str], needed: Sequence[str], extra: Sequence[str] = ()
    ) -> Iterator[Sequence[Value]]:
        """Yield the rows of a table; columns that it does not have are NULL. All names are fixed ones."""
        there = self._columns(table)
        if not there:
            return
        if not there.issuperset(needed):
            raise _unreadable(self._name, f"its table {table} has other columns")
        wanted = [name if name in there else "NULL" for name in names]
        # An id that is a column of its own is read as such; rowid is the order of writing in each of the tables.
        yield from self._rows(f"SELECT {', '.join([*wanted, *extra])} FROM {table} ORDER BY rowid")  # noqa: S608

    def _columns(self, table: str) -> frozenset[str]:
        if table not in self.tables:
            return frozenset()
        return frozenset(_text(row[1]).lower() for row in self._rows(f"PRAGMA table_info({table})"))

    def _rows(self, query: str) -> Iterator[Sequence[Value]]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise _unreadable(self._name, str(error)) from error


@contextmanager
def open_predecessor(path: Path) -> Iterator[Predecessor]:
    """Yield a file of the predecessor, read from a private copy that is gone afterwards.

    Raises:
        Unavailable: it is no database, is damaged, cannot be read, or is being written without a pause.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="securecontext-import-"))
            copy = Path(folder) / "copy.db"
            _copy(path, copy)
        except OSError as error:
            raise _unreadable(path.name, error.strerror or "it cannot be copied") from error
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.text_factory = bytes  # a text may hold bytes that are no UTF-8
            with _refusing(path.name):
                connection.execute("PRAGMA query_only = ON")
                connection.execute("PRAGMA trusted_schema = OFF")
            yield Predecessor(connection, path.name)


def project_hash(path: Path) -> str | None:
    """Return the hash in a file's name; None for a file that is no project of the predecessor's."""
    found = FILE.fullmatch(path.name)
    return found.group(1) if found else None


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _unreadable(name, str(error)) from error


def _copy(path: Path, copy: Path) -> None:
    """Copy a database with its logs, again if it changed meanwhile: the predecessor may be running."""
    for _ in range(_ATTEMPTS):
        before = _state(path)
        for part in _PARTS:
            origin, target = path.with_name(path.name + part), copy.with_name(copy.name + part)
            target.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if part and not stat.S_ISREG(origin.stat().st_mode):
                    continue
                shutil.copyfile(origin, target)
        if not copy.exists():
            raise FileNotFoundError(2, "it is gone")
        if _state(path) == before:
            return
    raise OSError(16, "another program is writing to it")


def _state(path: Path) -> list[tuple[int, int, int] | None]:
    """Return what changes when a database or its logs are written.

    Raises:
        OSError: the file itself is none that can be read, e.g. a folder or a pipe.
    """
    out: list[tuple[int, int, int] | None] = []
    for part in _PARTS:
        try:
            found = path.with_name(path.name + part).stat()
        except FileNotFoundError:
            out.append(None)
            continue
        if not part and not stat.S_ISREG(found.st_mode):
            raise OSError(22, "it is not a file")
        out.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return out


def _unreadable(name: str, why: str) -> Unavailable:
    return Unavailable(
        "predecessor_unreadable",
        f"{name} cannot be read: {why}.",
        "The file was left as it is; put a sound copy into a folder of its own and import from there.",
        file=name,
    )


def _text(value: Value) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number(value: Value) -> int:
    try:
        return int(float(_text(value)))
    except (ValueError, OverflowError):
        return 3


def _list(value: Value) -> tuple[str, ...]:
    """Return the texts of a JSON list; any other text is a list of itself."""
    text = _text(value).strip()
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        found = [text]
    if not isinstance(found, list):
        found = [] if found is None else [found]
    texts = (each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in found)
    return tuple(t.strip() for t in texts if t.strip())


def _moment(value: Value) -> str:
    """Return the stored form of a time: ISO text (UTC where it names no zone), or seconds or milliseconds."""
    text = _text(value).strip()
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return ""
        try:
            return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            return ""
    try:
        moment = _EPOCH + timedelta(seconds=number / 1_000 if number > 1e11 else number)
    except (ValueError, OverflowError):
        return ""
    return timestamp(moment) if number > 0 else ""
