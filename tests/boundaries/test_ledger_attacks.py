"""Attacks on the ledger and its keys, each under the id by which it is known.

Not detectable without an anchor outside the database, and stated by the verifier's text: the last two tests.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import securecontext
from securecontext.boundaries import audit, chain
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import ROOTS, Keyring
from securecontext.boundaries.verify import verify
from securecontext.types.errors import Tampered, Unavailable
from tests.ledger_case import LOG, MOMENT, Case, draft

S1, S2 = "uid:1000/s1", "uid:1000/s2"
SOURCE = Path(securecontext.__file__).parent
TABLES = ("ledger_entries", "ledger_bodies", "ledger_heads")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_rt_s0_01_secret_file_with_wrong_mode_is_refused(tmp_path, mode):
    Keyring.open(tmp_path / "keys")
    path = tmp_path / "keys" / "ledger.root"
    path.chmod(mode)
    with pytest.raises(Unavailable) as refused:
        Keyring.open(tmp_path / "keys")
    assert refused.value.code == "root_file_unsafe"
    assert "chmod 600" in refused.value.hint
    path.chmod(0o600)
    Keyring.open(tmp_path / "keys")


def test_rt_s0_02_no_description_of_the_keys_shows_secret_bytes(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    shown = [repr(ring), str(ring), f"{ring}", repr(ring._roots), repr(ring._derived), repr(Case)]
    for name in ROOTS:
        secret, line = ring.root(name), (tmp_path / "keys" / f"{name}.root").read_text()
        encoded = line.split(" ")[-1].strip()
        path = tmp_path / "keys" / f"{name}.root"
        path.write_text(line[:-10])
        with pytest.raises(Unavailable) as refused:
            Keyring.open(tmp_path / "keys")
        path.write_text(line)
        for text in (*shown, str(refused.value), repr(refused.value.as_dict())):
            assert encoded[:16] not in text
            assert secret.hex()[:16] not in text
            assert repr(secret)[2:14] not in text


def test_rt_s0_03_changed_row_content_is_found(filled):
    for log, stream, stored in filled.rows("SELECT log, stream, canonical FROM ledger_entries WHERE seq = 2"):
        changed = bytes(stored).replace(b"call", b"cal1")
        filled.sql(
            "UPDATE ledger_entries SET canonical = :changed WHERE seq = 2 AND log = :log AND stream = :stream",
            changed=changed, log=log, stream=stream,
        )  # fmt: skip
    assert filled.broken() == ("TAMPERED", "altered_entry", S1, 2)


def test_rt_s0_04_a_deleted_row_is_found(filled):
    for table in TABLES[:2]:
        filled.sql(f"DELETE FROM {table} WHERE stream = :s AND seq = 2", s=S2)
    assert filled.broken() == ("TAMPERED", "missing_entry", S2, 2)


def test_rt_s0_04_a_deletion_closed_up_by_renumbering_is_found(filled):
    for table in TABLES[:2]:
        filled.sql(f"DELETE FROM {table} WHERE stream = :s AND seq = 2", s=S2)
        for seq in (3, 4, 5):
            filled.sql(f"UPDATE {table} SET seq = {seq - 1} WHERE stream = :s AND seq = {seq}", s=S2)
    assert filled.broken() == ("TAMPERED", "altered_column", S2, 2)


def test_rt_s0_04_an_inserted_row_is_found(filled):
    filled.sql(
        "INSERT INTO ledger_entries (log, stream, seq, canonical, mac, kid, ts, kind, principal, claimed_agent, "
        "body_digest, prev) SELECT log, stream, 6, canonical, mac, kid, ts, kind, principal, claimed_agent, "
        "body_digest, prev FROM ledger_entries WHERE stream = :s AND seq = 5",
        s=S1,
    )
    assert filled.broken() == ("TAMPERED", "altered_column", S1, 6)


def test_rt_s0_05_separators_in_fields_never_give_two_entries_the_same_bytes():
    def encoded(principal, agent):
        return chain.encode(chain.Entry("l", "s", 1, "k", "t", "call", principal, agent, "d", "p"))

    pairs = [("a|b", "c"), ("a", "b|c"), ('a","x":"b', "c"), ("a", '","x":"b'), ("a\\", "|c"), ("", "a|b|c")]
    assert len({encoded(*pair) for pair in pairs}) == len(pairs)


def test_rt_s0_06_another_key_verifies_nothing(filled, tmp_path):
    with filled.connection.begin():
        verdict = verify(filled.connection, LOG, Keyring.open(tmp_path / "other"))
    assert (verdict.status, verdict.broken_at.kind, verdict.broken) == ("TAMPERED", "foreign_key", 11)


def test_rt_s0_06_another_key_under_the_same_name_verifies_nothing(filled, tmp_path):
    ring = Keyring.open(tmp_path / "other")
    path = tmp_path / "other" / "ledger.root"
    path.write_text(path.read_text().replace(ring.kid.split(".")[0], filled.keyring.kid.split(".")[0]))
    with filled.connection.begin():
        verdict = verify(filled.connection, LOG, Keyring.open(tmp_path / "other"))
    assert (verdict.status, verdict.broken_at.kind, verdict.broken) == ("TAMPERED", "altered_entry", 11)


def test_rt_s0_07_a_whole_log_forged_without_the_secret_is_found(filled, tmp_path):
    """The attacker knows the code and the format, lacks the root, and writes the log anew."""
    for table in TABLES:
        filled.sql(f"DELETE FROM {table}")
    forged = Keyring.open(tmp_path / "forger")
    line = tmp_path / "forger" / "ledger.root"
    line.write_text(line.read_text().replace(forged.kid.split(".")[0], filled.keyring.kid.split(".")[0]))
    case = Case(filled.connection, Keyring.open(tmp_path / "forger"))
    case.append(draft("s1"), draft("s1"))
    assert case.verify().status == "OK"
    assert filled.broken() == ("TAMPERED", "altered_entry", "system/log", 1)
    with pytest.raises(Tampered), filled.connection.begin():
        filled.ledger.append(filled.connection, [draft("s1")], MOMENT)


@pytest.mark.parametrize("column", ["salt", "body"])
def test_rt_s0_08_an_edited_body_is_found(filled, column):
    new = b'{"n":7}' if column == "body" else bytes(16)
    filled.sql(f"UPDATE ledger_bodies SET {column} = :new WHERE stream = :s AND seq = 3", new=new, s=S1)
    assert filled.broken() == ("TAMPERED", "altered_body", S1, 3)


def test_rt_s0_09_nothing_offers_to_change_or_remove_an_entry():
    public = {name for name, _ in inspect.getmembers(audit.Ledger) if not name.startswith("_")}
    assert public == {"append", "open_log", "committed", "rolled_back"}
    writes = re.compile(r"(insert|update|delete)\((ledger_entries|ledger_bodies|ledger_heads)\)")
    found = {
        (path.name, *match)
        for path in SOURCE.rglob("*.py")
        for match in writes.findall(ast.unparse(ast.parse(path.read_text())))
    }
    assert found == {
        ("audit.py", "insert", "ledger_entries"),
        ("audit.py", "insert", "ledger_bodies"),
        ("audit.py", "insert", "ledger_heads"),
        ("audit.py", "update", "ledger_heads"),
    }


@pytest.mark.parametrize("head", ["kept", "removed", "moved back without the key"])
def test_w_05_a_truncated_stream_is_found(filled, head):
    prev = filled.rows("SELECT prev FROM ledger_entries WHERE stream = :s AND seq = 4", s=S1)[0][0]
    for table in TABLES[:2]:
        filled.sql(f"DELETE FROM {table} WHERE stream = :s AND seq > 3", s=S1)
    expected = ("TAMPERED", "missing_entry", S1, 4)
    if head == "removed":
        filled.sql("DELETE FROM ledger_heads WHERE stream = :s", s=S1)
        expected = ("TAMPERED", "missing_head", S1, 3)
    elif head == "moved back without the key":
        filled.sql("UPDATE ledger_heads SET seq = 3, head = :prev WHERE stream = :s", prev=prev, s=S1)
        expected = ("TAMPERED", "head_mismatch", S1, 3)
    assert filled.broken() == expected


def test_w_06_blanked_hashes_are_tampering_not_rows_to_skip(filled):
    filled.sql("UPDATE ledger_entries SET mac = x'', prev = '', body_digest = ''")
    verdict = filled.verify()
    assert (verdict.status, verdict.entries, verdict.broken) == ("TAMPERED", 11, 11)


def test_w_06_an_emptied_ledger_is_never_ok(filled):
    for table in TABLES:
        filled.sql(f"DELETE FROM {table}")
    assert filled.broken() == ("TAMPERED", "emptied", "", 0)


FIRST_START = """
import sys
from pathlib import Path
from securecontext.boundaries.keys import ROOTS, Keyring
print("ready", flush=True)
sys.stdin.readline()
ring = Keyring.open(Path(sys.argv[1]))
print(ring.kid, *(ring.root(name).hex() for name in ROOTS))
"""


def test_w_08_w_16_first_starts_at_once_end_with_one_secret(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "HOME": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_START, str(tmp_path / "keys")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(6)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert len(set(answers)) == 1
    assert len(set(answers[0].split())) == 5
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {f"{name}.root" for name in ROOTS}


def test_w_08_two_writers_with_tails_in_memory_never_fork(case):
    one, two = case.ledger, audit.Ledger(LOG, case.keyring)
    for _ in range(5):
        for ledger in (one, two):
            with case.connection.begin():
                ledger.append(case.connection, [draft()], MOMENT)
            ledger.committed()
    verdict = case.verify()
    assert (verdict.status, verdict.entries) == ("OK", 11)


def test_w_09_a_separator_in_a_principal_never_joins_two_streams(case):
    places = case.append(
        draft("c", principal="a/b"), draft("b/c", principal="a"), draft("c", principal="a%2Fb")
    )
    assert len({place.stream for place in places}) == 3
    assert [place.seq for place in places] == [1, 1, 1]
    keys = {case.keyring.stream_key(LOG, place.stream) for place in places}
    assert len(keys) == 3
    assert case.verify().status == "OK"


def test_w_10_every_column_of_an_entry_is_covered(filled):
    """Each column that states something is compared: none can be relabelled unseen."""
    names = set(audit.ledger_entries.c.keys()) - {"entry", "leaf_index"}
    for name in sorted(names):
        kept = filled.rows(f"SELECT entry, {name} FROM ledger_entries WHERE stream = :s AND seq = 3", s=S1)[0]
        new = 77 if name == "seq" else b"x" if isinstance(kept[1], bytes) else "x"
        filled.sql(f"UPDATE ledger_entries SET {name} = :new WHERE entry = :entry", new=new, entry=kept[0])
        assert filled.verify().status == "TAMPERED", name
        filled.sql(
            f"UPDATE ledger_entries SET {name} = :old WHERE entry = :entry", old=kept[1], entry=kept[0]
        )
        assert filled.verify().status == "OK", name


def test_w_13_null_empty_text_and_numbers_have_distinct_forms():
    values = [None, "", 0, "0", False, [], {}, [None], "null", {"": None}]
    assert len({canonical(value) for value in values}) == len(values)


def test_an_entry_of_another_project_is_no_evidence_here(filled, keyring):
    other = Case(filled.connection, keyring, "log_other")
    for number in range(5):
        other.append(draft("s1", body={"n": number}))
    wanted = "SELECT {} FROM ledger_entries o WHERE o.log = 'log_other' AND o.stream = :s AND o.seq = 3"
    for column in ("canonical", "mac", "body_digest", "prev"):
        filled.sql(
            f"UPDATE ledger_entries SET {column} = ({wanted.format(column)}) "
            "WHERE log = 'log_test' AND stream = :s AND seq = 3",
            s=S1,
        )
    assert filled.broken() == ("TAMPERED", "altered_column", S1, 3)


def test_not_yet_seen_a_return_of_everything_to_an_older_copy(filled):
    """A consistent older copy is authentic: only an anchor outside the database can tell. The text says so."""
    older = {table: filled.rows(f"SELECT * FROM {table}") for table in TABLES}
    filled.append(draft("s1"))
    for table, rows in older.items():
        filled.sql(f"DELETE FROM {table}")
        for row in rows:
            values = {f"v{n}": cell for n, cell in enumerate(row)}
            filled.sql(f"INSERT INTO {table} VALUES ({', '.join(':' + name for name in values)})", **values)
    verdict = filled.verify()
    assert (verdict.status, verdict.unanchored) == ("OK", 11)
    assert "a return to an older copy, would not show" in verdict.as_text()
    with pytest.raises(Tampered), filled.connection.begin():  # the running service knows its heads
        filled.ledger.append(filled.connection, [draft("s1")], MOMENT)


def test_not_yet_seen_a_stream_removed_whole_with_its_head(filled):
    for table in TABLES:
        filled.sql(f"DELETE FROM {table} WHERE stream = :s", s=S2)
    verdict = filled.verify()
    assert (verdict.status, verdict.entries) == ("OK", 6)
    assert "whole streams removed" in verdict.as_text()
    with pytest.raises(Tampered), filled.connection.begin():
        filled.ledger.append(filled.connection, [draft("s2")], MOMENT)
