"""Find secrets in text and take them out: pure, in one linear reading.

What is found never shows the secret: a finding carries its type, its place, the first eight hexadecimal
digits of its SHA-256 to recognise it by, and a mask of four characters at each end when it can spare them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from securecontext.validators.secret_rules import Hit, random_runs, shaped

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

MARKER: Final = re.compile(r"\[REDACTED:[a-z0-9_]{1,40}\]")
_MASK_FROM: Final = 16
_ROUNDS: Final = 3
_GAP: Final = "\x0b"
SHORTEST: Final = 8
"""No rule finds anything in fewer characters: the shortest is ``://:abc@``."""
_NON_SPACE: Final = re.compile(r"\S*")

SENSITIVE_NAMES: Final = frozenset(
    {
        "channel_key", "password", "passwd", "secret", "client_secret", "token", "access_token",
        "refresh_token",
        "session_token",
        "registration_secret", "api_key", "apikey", "x_api_key", "auth", "credential",
        "credentials", "passphrase", "authorization", "private_key",
    }
)  # fmt: skip
"""Names whose value is redacted whole. Plain ``key`` is not one of them: it is a fact's name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret in a text.

    Attributes:
        type: which rule found it, such as ``github_pat``.
        start: offset of its first character.
        end: offset after its last character.
        fingerprint: first 8 hexadecimal digits of its SHA-256 (UTF-8).
        masked: ``first4***last4`` from 16 characters on, else ``***``.
    """

    type: str
    start: int
    end: int
    fingerprint: str
    masked: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without its secrets, and what was taken out; the offsets are those of the text as it was."""

    text: str
    findings: tuple[Finding, ...]


def scan(text: str) -> tuple[Finding, ...]:
    """Return the secrets of a text in order; overlapping ones are merged.

    Any string is allowed. Markers of `redact` are never found again.
    """
    if len(text) < SHORTEST:
        return ()
    # A secret that is taken out may uncover another one that touched it, so each round looks again at what is
    # left, with vertical tabs where secrets and markers were: white space that no rule reads across.
    # The offsets stay, and what `redact` leaves holds nothing.
    left = MARKER.sub(_blank, text) if "[REDACTED:" in text else text
    spans: list[Hit] = []
    rounds = 0
    while hits := (list(shaped(left)) or list(random_runs(left))):
        rounds += 1
        if rounds > _ROUNDS:  # a chain of touching secrets: take the whole words
            hits = [_whole_word(left, hit) for hit in hits]
        hits = _merged(hits)
        spans += hits
        left = _without(left, hits)
    return tuple(_finding(text, hit) for hit in _merged(spans))


def redact(text: str) -> Redacted:
    """Return the text with each secret replaced by ``[REDACTED:<type>]``; doing it again changes nothing."""
    findings = scan(text)
    if not findings:
        return Redacted(text, ())
    parts: list[str] = []
    position = 0
    for finding in findings:
        parts += (text[position : finding.start], f"[REDACTED:{finding.type}]")
        position = finding.end
    parts.append(text[position:])
    return Redacted("".join(parts), findings)


def redact_value(value: JsonValue) -> JsonValue:
    """Return a JSON value with every secret taken out of its texts and names.

    What is under a sensitive name (see `SENSITIVE_NAMES`; case and ``-`` do not matter) is redacted whole,
    except null and booleans, which hold no secret. Names that become the same one are numbered.
    """
    if isinstance(value, str):
        return redact(value).text
    if isinstance(value, list):
        return [redact_value(each) for each in value]
    if isinstance(value, dict):
        out: dict[str, JsonValue] = {}
        for name, inner in value.items():
            shown = unique = redact(name).text
            number = 2
            while unique in out:
                unique = f"{shown}#{number}"
                number += 1
            out[unique] = _sensitive(inner) if is_sensitive_name(name) else redact_value(inner)
        return out
    return value


def is_sensitive_name(name: str) -> bool:
    """Say whether what stands under this name is a secret whatever it looks like."""
    return name.lower().replace("-", "_") in SENSITIVE_NAMES


def _sensitive(value: JsonValue) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and MARKER.fullmatch(value):
        return value
    return "[REDACTED:sensitive_name]"


def _blank(match: re.Match[str]) -> str:
    return _GAP * len(match.group())


def _whole_word(text: str, hit: Hit) -> Hit:
    start = hit.start
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    rest = _NON_SPACE.match(text, hit.end)
    return Hit(hit.type, start, hit.end if rest is None else rest.end())


def _merged(hits: list[Hit]) -> list[Hit]:
    out: list[Hit] = []
    for hit in sorted(hits, key=lambda each: (each.start, -each.end)):
        if out and hit.start < out[-1].end:
            # The more telling name wins: a label says less than the shape of what it labels.
            first = out[-1]
            better = hit.type if first.type == "labelled_secret" else first.type
            out[-1] = Hit(better, first.start, max(first.end, hit.end))
        else:
            out.append(hit)
    return out


def _without(text: str, hits: list[Hit]) -> str:
    parts: list[str] = []
    position = 0
    for hit in hits:
        parts += (text[position : hit.start], _GAP * (hit.end - hit.start))
        position = hit.end
    parts.append(text[position:])
    return "".join(parts)


def _finding(text: str, hit: Hit) -> Finding:
    secret = text[hit.start : hit.end]
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    masked = f"{secret[:4]}***{secret[-4:]}" if len(secret) >= _MASK_FROM else "***"
    return Finding(hit.type, hit.start, hit.end, digest[:8], masked)
