import itertools
import json

import pytest

from securecontext.boundaries import chain
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.ledger import bundle, export
from securecontext.boundaries.ledger.signers import Signers, read
from securecontext.types.errors import NotFound
from tests.ledger_case import Case, draft


@pytest.fixture
def case(ledger_connection, keyring):
    made = Case(ledger_connection, keyring)
    for number in range(40):
        made.append(draft(f"s{number % 3}", body={"n": number}))
        if number == 20:
            made.sequence()
            made.end_epoch()
            made.ledger.__init__(made.log, keyring)
    made.sequence()
    return made


def whole(case, *, bodies=True):
    with case.connection.begin():
        return list(export.whole(case.connection, case.log, read(case.keyring), bodies=bodies))


def proof(case, entry=17):
    with case.connection.begin():
        return list(export.proof(case.connection, case.log, read(case.keyring), entry))


def test_an_export_is_checked_with_the_public_key_alone(case):
    pinned = read(case.keyring).pinned
    for bodies in (True, False):
        report = bundle.check(whole(case, bodies=bodies), pinned)
        assert report.problems == []
        assert (report.entries, report.size, report.checkpoints, report.pinned) == (41, 41, 2, pinned)


def test_every_entry_is_proved(case):
    pinned = read(case.keyring).pinned
    for entry in range(1, 42):
        report = bundle.check(proof(case, entry), pinned)
        assert (report.problems, report.entries, report.proof) == ([], 1, True)


def test_an_entry_without_a_checkpoint_has_no_proof_yet(case):
    case.append(draft("s0"))
    with pytest.raises(NotFound):
        proof(case, 42)


def test_another_pinned_key_is_refused(case):
    assert not bundle.check(whole(case), "0" * 64).ok
    assert not bundle.check(proof(case), "0" * 64).ok


@pytest.mark.parametrize("make", [whole, proof])
def test_a_bundle_without_any_one_of_its_lines_is_refused(case, make):
    pinned, lines = read(case.keyring).pinned, make(case)
    for left_out in range(len(lines)):
        changed = lines[:left_out] + lines[left_out + 1 :]
        kind = json.loads(lines[left_out])["type"]
        report = bundle.check(changed, pinned)
        # Of an export, the later checkpoint vouches for what an earlier one did.
        assert not report.ok or (kind == "checkpoint" and (report.size, report.checkpoints) == (41, 1)), kind


@pytest.mark.parametrize("make", [whole, proof])
def test_any_changed_member_is_refused(case, make):
    pinned, lines = read(case.keyring).pinned, make(case)
    for at, line in enumerate(lines):
        found = json.loads(line)
        for name, value in found.items():
            for other in (None, 7, "x", [], value + 1 if type(value) is int else str(value)[:-1]):
                if other == value:
                    continue
                changed = [*lines[:at], canonical(found | {name: other}), *lines[at + 1 :]]
                assert not bundle.check(changed, pinned).ok, (found["type"], name, other)


def test_exchanged_and_repeated_entries_are_refused(case):
    pinned, lines = read(case.keyring).pinned, whole(case)
    assert not bundle.check([*lines[:-2], lines[-1], lines[-2]], pinned).ok
    assert (
        not bundle.check([*lines, lines[-1]], pinned).ok
        or bundle.check([*lines, lines[-1]], pinned).entries == 42
    )
    assert not bundle.check(lines[:-1], pinned).ok


def forged(log, seq, prev=None):
    """The line of an entry that nobody signed, and its hash."""
    digest = chain.body_digest(bytes(16), b"{}")
    prev = prev or chain.genesis(log, "uid:1000/forged")
    entry = chain.Entry(
        log,
        "uid:1000/forged",
        seq,
        "sig_x.0",
        "2026-11-22T01:02:03.000004Z",
        "call",
        "uid:1000",
        "",
        digest,
        prev,
    )
    data, mac = chain.encode(entry), bytes(32)
    return bundle.entry_line(seq - 1, data, mac, None, None), chain.entry_hash(data, mac)


def test_rt_s0_07_entries_before_the_checkpoint_are_not_taken_for_what_it_signed(case):
    """Held against no root when they were read, they must not pass because as many were signed."""
    pinned, lines = read(case.keyring).pinned, whole(case)
    head = [line for line in lines if json.loads(line)["type"] in ("bundle", "signer")]
    points = [line for line in lines if json.loads(line)["type"] == "checkpoint"]
    made, prev = [], None
    for seq in range(1, 42):
        line, prev = forged(case.log, seq, prev)
        made.append(line)
    assert not bundle.check([*head, *points, *made], pinned).ok
    assert not bundle.check([*head, *made, *points], pinned).ok
    assert not bundle.check([*head, *made, points[-1]], pinned).ok
    assert not bundle.check([head[0], *made, *head[1:], points[-1]], pinned).ok


def test_rt_s0_07_one_proof_does_not_vouch_for_two_entries(case):
    pinned, lines = read(case.keyring).pinned, proof(case)
    line, _ = forged(case.log, 1)
    assert bundle.check([*lines, *lines[-2:]], pinned).ok
    for changed in ([*lines, lines[-1], line], [*lines[:-2], line, *lines[-2:], lines[-1]]):
        assert not bundle.check(changed, pinned).ok


@pytest.mark.parametrize("make", [whole, proof])
def test_lines_in_another_order_are_refused(case, make):
    pinned, lines = read(case.keyring).pinned, make(case)
    kinds = ("bundle", "signer", "checkpoint", "entry")
    parts = {
        kind: [line for line in lines if json.loads(line)["type"] == kind] for kind in (*kinds, "inclusion")
    }
    for order in itertools.permutations(kinds):
        moved = [line for kind in (*order, "inclusion") for line in parts[kind]]
        assert bundle.check(moved, pinned).ok == (order == kinds), order


def test_a_bad_list_of_signers_is_read_once_however_many_checkpoints_follow(case, monkeypatch):
    lines = whole(case)
    reads = []
    init = Signers.__init__
    monkeypatch.setattr(
        Signers, "__init__", lambda self, given: (reads.append(len(given)), init(self, given))[1]
    )
    point = next(line for line in lines if json.loads(line)["type"] == "checkpoint")
    bad = canonical({"type": "signer", "line": "{}"})
    assert not bundle.check([*lines[:2], bad, *[point] * 50]).ok
    assert [n for n in reads if n] == [2]


@pytest.mark.parametrize(
    "lines", [[], [b""], [b"{}"], [b"["], [b"\xff"], [b'{"type":"bundle","v":1,"log":"x"}']]
)
def test_what_is_no_bundle_is_refused(lines):
    assert not bundle.check(lines).ok
