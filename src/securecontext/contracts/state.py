"""What holds of what is stored: heads of streams, leases, trees, notebooks, texts, tasks, tokens. Predicates on values.

A contract on a function speaks of one call; these speak of what lies in the databases between calls, whoever put it
there. What breaks one is told and entered; it stops nothing, because memory that still works is better than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from securecontext.contracts.session import is_moment
from securecontext.types.state import (
    Flaw,
    HeadState,
    LeaseState,
    NotebookState,
    SealedState,
    TaskLeaseState,
    TokenState,
    TreeState,
)

_VERIFY: Final = "Keep a copy of the file, then see `zc audit verify` and docs/explanation/ledger.md."


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that always holds of one kind of state.

    Attributes:
        code: stable, for programs.
        holds: the predicate.
        says: what is wrong where it does not hold; follows the number of cases.
        next: what to do then.
    """

    code: str
    holds: Callable[[Any], bool]
    says: str
    next: str


def _head_is_newest(state: HeadState) -> bool:
    return state.head is None or (state.seq, state.head) == (state.newest_seq, state.newest_hash)


def _head_is_ours(state: HeadState) -> bool:
    return state.head is None or state.authentic or not _head_is_newest(state)


def _lease_has_form(state: LeaseState) -> bool:
    return bool(state.holder) and state.fence >= 1 and is_moment(state.until)


def _token_has_times(state: TokenState) -> bool:
    moments = (state.issued, state.expires, state.longest)
    return all(is_moment(each) for each in moments) and state.issued < state.expires <= state.longest


HEADS: Final = (
    Invariant("head_missing", lambda s: s.head is not None, "streams have entries and no head", _VERIFY),
    Invariant("head_not_newest", _head_is_newest, "streams have a head that is not their newest entry", _VERIFY),
    Invariant("head_forged", _head_is_ours, "streams have a head that no key of ours made", _VERIFY),
)  # fmt: skip
LEASES: Final = (
    Invariant("lease_malformed", _lease_has_form, "leases of the sequencer are none", _VERIFY),
    Invariant(
        "lease_too_long",
        lambda s: not is_moment(s.until) or s.until <= s.longest,
        "leases of the sequencer run for longer than any is given",
        "Check the clock of this machine. No entry gets its place in the tree until the lease has run out.",
    ),
    Invariant(
        "lease_foreign",
        lambda s: s.holder == s.own or s.until <= s.now,
        "leases of the sequencer are held by another installation",
        "Two services must not share this folder. If it was restored from a backup, the lease runs out in a minute.",
    ),
)
TREES: Final = (
    Invariant(
        "tree_not_signed", lambda s: s.placed == s.signed, "trees have another size than was signed", _VERIFY
    ),
)
NOTEBOOKS: Final = (
    Invariant(
        "notebook_over",
        lambda s: s.facts <= s.most,
        "notebooks hold more than any may",
        "Remember something in it: what is least important then moves to the archive. See `zc memory list`.",
    ),
)
TEXTS: Final = (
    Invariant(
        "text_not_sealed",
        lambda s: s.marked,
        "confidential or restricted texts do not lie there encrypted",
        "They are not shown. Restore a backup, or forget them: `zc memory list`, `zc archive list`.",
    ),
)
TASKS: Final = (
    Invariant(
        "task_lease_malformed",
        lambda s: bool(s.holder) and s.fence >= 1 and is_moment(s.until),
        "tasks are claimed by nobody, without a fence, or for ever",
        "Take them back: `zc queue requeue --role ROLE --task-id ID`.",
    ),
    Invariant(
        "task_lease_too_long",
        lambda s: not is_moment(s.until) or s.until <= s.longest,
        "tasks are claimed for longer than any lease is given",
        "Check the clock of this machine. The service ends such leases by itself within a minute.",
    ),
)
TOKENS: Final = (
    Invariant(
        "token_times",
        _token_has_times,
        "session tokens that count have times that none is given",
        "Check the clock of this machine, then revoke them: `zc token list`, `zc token revoke`.",
    ),
    Invariant(
        "token_other_root",
        lambda s: s.key in ("", s.own_key),
        "session tokens count and were signed with another root",
        "They are refused. Put keys/tokens.root back, or revoke them: `zc token revoke --every`.",
    ),
    Invariant(
        "token_outlives",
        lambda s: not s.issuer_revoked,
        "session tokens count although the one that issued them was revoked",
        "Revoke them: `zc token list`, `zc token revoke --token-id ID`.",
    ),
)


def flaws(
    where: str,
    invariants: Sequence[Invariant],
    states: Iterable[
        HeadState | LeaseState | TreeState | NotebookState | SealedState | TaskLeaseState | TokenState
    ],
) -> list[Flaw]:
    """Return what is broken in a file, one flaw for each invariant, with how often and the first case."""
    found: dict[str, tuple[int, str]] = {}
    for state in states:
        for invariant in invariants:
            if not invariant.holds(state):
                count, first = found.get(invariant.code, (0, state.name))
                found[invariant.code] = count + 1, first
    return [
        Flaw(each.code, where, *found[each.code], each.says, each.next)
        for each in invariants
        if each.code in found
    ]
