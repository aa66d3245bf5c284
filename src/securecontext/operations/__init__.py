"""The catalogue of verbs: where rooms meet. Importing this package declares every operation."""

from securecontext.operations import (
    archives,
    exchange,
    imports,
    keys,
    knowledge,
    ledger,
    memory,
    merging,
    notebooks,
    projects,
    proofs,
    recall,
    recovery,
    sessions,
)

__all__ = [
    "archives",
    "exchange",
    "imports",
    "keys",
    "knowledge",
    "ledger",
    "memory",
    "merging",
    "notebooks",
    "projects",
    "proofs",
    "recall",
    "recovery",
    "sessions",
]
