"""The catalogue of verbs: where rooms meet. Importing this package declares every operation."""

from securecontext.operations import (
    access,
    archives,
    exchange,
    imports,
    integrity,
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
    "access",
    "archives",
    "exchange",
    "imports",
    "integrity",
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
