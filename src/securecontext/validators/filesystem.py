"""Whether a text may name a file below a folder: a pure decision, which `boundaries.jail` enforces on handles.

Only what is plain on every system passes: parts of letters, marks, numbers, punctuation, symbols and single spaces,
joined by ``/``. Every refusal is an `InvalidInput` that never repeats the path:

===================  =================================================================================
code                 refused because
===================  =================================================================================
``path_not_text``    not a text, or bytes that are no UTF-8 (overlong dots and slashes are none)
``path_empty``       it names nothing
``path_too_long``    more than 255 bytes in a part, or more than 4096 in all with the NUL that ends it
``path_absolute``    from the root, from somebody's home, or a device of the system
``path_traversal``   a part is ``..``
``path_character``   NUL, control, zero-width, direction, private or unassigned characters, lone surrogates
``path_encoded``     percent-encoded dots, slashes or NUL: a later reader would decode them
``path_confusable``  not NFC, or a character that a later reader takes for a dot, slash or colon (NFKC)
``path_windows``     backslash, colon (drives, streams), ``CON`` and its like, a dot or space at a part's end
===================  =================================================================================
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from securecontext.types.errors import InvalidInput

PART_BYTES: Final = 255
PATH_BYTES: Final = 4095
_VISIBLE: Final = frozenset("LMNPS")
_ENCODED: Final = re.compile(r"%(?:25)*(?:2e|2f|5c|3a|00|c0|c1|e0%80|f0%80|u[0-9a-f]{4})", re.IGNORECASE)
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9]|lpt[0-9])[ ]*(?:\..*)?")
_LOOKALIKE: Final = re.compile(
    "[\u2044\u2215\u2216\u27cb\u27cd\u29f5\u29f8\u29f9\u2236\ua789\u0589\u05c3\ua4fa]"
)
"""Slashes, backslashes and colons by their looks, which NFKC leaves as they are (UTS #39)."""
_SYSTEM: Final = ("/dev", "/proc", "/sys")


@dataclass(frozen=True, slots=True)
class SafePath:
    """A path below some folder; make it with `SafePath.of`.

    Attributes:
        parts: names from the folder down, at least one.
    """

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse parts that `of` would refuse, however the object is made.

        Raises:
            InvalidInput: see this module.
        """
        if not self.parts:
            raise _refused("path_empty", "names nothing", "Name a file below the folder.")
        for part in self.parts:
            _check_part(part)
        if len(str(self).encode()) > PATH_BYTES:
            raise _refused("path_too_long", "is too long", f"Use at most {PATH_BYTES} bytes.")

    @classmethod
    def of(cls, raw: object) -> SafePath:
        """Return the path that a text, or its UTF-8 bytes, names; empty parts and single dots say nothing.

        Raises:
            InvalidInput: see this module.
        """
        try:
            text = bytes(raw).decode() if isinstance(raw, bytes | bytearray) else raw
        except UnicodeDecodeError:
            text = None
        if not isinstance(text, str):
            raise _refused("path_not_text", "is no text", "Name the file by a text in UTF-8.")
        if len(text) > PATH_BYTES:
            raise _refused("path_too_long", "is too long", f"Use at most {PATH_BYTES} bytes.")
        if text.startswith(("/", "~")):
            raise _refused("path_absolute", "does not begin in the folder", "Name it from the folder down.")
        return cls(tuple(part for part in text.split("/") if part not in ("", ".")))

    def inside(self, root: PurePosixPath) -> PurePosixPath:
        """Return the path below a folder, itself absolute and without ``..``.

        Raises:
            InvalidInput: ``path_absolute``: the folder is none that anything lies below, or a device is meant;
                ``path_too_long``: together they are too long.
        """
        root = (
            PurePosixPath("/", *root.parts[1:]) if root.is_absolute() else root
        )  # `//` is a root of its own
        joined = root.joinpath(*self.parts)
        if not root.is_absolute() or ".." in root.parts or any(joined.is_relative_to(s) for s in _SYSTEM):
            raise _refused("path_absolute", "lies below no folder for files", "Name another folder.")
        if len(str(joined).encode("utf-8", "surrogateescape")) > PATH_BYTES:
            raise _refused("path_too_long", "is too long", f"Use at most {PATH_BYTES} bytes.")
        return joined

    def __str__(self) -> str:
        return "/".join(self.parts)


def _check_part(part: str) -> None:
    if part in ("", ".", "..") or "/" in part:
        raise _refused("path_traversal", "leads up out of the folder", "Leave `..` out.")
    for character in part:
        if unicodedata.category(character)[0] not in _VISIBLE and character != " ":
            raise _refused("path_character", "has a character that no name needs", "Use visible characters.")
    if len(part.encode()) > PART_BYTES:
        raise _refused("path_too_long", "has a part that is too long", f"Use at most {PART_BYTES} bytes.")
    if _ENCODED.search(part):
        raise _refused("path_encoded", "is percent-encoded", "Write the name itself.")
    if "\\" in part or ":" in part:
        raise _windows()
    seen = unicodedata.normalize("NFKC", part)
    confused = any(seen.count(mark) != part.count(mark) for mark in "./\\:\0%~")
    if confused or _LOOKALIKE.search(part) or not unicodedata.is_normalized("NFC", part):
        raise _refused("path_confusable", "looks like another path", "Use NFC, and the usual dot and slash.")
    if seen.endswith((".", " ")) or seen.startswith(" ") or _DEVICE.fullmatch(seen.casefold()):
        raise _windows()


def _windows() -> InvalidInput:
    return _refused("path_windows", "means something else on Windows", "Use another name.")


def _refused(code: str, what: str, hint: str) -> InvalidInput:
    return InvalidInput(code, f"The path {what}.", hint, field="path")
