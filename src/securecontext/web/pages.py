"""Where documents from the web come from: rows beside the archive, with what servers said, to ask them again by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from securecontext.storage.tables import fetched_pages
from securecontext.types.pages import Known

VALIDATOR_CHARACTERS: Final = 400
"""Of an ETag or a date that is kept; a longer one is not."""


@dataclass(frozen=True, slots=True)
class Record:
    """One page; attributes are the columns of ``fetched_pages``."""

    url_digest: str
    url: str
    source: str
    etag: str
    last_modified: str
    content_digest: str
    text_digest: str
    flags: Mapping[str, int]
    fetched_at: str
    created_by: str

    @property
    def known(self) -> Known:
        """What its server is asked by whether it has changed."""
        return Known(self.etag, self.last_modified)


_OF_URL = (
    fetched_pages.c.project == bindparam("in_project"),
    fetched_pages.c.url_digest == bindparam("of_url"),
)
_COLUMNS = [column for column in fetched_pages.c if column.name != "project"]
_FIND = select(*_COLUMNS).where(*_OF_URL)
_DROP = delete(fetched_pages).where(*_OF_URL)
_NEWEST = (
    select(*_COLUMNS)
    .where(fetched_pages.c.project == bindparam("in_project"))
    .order_by(fetched_pages.c.fetched_at.desc(), fetched_pages.c.url_digest)
    .limit(bindparam("most"))
)


def digest(text: str | bytes) -> str:
    """Return the hex SHA-256 of a text, or of bytes."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def kept(validator: str) -> str:
    """Return a server's validator as it is kept: nothing of one that is too long."""
    return validator if len(validator) <= VALIDATOR_CHARACTERS and validator.isascii() else ""


def find(connection: Connection, project: str, url: str) -> Record | None:
    """Return what is remembered of a URL."""
    row = connection.execute(_FIND, {"in_project": project, "of_url": digest(url)}).mappings().first()
    return None if row is None else _record(row)


def put(connection: Connection, project: str, record: Record) -> None:
    """Remember a page, in place of what was remembered of its URL."""
    connection.execute(_DROP, {"in_project": project, "of_url": record.url_digest})
    row = {**asdict(record), "flags": json.dumps(dict(record.flags), sort_keys=True)}
    connection.execute(insert(fetched_pages), {"project": project, **row})


def newest(connection: Connection, project: str, most: int) -> list[Record]:
    """Return the pages that were fetched last."""
    found = connection.execute(_NEWEST, {"in_project": project, "most": most})
    return [_record(row) for row in found.mappings()]


def _record(row: Any) -> Record:
    return Record(**{**row, "flags": json.loads(row["flags"])})
