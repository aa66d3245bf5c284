"""What a site lets programs read: robots.txt (RFC 9309), read by a matcher whose time is linear in rule and path.

Ours, because those at hand turn the wildcards of a rule, which the site chooses, into regular expressions that
backtrack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

BYTES: Final = 512 * 1024
"""Of robots.txt: RFC 9309 wants 500 KiB to be read."""
RULES: Final = 5_000
_SAFE: Final = "/%:@!$&'()*+,;=~-._?"


@dataclass(frozen=True, slots=True)
class _Rule:
    allows: bool
    pattern: str


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of one site for us.

    Attributes:
        rules: of the group that names us, else of that for everybody.
    """

    rules: tuple[_Rule, ...] = ()
    closed: bool = False

    def allows(self, target: str) -> bool:
        """Say whether we may read a path with its query: the longest rule that fits decides; of equals the kinder."""
        if self.closed:
            return False
        path = _plain(target)
        fitting = [rule for rule in self.rules if _fits(rule.pattern, path)]
        if not fitting:
            return True
        longest = max(len(rule.pattern) for rule in fitting)
        return any(rule.allows for rule in fitting if len(rule.pattern) == longest)


EVERYTHING: Final = Robots()
NOTHING: Final = Robots(closed=True)


def parse(text: str, agent: str) -> Robots:
    """Return what a robots.txt says to a program.

    Args:
        text: of the file.
        agent: the program's name.
    """
    groups: dict[str, list[_Rule]] = {}
    named: list[str] = []
    in_rules = False
    count = 0
    for line in text.removeprefix("\ufeff").splitlines():
        field, colon, value = line.partition("#")[0].partition(":")
        field, value = field.strip().lower(), value.strip()
        if not colon:
            continue
        if field == "user-agent":
            if in_rules:
                named, in_rules = [], False
            named.append(value.lower())
        elif field in ("allow", "disallow"):
            in_rules = True
            count += 1
            if value and count <= RULES:
                for name in named:
                    groups.setdefault(name, []).append(_Rule(field == "allow", _plain(value)))
            elif not value:
                for name in named:
                    groups.setdefault(name, [])
    if count > RULES:
        return NOTHING  # what was not read may have forbidden it
    ours = groups.get(agent.lower())
    return Robots(tuple(groups.get("*", ()) if ours is None else ours))


def _plain(text: str) -> str:
    """Return a path in the one spelling in which it is compared: what needs no escape has none."""
    return quote(unquote(text, errors="surrogateescape"), safe=_SAFE, errors="surrogateescape")


def _fits(pattern: str, path: str) -> bool:
    """Say whether a path begins as a pattern says; ``*`` stands for anything, ``$`` at the end for the end."""
    ends = pattern.endswith("$")
    first, *rest = (pattern[:-1] if ends else pattern).split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for part in rest[:-1]:
        found = path.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    if not rest:
        return not ends or place == len(path)
    last = rest[-1]
    if ends:
        return len(path) - len(last) >= place and path.endswith(last)
    return path.find(last, place) >= 0
