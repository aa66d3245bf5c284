"""The catalogue of verbs: where rooms meet. Importing this package declares every operation."""

from securecontext.operations import (
    archives,
    imports,
    knowledge,
    ledger,
    memory,
    notebooks,
    projects,
    recall,
    recovery,
    sessions,
)

__all__ = [
    "archives",
    "imports",
    "knowledge",
    "ledger",
    "memory",
    "notebooks",
    "projects",
    "recall",
    "recovery",
    "sessions",
]
