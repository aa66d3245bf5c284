import json

import pytest

from securecontext.boundaries import bundle, export
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.signers import read
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
        report = bundle.check(whole(case, bodies=bodies), [pinned])
        assert report.problems == []
        assert (report.entries, report.size, report.checkpoints, report.pinned) == (41, 41, 2, pinned)


def test_every_entry_is_proved(case):
    pinned = read(case.keyring).pinned
    for entry in range(1, 42):
        report = bundle.check(proof(case, entry), [pinned])
        assert (report.problems, report.entries, report.proof) == ([], 1, True)


def test_an_entry_without_a_checkpoint_has_no_proof_yet(case):
    case.append(draft("s0"))
    with pytest.raises(NotFound):
        proof(case, 42)


def test_another_pinned_key_is_refused(case):
    assert not bundle.check(whole(case), ["0" * 64]).ok
    assert not bundle.check(proof(case), ["0" * 64]).ok


@pytest.mark.parametrize("make", [whole, proof])
def test_a_bundle_without_any_one_of_its_lines_is_refused(case, make):
    pinned, lines = read(case.keyring).pinned, make(case)
    for left_out in range(len(lines)):
        changed = lines[:left_out] + lines[left_out + 1 :]
        kind = json.loads(lines[left_out])["type"]
        report = bundle.check(changed, [pinned])
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
                assert not bundle.check(changed, [pinned]).ok, (found["type"], name, other)


def test_exchanged_and_repeated_entries_are_refused(case):
    pinned, lines = read(case.keyring).pinned, whole(case)
    assert not bundle.check([*lines[:-2], lines[-1], lines[-2]], pinned).ok
    assert (
        not bundle.check([*lines, lines[-1]], pinned).ok
        or bundle.check([*lines, lines[-1]], pinned).entries == 42
    )
    assert not bundle.check(lines[:-1], pinned).ok


@pytest.mark.parametrize(
    "lines", [[], [b""], [b"{}"], [b"["], [b"\xff"], [b'{"type":"bundle","v":1,"log":"x"}']]
)
def test_what_is_no_bundle_is_refused(lines):
    assert not bundle.check(lines).ok
