"""The invariants of stored state: each one holds of what is sound and breaks on what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecontext.contracts.state import HEADS, LEASES, NOTEBOOKS, TASKS, TEXTS, TOKENS, TREES, flaws
from securecontext.types.state import (
    HeadState,
    LeaseState,
    NotebookState,
    SealedState,
    TaskLeaseState,
    TokenState,
    TreeState,
)

NOW, SOON, LATE = (f"2026-03-01T12:0{minute}:00.000000Z" for minute in (0, 1, 9))
HEAD = HeadState("uid:1000/s", 3, "ab", 3, "ab", True)
LEASE = LeaseState("log_x", "sig_me", "sig_me", 1, SOON, NOW, SOON)
TREE = TreeState("log_x", 4, 4)
NOTEBOOK = NotebookState("prj_x/alice", 250, 250)
TOKEN = TokenState("tok_k_x", NOW, SOON, LATE, "k", "k", False)
TEXT = SealedState("m1", True)
TASK = TaskLeaseState("worker/t", 1, "agent:a", SOON, LATE)
SOUND = [
    (HEADS, HEAD), (LEASES, LEASE), (TREES, TREE), (NOTEBOOKS, NOTEBOOK), (TEXTS, TEXT), (TOKENS, TOKEN),
    (TASKS, TASK),
]  # fmt: skip
EDGES = [
    (HEADS, replace(HEAD, authentic=False, seq=2)),  # named once, as what is wrong first
    (LEASES, replace(LEASE, holder="sig_other", until=NOW)),
    (TREES, TreeState("log_x", -1, -1)),
    (TOKENS, replace(TOKEN, key="")),
    (TASKS, replace(TASK, until=LATE)),
]
BROKEN = [
    ("head_missing", HEADS, replace(HEAD, seq=None, head=None)),
    ("head_not_newest", HEADS, replace(HEAD, seq=2)),
    ("head_not_newest", HEADS, replace(HEAD, head="cd")),
    ("head_not_newest", HEADS, replace(HEAD, newest_seq=0, newest_hash="")),
    ("head_forged", HEADS, replace(HEAD, authentic=False)),
    ("lease_malformed", LEASES, replace(LEASE, fence=0)),
    ("lease_malformed", LEASES, replace(LEASE, until="soon")),
    ("lease_malformed", LEASES, replace(LEASE, holder="", own="")),
    ("lease_too_long", LEASES, replace(LEASE, until=LATE)),
    ("lease_foreign", LEASES, replace(LEASE, holder="sig_other")),
    ("tree_not_signed", TREES, replace(TREE, placed=5)),
    ("tree_not_signed", TREES, replace(TREE, signed=5)),
    ("notebook_over", NOTEBOOKS, replace(NOTEBOOK, facts=251)),
    ("token_times", TOKENS, replace(TOKEN, issued=SOON)),
    ("text_not_sealed", TEXTS, replace(TEXT, marked=False)),
    ("token_times", TOKENS, replace(TOKEN, longest=NOW)),
    ("token_times", TOKENS, replace(TOKEN, expires="never")),
    ("token_other_root", TOKENS, replace(TOKEN, key="other")),
    ("task_lease_malformed", TASKS, replace(TASK, fence=0)),
    ("task_lease_malformed", TASKS, replace(TASK, holder="")),
    ("task_lease_malformed", TASKS, replace(TASK, until="")),
    ("task_lease_too_long", TASKS, replace(TASK, longest=NOW)),
    ("token_outlives", TOKENS, replace(TOKEN, issuer_revoked=True)),
]


@pytest.mark.parametrize(("invariants", "state"), SOUND, ids=lambda x: type(x).__name__)
def test_what_is_sound_breaks_nothing(invariants, state):
    assert flaws("machine", invariants, [state, state]) == []


@pytest.mark.parametrize(("invariants", "state"), EDGES[1:], ids=lambda x: type(x).__name__)
def test_what_is_just_allowed_breaks_nothing(invariants, state):
    assert flaws("machine", invariants, [state]) == []


@pytest.mark.parametrize(
    ("code", "invariants", "state"), BROKEN, ids=lambda x: x if isinstance(x, str) else ""
)
def test_each_break_has_its_one_code_a_sentence_and_a_next_step(code, invariants, state):
    (flaw,) = flaws("prj_x", invariants, [state])
    assert (flaw.code, flaw.where, flaw.count, flaw.first) == (code, "prj_x", 1, state.name)
    assert state.name in flaw.sentence() and flaw.sentence().endswith(".") and len(flaw.next) > 20


def test_every_invariant_is_broken_by_some_case():
    assert {code for code, _, _ in BROKEN} == {
        each.code for group in (HEADS, LEASES, TREES, NOTEBOOKS, TASKS, TEXTS, TOKENS) for each in group
    }


def test_many_cases_are_one_flaw_that_counts_them():
    broken = [replace(HEAD, name=f"s{n}", authentic=False) for n in range(3)]
    (flaw,) = flaws("prj_x", HEADS, [HEAD, *broken])
    assert (flaw.code, flaw.count, flaw.first) == ("head_forged", 3, "s0")
