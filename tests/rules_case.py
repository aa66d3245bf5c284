"""The second set of rules against secrets for tests: compiled once for this user, loaded once for a run of tests."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from securecontext.validators import secrets
from securecontext.validators.secret_engine import Engine

COMPILED = Path(f"/tmp/securecontext-rules-{os.getuid()}")
"""Private, and looked at by the library before it is used; compiling takes some ten seconds."""


def made_up(size: int, alphabet: str = string.ascii_letters, seed: int = 5) -> str:
    """Return the random part of a false secret."""
    return "".join(random.Random(seed).choices(alphabet, k=size))


def hugging_face(seed: int = 1) -> str:
    """Return a false token that our own rules do not know, and the second set does."""
    return "hf" + "_" + made_up(34, seed=seed)  # of few different letters: our entropy rule lets it pass


@pytest.fixture(scope="session")
def engine_of_rules() -> Engine:
    """The second set of rules."""
    COMPILED.mkdir(mode=0o700, exist_ok=True)
    return Engine(COMPILED)


@pytest.fixture
def all_rules(engine_of_rules: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Let everything in this process work with both sets of rules for one test."""
    monkeypatch.setattr(secrets, "_worn", secrets.Outfit(b"k" * 32, engine_of_rules))
    yield engine_of_rules


@pytest.fixture
def own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one test change what everything in this process works with; it begins with our own rules alone."""
    monkeypatch.setattr(secrets, "_worn", secrets.Outfit(b"k" * 32))
