"""Backups against whoever gets hold of one: what is in it, and what a changed one can do."""

from __future__ import annotations

import base64
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from securecontext.app import verification
from securecontext.boundaries import backup_file
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.backup_file import Member
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.identity.operator import FILE as VERIFIER
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import bundle
from securecontext.types.errors import Expired
from securecontext.types.security import AgentState, EncryptedState
from tests.backup_case import Kept, apart, edited, kept_house
from tests.house_case import AGENT, PERSON
from tests.identity_case import holder, issue
from tests.ledger_case import MOMENT, draft


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = kept_house(tmp_path)
    made.house.remember("db", "PostgreSQL")
    yield made
    made.house.app.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Kept]:
    """Another machine."""
    made = kept_house(tmp_path / "elsewhere")
    yield made
    made.house.app.close()


def keyring(kept: Kept) -> Keyring:
    return Keyring.open(kept.home / "keys")


def project_file(kept: Kept) -> str:
    return f"projects/{kept.house.project.id}.db"


# What is in it


def test_w_22_a_backup_holds_no_root_no_verifier_and_no_token(kept: Kept) -> None:
    token = issue(kept.house, kept.operator)
    kept.house.app.door_token()
    data = kept.backup().read_bytes()
    secrets = [token.encode(), (kept.home / "keys" / "http.token").read_bytes().strip()]
    for file in (kept.home / "keys").glob("*.root"):
        encoded = file.read_bytes().split()[-1]
        secrets += [encoded, base64.b64decode(encoded)]
    secrets.append((kept.home / "keys" / VERIFIER).read_bytes().split()[-1])
    assert len(secrets) == 11
    assert [each for each in secrets if each in data] == []
    assert set(apart(kept.out / "one.zcbackup").files) <= {
        "machine.db", project_file(kept), "keys/signers.log", "keys/data.keys", "logs/anchors.log",
    }  # fmt: skip


def test_a_backup_is_for_its_owner_alone_and_never_overwrites(kept: Kept) -> None:
    file = kept.backup()
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept.house.refused("backup", PERSON, file=str(file)) == "file_exists"
    assert kept.house.refused("backup", PERSON, file=str(kept.out / "no" / "folder")) == "unwritable_file"
    assert [each.name for each in kept.out.iterdir()] == ["one.zcbackup"]
    assert not list(kept.home.glob(".backup-*"))


def test_a_ledger_that_could_not_be_restored_is_refused_when_the_backup_is_made(kept: Kept) -> None:
    connection = sqlite3.connect(kept.house.app.stores.path(kept.house.project.id))
    connection.execute("UPDATE ledger_bodies SET body = x'7b7d' WHERE seq = 1 AND stream LIKE 'uid%'")
    connection.commit()
    connection.close()
    assert kept.house.refused("backup", PERSON, file=str(kept.out / "x")) == "backup_not_sound"
    assert list(kept.out.iterdir()) == []


def test_a_database_that_is_missing_or_set_aside_is_refused_when_the_backup_is_made(kept: Kept) -> None:
    path = kept.house.app.stores.path(kept.house.project.id)
    kept.house.app.close()
    path.write_bytes(b"no database at all" * 400)
    kept.start_anew()
    assert kept.house.refused("backup", PERSON, file=str(kept.out / "x")) in (
        "database_corrupt",
        "backup_unreadable",
    )
    kept.house.ask("zc_status")
    assert kept.house.refused("backup", PERSON, file=str(kept.out / "x")) == "database_set_aside"


# What a changed one can do


def test_every_part_of_a_backup_is_covered(kept: Kept) -> None:
    file = kept.backup()
    data = file.read_bytes()
    size = len(data)
    head = data.index(b"\n", data.index(b'{"note"'))
    places = [*range(0, head, 97), head - 2, *range(head + 1, size, size // 12), size - 1]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert kept.refused(file) in (
            "backup_altered",
            "not_a_backup",
            "backup_newer",
            "backup_signer_unknown",
        ), place
    for part in (data[:-1], data + b"x", data[:head], b""):
        file.write_bytes(part)
        assert kept.refused(file) in ("backup_altered", "not_a_backup")
    file.write_bytes(data)
    kept.restore(file)


def test_a_signature_over_something_else_signs_no_manifest(kept: Kept) -> None:
    file = kept.backup()
    data, parts = file.read_bytes(), apart(file)
    note = data.split(b"\n", 3)[2]
    checkpoint = parts.manifest.files[1].note
    parts.files[project_file(kept)] += b" "
    forged = parts.signed(keyring(kept), kept.out / "forged").read_bytes()
    magic, manifest, _, rest = forged.split(b"\n", 3)
    for other in (note, canonical({"note": checkpoint}), canonical({"note": ""})):
        file.write_bytes(b"\n".join((magic, manifest, other, rest)))
        assert kept.refused(file) == "backup_altered"


def test_a_backup_of_nobody_known_here_needs_its_fingerprint_from_elsewhere(kept: Kept, other: Kept) -> None:
    file = kept.backup()
    assert other.refused(file) == "backup_signer_unknown"
    assert other.refused(file, "0" * 64) == "backup_signer_unknown"
    fingerprint = kept.house.do("audit.key", PERSON)["fingerprint"]
    other.restore(file, fingerprint.upper())
    other.house.project = kept.house.project
    assert (other.house.shown(), other.status(), other.status(machine=True)) == (
        {"db": "PostgreSQL"},
        "OK",
        "OK",
    )


@pytest.mark.parametrize(
    "name",
    ["../escaped", "/etc/passwd", "projects/../../escaped.db", "keys/ledger.root", "keys/operator.verifier",
     "projects/prj_x.db", "machine.db\0", "logs/service.log", "./machine.db", "projects"],
)  # fmt: skip
def test_w_13_no_name_leads_out_of_the_folder_or_to_a_key_even_if_it_is_signed(kept: Kept, name: str) -> None:
    parts = apart(kept.backup())
    parts.files[name] = b"planted"
    parts.manifest = replace(parts.manifest, files=(*parts.manifest.files, Member(name, 7, "")))
    before = {each: each.read_bytes() for each in (kept.home / "keys").iterdir()}
    assert kept.refused(parts.signed(keyring(kept), kept.out / "forged")) == "backup_altered"
    assert {each: each.read_bytes() for each in (kept.home / "keys").iterdir()} == before
    assert not list(kept.home.parent.rglob("escaped*"))


def test_a_name_twice_or_sizes_that_are_none_are_refused_before_anything_is_written(kept: Kept) -> None:
    file = kept.backup()
    parts = apart(file)
    twice = replace(parts.manifest, files=(*parts.manifest.files, parts.manifest.files[0]))
    assert (
        kept.refused(replace(parts, manifest=twice).signed(keyring(kept), kept.out / "twice"))
        == "backup_altered"
    )
    data = file.read_bytes()
    for size in (b"-1", b"1e99", b"99999999999999999", b"true", b'"7"'):
        bomb = kept.out / "bomb"
        bomb.write_bytes(re.sub(rb'"bytes":\d+', b'"bytes":' + size, data, count=1))
        assert kept.refused(bomb) == "backup_altered"


def test_only_a_regular_file_is_opened_and_none_is_waited_for(kept: Kept) -> None:
    file = kept.backup()
    link, pipe = kept.out / "link", kept.out / "pipe"
    link.symlink_to(file)
    os.mkfifo(pipe)
    assert kept.refused(link) == "unreadable_file"
    assert kept.refused(pipe) == "not_a_file"
    assert kept.refused(kept.out) == "not_a_file"
    assert kept.refused(kept.out / "none") == "unreadable_file"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE ledger_entries SET kind = 'observed' WHERE seq = 1", "backup_altered"),
        ("DELETE FROM ledger_checkpoints", "backup_altered"),
        ("UPDATE ledger_bodies SET salt = NULL, body = NULL, purged_at = 'x'", "backup_altered"),
        ("CREATE TRIGGER t AFTER INSERT ON facts BEGIN DELETE FROM events; END", "backup_altered"),
        ("CREATE VIEW v AS SELECT 1", "backup_altered"),
        ("UPDATE meta SET value = 'prj_0000000000000000' WHERE name = 'project'", "foreign_file"),
        ("DELETE FROM meta WHERE name = 'log'", "no_log"),
        ("UPDATE alembic_version SET version_num = '9999'", "schema_newer"),
    ],
)
def test_an_edited_database_is_refused_even_if_it_is_signed(kept: Kept, statement: str, code: str) -> None:
    parts = apart(kept.backup())

    def edit(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()

    edited(parts, project_file(kept), kept.out, edit)
    assert kept.refused(parts.signed(keyring(kept), kept.out / "forged")) == code


def test_projects_that_the_register_does_not_name_and_exchanged_ones_are_refused(kept: Kept) -> None:
    second = kept.house.fresh_project("second")
    kept.house.ask("zc_remember", {"key": "k", "value": "v"}, project=second)
    file = kept.backup()
    first, other = project_file(kept), f"projects/{second.id}.db"
    parts = apart(file)
    parts.files[first], parts.files[other] = parts.files[other], parts.files[first]
    assert kept.refused(parts.signed(keyring(kept), kept.out / "swapped")) == "foreign_file"
    parts = apart(file)
    left = tuple(each for each in parts.manifest.files if each.name != other)
    missing = replace(parts, manifest=replace(parts.manifest, files=left))
    assert kept.refused(missing.signed(keyring(kept), kept.out / "missing")) == "backup_altered"
    foreign = Member("projects/prj_0000000000000000.db", 0, "")
    parts.files[foreign.name] = parts.files[first]
    more = replace(parts, manifest=replace(parts.manifest, files=(*parts.manifest.files, foreign)))
    assert kept.refused(more.signed(keyring(kept), kept.out / "more")) == "backup_altered"


def test_a_newer_form_is_refused_with_the_next_step(kept: Kept) -> None:
    file = kept.backup()
    file.write_bytes(file.read_bytes().replace(b"backup v1", b"backup v2", 1))
    assert kept.refused(file) == "backup_newer"


# What a restore must not bring back


def test_only_the_operator_restores(kept: Kept) -> None:
    file = str(kept.backup())
    given = {"file": file, "confirm": True}
    for who in (AGENT, PERSON):
        answer = kept.house.ask("restore", given, who=who)
        assert answer.error is not None and answer.error.code in ("not_permitted", "operator_locked")
    answer = kept.house.ask("restore", {"file": file}, who=kept.operator)
    assert answer.error is not None and answer.error.code == "not_confirmed"


def test_rt_s2_04_a_token_that_was_revoked_after_the_backup_does_not_count_after_the_restore(
    kept: Kept,
) -> None:
    token = issue(kept.house, kept.operator)
    alice = holder(kept.house, token)
    kept.house.do("zc_status", alice)
    file = kept.backup()
    kept.house.do("zc_revoke_token", kept.operator, agent_id="alice")
    kept.restore(file)
    assert kept.house.refused("zc_status", alice) == "token_revoked"


def sealed(kept: Kept, content: bytes) -> EncryptedState:
    """Encrypt a text under the data key of the moment."""
    return StateEncryption(kept.house.app.data_keys).encrypt_agent_state(
        AgentState("p", "a", "k", "r", content)
    )


def test_a_key_that_was_destroyed_after_the_backup_stays_destroyed_and_others_come_back(kept: Kept) -> None:
    first = sealed(kept, b"shredded")
    kept.house.app.data_keys.rotate()
    second = sealed(kept, b"kept")
    made = kept.house.do("backup", PERSON, file=str(kept.out / "one.zcbackup"), with_keys=True)
    assert [Path(each).name for each in made["keys"]] == ["encryption.root"]
    kept.house.app.data_keys.destroy(first.key_id)
    kept.restore(Path(made["file"]))
    states = StateEncryption(kept.house.app.data_keys)
    assert states.decrypt_agent_state(second).content == b"kept"
    with pytest.raises(Expired) as caught:
        states.decrypt_agent_state(first)
    assert caught.value.code == "key_destroyed"


def test_no_data_key_is_in_a_backup_unasked_and_what_it_needs_is_said_when_it_is_made(kept: Kept) -> None:
    assert "WARNING" not in kept.house.ask("backup", {"file": str(kept.out / "before")}, who=PERSON).text
    sealed(kept, b"x")
    answer = kept.house.ask("backup", {"file": str(kept.out / "one")}, who=PERSON)
    assert "WARNING" in answer.text and "encryption.root and " in answer.text and "data.keys" in answer.text
    assert "keys/data.keys" not in apart(kept.out / "one").files


def test_texts_that_cannot_be_read_here_are_not_restored_unasked(kept: Kept, other: Kept) -> None:
    text = sealed(kept, b"secret of the first")
    kept.backup("without")
    kept.house.do("backup", PERSON, file=str(kept.out / "with"), with_keys=True)
    fingerprint = kept.house.do("audit.key", PERSON)["fingerprint"]
    for name in ("without", "with"):
        assert other.refused(kept.out / name, fingerprint) == "data_keys_missing"
    other.house.app.close()
    (other.home / "keys" / "encryption.root").write_bytes(
        (kept.home / "keys" / "encryption.root").read_bytes()
    )
    (other.home / "keys" / "data.keys").unlink(missing_ok=True)
    other.start_anew()
    other.unlock()
    assert other.refused(kept.out / "without", fingerprint) == "data_keys_missing"
    other.restore(kept.out / "with", fingerprint)
    opened = StateEncryption(other.house.app.data_keys).decrypt_agent_state(text)
    assert opened.content == b"secret of the first"


def test_a_person_may_restore_without_the_keys_of_encrypted_texts(kept: Kept, other: Kept) -> None:
    sealed(kept, b"lost")
    file = kept.backup()
    fingerprint = kept.house.do("audit.key", PERSON)["fingerprint"]
    given = {"file": str(file), "key": [fingerprint], "confirm": True, "without_keys": True}
    other.house.do("restore", other.operator, **given)
    other.start_anew()
    other.house.project = kept.house.project
    assert other.house.shown() == {"db": "PostgreSQL"}


def test_nothing_of_an_unsigned_backup_is_written_but_its_list_of_signers(
    kept: Kept, other: Kept, monkeypatch
) -> None:
    written = []
    pieces = backup_file.pieces
    monkeypatch.setattr(
        backup_file, "pieces", lambda file, each: written.append(each.name) or pieces(file, each)
    )
    assert other.refused(kept.backup()) == "backup_signer_unknown"
    assert written == ["keys/signers.log"]


@pytest.mark.parametrize("broken", ["the project's", "the machine's"])
def test_a_broken_database_is_what_a_restore_is_for(kept: Kept, broken: str) -> None:
    file = kept.backup()
    path = kept.house.app.stores.path(kept.house.project.id)
    if broken == "the machine's":
        path = kept.home / "machine.db"
    kept.house.app.close()
    path.write_bytes(b"no database at all" * 400)
    kept.start_anew()
    answer = kept.house.ask("zc_status" if broken == "the project's" else "keys.status", who=PERSON)
    assert answer.error is not None and answer.error.code == "database_corrupt"
    if broken == "the machine's":
        kept.house.do("recover", PERSON, confirm=True)
    kept.unlock()
    kept.restore(file)
    assert kept.house.shown() == {"db": "PostgreSQL"}
    assert (kept.status(), kept.status(machine=True)) == ("OK", "OK")
    assert not [*kept.home.glob("*.set-aside"), *(kept.home / "projects").glob("*.set-aside")]


def test_w_74_code_that_was_accepted_after_the_backup_stays_accepted(kept: Kept) -> None:
    file = kept.backup()
    kept.house.do("integrity.accept", PERSON, confirm=True)
    before = kept.house.do("integrity.check", PERSON)["state"]
    kept.restore(file)
    assert kept.house.do("integrity.check", PERSON)["state"] == before == "sound"


# The break, for everybody to see


def test_an_outsider_sees_the_break_and_pins_the_new_signer_too(kept: Kept) -> None:
    backup = kept.backup()
    old = kept.house.do("audit.key", PERSON)["fingerprint"]
    new = kept.restore(backup)
    file = kept.out / "ledger.jsonl"
    kept.house.do("audit.export", PERSON, file=str(file), bodies=True)
    lines = file.read_bytes().splitlines()
    (problem,) = bundle.check(lines, old).problems
    assert "nobody endorsed" in problem and new in problem
    assert bundle.check(lines, old, new).problems == []
    assert bundle.check(lines).problems == [problem], "without a fingerprint a break is no better"
    assert kept.house.do("audit.key", PERSON)["recovered"] == [new]


def test_after_a_restore_nothing_can_be_entered_under_the_keys_of_before(kept: Kept) -> None:
    file = kept.backup()
    before = keyring(kept)
    kept.restore(file)
    log = kept.house.sql("SELECT value FROM meta WHERE name = 'log'")[0][0]
    engine = create_engine(f"sqlite:///{kept.house.app.stores.path(kept.house.project.id)}")
    with engine.begin() as connection:
        Ledger(log, before).append(connection, [draft("forged")], MOMENT)
    engine.dispose()
    found = kept.house.do("audit.verify", PERSON)
    assert (found["status"], found["broken_kind"]) == ("TAMPERED", "unvouched")


def test_w_05_an_older_copy_put_back_after_a_restore_is_a_roll_back(kept: Kept) -> None:
    kept.restore(kept.backup())
    path = kept.house.app.stores.path(kept.house.project.id)
    kept.house.app.close()
    older = path.read_bytes()
    kept.start_anew()
    kept.house.remember("later", "x")
    assert kept.status() == "OK"
    kept.house.app.close()
    path.write_bytes(older)
    kept.start_anew()
    assert kept.status() == "ROLLED_BACK"


def test_epochs_end_and_backups_are_made_and_restored_after_a_restore_as_before(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "WHOLE_BELOW", 0)
    kept.restore(kept.backup())
    kept.house.remember("second", "life")
    kept.house.app.ledgers.end_epoch()
    kept.house.remember("third", "epoch")
    file = kept.backup("two")
    kept.house.remember("lost", "x")
    kept.unlock()
    kept.restore(file)
    assert kept.house.shown() == {"db": "PostgreSQL", "second": "life", "third": "epoch"}
    found = kept.house.do("audit.verify", PERSON)
    assert (found["status"], found["recovered"], kept.status(machine=True)) == ("OK", 2, "OK")
    again = kept.house.do("audit.verify", PERSON)
    assert (again["check"], again["recovered"]) == ("incremental", 2), "also where it is below the mark"
    assert kept.house.do("state.check", PERSON)["flaws"] == [], "heads of before are the tree's to vouch for"
    assert backup_file.read_head(file.open("rb"), file.stat().st_size).manifest.version
