"""What a secret looks like: the patterns, the labels and the entropy rule.

Each rule is written so that it reads a text once: a rule is tried only where a cheap substring search
found its first letters, and what it may read before it fails is bounded. There is no nested repetition.

The entropy rule (window 40, hop 20, at least 85 % base64-like characters, more than 4.5 bits a
character) asks one thing more: the window must not be made of words. Random text changes between lower
case, upper case and digits about every second character, identifiers and paths about every fifth.
Hexadecimal digests cannot exceed 4 bits. An image in base64 is flagged, unless it says what it is
(``data:image/…;base64,``); subresource digests (``sha512-…``) and public SSH keys are not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from math import log2
from typing import Final, NamedTuple


class Hit(NamedTuple):
    """Where a secret lies: ``text[start:end]`` is the secret alone, without its label."""

    type: str
    start: int
    end: int


class _Shape(NamedTuple):
    type: str
    probes: tuple[str, ...]
    pattern: re.Pattern[str]
    accept: Callable[[str], bool]


def _always(_secret: str) -> bool:
    return True


def _mixed(secret: str) -> bool:
    """Tell a key from a name in kebab case: a key has digits."""
    return any(character.isdigit() for character in secret)


# A token begins a word, or follows an escape such as the two characters \n of a JSON string.
_BEGINS: Final = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))"

SHAPES: Final = (
    _Shape("anthropic_api_key", ("sk-ant-",), re.compile(r"sk-ant-[A-Za-z0-9_-]{20,}"), _always),
    _Shape("openai_api_key", ("sk-",), re.compile(_BEGINS + r"sk-(?!ant-)[A-Za-z0-9_-]{20,}"), _mixed),
    _Shape(
        "aws_access_key_id",
        ("AKIA", "AGPA", "AIDA", "ANPA", "ANVA", "ASIA"),
        re.compile(r"(?<![A-Z0-9])(?:AKIA|AGPA|AIDA|ANPA|ANVA|ASIA)[A-Z0-9]{16}"),
        _always,
    ),
    _Shape(
        "github_pat",
        ("ghp_", "gho_", "ghs_", "ghu_", "ghr_"),
        re.compile(r"gh[posur]_[A-Za-z0-9]{36,}"),
        _always,
    ),
    _Shape("github_fine_grained_pat", ("github_pat_",), re.compile(r"github_pat_[A-Za-z0-9_]{22,}"), _always),
    _Shape("gitlab_token", ("glpat-",), re.compile(r"glpat-[A-Za-z0-9_-]{20,}"), _always),
    _Shape("google_api_key", ("AIza",), re.compile(r"AIza[A-Za-z0-9_-]{35}"), _always),
    _Shape("slack_token", ("xox",), re.compile(r"xox[abeoprs]-[A-Za-z0-9-]{10,}"), _always),
    _Shape("stripe_live_key", ("k_live_",), re.compile(r"[spr]k_live_[A-Za-z0-9]{24,}"), _always),
    _Shape(
        "jwt",
        ("eyJ",),
        re.compile(_BEGINS + r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
        _always,
    ),
)

_ASSIGNED: Final = r"(?:\\?[\"'\]]){0,2}\s{0,3}(?::=|=>|==?|:)\s{0,3}"
_AWS_SECRET: Final = re.compile(
    r"(?i:secret[_\- ]?(?:access[_\- ]?)?key)" + _ASSIGNED + r"\\?[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
)
_BEARER: Final = re.compile(r"(?i:bearer)[ \t]{1,4}([A-Za-z0-9._~+/=-]{20,})")
_URL_PASSWORD: Final = re.compile(r"://[^\s/:@?#\"'<>]{0,128}:([^\s/?#\"'<>]{3,256})@")
_CURL_USER: Final = re.compile(r"(?<!\S)(?:-u|--user)[ =]{0,2}[\"']?[^\s:\"']{1,64}:([^\s\"']{3,256})")
_PEM_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY: Final = re.compile(r"(?:[A-Za-z0-9+/= \t\r\n]|\\[nr]){40,}")
_PEM_REACH: Final = 20_000

_LABEL_WORDS: Final = (
    "password", "passwd", "pwd", "passphrase", "secret", "token", "credential",
    "api_key", "api-key", "apikey", "access_key", "access-key", "accesskey", "private_key", "private-key", "privatekey",
)  # fmt: skip
_NAMED: Final = (
    r"(?i:password|passwd|pwd|passphrase|secret(?:[_-]?access)?(?:[_-]?key)?|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|token|credentials?)"
)
_LABEL: Final = re.compile(_NAMED + _ASSIGNED)
_TOLD: Final = re.compile(_NAMED + r"\s{1,3}(?i:is|was)(?:\s?:)?\s{1,3}")
"""As people write it: the password is …; what follows is a secret only if it looks like no word."""
_LONGEST_OPTION: Final = 40
_FLAG: Final = re.compile(_NAMED + r"[ \t=]{1,2}")
"""The end of an option such as ``--db-password``, before its value."""
_LIKE_NO_WORD: Final = re.compile(
    r"[A-Za-z][0-9]+[A-Za-z]|[!@#$%^*+?~](?=.)|[a-z][A-Z].*[0-9]|[0-9].*[a-z][A-Z]"
)
_QUOTED: Final = re.compile(r"\\?([\"'`])([^\s\"'`\\][^\"'`\n\x0b\\]{7,})")
_BARE: Final = re.compile(r"([^\s\"'`,;()\[\]{}<>&|\\]{8,})(.?)")
_PLACEHOLDER_WORDS: Final = re.compile(
    r"(?i)example|change.?me|placeholder|redacted|your[_\- ]|insert[_\- ]|"
    r"dummy|os\.environ|getenv|process\.env|"
    r"required|optional|undefined|unknown|disabled|enabled|"
    r"^(?:string|pass|password|passwd|secret|default|hidden)$"
)
_REFERENCE: Final = re.compile(r"[$%<{]|(?:env|vault|file|https?|ssm):|(?:~|\.{1,2})?/[\w.-]+/|--")
_TYPE_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]*(?:Key|Token|Secret|Password|Str|Type|Info|Id)s?")
_NAME: Final = re.compile(
    r"[A-Za-z]+(?:[_.-][A-Za-z]+){1,2}|"
    r"_?[A-Za-z]+(?:\.[A-Za-z_]\w*)+|[A-Z]+(?:_[A-Z0-9]+)+"
)

WINDOW: Final = 40
HOP: Final = 20
_SHORTEST: Final = 32
_BASE64_SHARE: Final = 0.85
_BITS: Final = 4.5
_MOST_RANDOM_WORDS: Final = 2.8
"""Mean length of the pieces of a window from which on it is made of words; random base64 has about 2."""
_RUN: Final = re.compile(r"[^\s\"'`<>()\[\]{},;|]{32,}")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=_-]")
_HEX: Final = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{7,128}(?![A-Za-z0-9])")
_PIECE: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_PUBLIC: Final = re.compile(r"sha(?:1|256|384|512)-[A-Za-z0-9+/=]+$|AAAA(?:[BC]3Nz|E2Vj)")
"""A subresource digest, or the body of a public SSH key."""
_IMAGE_FOLLOWS: Final = re.compile(r"data:(?:image|font|audio|video)/[a-z0-9.+-]{1,40};base64,$")


def shaped(text: str) -> Iterator[Hit]:
    """Yield what the named patterns and the labels find, in no order; hits may overlap."""
    for shape in SHAPES:
        if any(probe in text for probe in shape.probes):
            for match in shape.pattern.finditer(text):
                if shape.accept(match.group()):
                    yield Hit(shape.type, match.start(), match.end())
    if "PRIVATE KEY" in text:
        yield from _pem_blocks(text)
    if "://" in text:
        for match in _URL_PASSWORD.finditer(text):
            if not is_placeholder(match.group(1)):
                yield Hit("connection_password", *match.span(1))
    if "curl" in text:
        for match in _CURL_USER.finditer(text):
            if not is_placeholder(match.group(1)):
                yield Hit("connection_password", *match.span(1))
    lowered = text.lower()
    if "bearer" in lowered:
        for match in _BEARER.finditer(text):
            labelled = "authorization" in text[max(match.start() - 24, 0) : match.start()].lower()
            if labelled or _mixed(match.group(1)):
                yield Hit("bearer_token", *match.span(1))
    if "secret" in lowered:
        for match in _AWS_SECRET.finditer(text):
            yield Hit("aws_secret_access_key", *match.span(1))
    yield from _labelled(text, lowered)


def random_runs(text: str) -> Iterator[Hit]:
    """Yield the runs of characters that are too random to be words (see the module's first lines)."""
    position = 0
    for word in text.split():
        if len(word) < _SHORTEST:
            continue
        # An earlier word that contains this one is as long, so it has been passed by already.
        position = text.find(word, position)
        for match in _RUN.finditer(text, position, position + len(word)):
            before = text[max(match.start() - 64, 0) : match.start()]
            if _IMAGE_FOLLOWS.search(before) is None and _looks_random(match.group()):
                yield Hit("high_entropy", match.start(), match.end())
        position += len(word)


def is_placeholder(value: str) -> bool:
    """Say whether a labelled value stands for a secret instead of being one."""
    head = value[:200]
    return (
        len(set(head)) <= 2
        or _REFERENCE.match(head) is not None
        or _PLACEHOLDER_WORDS.search(head) is not None
        or _NAME.fullmatch(head) is not None
        or _TYPE_NAME.fullmatch(head) is not None
        or not any(character.isalnum() for character in head)
    )


def _labelled(text: str, lowered: str) -> Iterator[Hit]:
    position = 0
    for start in _label_starts(text, lowered):
        label = _label_at(text, start) if start >= position else None
        if label is None:
            continue
        position = label.end()
        quoted = _QUOTED.match(text, position)
        if quoted is not None:
            value = quoted.group(2)
            position = quoted.end()
            whole = "passphrase" in label.group().lower() or not any(c.isspace() for c in value)
            if (
                whole
                and not is_placeholder(value)
                and (label.re is not _TOLD or _told_is_secret(label, value))
            ):
                yield Hit("labelled_secret", *quoted.span(2))
            continue
        bare = _BARE.match(text, position)
        if bare is None:
            continue
        position = bare.end(1)
        value = bare.group(1)
        if bare.group(2) in ("(", "[") or is_placeholder(value):
            continue
        if _bare_is_secret(text, label, value):
            yield Hit("labelled_secret", *bare.span(1))


def _label_starts(text: str, lowered: str) -> list[int]:
    """Return in order where a label may begin: substring searches, many times faster than the pattern."""
    if len(lowered) != len(text):  # lower case is longer for a few letters, such as U+0130
        return [match.start() for match in _LABEL.finditer(text)]
    starts: list[int] = []
    for word in _LABEL_WORDS:
        found = lowered.find(word)
        while found >= 0:
            starts.append(found)
            found = lowered.find(word, found + len(word))
    return sorted(starts)


def _label_at(text: str, start: int) -> re.Match[str] | None:
    if text[start - 1 : start] == "-":
        option = text[max(start - _LONGEST_OPTION, 0) : start].split()[-1]
        found = _FLAG.match(text, start) if option.startswith("--") else None
        if found is not None:
            return found
    return _LABEL.match(text, start) or _TOLD.match(text, start)


def _told_is_secret(label: re.Match[str], value: str) -> bool:
    """Tell ``the password is hunter22`` from ``the password is base64-encoded``."""
    if _LIKE_NO_WORD.search(value) is not None:
        return True
    return (
        label.group().lower().startswith("pass") and value.isalnum() and _mixed(value) and not value.isdigit()
    )


def _bare_is_secret(text: str, label: re.Match[str], value: str) -> bool:
    """Tell ``PASSWORD=abcdefgh`` and ``password: s3cr3t-value`` from prose, type annotations and counters."""
    if label.re is _FLAG:
        return not value.startswith("-")
    if label.re is _TOLD:
        return _told_is_secret(label, value.rstrip(".!?:"))
    word = label.group().lower()
    if value.isdigit():
        return not word.startswith("token")
    if any(character.isdigit() or character in "!@#$%^*+?~" for character in value):
        return True
    if not word.endswith("="):
        return False
    line = text[max(label.start() - 64, 0) : label.start()].rpartition("\n")[2]
    return " " not in line.removeprefix("export ") and "(" not in line


def _pem_blocks(text: str) -> Iterator[Hit]:
    position = 0
    while (begin := _PEM_BEGIN.search(text, position)) is not None:
        footer = "-----END" + begin.group()[len("-----BEGIN") :]
        end = text.find(footer, begin.end(), begin.end() + _PEM_REACH)
        if end >= 0:
            position = end + len(footer)
        else:
            body = _PEM_BODY.match(text, begin.end())
            position = begin.end() if body is None else body.end()
            if body is None:
                continue
        yield Hit("ssh_private_key", begin.start(), position)


def _looks_random(run: str) -> bool:
    if _PUBLIC.match(run) is not None:
        return False
    # A commit in the address of a file: together with the words around it, it would exceed 4 bits.
    run = _HEX.sub("", run)
    if len(run) < _SHORTEST:
        return False
    last = max(len(run) - WINDOW, 0)
    return any(_random_window(run[at : at + WINDOW]) for at in (*range(0, last, HOP), last))


def _random_window(window: str) -> bool:
    size = len(window)
    if len(set(window)) < 23:  # 2 ** 4.5 is 22.6: fewer different characters cannot reach the threshold
        return False
    if len(_NOT_BASE64.findall(window)) > (1 - _BASE64_SHARE) * size:
        return False
    bits = -sum(n / size * log2(n / size) for n in Counter(window).values())
    if bits <= _BITS:
        return False
    pieces = _PIECE.findall(window)
    return sum(map(len, pieces)) < _MOST_RANDOM_WORDS * len(pieces)
