import json

import pytest

from securecontext.boundaries import chain
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.verdict import MOST_FINDINGS, Broken, Status
from securecontext.boundaries.ledger.verify import verify
from tests.ledger_case import LOG, MOMENT, SQLITE_ALONE, Case, draft, sqlite_engine

S1 = "uid:1000/s1"
HERE = f"WHERE stream = '{S1}' AND seq = 3"


def test_an_untouched_ledger_is_ok_and_says_what_that_does_not_mean(filled):
    verdict = filled.verify()
    assert verdict.status is Status.OK
    assert (verdict.entries, verdict.streams, verdict.agents, verdict.unanchored) == (11, 3, 1, 11)
    assert verdict.findings == () and verdict.broken == 0 and verdict.broken_at is None
    assert "No anchor outside the database vouches for 11 entries" in verdict.as_text()


def test_the_json_form_has_the_promised_members(filled):
    filled.sql(f"UPDATE ledger_entries SET kind = 'refusal' {HERE}")
    found = json.loads(json.dumps(filled.verify().as_dict()))
    assert found["status"] == "TAMPERED"
    assert found["broken_kind"] == "altered_column"
    assert (found["broken_at"]["stream"], found["broken_at"]["seq"]) == (S1, 3)
    assert found["checkpoints"] == 0
    assert {
        "status",
        "entries",
        "agents",
        "checkpoints",
        "broken_at",
        "broken_kind",
        "unanchored",
    } <= found.keys()


@pytest.mark.parametrize("column", ["kid", "ts", "kind", "principal", "claimed_agent", "body_digest", "prev"])
@pytest.mark.parametrize("value", ["''", "'other'", "7", "x'00'"])
def test_every_changed_column_is_named(filled, column, value):
    filled.sql(f"UPDATE ledger_entries SET {column} = {value} {HERE}")
    assert filled.broken() == ("TAMPERED", "altered_column", S1, 3)
    assert filled.verify().broken == 1


@pytest.mark.parametrize(
    ("statement", "kind", "seq"),
    [
        (f"UPDATE ledger_entries SET mac = zeroblob(32) {HERE}", "altered_entry", 3),
        (f"UPDATE ledger_entries SET mac = x'' {HERE}", "altered_entry", 3),
        (f"UPDATE ledger_entries SET mac = '' {HERE}", "altered_entry", 3),
        (f"UPDATE ledger_entries SET canonical = x'' {HERE}", "altered_entry", 3),
        (f"UPDATE ledger_entries SET canonical = '' {HERE}", "altered_entry", 3),
        (
            f"UPDATE ledger_entries SET canonical = CAST(canonical || x'20' AS BLOB) {HERE}",
            "altered_entry",
            3,
        ),
        (f"UPDATE ledger_bodies SET body = x'7b7d' {HERE}", "altered_body", 3),
        (f"UPDATE ledger_bodies SET salt = zeroblob(16) {HERE}", "altered_body", 3),
        (
            f"UPDATE ledger_bodies SET salt = CAST(salt || substr(body, 1, 1) AS BLOB), body = substr(body, 2) {HERE}",
            "altered_body",
            3,
        ),
        (f"UPDATE ledger_bodies SET body = NULL {HERE}", "missing_body", 3),
        (f"UPDATE ledger_bodies SET salt = NULL, body = NULL, purged_at = 'now' {HERE}", "missing_body", 3),
        (f"DELETE FROM ledger_bodies {HERE}", "missing_body", 3),
        (f"DELETE FROM ledger_entries {HERE}", "missing_entry", 3),
        (f"DELETE FROM ledger_entries WHERE stream = '{S1}' AND seq = 1", "missing_entry", 1),
        (f"DELETE FROM ledger_entries WHERE stream = '{S1}' AND seq = 5", "missing_entry", 5),
        (f"DELETE FROM ledger_entries WHERE stream = '{S1}' AND seq > 2", "missing_entry", 3),
        (f"DELETE FROM ledger_entries WHERE stream = '{S1}'", "missing_entry", 1),
        (f"DELETE FROM ledger_heads WHERE stream = '{S1}'", "missing_head", 5),
        (f"UPDATE ledger_heads SET mac = zeroblob(32) WHERE stream = '{S1}'", "head_mismatch", 5),
        (f"UPDATE ledger_heads SET mac = '' WHERE stream = '{S1}'", "head_mismatch", 5),
        (f"UPDATE ledger_heads SET head = '' WHERE stream = '{S1}'", "head_mismatch", 5),
        (f"UPDATE ledger_heads SET seq = 4 WHERE stream = '{S1}'", "head_mismatch", 4),
        (f"UPDATE ledger_heads SET seq = 9 WHERE stream = '{S1}'", "head_mismatch", 9),
        (
            f"UPDATE ledger_heads SET seq = 9000000000000000000 WHERE stream = '{S1}'",
            "head_mismatch",
            9 * 10**18,
        ),
        (f"UPDATE ledger_entries SET log = 'other' {HERE}", "missing_entry", 3),
    ],
)
def test_every_single_attack_is_named_at_its_place(filled, statement, kind, seq):
    assert filled.sql(statement) >= 1
    assert filled.broken() == ("TAMPERED", kind, S1, seq)


@SQLITE_ALONE
@pytest.mark.parametrize(
    ("statement", "kind", "seq"),
    [
        (f"UPDATE ledger_bodies SET body = CAST(body AS TEXT) {HERE}", "altered_body", 3),
        (f"UPDATE ledger_heads SET seq = 'x' WHERE stream = '{S1}'", "head_mismatch", 0),
    ],
)
def test_a_value_of_another_type_is_named_at_its_place(filled, statement, kind, seq):
    assert filled.sql(statement) == 1
    assert filled.broken() == ("TAMPERED", kind, S1, seq)


def test_a_body_without_an_entry_is_named(filled):
    filled.sql(
        "INSERT INTO ledger_bodies (log, stream, seq, salt, body) VALUES (:log, 'zz', 1, x'00', x'00')",
        log=LOG,
    )
    assert filled.broken() == ("TAMPERED", "foreign_body", "zz", 1)


def test_a_head_without_entries_is_named(filled):
    filled.sql("INSERT INTO ledger_heads VALUES (:log, 'zz', 1, 'aa', x'00')", log=LOG)
    assert filled.broken() == ("TAMPERED", "head_mismatch", "zz", 1)


@SQLITE_ALONE
@pytest.mark.parametrize("value", ["x'00'", "'text'"])
def test_a_sequence_number_that_is_no_number_is_named(filled, value):
    filled.sql(f"UPDATE ledger_entries SET seq = {value} {HERE}")
    kinds = {(found.kind, found.seq) for found in filled.verify().findings}
    assert {(Broken.MISSING_ENTRY, 3), (Broken.ALTERED_COLUMN, 0)} <= kinds


def test_blanked_columns_in_a_rebuilt_table_are_named(filled):
    filled.sql("CREATE TABLE copy AS SELECT * FROM ledger_entries")
    filled.sql("DROP TABLE ledger_entries")
    filled.sql("ALTER TABLE copy RENAME TO ledger_entries")
    assert filled.verify().status is Status.OK
    filled.sql("UPDATE ledger_entries SET mac = NULL, prev = NULL, body_digest = NULL, canonical = NULL")
    verdict = filled.verify()
    assert (verdict.status, verdict.entries, verdict.broken) == (Status.TAMPERED, 11, 11)
    filled.sql("UPDATE ledger_entries SET stream = NULL")
    assert filled.verify().status is Status.TAMPERED


def test_a_doubled_row_in_a_rebuilt_table_is_named(filled):
    filled.sql("CREATE TABLE copy AS SELECT * FROM ledger_entries")
    filled.sql("DROP TABLE ledger_entries")
    filled.sql("ALTER TABLE copy RENAME TO ledger_entries")
    filled.sql(f"INSERT INTO ledger_entries SELECT * FROM ledger_entries {HERE}")
    assert filled.broken() == ("TAMPERED", "broken_link", S1, 3)


def test_an_emptied_log_is_named(filled):
    for table in ("ledger_entries", "ledger_bodies", "ledger_heads"):
        filled.sql(f"DELETE FROM {table}")
    assert filled.broken() == ("TAMPERED", "emptied", "", 0)


def test_a_log_whose_first_stream_is_gone_is_named(filled):
    for table in ("ledger_entries", "ledger_bodies", "ledger_heads"):
        filled.sql(f"DELETE FROM {table} WHERE stream = 'system/log'")
    assert filled.broken() == ("TAMPERED", "missing_entry", "system/log", 1)


def test_an_authentic_entry_with_a_wrong_link_is_a_broken_link(filled):
    """Even the holder of the key cannot put an entry where it does not follow."""
    key = filled.keyring.stream_key(LOG, S1)
    prev = chain.genesis(LOG, S1)
    (data,) = filled.rows(f"SELECT canonical FROM ledger_entries {HERE}")[0]
    old = chain.decode(data)
    new = chain.encode(
        chain.Entry(**{**{n: getattr(old, n) for n in (*chain.TEXT_FIELDS, "seq")}, "prev": prev})
    )
    filled.sql(
        f"UPDATE ledger_entries SET canonical = :data, mac = :mac, prev = :prev {HERE}",
        data=new, mac=chain.mac(key, new), prev=prev,
    )  # fmt: skip
    assert filled.broken() == ("TAMPERED", "broken_link", S1, 3)


def test_another_installation_holds_none_of_the_keys(filled, tmp_path):
    with filled.connection.begin():
        verdict = verify(filled.connection, LOG, Keyring.open(tmp_path / "other"))
    assert (verdict.status, verdict.broken_at.kind, verdict.broken) == (
        Status.TAMPERED,
        Broken.FOREIGN_KEY,
        11,
    )


def test_two_logs_in_one_database_do_not_disturb_each_other(filled, keyring):
    other = Case(filled.connection, keyring, "log_other")
    other.append(draft("s1"))
    assert (filled.verify().entries, other.verify().entries) == (11, 2)
    filled.sql(f"UPDATE ledger_entries SET kind = 'refusal' {HERE} AND log = '{LOG}'")
    assert (filled.verify().status, other.verify().status) == (Status.TAMPERED, Status.OK)


@pytest.mark.parametrize("table", ["ledger_entries", "ledger_bodies", "ledger_heads"])
def test_a_table_that_cannot_be_read_is_never_ok(filled, table):
    filled.sql(f"DROP TABLE {table}")
    verdict = filled.verify()
    assert verdict.status is Status.INCOMPLETE
    assert any(words in verdict.read_error for words in ("no such table", "does not exist"))
    assert "could not be read" in verdict.as_text()


@SQLITE_ALONE
def test_text_that_cannot_be_decoded_is_never_ok(filled):
    filled.sql(f"UPDATE ledger_entries SET principal = CAST(x'ff' AS TEXT) {HERE}")
    assert filled.verify().status is Status.INCOMPLETE


def test_a_damaged_file_is_never_ok(tmp_path, keyring):
    path = tmp_path / "ledger.db"
    engine = sqlite_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        case = Case(connection, keyring)
        case.append(*[draft(body={"n": "x" * 500}) for _ in range(200)])
        assert case.verify().status is Status.OK
    engine.dispose()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    engine = sqlite_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        verdict = verify(connection, LOG, keyring)
        assert verdict.status is not Status.OK
        assert verdict.read_error is not None or verdict.broken
    engine.dispose()


def test_findings_are_counted_beyond_those_that_are_listed(case):
    case.append(*[draft() for _ in range(MOST_FINDINGS + 20)])
    case.sql("UPDATE ledger_entries SET mac = x'00'")
    verdict = case.verify()
    assert len(verdict.findings) == MOST_FINDINGS
    assert verdict.broken == MOST_FINDINGS + 21
    assert "and 21 more" in verdict.as_text()


def test_a_stream_beyond_the_rows_fetched_at_once_is_checked_to_its_end(case):
    with case.connection.begin():
        case.ledger.append(case.connection, [draft() for _ in range(2500)], MOMENT)
    assert case.verify().entries == 2501
    case.sql("UPDATE ledger_entries SET mac = x'00' WHERE seq = 2500")
    assert case.broken() == ("TAMPERED", "altered_entry", S1, 2500)
