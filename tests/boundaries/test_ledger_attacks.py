"""Attacks on the ledger and its keys, each under the id by which it is known.

Not detectable without an anchor outside the database, and stated by the verifier's text: the last two tests.
"""

import ast
import hashlib
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
from securecontext.boundaries.keyring.roots import ROOTS
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import sequencer
from securecontext.boundaries.ledger.verify import verify
from securecontext.types.errors import Tampered, Unavailable
from tests.ledger_case import LOG, MOMENT, SQLITE_ALONE, Case, draft

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
        ("heads.py", "insert", "ledger_heads"),
        ("heads.py", "update", "ledger_heads"),
        ("sequencer.py", "update", "ledger_entries"),
        ("purge.py", "update", "ledger_bodies"),
    }
    assert str(sequencer._place).startswith("UPDATE ledger_entries SET leaf_index=:at_leaf WHERE")


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
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.keyring.roots import ROOTS
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


def test_unseen_without_an_anchor_a_return_of_everything_to_an_older_copy(filled):
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


def test_unseen_without_an_anchor_a_stream_removed_whole_with_its_head(filled):
    for table in TABLES:
        filled.sql(f"DELETE FROM {table} WHERE stream = :s", s=S2)
    verdict = filled.verify()
    assert (verdict.status, verdict.entries) == ("OK", 6)
    assert "their removal with their heads" in verdict.as_text()
    with pytest.raises(Tampered), filled.connection.begin():
        filled.ledger.append(filled.connection, [draft("s2")], MOMENT)


def _forge(case, seq, prev, mac=None):
    """Put a well-formed row behind the stream's last one; its MAC is an unkeyed hash unless one is given."""
    body, salt = canonical({"operation": "zc_forged"}), bytes(16)
    entry = chain.Entry(
        LOG, S1, seq, case.keyring.kid, "2026-11-22T01:02:03.000004Z", "call", "uid:1000", "dev",
        chain.body_digest(salt, body), prev,
    )  # fmt: skip
    data = chain.encode(entry)
    mac = mac(data) if mac else hashlib.sha256(data).digest()
    case.sql(
        "INSERT INTO ledger_entries (log, stream, seq, canonical, mac, kid, ts, kind, principal, claimed_agent, "
        "body_digest, prev) VALUES (:log, :s, :seq, :data, :mac, :kid, :ts, 'call', 'uid:1000', 'dev', :digest, :prev)",
        log=LOG, s=S1, seq=seq, data=data, mac=mac, kid=entry.kid, ts=entry.ts, digest=entry.body_digest, prev=prev,
    )  # fmt: skip
    case.sql(
        "INSERT INTO ledger_bodies (log, stream, seq, salt, body) VALUES (:log, :s, :seq, :salt, :body)",
        log=LOG, s=S1, seq=seq, salt=salt, body=body,
    )  # fmt: skip
    return chain.entry_hash(data, mac)


@pytest.mark.parametrize("prev", ["right", "genesis", "made up", "empty"])
@pytest.mark.parametrize("head", ["kept", "moved along"])
def test_w_03_a_row_with_an_unkeyed_hash_is_found_whatever_it_says_it_follows(filled, prev, head):
    right = filled.rows("SELECT head FROM ledger_heads WHERE stream = :s", s=S1)[0][0]
    spelled = {"right": right, "genesis": chain.genesis(LOG, S1), "made up": "f" * 64, "empty": ""}[prev]
    made = _forge(filled, 6, spelled)
    if head == "moved along":
        filled.sql(
            "UPDATE ledger_heads SET seq = 6, head = :head, mac = :mac WHERE stream = :s",
            head=made, mac=hashlib.sha256(made.encode()).digest(), s=S1,
        )  # fmt: skip
    assert filled.broken() == ("TAMPERED", "altered_entry", S1, 6)
    assert filled.verify().entries == 12


@pytest.mark.parametrize("prev", ["genesis", "made up", "of another stream"])
def test_w_03_a_row_that_is_signed_and_follows_nothing_is_found(filled, prev):
    other = filled.rows("SELECT head FROM ledger_heads WHERE stream = :s", s=S2)[0][0]
    spelled = {"genesis": chain.genesis(LOG, S1), "made up": "f" * 64, "of another stream": other}[prev]
    key = filled.keyring.stream_key(LOG, S1)
    _forge(filled, 6, spelled, lambda data: chain.mac(key, data))
    assert filled.broken() == ("TAMPERED", "broken_link", S1, 6)


def test_w_03_one_such_row_leaves_the_rest_of_the_chain_verifiable(filled):
    _forge(filled, 6, "f" * 64)
    verdict = filled.verify()
    assert {(f.stream, f.seq) for f in verdict.findings} <= {(S1, 5), (S1, 6)}, "the head, and the row itself"
    for table in TABLES[:2]:
        filled.sql(f"DELETE FROM {table} WHERE stream = :s AND seq = 6", s=S1)
    assert filled.verify().status == "OK"


FOREIGN = [
    b"2026-05-01 10:00:00 PostToolUse hook ran",
    b'{"event":"skill_admitted","hmac":"00"}',
    b'["not", "an", "object"]',
    b"",
    b"\xff\xfe\x00",
]
"""What other writers once put into the same log."""


@pytest.mark.parametrize("line", FOREIGN)
@pytest.mark.parametrize("where", ["behind the others", "in a stream of its own"])
def test_w_07_one_foreign_row_is_named_and_no_other_is_left_out(filled, line, where):
    stream, seq = (S1, 6) if where == "behind the others" else ("hook/plain", 1)
    filled.sql(
        "INSERT INTO ledger_entries (log, stream, seq, canonical, mac, kid, ts, kind, principal, claimed_agent, "
        "body_digest, prev) VALUES (:log, :s, :seq, :line, x'', '', '', '', '', '', '', '')",
        log=LOG, s=stream, seq=seq, line=line,
    )  # fmt: skip
    verdict = filled.verify()
    assert (verdict.status, verdict.entries) == ("TAMPERED", 12)
    assert (stream, seq) in {(f.stream, f.seq) for f in verdict.findings}


@pytest.mark.parametrize("line", FOREIGN)
def test_w_07_a_row_that_turned_into_something_foreign_is_named(filled, line):
    filled.sql("UPDATE ledger_entries SET canonical = :line WHERE stream = :s AND seq = 3", line=line, s=S2)
    assert filled.broken() == ("TAMPERED", "altered_entry", S2, 3)
    assert filled.verify().entries == 11


@SQLITE_ALONE
@pytest.mark.parametrize("seq", [1, 3, 5])
def test_w_07_one_row_that_cannot_be_read_is_never_fewer_entries_and_ok(filled, seq):
    filled.sql(
        "UPDATE ledger_entries SET principal = CAST(x'fffe' AS TEXT) WHERE stream = :s AND seq = :seq",
        s=S1, seq=seq,
    )  # fmt: skip
    verdict = filled.verify()
    assert verdict.status in ("INCOMPLETE", "TAMPERED") and verdict.status != "OK"
    assert verdict.read_error or verdict.broken
    assert "could not be read" in verdict.as_text() or "(row" in verdict.as_text()
