"""Kingfisher's rules, in process: some five hundred shapes of keys and tokens beside our own few.

It is imported when its rules are wanted, and never before: it weighs. Only what scans is named here. Its ``Validator``
and ``Revoker`` show what was found to the provider over the network; a lint rule bans them.
https://pypi.org/project/kingfisher-secret-scanner/
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kingfisher_sdk import Rules, Scanner, __version__

from securecontext.validators.secret_rules import Hit, is_placeholder

RULES = f"kingfisher {__version__}"
"""Names the set of rules: what was scanned with another one is scanned again."""
_OF_SET = re.compile(r"^[a-z]+(?:\.secrets/|\.)")
_NO_NAME = re.compile(r"[^a-z0-9]+")


def compile_into(folder: Path) -> None:
    """Compile the rules, which takes seconds and much memory, and leave them in a folder for `Engine`."""
    Rules(cache_dir=folder)


class Engine:
    """The compiled rules. Safe to share by threads: one scans at a time, so that there is one working memory.

    Args:
        folder: where `compile_into` left them. They are compiled now where they are missing or another version's.
    """

    def __init__(self, folder: Path) -> None:
        self._scanner = Scanner(Rules(cache_dir=folder))
        self._lock = threading.Lock()

    def hits(self, text: str) -> Iterator[Hit]:
        """Yield what the rules find, in no order; hits may overlap."""
        # The scanner takes every second byte NUL for UTF-16, and would count in other units than ours.
        data = text.replace("\0", " ").encode("utf-8", "surrogatepass")
        with self._lock:
            found = self._scanner.scan(data)
        for finding in found:
            if finding.visible:
                yield from (hit for hit in _places(text, data, finding) if not _is_example(text, hit))


def _places(text: str, data: bytes, finding: Any) -> Iterator[Hit]:
    name = name_of(finding.rule_id)
    start, end = finding.location["start_offset"], finding.location["end_offset"]
    secret: str = finding.secret
    if finding.is_base64_encoded or data[start:end] == secret.encode("utf-8", "surrogatepass"):
        yield Hit(name, _characters(data[:start]), _characters(data[:end]))
        return
    seen = False
    for match in re.finditer(re.escape(secret), text) if secret else ():
        seen = True
        yield Hit(name, *match.span())
    if not seen:  # it is somewhere there, and its offsets are not ours: the whole text goes
        yield Hit(name, 0, len(text))


def _is_example(text: str, hit: Hit) -> bool:
    """Tell ``https://user:password@host`` in a manual from a password, where the rule knows no form of a secret."""
    return hit.type.startswith("generic_") and is_placeholder(text[hit.start : hit.end])


def _characters(data: bytes) -> int:
    return len(data) if data.isascii() else len(data.decode("utf-8", "surrogatepass"))


def name_of(rule: str) -> str:
    """Return the type that a marker names: ``betterleaks.github-pat`` becomes ``github_pat``."""
    return _NO_NAME.sub("_", _OF_SET.sub("", rule.lower())).strip("_")[:40] or "secret"
