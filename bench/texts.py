"""Texts like those that sessions leave behind: decisions, notes and excerpts, made from a seed."""

from __future__ import annotations

import random

_SUBJECTS = (
    "the writer thread", "the login page", "our retry policy", "the invoice export", "the search index",
    "session tokens",
    "the build on CI", "row-level security", "the cache of thumbnails", "the import of CSV files", "the rate limiter",
    "the nightly backup", "feature flags", "the websocket gateway", "the audit ledger", "pagination of the API",
    "schema migrations", "the payment webhook", "the job queue", "time zones in reports", "the mobile client",
    "error budgets", "the plugin loader", "the permissions model", "structured logging", "the admin dashboard",
)  # fmt: skip
_VERBS = (
    "uses", "must not touch", "was moved to", "depends on", "replaces", "is generated from", "falls back to",
    "is slower than",
    "is tested against", "waits for", "is wrapped by", "shares a lock with", "was measured against", "is owned by",
)  # fmt: skip
_OBJECTS = (
    "PostgreSQL 16", "an advisory lock", "Redis streams", "a background worker", "the `orders` table",
    "src/api/routes.py",
    "exponential backoff with jitter", "the OpenAPI schema", "a monotonic clock", "HTTP/2 push", "`parse_amount()`",
    "S3 multipart uploads", "the team in Lisbon", "a feature branch", "UTF-8 without a BOM", "the staging cluster",
    "idempotency keys", "a circuit breaker", "SQLite in WAL mode", "the design of last spring", "gRPC deadlines",
)  # fmt: skip
_REASONS = (
    "because two deploys ran at the same time in March", "since the customer asked for it twice",
    "after the outage of the second shard", "to keep the p99 below 200 ms", "because nobody could explain the old way",
    "so that a retry does nothing twice", "until the contract with the vendor ends", "as the security review demanded",
    "which the load test confirmed", "although the first benchmark said otherwise", "to make the rollback a one-liner",
)  # fmt: skip
_SYLLABLES = tuple(c + v for c in "bdfgklmnprstvz" for v in "aeiou")
_MAKER = random.Random(1)
_NAMES = tuple({"".join(_MAKER.choices(_SYLLABLES, k=_MAKER.randint(2, 4))): None for _ in range(4_000)})
"""Names of parts of a project; spread like words of a language, the first far more often than the last."""
_SHARES = tuple(1 / (20 + rank) for rank in range(len(_NAMES)))


def _name(chance: random.Random) -> str:
    return chance.choices(_NAMES, _SHARES)[0]


def sentence(chance: random.Random) -> str:
    """Return one statement about a project."""
    subject = chance.choice(_SUBJECTS) if chance.random() < 0.2 else f"the {_name(chance)} {_name(chance)}"
    thing = chance.choice(_OBJECTS) if chance.random() < 0.2 else f"{_name(chance)}.{_name(chance)}"
    why = chance.choice(_REASONS) if chance.random() < 0.2 else f"because of {_name(chance)} {_name(chance)}"
    return f"{subject} {chance.choice(_VERBS)} {thing} {why} (see {chance.randrange(10_000)})."


def paragraph(chance: random.Random) -> str:
    """Return three to eight statements."""
    return " ".join(sentence(chance) for _ in range(chance.randint(3, 8)))


def question(chance: random.Random) -> str:
    """Return what an agent asks: words in no special form."""
    return f"why does the {_name(chance)} {_name(chance)} use {_name(chance)} with {_name(chance)}?"
