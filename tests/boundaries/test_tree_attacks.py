"""Attacks on what the tree, the checkpoints, the anchors and the erased keys are to protect: each is named."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from securecontext.boundaries import chain
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.anchors import AnchorFile
from securecontext.boundaries.ledger.notes import Checkpoint
from securecontext.boundaries.ledger.sequencer import Signed, newest
from securecontext.boundaries.ledger.signers import read, signing_keys
from securecontext.boundaries.ledger.tiles import WIDTH
from securecontext.boundaries.ledger.verify import GRACE, verify
from securecontext.types.errors import Tampered
from tests.ledger_case import MOMENT, Case, draft


@pytest.fixture
def filled(ledger_connection, keyring):
    """Three sessions, 300 entries, under two checkpoints, and a third one over a new epoch's entries."""
    case = Case(ledger_connection, keyring)
    for number in range(300):
        case.append(draft(f"s{number % 3}", body={"operation": "zc_status", "n": number}))
        if number == 99:
            case.sequence()
    case.sequence()
    return case


def kinds(case):
    return {finding.kind.value for finding in case.verify().findings}


def status(case):
    return case.verify().status.value


def test_what_is_under_checkpoints_and_anchors_is_ok(filled):
    verdict = filled.verify()
    assert (verdict.status.value, verdict.checkpoints, verdict.unanchored) == ("OK", 2, 0)
    filled.append(draft("s0"))
    assert filled.verify().unanchored == 1


def test_entries_of_an_erased_epoch_still_verify_and_their_streams_go_on(filled):
    """RT-S1-07."""
    filled.end_epoch()
    assert status(filled) == "OK"
    again = Ledger(filled.log, Keyring.open(filled.keyring.folder))
    with filled.connection.begin():
        again.append(filled.connection, [draft("s0")], MOMENT)
    filled.ledger = again
    again.committed()
    filled.sequence()
    verdict = filled.verify()
    assert (verdict.status.value, verdict.entries, verdict.unanchored) == ("OK", 302, 0)


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_rt_s1_06_a_changed_entry_is_named_whether_its_key_is_there_or_erased(filled, epochs):
    for _ in range(epochs):
        filled.end_epoch()
        filled.append(draft("s0"))
        filled.sequence()
    filled.sql("UPDATE ledger_entries SET claimed_agent = 'eve' WHERE entry = 50")
    verdict = filled.verify()
    assert verdict.status.value == "TAMPERED" and verdict.broken_at.entry == 50


def test_bytes_and_columns_changed_together_after_the_key_is_erased_are_named(filled):
    """The thief of today's root rewrites yesterday: its MAC he cannot make, its place in the tree he cannot change."""
    filled.end_epoch()
    row = filled.rows("SELECT canonical FROM ledger_entries WHERE entry = 50")[0]
    entry = chain.decode(bytes(row[0]))
    changed = chain.encode(
        chain.Entry(**{**{f: getattr(entry, f) for f in entry.__slots__}, "claimed_agent": "eve"})
    )
    filled.sql(
        "UPDATE ledger_entries SET canonical = :data, claimed_agent = 'eve' WHERE entry = 50", data=changed
    )
    verdict = filled.verify()
    assert verdict.status.value == "TAMPERED" and 50 in {finding.entry for finding in verdict.findings}


def test_an_entry_forged_for_an_erased_epoch_is_named_and_gets_no_place(filled):
    old = filled.keyring.kid
    filled.end_epoch()
    forged = chain.Entry(
        filled.log, "uid:1000/s9", 1, old, "2026-11-22T01:02:03.000004Z", "call", "uid:1000", "dev",
        chain.body_digest(b"\0" * 16, b"{}"), chain.genesis(filled.log, "uid:1000/s9"),
    )  # fmt: skip
    filled.sql(
        "INSERT INTO ledger_entries (log, stream, seq, canonical, mac, kid, ts, kind, principal, claimed_agent,"
        " body_digest, prev)"
        " VALUES (:log, :stream, 1, :data, :mac, :kid, :ts, 'call', 'uid:1000', 'dev', :digest, :prev)",
        log=filled.log, stream=forged.stream, data=chain.encode(forged), mac=b"\1" * 32, kid=old, ts=forged.ts,
        digest=forged.body_digest, prev=forged.prev,
    )  # fmt: skip
    assert "unvouched" in kinds(filled)
    with pytest.raises(Tampered) as refused:
        filled.sequence()
    assert refused.value.code == "ledger_entry_forged"


def test_rt_s0_07_entries_forged_before_the_first_place_of_the_tree_are_named(filled):
    """The thief of the database gives his entries places that no checkpoint covers, and a tile of their own."""
    old = filled.keyring.kid
    filled.end_epoch()
    hashes = filled.forge(old, range(-WIDTH, 0))
    for missing, wanted in ((0, "unvouched"), (1, "unvouched")):
        filled.sql("DELETE FROM ledger_tiles WHERE tile < 0")
        if not missing:
            filled.sql(
                "INSERT INTO ledger_tiles (log, level, tile, hashes) VALUES (:log, 0, -1, :hashes)",
                log=filled.log, hashes=hashes,
            )  # fmt: skip
        verdict = filled.verify()
        assert verdict.status.value == "TAMPERED" and wanted in {f.kind.value for f in verdict.findings}
        assert verdict.broken == WIDTH


def test_an_entry_moved_before_the_first_place_is_named_without_counting_up_to_it(filled):
    filled.sql("UPDATE ledger_entries SET leaf_index = :far WHERE entry = 50", far=-(2**62))
    assert {"altered_leaf", "missing_leaf"} <= kinds(filled)


@pytest.mark.parametrize("entry", [-1_000_000, 1_000_000])
def test_rt_s0_07_an_entry_forged_at_the_place_of_another_is_named(filled, entry):
    """Which of two rows at one place is read first is the database's choice, so neither may hide the other."""
    old = filled.keyring.kid
    filled.end_epoch()
    filled.forge(old, [50], entry=entry)
    verdict = filled.verify()
    assert verdict.status.value == "TAMPERED"
    assert entry + 1 in {found.entry for found in verdict.findings}


def test_w_05_a_stream_cut_with_its_head_and_bodies_is_named(filled):
    for table in ("entries", "bodies", "heads"):
        filled.sql(f"DELETE FROM ledger_{table} WHERE stream = 'uid:1000/s1'")
    assert "missing_leaf" in kinds(filled)


def test_w_05_the_end_cut_off_back_to_a_checkpoint_is_a_roll_back(ledger_connection, keyring):
    case = Case(ledger_connection, keyring)
    case.append(draft("s0"))
    case.sequence()
    for number in range(20):
        case.append(draft(f"t{number}"))
    case.sequence()
    case.sql("DELETE FROM ledger_entries WHERE stream LIKE 'uid:1000/t%'")
    case.sql("DELETE FROM ledger_bodies WHERE stream LIKE 'uid:1000/t%'")
    case.sql("DELETE FROM ledger_heads WHERE stream LIKE 'uid:1000/t%'")
    case.sql("DELETE FROM ledger_checkpoints WHERE size > 2")
    assert status(case) == "ROLLED_BACK"


def test_a_database_put_back_to_an_older_copy_and_written_on_is_named(ledger_connection, keyring):
    case = Case(ledger_connection, keyring)
    case.append(draft("s0"))
    case.sequence()
    case.append(draft("t0"))
    case.sequence()
    for table in ("entries", "bodies", "heads"):
        case.sql(f"DELETE FROM ledger_{table} WHERE stream = 'uid:1000/t0'")
    case.sql("DELETE FROM ledger_checkpoints WHERE size > 2")
    case.ledger = Ledger(case.log, keyring)
    for number in range(3):
        case.append(draft(f"u{number}"))
    with pytest.raises(Tampered) as refused:
        case.sequence()
    assert refused.value.code == "anchor_inconsistent"
    assert "anchor_mismatch" in kinds(case)


def test_the_emptied_log_is_named(filled):
    for table in ("entries", "bodies", "heads", "checkpoints", "tiles", "sequencers"):
        filled.sql(f"DELETE FROM ledger_{table}")
    verdict = filled.verify()
    assert (verdict.status.value, verdict.broken_at.kind.value) == ("TAMPERED", "emptied")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE ledger_checkpoints SET note = replace(note, '/log', '/lag')", "altered_checkpoint"),
        ("UPDATE ledger_checkpoints SET kid = 'sig_eve.0'", "altered_checkpoint"),
        ("UPDATE ledger_checkpoints SET size = size + 1", "altered_checkpoint"),
        ("DELETE FROM ledger_checkpoints", "altered_leaf"),
        ("DELETE FROM ledger_checkpoints WHERE size < 200", "missing_checkpoint"),
        ("DELETE FROM ledger_tiles", "root_mismatch"),
        ("DELETE FROM ledger_tiles WHERE level = 1", "root_mismatch"),
        ("UPDATE ledger_entries SET leaf_index = NULL WHERE entry = 50", "missing_leaf"),
        ("UPDATE ledger_entries SET leaf_index = leaf_index + 1000 WHERE entry = 50", "altered_leaf"),
        ("DELETE FROM ledger_entries WHERE entry = 50", "missing_leaf"),
    ],
)  # fmt: skip
def test_every_change_of_the_tree_is_named(filled, statement, kind):
    filled.sql(statement)
    assert status(filled) == "TAMPERED" and kind in kinds(filled)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_checkpoints SET size = size + 1 WHERE size > 200",
        "DELETE FROM ledger_checkpoints",
        "DELETE FROM ledger_tiles",
        "UPDATE ledger_entries SET mac = :zero WHERE leaf_index IS NULL",
    ],
)
def test_nothing_is_signed_on_top_of_a_changed_tree(filled, statement):
    filled.append(draft("s0"))
    filled.sql(statement, **({"zero": b"\0" * 32} if ":zero" in statement else {}))
    with pytest.raises(Tampered):
        filled.sequence()


def test_entries_exchanged_in_the_tree_are_named(filled):
    filled.sql("UPDATE ledger_entries SET leaf_index = 100000 WHERE leaf_index = 10")
    filled.sql("UPDATE ledger_entries SET leaf_index = 10 WHERE leaf_index = 11")
    filled.sql("UPDATE ledger_entries SET leaf_index = 11 WHERE leaf_index = 100000")
    verdict = filled.verify()
    assert [finding.kind.value for finding in verdict.findings] == ["altered_leaf", "altered_leaf"]


def test_w_07_a_line_of_the_anchors_that_is_none_is_named_and_none_is_left_out(filled):
    path = filled.anchors.path
    whole = path.read_bytes()
    for changed in (
        whole + b"a plain-text line of somebody else\n",
        b"\n" + whole,
        whole.replace(b'"size":101', b'"size":102'),
        whole[:-3] + b"\n",
    ):
        path.write_bytes(changed)
        assert kinds(filled) == {"altered_anchor"}


def test_an_anchor_that_was_not_finished_is_passed_over_and_taken_away(filled):
    path = filled.anchors.path
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 3])
    assert status(filled) == "OK"
    filled.append(draft("s0"))
    filled.sequence()
    assert path.read_bytes().startswith(whole) and path.read_bytes().count(b"\n") == whole.count(b"\n") + 1
    assert status(filled) == "OK"


def test_w_08_many_writers_of_one_anchor_file_leave_whole_lines(filled):
    """Each service has a descriptor of its own; none of them loses or splits a line of another."""
    with filled.connection.begin():
        signed = newest(filled.connection, filled.log, read(filled.keyring))
    keys = signing_keys(filled.keyring)
    points = [Checkpoint(f"log_{number}", 1, signed.point.root) for number in range(64)]

    def anchor(point):
        return AnchorFile(filled.anchors.path).append(Signed(point, keys.sign(point.text())), None, MOMENT)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(anchor, points))
    for point in points:
        assert [found.point for found in filled.anchors.read(point.log)] == [point]
    assert status(filled) == "OK"


def test_without_anchors_what_is_old_is_unanchored_and_what_is_new_is_not(filled):
    filled.anchors.path.unlink()
    with filled.connection.begin():
        for later, wanted in ((GRACE / 2, "OK"), (GRACE + timedelta(seconds=1), "UNANCHORED")):
            verdict = verify(
                filled.connection, filled.log, filled.keyring, anchors=[filled.anchors], moment=MOMENT + later
            )
            assert (verdict.status.value, verdict.unanchored) == (wanted, 301)


def test_a_checkpoint_of_a_foreign_signer_is_refused(filled, tmp_path):
    other = Keyring.open(tmp_path / "other")
    point = newest(filled.connection, filled.log, read(filled.keyring)).point
    filled.connection.rollback()
    filled.sql(
        "UPDATE ledger_checkpoints SET note = :note, kid = :kid WHERE size = 301",
        note=signing_keys(other).sign(point.text()), kid=other.kid,
    )  # fmt: skip
    assert "altered_checkpoint" in kinds(filled)


def test_changed_signers_are_named(filled):
    path = filled.keyring.folder / "signers.log"
    path.write_bytes(path.read_bytes().replace(b"sig_", b"sag_"))
    assert "altered_checkpoint" in kinds(filled) or "altered_signers" in kinds(filled)
