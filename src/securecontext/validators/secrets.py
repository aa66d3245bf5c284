"""Find secrets in text and take them out: one place for every door, every store and the log.

Our own rules (`secret_rules`) always answer. What else is worked with is an `Outfit`: a second engine, which takes
seconds to be ready, what is allowed, and the key of fingerprints. It is put on once it is there, and from then on all
who scan have it.

What is found never shows the secret: a finding carries its type, its place, a fingerprint to recognise it by, and a
mask of four characters at each end when it can spare them. A fingerprint is made with a key of this installation:
whoever reads it cannot find a short password out by trying.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from securecontext.validators.secret_rules import Hit, random_runs, shaped

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

MARKER: Final = re.compile(r"\[REDACTED:[a-z0-9_]{1,40}\]")
_MASK_FROM: Final = 16
_ROUNDS: Final = 3
_GAP: Final = "\x0b"
SHORTEST: Final = 8
"""No rule finds anything in fewer characters: the shortest is ``://:abc@``."""
_NON_SPACE: Final = re.compile(r"\S*")
FINGERPRINT_DIGITS: Final = 16

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
        fingerprint: first 16 hexadecimal digits of its HMAC-SHA-256 (UTF-8).
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


class Engine(Protocol):
    """Finds secrets beside our own rules."""

    def hits(self, text: str) -> Iterable[Hit]:
        """Yield what it finds, in no order; hits may overlap."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """What is worked with beside our own rules.

    Attributes:
        key: of fingerprints, 32 bytes.
        engine: the second set of rules; None while it is not ready.
        allowed: fingerprints of what a person said is no secret.
    """

    key: bytes = field(repr=False)
    engine: Engine | None = None
    allowed: frozenset[str] = frozenset()


_worn = Outfit(secrets.token_bytes(32))  # until an installation's own is put on, nothing is comparable


def wear(
    *, key: bytes | None = None, engine: Engine | None = None, allowed: frozenset[str] | None = None
) -> None:
    """Let all who scan from now on work with these as well; what is not named stays."""
    global _worn  # one process has one installation, and its log is a door too
    _worn = replace(
        _worn,
        key=_worn.key if key is None else key,
        engine=_worn.engine if engine is None else engine,
        allowed=_worn.allowed if allowed is None else allowed,
    )


def worn() -> Outfit:
    """Return what all work with now."""
    return _worn


def engine_sees(text: str) -> bool:
    """Say whether the second engine finds anything in a text that our own rules have been through."""
    engine = _worn.engine
    return engine is not None and any(True for _ in engine.hits(MARKER.sub(_blank, text)))


def scan(text: str, outfit: Outfit | None = None) -> tuple[Finding, ...]:
    """Return the secrets of a text in order; overlapping ones are merged.

    Any string is allowed. Markers of `redact` are never found again.

    Args:
        text: to be read.
        outfit: what is worked with; by default what all do.
    """
    if len(text) < SHORTEST:
        return ()
    outfit = outfit or _worn
    # A secret that is taken out may uncover another one that touched it, so each round looks again at what is
    # left, with vertical tabs where secrets and markers were: white space that no rule reads across.
    # The offsets stay. What `redact` leaves has shorter gaps, and is looked at last; so many times and no more, or
    # keys within keys within keys would cost a round each.
    left = _blanked(text)
    spans: list[Hit] = []
    rounds = looks = 0
    while True:
        hits = _hits(left, outfit.engine)
        if not hits and looks < _ROUNDS:
            looks += 1
            hits = _drawn_together(text, spans, outfit.engine)
        if not hits:
            break
        rounds += 1
        if rounds > _ROUNDS:  # a chain of touching secrets: take the whole words
            hits = [_whole_word(left, hit) for hit in hits]
        hits = _merged(hits)
        spans += hits
        left = _without(left, hits)
    found = (_finding(text, hit, outfit.key) for hit in _merged(spans))
    return tuple(finding for finding in found if finding.fingerprint not in outfit.allowed)


def _hits(text: str, engine: Engine | None) -> list[Hit]:
    known = list(shaped(text))  # first: where two rules find the same, our own name stays
    if engine is not None:
        known += (hit for hit in engine.hits(text) if not text[hit.start : hit.end].isspace())
    return known or list(random_runs(text))


def _drawn_together(text: str, spans: list[Hit], engine: Engine | None) -> list[Hit]:
    """Return what is found once markers, which are shorter than most secrets, stand where secrets were.

    A rule that reads so far and no further, such as from a key's first line to its last, may reach there then.
    """
    if not spans:
        return []
    taken = _merged(spans)
    near = _blanked(_marked(text, taken))
    return [_in_place(hit, taken) for hit in _hits(near, engine)]


def _in_place(hit: Hit, taken: list[Hit]) -> Hit:
    """Return a hit in a text with markers as one in the text itself; a marker that it begins or ends in is in it."""
    start, end, shift = hit.start, hit.end, 0
    for each in taken:
        marker = each.start - shift, each.start - shift + len(_marker(each.type))
        longer = each.end - each.start - (marker[1] - marker[0])
        if marker[1] <= hit.start:
            start = hit.start + shift + longer
        elif marker[0] <= hit.start:
            start = each.start
        if marker[1] <= hit.end:
            end = hit.end + shift + longer
        elif marker[0] < hit.end:
            end = each.end
        shift += longer
    return Hit(hit.type, start, end)


def redact(text: str) -> Redacted:
    """Return the text with each secret replaced by ``[REDACTED:<type>]``; doing it again changes nothing.

    Blocks of keys that hold one another, more than three deep and each too long to be one, are the exception.
    """
    findings = scan(text)
    return Redacted(_marked(text, findings), findings) if findings else Redacted(text, ())


def _marker(kind: str) -> str:
    return f"[REDACTED:{kind}]"


def _marked(text: str, found: Iterable[Hit | Finding]) -> str:
    parts: list[str] = []
    position = 0
    for each in found:
        parts += (text[position : each.start], _marker(each.type))
        position = each.end
    parts.append(text[position:])
    return "".join(parts)


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


def _blanked(text: str) -> str:
    return MARKER.sub(_blank, text) if "[REDACTED:" in text else text


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


def _finding(text: str, hit: Hit, key: bytes) -> Finding:
    secret = text[hit.start : hit.end]
    digest = hmac.digest(key, secret.encode("utf-8", "surrogatepass"), "sha256").hex()
    masked = f"{secret[:4]}***{secret[-4:]}" if len(secret) >= _MASK_FROM else "***"
    return Finding(hit.type, hit.start, hit.end, digest[:FINGERPRINT_DIGITS], masked)
