"""Whither something may go: hosts that the operator has named. Without a rule nothing leaves.

A rule is a host's name (``docs.python.org``), all names below one (``*.python.org``), or ``*`` for every public host.
It opens ports 80 and 443; one that ends in a port (``docs.example.org:8443``) opens that port alone. No rule leads to
an address that is not public. Rules lie in the store that they are for: a project's, or the machine's, for every
project.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Final

from sqlalchemy import Connection

from securecontext.storage import meta_rows
from securecontext.types.errors import InvalidInput, LimitReached, NotFound
from securecontext.validators.addresses import why_not_public
from securecontext.validators.hosts import ends_in_a_number, is_local, is_misleading, is_name
from securecontext.validators.url import PORTS

MOST: Final = 500
EVERY: Final = "*"
_NAME: Final = "egress_allowed"
_USUAL: Final = frozenset(PORTS.values())


@dataclass(frozen=True, slots=True)
class Rule:
    """One host, or several, that something may go to.

    Attributes:
        host: as this module says, with its port where it names one; make it with `clean`.
        by: the principal who said so.
        at: timestamp.
    """

    host: str
    by: str
    at: str

    @property
    def port(self) -> int | None:
        """The port that it opens; None for the usual ones."""
        digits = self.host.rpartition(":")[2] if ":" in self.host else ""
        return int(digits) if digits else None

    def allows(self, host: str, port: int) -> bool:
        """Say whether it lets something go to a port of a host, both as `validators.url` has them."""
        if port not in (_USUAL if self.port is None else (self.port,)):
            return False
        name = self.host.partition(":")[0]
        return name in (EVERY, host) or (name.startswith("*.") and host.endswith(name[1:]))


def clean(raw: str) -> str:
    """Return a rule's text in its one spelling.

    Raises:
        InvalidInput: ``bad_egress_host``: it is none, or leads to a local network.
    """
    text = raw.strip().lower()
    name, colon, digits = text.partition(":")
    bare = name.removeprefix("*.")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
    named = (
        is_name(bare) and not ends_in_a_number(bare) and not is_local(bare) and not is_misleading(bare)
    ) or (bare == name and _is_address(name))
    if (colon and not (0 < number < 65_536 and str(number) == digits)) or not (
        named or (name == EVERY and not colon)
    ):
        raise InvalidInput(
            "bad_egress_host",
            "That is no host of the public internet.",
            "Name one like docs.python.org, *.python.org or docs.python.org:8443; * stands for every public host.",
        )
    return text


def _is_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return str(address) == text and not why_not_public(address)


def allowing(rules: Iterable[Rule], host: str, port: int) -> Rule | None:
    """Return the first rule that lets something go there; None where none does."""
    return next((rule for rule in rules if rule.allows(host, port)), None)


def ports(rules: Iterable[Rule]) -> frozenset[int]:
    """Return every port that some rule opens."""
    return _USUAL | {rule.port for rule in rules if rule.port is not None}


def read(connection: Connection) -> list[Rule]:
    """Return the rules of a store, in the order of their making."""
    said = meta_rows.read(connection, _NAME)
    return [] if said is None else [Rule(**each) for each in json.loads(said)]


def add(connection: Connection, rule: Rule) -> list[Rule]:
    """Enter a rule; one that is there stays as it is. Return all of the store.

    Raises:
        LimitReached: ``too_many_egress_rules``.
    """

    def change(found: list[Rule]) -> list[Rule]:
        if any(each.host == rule.host for each in found):
            return found
        if len(found) >= MOST:
            raise LimitReached(
                "too_many_egress_rules",
                f"{MOST} hosts are allowed already.",
                "Take some back: `zc egress disallow`.",
                limit=MOST,
            )
        return [*found, rule]

    return _changed(connection, change)


def remove(connection: Connection, host: str) -> list[Rule]:
    """Take a rule back, and return those that are left.

    Raises:
        NotFound: ``no_such_egress_rule``.
    """

    def change(found: list[Rule]) -> list[Rule]:
        left = [each for each in found if each.host != host]
        if len(left) == len(found):
            raise NotFound("no_such_egress_rule", "There is no such rule.", "See `zc egress allowed`.")
        return left

    return _changed(connection, change)


def _changed(connection: Connection, change: Callable[[list[Rule]], list[Rule]]) -> list[Rule]:
    left = change(read(connection))
    meta_rows.put(connection, _NAME, json.dumps([asdict(each) for each in left]))
    return left
