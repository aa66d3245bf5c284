"""The one text analyser, for both engines: what is indexed and what is asked go through the same words.

Text is folded (NFKC, case, Latin, Greek and Cyrillic diacritics), identifiers are split at ``camelCase``,
``snake_case``, digits, dots, slashes and hyphens and kept whole as one joined token too, English
stop-words are dropped and English words stemmed (Snowball), runs of CJK become pairs of characters.
Combining marks of other scripts are left out of their word, so that a token has letters and digits alone
and stays one token for SQLite's ``unicode61`` and for PostgreSQL's ``simple``.

There is no text that the analyser refuses and none that makes an invalid query.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

import Stemmer  # type: ignore[import-not-found]  # the package ships no types

MOST_TERMS: Final = 64
"""Terms of a query, and its bound on work; a longer question is cut to its first terms."""

STOP_WORDS: Final = frozenset(
    {
        "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been",
        "before", "being", "but", "by", "can", "could", "did", "do", "does", "doing", "done", "for", "from",
        "had", "has", "have", "having", "he", "her", "here", "him", "his", "how", "i", "if", "in", "into",
        "is", "it", "its", "just", "me", "my", "no", "nor", "not", "of", "on", "or", "our", "out", "over",
        "own", "s", "same", "she", "should", "so", "some", "such", "t", "than", "that", "the", "their",
        "them", "then", "there", "these", "they", "this", "those", "through", "to", "too", "under", "until",
        "up", "us", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom",
        "why", "will", "with", "would", "you", "your", "dont", "doesnt", "didnt", "isnt", "arent", "wasnt",
        "werent", "cant", "couldnt", "wont", "wouldnt", "im", "ive", "thats", "whats",
    }
)  # fmt: skip

_UNIT: Final = re.compile(r"\w+(?:(?:[./\\:+'-]|::|->)\w+)*")
_SEGMENT: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*(?:_+[^\W_]+)*")
_PART: Final = re.compile(r"\d+|[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+")
_CJK: Final = re.compile(
    "[\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_FOLDED_MARKS: Final = re.compile("[\u0300-\u036f]+")
_KANA_MARKS: Final = "\u3099\u309a"
_MARK_RUN: Final = re.compile("([^\x00-\u02ff]{64})")
_UNKNOWN_TO_FTS5: Final = re.compile("[\u19b0-\u19c0\u19c8\u19c9\u1cf2\u1cf3]")
"""Letters for Python that are separators for unicode61 (SQLite 3.40): New Tai Lue vowels, two Vedic signs."""

_LONGEST_CACHED: Final = 64
_LONGEST_JOINED: Final = 64
_LONGEST_TOKEN: Final = 128

_UNITS_CACHED: Final = 4_096
"""A language's commonest words; names and numbers, of which there is no end, would only fill memory."""

_stemmer = Stemmer.Stemmer("english", 0)  # without a cache of its own
_stemming = threading.Lock()


def tokens(text: str) -> list[str]:
    """Return the tokens of a text in order, repetitions included.

    A text of nothing but stop-words keeps them: it could not be found otherwise.
    """
    kept: list[str] = []
    dropped: list[str] = []
    for unit in _UNIT.findall(_folded(text)):
        analysed = _cached_unit(unit) if len(unit) <= _LONGEST_CACHED else _unit(unit)
        (kept if analysed[0] else dropped).extend(analysed[1])
    return kept or dropped


def query_tokens(text: str) -> list[str]:
    """Return the different tokens of a question, in the order in which they first occur."""
    return list(dict.fromkeys(tokens(text)))


def fts5_query(terms: Iterable[str]) -> str:
    """Return an FTS5 query that finds rows with any of the terms, or ``""`` when there is none to ask for.

    Only tokens of this module are asked for: they are quoted, so nothing in them is syntax. At most
    `MOST_TERMS`.
    """
    valid = (term for term in terms if term.isalnum())
    return " OR ".join(f'"{term}"' for term in islice(valid, MOST_TERMS))


def _folded(text: str) -> str:
    if text.isascii():
        return text
    # Normalising a long run of marks costs the square of its length, so long runs go piece by piece.
    pieces = _MARK_RUN.split(text.replace("\u2019", "'").replace("\u02bc", "'"))
    decomposed = "".join(unicodedata.normalize("NFKD", piece) for piece in pieces)
    plain = _FOLDED_MARKS.sub("", decomposed)
    kept = "".join(c for c in plain if c < "\u0300" or c in _KANA_MARKS or unicodedata.category(c)[0] != "M")
    return "".join(unicodedata.normalize("NFC", piece) for piece in _MARK_RUN.split(kept))


def _unit(unit: str) -> tuple[bool, tuple[str, ...]]:
    """Analyse what stands between spaces: its tokens, and whether it is more than stop-words."""
    out: list[str] = []
    words: list[str] = []
    segments = _SEGMENT.findall(unit)
    for segment in segments:
        parts = _parts(segment)
        words += parts
        out += _terms(parts)
        if len(parts) > 1:
            out += _joined(parts)
    if len(segments) > 1:
        out += _joined(words)
    telling = [word for word in out if word not in STOP_WORDS]
    if telling:
        return True, tuple(dict.fromkeys(telling))
    return False, tuple(dict.fromkeys(out))


_cached_unit = lru_cache(maxsize=_UNITS_CACHED)(_unit)


def _parts(segment: str) -> list[str]:
    parts = (_clean(part) for part in _PART.findall(segment.replace("'", "")))
    return [part for part in parts if part]


def _clean(part: str) -> str:
    if part.isascii():
        return part.lower()[:_LONGEST_TOKEN]
    return "".join(c for c in part.casefold() if c.isalnum() and not _UNKNOWN_TO_FTS5.match(c))[
        :_LONGEST_TOKEN
    ]


def _terms(parts: Sequence[str]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if part.isascii():
            out.append(part if part in STOP_WORDS else _stem(part))
            continue
        position = 0
        for run in _CJK.finditer(part):
            if run.start() > position:
                out.append(part[position : run.start()])
            characters = run.group()
            out += [characters[i : i + 2] for i in range(max(len(characters) - 1, 1))]
            position = run.end()
        if position < len(part):
            out.append(part[position:])
    return out


def _joined(parts: Sequence[str]) -> list[str]:
    whole = "".join(parts)
    return [whole] if 0 < len(whole) <= _LONGEST_JOINED and _CJK.search(whole) is None else []


def _stem(word: str) -> str:
    if len(word) < 3 or len(word) > 32 or word.isdigit():
        return word
    with _stemming:  # the stemmer keeps the word it works on
        stem: str = _stemmer.stemWord(word)
    return stem
