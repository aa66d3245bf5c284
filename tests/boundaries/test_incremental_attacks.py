"""Attacks on the mark at which an incremental check begins, and on what it is to read: none hides anything."""

import json
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import insert

from securecontext.app import verification
from securecontext.app.verification import Verification
from securecontext.boundaries import chain
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.marks import FILE, LASTS
from securecontext.boundaries.ledger.verify import GRACE
from securecontext.storage.tables import meta
from tests.ledger_case import LOG, MOMENT, Case, draft

BELOW = "WHERE stream = 'uid:1000/s1' AND seq = 2"
EDIT = f"UPDATE ledger_entries SET kind = 'refusal' {BELOW}"


class Store:
    """The part of a store that a check needs, over one connection."""

    def __init__(self, connection):
        self.connection = connection

    @contextmanager
    def read(self):
        with self.connection.begin():
            yield self.connection


@pytest.fixture(autouse=True)
def _no_ledger_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "WHOLE_BELOW", 0)


class Watch:
    """A service that verifies one log, at a time of the test's choice; it can start again."""

    def __init__(self, case):
        self.case, self.moment = case, MOMENT
        case.sequence()
        case.sql("DELETE FROM meta")
        with case.connection.begin():
            case.connection.execute(insert(meta), [{"name": "log", "value": case.log}])
        self.file = case.keyring.folder / FILE
        self.start()

    def start(self):
        self.verification = Verification(self.case.keyring, self.case.anchors, [], lambda: self.moment)

    def check(self, whole=False):
        """(kind of check, status, entries that it read)"""
        self.verdict = self.verification.check(Store(self.case.connection), whole=whole)
        told = self.verdict.as_dict()
        return told["check"], told["status"], told["checked"]

    def add(self, *sessions):
        """Append an entry to each session, placed and anchored."""
        self.case.append(*[draft(name) for name in sessions])
        self.case.sequence()


@pytest.fixture
def watch(filled):
    return Watch(filled)


def test_a_second_check_reads_what_is_new_and_tells_the_whole(watch):
    assert watch.check() == ("full", "OK", 11)
    whole = watch.verdict.as_dict()
    assert watch.check() == ("incremental", "OK", 0)
    again = watch.verdict.as_dict()
    told = ("entries", "streams", "agents", "checkpoints", "unanchored", "full_at")
    assert [again[name] for name in told] == [whole[name] for name in told]
    watch.add("s1", "new")
    watch.case.append(draft("s2", agent="another"))
    assert watch.check() == ("incremental", "OK", 3)
    found = watch.verdict.as_dict()
    assert [found[name] for name in told[:5]] == [14, 4, 2, 2, 1]
    assert "`zc audit verify --full` reads all of them again" in watch.verdict.as_text()
    assert watch.check(whole=True) == ("full", "OK", 14)
    assert [watch.verdict.as_dict()[name] for name in told] == [found[name] for name in told]


def test_an_edit_below_the_mark_is_for_the_full_check_and_ends_all_incremental_ones(watch):
    watch.check()
    mark = watch.file.read_bytes()
    watch.case.sql(EDIT)
    assert watch.check() == ("incremental", "OK", 0)
    assert watch.check(whole=True)[:2] == ("full", "TAMPERED")
    assert watch.check()[:2] == ("full", "TAMPERED")
    watch.file.write_bytes(mark)
    assert watch.check()[:2] == ("full", "TAMPERED"), "the service remembers what it gave up"


def test_an_edit_below_the_mark_is_found_within_a_day_of_the_full_check(watch):
    watch.check()
    watch.case.sql(EDIT)
    watch.moment += LASTS - timedelta(seconds=1)
    watch.add("s1")
    watch.check()
    watch.start()
    watch.moment += timedelta(seconds=1)
    assert watch.verification.due(Store(watch.case.connection))
    assert watch.check()[:2] == ("full", "TAMPERED")


def test_after_the_epochs_end_no_mark_counts(watch):
    watch.check()
    watch.case.sql(EDIT)
    watch.case.end_epoch()
    assert watch.check()[:2] == ("full", "TAMPERED")


@pytest.mark.parametrize(
    "change",
    [
        {"size": 12},
        {"size": 5},
        {"last": 10**9},
        {"root": "00" * 32},
        {"log": "log_other"},
        {"full_at": "2026-11-22T01:05:00.000000Z"},
        {"kid": "sig_eve.0"},
        {"agents": []},
        {"mac": "00" * 32},
        {"mac": ""},
        {"more": 1},
    ],
)
def test_a_forged_mark_is_none(watch, change):
    watch.check()
    members = json.loads(watch.file.read_bytes())
    watch.file.write_text(json.dumps({**members, **change}) + "\n")
    watch.case.sql(EDIT)
    watch.start()
    assert watch.check()[:2] == ("full", "TAMPERED")


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"null\n", b"\xff\xfe\n", b"[" * 5000 + b"\n"])
def test_a_file_of_marks_that_is_none_lets_everything_be_read(watch, data):
    watch.check()
    watch.file.write_bytes(data)
    watch.start()
    assert watch.check() == ("full", "OK", 11)


def test_a_mark_that_was_put_back_lets_the_check_begin_earlier_and_hides_nothing(watch):
    watch.check()
    older = watch.file.read_bytes()
    watch.add("s1", "s2")
    watch.check()
    watch.case.sql("UPDATE ledger_entries SET kind = 'refusal' WHERE stream = 'uid:1000/s1' AND seq = 6")
    watch.file.write_bytes(older)
    watch.start()
    assert watch.check()[:2] == ("full", "TAMPERED")
    assert (watch.verdict.broken_at.stream, watch.verdict.broken_at.seq) == ("uid:1000/s1", 6)


def test_a_mark_of_another_log_or_installation_is_none(watch, tmp_path):
    watch.check()
    theirs = watch.file.read_bytes()
    other = Case(watch.case.connection, watch.case.keyring, "log_other")
    other.append(draft("s1"), draft("s1"))
    members = json.loads(theirs)
    elsewhere = Watch(other)
    elsewhere.file.write_text(json.dumps({**members, "log": "log_other"}) + "\n")
    elsewhere.start()
    assert elsewhere.check() == ("full", "OK", 3)
    foreign = Verification(Keyring.open(tmp_path / "foreign"), watch.case.anchors, [], lambda: watch.moment)
    (tmp_path / "foreign" / FILE).write_bytes(theirs)
    (tmp_path / "foreign" / FILE).chmod(0o600)
    assert foreign.due(Store(watch.case.connection))


NEW = "WHERE stream = 'uid:1000/s1' AND seq = 6"


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        ([f"UPDATE ledger_entries SET kind = 'refusal' {NEW}"], "altered_column"),
        ([f"UPDATE ledger_entries SET mac = zeroblob(32) {NEW}"], "altered_entry"),
        ([f"UPDATE ledger_bodies SET body = x'7b7d' {NEW}"], "altered_body"),
        ([f"DELETE FROM ledger_bodies {NEW}"], "missing_body"),
        ([f"DELETE FROM ledger_entries {NEW}", f"DELETE FROM ledger_bodies {NEW}"], "missing_entry"),
        ([f"UPDATE ledger_entries SET leaf_index = -5 {NEW}"], "altered_leaf"),
        ([f"UPDATE ledger_entries SET leaf_index = NULL {NEW}"], "missing_leaf"),
        (["UPDATE ledger_heads SET mac = zeroblob(32) WHERE stream = 'uid:1000/s1'"], "head_mismatch"),
        (["DELETE FROM ledger_heads WHERE stream = 'uid:1000/s1'"], "missing_head"),
        (["UPDATE ledger_entries SET mac = zeroblob(32) WHERE stream = 'uid:1000/s1' AND seq = 5"], "altered_entry"),
        (["DELETE FROM ledger_entries WHERE stream = 'uid:1000/s1' AND seq = 5"], "missing_entry"),
        (["DELETE FROM ledger_checkpoints WHERE size = 13"], "altered_leaf"),
        (["DELETE FROM ledger_checkpoints"], "altered_leaf"),
        (["DELETE FROM ledger_tiles"], "root_mismatch"),
        (["UPDATE ledger_checkpoints SET note = replace(note, '/log', '/lag')"], "altered_checkpoint"),
    ],
)  # fmt: skip
def test_no_attack_on_what_is_new_is_hidden_by_a_mark(watch, attack, kind):
    watch.check()
    watch.add("s1", "s2")
    for statement in attack:
        assert watch.case.sql(statement) >= 1
    assert watch.check()[:2] == ("full", "TAMPERED")
    assert kind in {found.kind.value for found in watch.verdict.findings}
    assert watch.check()[:2] == ("full", "TAMPERED")


def test_new_entries_cut_off_before_they_got_a_place_leave_their_head_behind(watch):
    watch.check()
    watch.case.append(draft("s1"))
    for table in ("entries", "bodies"):
        watch.case.sql(f"DELETE FROM ledger_{table} {NEW}")
    assert watch.check()[:2] == ("full", "TAMPERED")
    assert watch.verdict.broken_at.kind.value == "missing_entry"


def test_a_database_put_back_with_its_anchors_is_a_roll_back_for_the_mark(watch):
    anchors = watch.case.anchors.path.read_bytes()
    watch.check()
    watch.add("s1", "s2")
    watch.check()
    for table in ("entries", "bodies"):
        watch.case.sql(f"DELETE FROM ledger_{table} WHERE seq = 6")
    watch.case.sql("DELETE FROM ledger_checkpoints WHERE size = 13")
    watch.case.anchors.path.write_bytes(anchors)
    for stream in ("uid:1000/s1", "uid:1000/s2"):  # heads of the time before, as an older copy has them
        data, mac = watch.case.rows(
            f"SELECT canonical, mac FROM ledger_entries WHERE stream = '{stream}' AND seq = 5"
        )[0]
        head = chain.entry_hash(data, mac)
        key = watch.case.keyring.stream_key(LOG, stream)
        watch.case.sql(
            f"UPDATE ledger_heads SET seq = 5, head = :head, mac = :mac WHERE stream = '{stream}'",
            head=head, mac=chain.head_mac(key, LOG, stream, 5, head),
        )  # fmt: skip
    assert watch.check()[:2] == ("full", "ROLLED_BACK")
    watch.start()
    assert watch.check()[:2] == ("full", "ROLLED_BACK")


@pytest.mark.parametrize("change", ["cut", "gone", "spoiled"])
def test_anchors_that_are_not_what_they_were_are_read_whole(watch, change):
    watch.check()
    path = watch.case.anchors.path
    whole = path.read_bytes()
    match change:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "gone":
            path.unlink()
        case _:
            path.write_bytes(whole + b"not an anchor\n")
    kind, status, _ = watch.check()
    assert (kind, status) == ("full", "TAMPERED" if change == "spoiled" else "OK")
    assert change == "spoiled" or watch.verdict.unanchored == 11


def test_what_is_old_and_under_no_anchor_is_told_by_an_incremental_check_too(watch):
    watch.check()
    watch.case.append(draft("s1"))
    watch.moment += GRACE + timedelta(seconds=1)
    assert watch.check() == ("incremental", "UNANCHORED", 1)
