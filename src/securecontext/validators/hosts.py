"""Whether a text is the name of a host of the public internet: pure; nothing is resolved.

Names are ASCII; one of another script is written as its registry does (``xn--…``), and then says what it seems to say:
one script a label (those of Japanese and Korean go together, Latin beside them), nothing that looks like Latin.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NAME_CHARACTERS: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL: Final = frozenset(
    {"localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "arpa",
     "onion", "alt", "test", "invalid", "example"}
)  # fmt: skip
"""Last labels that no public name has: RFC 6761, 6762, 7686, 8375, 9476, ICANN's `internal`, and usage."""
_TOGETHER: Final = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "LATIN"}
)
_LIKE_LATIN: Final = frozenset("авгеѕіјкопрсухһӏԁԛԝьԍҽѵαγεικνορτυωϲϳ")
"""Letters of Cyrillic and Greek that pass for Latin ones by their looks (from UTS #39)."""


def ends_in_a_number(host: str) -> bool:
    """Say whether a reader of URLs takes a host for an IPv4 address: by its last label (WHATWG URL)."""
    labels = host.removesuffix(".").split(".")
    return _NUMBER.fullmatch(labels[-1]) is not None


def is_name(host: str) -> bool:
    """Say whether a text, in lower case, has the form of a host's name: labels of letters, digits and hyphens."""
    return len(host) <= NAME_CHARACTERS and all(_LABEL.fullmatch(label) for label in host.split("."))


def is_local(host: str) -> bool:
    """Say whether a name is one that only a machine or a local network knows."""
    labels = host.split(".")
    return len(labels) == 1 or labels[-1] in _LOCAL


def is_misleading(host: str) -> bool:
    """Say whether a label does not say what it seems to, or is no international label at all."""
    return any(_misleads(label) for label in host.split("."))


def _misleads(label: str) -> bool:
    if label[2:4] != "--":
        return False
    if not label.startswith("xn--"):
        return True  # a prefix of something that nobody has defined
    try:
        shown = label[4:].encode("ascii").decode("punycode")
        again = shown.encode("punycode").decode("ascii")
    except (UnicodeError, OverflowError, ValueError):
        return True
    if again != label[4:] or shown.isascii() or unicodedata.normalize("NFKC", shown).casefold() != shown:
        return True
    if not all(
        unicodedata.category(c) in ("Ll", "Lo", "Lm", "Mn", "Mc") or c in "-0123456789" for c in shown
    ):
        return True
    letters = {c for c in shown if c not in "-0123456789"}
    scripts = {_script(c) for c in letters if unicodedata.category(c)[0] == "L"}
    return (len(scripts) > 1 and not scripts <= _TOGETHER) or letters <= _LIKE_LATIN


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
