"""The catalogue of verbs: where rooms meet. Importing this package declares every operation."""

from securecontext.operations import (
    access,
    archives,
    exchange,
    imports,
    knowledge,
    ledger,
    memory,
    merging,
    notebooks,
    projects,
    recall,
    recovery,
    sessions,
)

__all__ = [
    "access",
    "archives",
    "exchange",
    "imports",
    "knowledge",
    "ledger",
    "memory",
    "merging",
    "notebooks",
    "projects",
    "recall",
    "recovery",
    "sessions",
]
