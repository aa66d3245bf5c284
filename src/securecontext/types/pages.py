"""What a fetch starts from and what it brings."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a page that was fetched before: its server is asked whether it has changed.

    Attributes:
        etag: as the server sent it; empty without one.
        last_modified: the same.
    """

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it came.

    Attributes:
        url: where it came from in the end.
        status: of HTTP; 304 where it has not changed, and then without a body.
        content_type: media type in lower case, without parameters.
        charset: as the server named it, in lower case; empty where it did not.
        body: bytes, uncompressed.
        wire: bytes that came over the wire for it.
        etag: as the server sent it; empty without one.
        last_modified: the same.
        left: ids of the entries in the machine's ledger, of all that left for it.
        address: where the answer came from.
    """

    url: str
    status: int
    content_type: str
    charset: str
    body: bytes = field(repr=False)
    wire: int
    etag: str = ""
    last_modified: str = ""
    left: tuple[str, ...] = ()
    address: str = ""
