"""Output for reading: bytes of any kind in, text out, without secrets, cut with a mark that says how much."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

from securecontext.sandbox.runner import Stream
from securecontext.validators.secrets import redact, scan

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would obey, or what turns the direction of reading: shown by its number."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Output as it may be shown.

    Attributes:
        text: it, with the mark at its end where it was cut.
        total: bytes that came.
        cut: bytes that are not shown.
    """

    text: str
    total: int
    cut: int


def shown(stream: Stream, limit: int) -> Shown:
    """Return what may be shown of a stream.

    What is no UTF-8 is shown by its number, as control characters are; tab and both kinds of line end stay.

    Args:
        stream: holds more than the limit where there was more, so that a secret at the edge is seen whole.
        limit: bytes of it that may be shown.
    """
    kept = bytes(stream.kept)
    if stream.total > limit:
        kept = kept[: _edge(kept, limit)]
    text = redact(_CONTROL.sub(_numbered, _decoded(kept).replace("\r\n", "\n"))).text
    cut = stream.total - len(kept)
    if cut:
        text += f"\n[cut: {len(kept)} of {stream.total} bytes are shown, {cut} are not]"
    return Shown(text, stream.total, cut)


def _edge(kept: bytes, limit: int) -> int:
    """Return where to cut: at the limit, or before the character or the secret that lies across it."""
    whole = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    head = whole.decode(kept[:limit])
    edge = limit - len(whole.getstate()[0])
    text = kept.decode("utf-8", "surrogateescape")
    for found in scan(text):
        if found.start < len(head) < found.end:
            return len(text[: found.start].encode("utf-8", "surrogateescape"))
    return edge


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _numbered(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
