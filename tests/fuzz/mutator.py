"""Makes inputs out of known ones: bits, bytes, numbers, lines and JSON members changed, moved, repeated, joined."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

LONGEST = 1 << 16
"""Bytes of an input."""
WORDS: tuple[bytes, ...] = (
    b"", b"\0", b"\n", b"\r\n", b"\n\n", b" ", b"\t", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x80\xae",
    b"\xcc\x81", b"\xef\xbb\xbf", b"\xf3\xa0\x81\xa1", b"-1", b"0", b"1e999", b"NaN",
    b"9007199254740993",
    b"1" * 5000,
    b"true", b"null", b"{}", b"[]", b'""', b"[" * 5000,
    b'{"a":' * 2000, b"\\ud800", b"\\u0000", b"../", b"..\\", b"%2e%2e%2f", b"&#x2e;",
    b"<script", b"javascript:", b"onload=", b"AKIA", b"-----BEGIN PRIVATE KEY-----", b"://a:b@", b"=", b"==", b".",
    b"zcst.", b"\xe2\x80\x94 ", b"securecontext/", b"A" * 300,
)  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return a changed input.

    Args:
        data: to begin with.
        others: to take pieces from.
        chance: decides.
    """
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(_WAYS)(data, others, chance)[:LONGEST]
    return data


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randint(0, len(data))


def _flip(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _byte(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + chance.randint(0, 1) :]


def _word(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice(WORDS) + data[at + chance.choice((0, 0, 1, 4)) :]


def _cut(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    at, end = sorted((_place(data, chance), _place(data, chance)))
    return data[:at] + data[end:]


def _repeat(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    """Repeat a piece until the input is long: where work grows faster than length, it shows here."""
    at = _place(data, chance)
    piece = data[at : at + chance.choice((1, 1, 2, 5, 20, 100))] or b"a"
    length = chance.choice((16, 1024, LONGEST))
    return data[:at] + piece * (length // len(piece)) + data[at:]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others) if others else data
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _lines(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Move, repeat, drop or take over a line."""
    lines = data.split(b"\n")
    taken = chance.choice(chance.choice(others).split(b"\n")) if others else b""
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines.insert(to, lines.pop(at))
        case 1:
            lines.insert(to, lines[at])
        case 2:
            del lines[at]
        case _:
            lines.insert(to, taken)
    return b"\n".join(lines)


def _member(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change a member of a JSON object that stands on a line of its own."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    try:
        found = json.loads(lines[at])
        name = chance.choice(sorted(found))
        found[name] = chance.choice(
            (None, True, -1, 2**53, 1.5, "", "x", [], {}, [found[name]], found[name] * 2)
        )
        lines[at] = json.dumps(found, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError):
        return data
    return b"\n".join(lines)


_WAYS: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    _flip, _byte, _word, _word, _cut, _repeat, _splice, _lines, _lines, _member,
)  # fmt: skip
