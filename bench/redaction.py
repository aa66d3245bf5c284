"""Secrets: how long it takes to look through a text, with both sets of rules."""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench.figures import Figure, median, percentile
from bench.floors import milliseconds
from bench.home import SOURCE, Home
from bench.texts import paragraph
from securecontext.app.secret_rules import FOLDER
from securecontext.validators.secret_engine import Engine
from securecontext.validators.secrets import Outfit, redact, scan

SIZE = 10 * 1024
PATIENCE = 300.0
"""Seconds after which the rules are given up for lost."""


def wait_for_rules(at: Home) -> None:
    """Wait until the service works with both sets of rules: they are a part of what it takes.

    Raises:
        RuntimeError: they could not be made ready.
    """
    until = time.monotonic() + PATIENCE
    while (state := at.control({"do": "status"})["secret_rules"]) != "ready":
        if state not in ("waiting", "building") or time.monotonic() > until:
            raise RuntimeError(f"the rules against secrets: {state}")
        time.sleep(0.1)


def measure(at: Home, times: int, chance: random.Random) -> list[Figure]:
    """Return the figures.

    Args:
        at: whose service has compiled the rules.
        times: readings of each text.
        chance: for the texts.
    """
    engine = Engine(at.data / FOLDER)
    outfit = Outfit(b"k" * 32, engine)
    out: list[Figure] = []
    for what, text in (("prose", _prose(chance)), ("code", _code())):
        redact(text)
        took = milliseconds(lambda text=text: scan(text, outfit), times)  # type: ignore[misc]
        alone = median(milliseconds(lambda text=text: list(engine.hits(text)), times))  # type: ignore[misc]
        name = f"10 KiB of {what} looked through for secrets"
        out.append(Figure(f"{name}, median", median(took), "ms", 1, alone, "the second set of rules alone"))
        out.append(Figure(f"{name}, p99", percentile(took, 0.99), "ms"))
    return out


def _prose(chance: random.Random) -> str:
    parts: list[str] = []
    while sum(map(len, parts)) < SIZE:
        parts.append(paragraph(chance))
    return "\n\n".join(parts)[:SIZE]


def _code() -> str:
    text = "".join(Path(file).read_text() for file in sorted((SOURCE / "boundaries").rglob("*.py")))[:SIZE]
    if len(text) < SIZE:
        raise RuntimeError("there is less code than is to be measured")
    return text
