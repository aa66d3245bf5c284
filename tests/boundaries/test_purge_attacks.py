"""Purged bodies against one who writes the database: only what an entry says was purged may be missing."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pytest

from securecontext.boundaries.ledger import bundle, export, purge
from securecontext.boundaries.ledger.signers import read
from securecontext.boundaries.ledger.verdict import Broken
from securecontext.types.ledger import EntryDraft
from tests.ledger_case import LOG, MOMENT, case, draft, filled, keyring, ledger_connection

__all__ = ["case", "filled", "keyring", "ledger_connection"]


def purged(case, *streams, kept=(), moment=MOMENT):
    """Purge some streams and enter it, as the product does: in one transaction."""
    with case.connection.begin():
        done = purge.purge_streams(case.connection, LOG, streams, moment, kept)
        entry = EntryDraft("uid:1000", "cleaner", "", "purge", {"operation": "purge", **done.told()})
        case.ledger.append(case.connection, [entry], moment)
    case.ledger.committed()
    return done


def lines(case, *, bodies=True):
    with case.connection.begin():
        return list(export.whole(case.connection, LOG, read(case.keyring), bodies=bodies))


def test_purged_bodies_are_gone_and_the_ledger_is_as_sound_as_before(filled):
    done = purged(filled, "uid:1000/s1")
    assert (done.bodies, [(r.first, r.last) for r in done.ranges]) == (5, [(1, 5)])
    verdict = filled.verify()
    assert (verdict.status.value, verdict.purged) == ("OK", 5)
    rows = filled.rows("SELECT stream, salt, body, purged_at FROM ledger_bodies WHERE purged_at IS NOT NULL")
    assert {tuple(row[:3]) for row in rows} == {("uid:1000/s1", None, None)} and len(rows) == 5
    filled.append(draft("s1"))
    filled.sequence()
    filled.end_epoch()
    filled.append(draft("s1"))
    assert filled.verify().status.value == "OK", "the stream goes on, also under another key"


def test_purging_again_purges_what_came_since_and_both_are_explained(filled):
    purged(filled, "uid:1000/s1")
    filled.append(draft("s1"), draft("s1"))
    assert purged(filled, "uid:1000/s1", moment=MOMENT + timedelta(days=1)).bodies == 2
    assert purged(filled, "uid:1000/s1").bodies == 0
    assert (filled.verify().status.value, filled.verify().purged) == ("OK", 7)


def test_kinds_that_are_kept_split_what_is_named(case):
    case.append(draft("s1"), draft("s1", kind="refusal"), draft("s1"), draft("s1"))
    done = purged(case, "uid:1000/s1", kept=("refusal",))
    assert [(r.first, r.last) for r in done.ranges] == [(1, 1), (3, 4)] and done.kept == 1
    assert case.verify().status.value == "OK"


def test_the_entries_that_explain_a_purge_are_never_purged(filled):
    purged(filled, "uid:1000/s1")
    assert purged(filled, "uid:1000/cleaner", "system/log").bodies == 0
    assert filled.verify().status.value == "OK"


@pytest.mark.parametrize(
    "hidden",
    [
        "UPDATE ledger_bodies SET salt = NULL, body = NULL, purged_at = '2026-11-22T01:02:03.000004Z'",
        "UPDATE ledger_bodies SET salt = NULL, body = NULL",
        "UPDATE ledger_bodies SET body = NULL",
        "DELETE FROM ledger_bodies",
    ],
)
def test_a_body_blanked_by_another_hand_is_named_although_a_purge_is_entered_beside_it(filled, hidden):
    purged(filled, "uid:1000/s1")
    filled.sql(f"{hidden} WHERE stream = 'uid:1000/s2' AND seq = 3")
    assert filled.broken() == ("TAMPERED", "missing_body", "uid:1000/s2", 3)


def test_a_body_blanked_before_a_purge_is_not_washed_clean_by_it(filled):
    filled.sql("UPDATE ledger_bodies SET salt = NULL, body = NULL WHERE stream = 'uid:1000/s1' AND seq = 3")
    purged(filled, "uid:1000/s1")
    assert filled.broken() == ("TAMPERED", "missing_body", "uid:1000/s1", 3)


def test_a_body_put_back_after_its_purge_is_named(filled):
    (kept,) = filled.rows("SELECT salt, body FROM ledger_bodies WHERE stream = 'uid:1000/s1' AND seq = 2")
    purged(filled, "uid:1000/s1")
    back = "UPDATE ledger_bodies SET salt = :salt, body = :body, purged_at = NULL"
    filled.sql(
        f"{back} WHERE stream = 'uid:1000/s1' AND seq = 2", salt=bytes(kept.salt), body=bytes(kept.body)
    )
    found = filled.verify()
    assert found.status.value == "TAMPERED"
    assert ("returned_body", 2) in {(f.kind.value, f.seq) for f in found.findings}


def test_another_time_of_a_purge_is_named(filled):
    purged(filled, "uid:1000/s1")
    filled.sql("UPDATE ledger_bodies SET purged_at = 'never' WHERE stream = 'uid:1000/s1' AND seq = 2")
    assert filled.verify().status.value == "TAMPERED"
    filled.sql("UPDATE ledger_bodies SET purged_at = 'never' WHERE stream = 'uid:1000/s2' AND seq = 2")
    assert ("altered_body", 2) in {(f.kind.value, f.seq) for f in filled.verify().findings}


@pytest.mark.parametrize(("digest", "at"), [("0" * 64, "t"), ("right", "another")])
def test_a_purge_of_other_entries_or_of_another_time_explains_nothing(digest, at):
    gaps = purge.Gaps()
    gaps.missing("s", 1, "ab" * 32, "t")
    right = hashlib.sha256(bytes.fromhex("ab" * 32)).hexdigest()
    claimed = {"stream": "s", "first": 1, "last": 1, "digest": right if digest == "right" else digest}
    gaps.claim(json.dumps({"purged_at": at, "purged": [claimed]}).encode())
    assert list(gaps.unexplained()) == [(Broken.MISSING_BODY, "s", 1)]
    gaps.claim(json.dumps({"purged_at": "t", "purged": [{**claimed, "digest": right}]}).encode())
    assert list(gaps.unexplained()) == []


def test_the_purges_own_entry_removed_forged_or_emptied_explains_nothing(filled):
    purged(filled, "uid:1000/s1")
    stream = "uid:1000/cleaner"
    emptied = {"body": json.dumps({"purged_at": "x", "purged": []}).encode()}
    filled.sql(f"UPDATE ledger_bodies SET body = :body WHERE stream = '{stream}'", **emptied)
    found = {(f.kind.value, f.stream) for f in filled.verify().findings}
    assert {("altered_body", stream), ("missing_body", "uid:1000/s1")} <= found


def test_retention_purges_in_the_order_of_arrival_and_goes_on_where_it_stopped(case, monkeypatch):
    monkeypatch.setattr(purge, "_next", purge._next.limit(3))
    monkeypatch.setattr(purge, "AT_ONCE", 3)
    for number in range(4):
        case.append(draft(f"s{number}"), draft(f"s{number}"))
    with case.connection.begin():
        case.ledger.append(case.connection, [draft("young")], MOMENT + timedelta(days=40))
    case.ledger.committed()
    after, bodies, steps = 0, 0, 0
    now = MOMENT + timedelta(days=41)
    more = True
    while more:
        with case.connection.begin():
            aged = purge.purge_old(case.connection, LOG, after, now - timedelta(days=30), now)
            body = {"operation": "retention", **aged.purged.told()}
            case.ledger.append(case.connection, [EntryDraft("system", "retention", "", "purge", body)], now)
        case.ledger.committed()
        after, more = aged.up_to, aged.more
        bodies, steps = bodies + aged.purged.bodies, steps + 1
    assert (bodies, steps) == (8, 4)
    assert (case.verify().status.value, case.verify().purged) == ("OK", 8)
    left = case.rows("SELECT stream FROM ledger_bodies WHERE body IS NOT NULL ORDER BY stream")
    assert {row.stream for row in left} == {"system/log", "system/retention", "uid:1000/young"}


# For an outsider


def test_an_export_shows_purged_bodies_as_purged_and_the_purge_that_explains_them(filled):
    purged(filled, "uid:1000/s1")
    filled.sequence()
    report = bundle.check(lines(filled))
    assert (report.problems, report.purged) == ([], 5)
    marked = [json.loads(line) for line in lines(filled) if b'"purged":"' in line]
    assert len(marked) == 5 and all("body" not in each and "salt" not in each for each in marked)
    assert bundle.check(lines(filled, bodies=False)).problems == []
    assert bundle.check(lines(filled, bodies=False)).purged == 0


def test_an_export_whose_bodies_are_called_purged_without_a_purge_is_refused(filled):
    filled.sequence()
    changed = []
    for line in lines(filled):
        found = json.loads(line)
        if found["type"] == "entry" and '"s1"' not in line.decode() and found["leaf"] == 3:
            found.pop("body")
            found.pop("salt")
            found["purged"] = "2026-11-22T01:02:03.000004Z"
        changed.append(json.dumps(found).encode())
    (problem,) = bundle.check(changed).problems
    assert "no purge is entered" in problem


def test_a_bundle_that_claims_numbers_without_end_is_checked_in_no_time(filled):
    purged(filled, "uid:1000/s1")
    gaps = purge.Gaps()
    gaps.missing("s", 1, "00" * 32, "t")
    endless = {"stream": "s", "first": 1, "last": 2**62, "digest": ""}
    gaps.claim(
        json.dumps({"purged_at": "t", "purged": [endless, {**endless, "first": 5, "last": 1}]}).encode()
    )
    gaps.claim(b'{"purged": 7}')
    assert {broken.value for broken, _, _ in gaps.unexplained()} == {"returned_body", "missing_body"}
