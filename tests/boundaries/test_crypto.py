"""Attacks on encrypted states and their keys: changed, moved, of another key, destroyed, caught in a crash."""

import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.crypto import FORMAT
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keyring.envelope import USES_LIMIT, begin
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import (
    ContractBroken,
    Expired,
    InvalidInput,
    NotFound,
    Tampered,
    Unavailable,
    ZcError,
)
from tests.house_case import AGENT, PERSON
from tests.identity_case import with_operator
from tests.keys_case import MOMENT, ROOT, STATE, Keys, spellings


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys")


def refusal(keys, encrypted):
    with pytest.raises(ZcError) as refused:
        keys.decrypt(encrypted)
    return refused.value


def flipped(data):
    """Every copy of some bytes that differs in one bit."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


# What is stored


def test_what_is_encrypted_comes_back_and_is_nowhere_in_the_clear(keys):
    encrypted = keys.encrypt()
    assert keys.decrypt(encrypted) == STATE
    assert STATE.content not in encrypted.sealed + encrypted.nonce
    assert Keys(keys.folder).decrypt(encrypted) == STATE, "after a restart"


def test_any_flipped_bit_of_nonce_ciphertext_and_tag_is_refused(keys):
    encrypted = keys.encrypt()
    changed = [replace(encrypted, nonce=nonce) for nonce in flipped(encrypted.nonce)]
    changed += [replace(encrypted, sealed=sealed) for sealed in flipped(encrypted.sealed)]
    assert len(changed) == 8 * (12 + len(STATE.content) + 16)
    assert {refusal(keys, each).code for each in changed} == {"state_tampered"}


@pytest.mark.parametrize("size", [0, 1, 11, 13, 16])
def test_a_nonce_of_another_length_is_refused(keys, size):
    assert refusal(keys, replace(keys.encrypt(), nonce=bytes(size))).code == "state_tampered"


def test_a_ciphertext_cut_or_extended_anywhere_is_refused(keys):
    encrypted = keys.encrypt()
    cut = [encrypted.sealed[:size] for size in range(len(encrypted.sealed))]
    for sealed in [*cut, encrypted.sealed + b"\0", b"\0" + encrypted.sealed]:
        assert refusal(keys, replace(encrypted, sealed=sealed)).code == "state_tampered"


@pytest.mark.parametrize(
    "moved",
    [
        {"project": "prj_two"},
        {"agent": "ops"},
        {"kind": "document"},
        {"record": "rec_2"},
        {"agent": "fact", "kind": "dev"},
        {"project": "prj_onede", "agent": "v"},
        {"project": 'prj_one","dev', "agent": ""},
        {"agent": ""},
    ],
)
def test_a_state_moved_to_another_place_is_refused(keys, moved):
    assert refusal(keys, replace(keys.encrypt(), **moved)).code == "state_tampered"


def test_states_exchanged_with_each_other_are_refused(keys):
    for other in ({"project": "prj_two"}, {"agent": "ops"}, {"kind": "document"}, {"record": "rec_2"}):
        one, two = keys.encrypt(b"one"), keys.encrypt(b"two", **other)
        for mine, foreign in ((one, two), (two, one)):
            swapped = replace(mine, nonce=foreign.nonce, sealed=foreign.sealed)
            assert refusal(keys, swapped).code == "state_tampered"


def test_any_flipped_bit_of_a_place_is_refused(keys):
    encrypted = keys.encrypt()
    for part in ("project", "agent", "kind", "record"):
        for changed in flipped(getattr(encrypted, part).encode()):
            name = changed.decode("utf-8", "surrogateescape")
            assert refusal(keys, replace(encrypted, **{part: name})).code in (
                "state_tampered",
                "not_canonical",  # no proper text
            )


def test_another_key_id_is_refused(keys):
    encrypted = keys.encrypt()
    keys.keys.rotate()
    other = keys.encrypt().key_id
    assert other != encrypted.key_id
    assert refusal(keys, replace(encrypted, key_id=other)).code == "state_tampered"
    for changed in flipped(encrypted.key_id.encode()):
        name = changed.decode("utf-8", "surrogateescape")
        assert refusal(keys, replace(encrypted, key_id=name)).code in ("data_key_unknown", "not_canonical")


def test_what_is_bound_is_the_documented_list(keys):
    encrypted = keys.encrypt()
    secret = keys.keys.for_reading(encrypted.key_id).secret
    bound = canonical([FORMAT, encrypted.key_id, "prj_one", "dev", "fact", "rec_1"])
    assert aead.unseal(secret, encrypted.nonce, encrypted.sealed, bound) == STATE.content


def test_a_place_that_is_no_text_is_refused_and_uses_no_key(keys):
    before = keys.reports()
    with pytest.raises(InvalidInput, match="surrogate"):
        keys.encrypt(agent="\ud800")
    assert keys.reports() == before


def test_a_state_beyond_the_limit_is_refused(keys, monkeypatch):
    monkeypatch.setattr("securecontext.boundaries.crypto.CONTENT_BYTES", 8)
    assert keys.decrypt(keys.encrypt(b"x" * 8)).content == b"x" * 8
    with pytest.raises(InvalidInput) as refused:
        keys.encrypt(b"x" * 9)
    assert refused.value.code == "state_too_large"


# Wrong keys


def test_rt_s0_06_another_root_opens_nothing(keys):
    encrypted = keys.encrypt()
    for root in (bytes(64), ROOT[:-1], ROOT + b"\0", bytes([ROOT[0] ^ 1]) + ROOT[1:]):
        assert refusal(Keys(keys.folder, root), encrypted).code == "encryption_root_other"
    assert keys.decrypt(encrypted) == STATE


def test_rt_s0_06_another_installation_opens_nothing(keys, tmp_path):
    encrypted = keys.encrypt()
    other = Keys(tmp_path / "other")
    assert refusal(other, encrypted).code == "data_key_unknown"
    forged = replace(encrypted, key_id=other.encrypt().key_id)
    assert refusal(other, forged).code == "state_tampered"


def test_rt_s0_07_nobody_without_the_root_writes_the_file(keys):
    encrypted = keys.encrypt()
    line = keys.file.read_bytes()
    codes = set()
    for changed in flipped(line):
        keys.file.write_bytes(changed)
        codes.add(refusal(Keys(keys.folder), encrypted).code)
    assert codes == {"key_file_malformed", "encryption_root_other", "key_file_tampered"}
    for cut in (b"", line[:-1], line[: len(line) // 2], line + b"\n", line.splitlines()[0]):
        keys.file.write_bytes(cut)
        assert refusal(Keys(keys.folder), encrypted).code in ("key_file_malformed", "key_file_tampered")
    keys.file.write_bytes(line)
    assert Keys(keys.folder).decrypt(encrypted) == STATE


def test_a_count_cannot_be_lowered_in_the_file(keys):
    keys.encrypt()
    line = keys.file.read_bytes()
    assert line.count(b'"uses":1024') == 1
    keys.file.write_bytes(line.replace(b'"uses":1024', b'"uses":1   '))
    assert refusal(Keys(keys.folder), keys.encrypt()).code == "key_file_tampered"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o620, 0o700])
def test_rt_s0_01_a_file_that_others_can_open_is_refused(keys, mode):
    encrypted = keys.encrypt()
    keys.file.chmod(mode)
    refused = refusal(Keys(keys.folder), encrypted)
    assert refused.code == "key_file_unsafe"
    assert f"chmod 600 {keys.file}" in refused.hint


def test_rt_s0_01_a_folder_that_others_can_open_is_refused(keys):
    encrypted = keys.encrypt()
    keys.folder.chmod(0o755)
    assert refusal(Keys(keys.folder), encrypted).code == "key_folder_unsafe"


def test_a_link_in_place_of_the_file_is_refused(keys, tmp_path):
    encrypted = keys.encrypt()
    (tmp_path / "elsewhere").write_bytes(keys.file.read_bytes())
    keys.file.unlink()
    keys.file.symlink_to(tmp_path / "elsewhere")
    assert refusal(Keys(keys.folder), encrypted).code == "key_file_unsafe"


def test_rt_s0_02_nothing_that_is_told_holds_a_byte_of_a_key(house):
    ring = Keyring.open(house.app.settings.home / "keys")
    keys = Keys(ring.folder, ring.root("encryption"))
    encrypted = keys.encrypt()
    operator = with_operator(house)
    house.do("keys.rotate", operator)
    later = Keys(ring.folder, ring.root("encryption"))
    envelope = later.keys._envelope()
    secrets = [ring.root("encryption"), envelope.wrapping.secret, envelope.salt]
    secrets += [envelope.opened(key.id).secret for key in envelope.keys]
    secrets += [key.wrapped for key in envelope.keys]
    told = [
        later.keys,
        envelope,
        envelope.keys,
        envelope.opened(encrypted.key_id),
        later.keys.report(),
        STATE,
    ]
    told += [house.ask(name, {}, who=operator) for name in ("keys.status", "keys.rotate")]
    told += [
        house.ask("keys.destroy", {"key_id": encrypted.key_id, "confirm": True}, who=operator),
        house.ask("keys.destroy", {"key_id": "dek_none", "confirm": True}, who=operator),
        refusal(Keys(ring.folder, ring.root("encryption")), encrypted),
        refusal(Keys(ring.folder, ROOT), encrypted),
        refusal(keys, replace(encrypted, nonce=bytes(12))),
    ]
    text = b"\n".join(f"{each!r} {each}".encode() for each in told)
    for secret in [*secrets, STATE.content]:
        for spelling in spellings(secret):
            assert spelling not in text
    with pytest.raises(TypeError, match="never serialised"):
        later.keys.__reduce__()
    with pytest.raises(TypeError, match="never serialised"):
        envelope.wrapping.__reduce__()


# Rotation and destruction


def test_rotation_takes_new_keys_and_touches_no_body(keys):
    before = [keys.encrypt(str(n).encode()) for n in range(3)]
    first, envelope = keys.keys.report(), keys.keys._envelope()
    after = keys.keys.rotate()
    assert after.wrapping_key != first.wrapping_key
    assert [key.state for key in after.data_keys] == ["reading", "writing"]
    assert keys.encrypt().key_id == after.data_keys[-1].id != before[0].key_id
    assert [keys.decrypt(each).content for each in before] == [b"0", b"1", b"2"]
    held = keys.keys._envelope()
    assert not any(spelling in keys.file.read_bytes() for spelling in spellings(envelope.salt))
    assert held.keys[0].wrapped != envelope.keys[0].wrapped
    assert held.opened(before[0].key_id).secret == envelope.opened(before[0].key_id).secret
    with pytest.raises(Tampered):  # the old wrapping key opens nothing of what is wrapped now
        replace(held, wrapping=envelope.wrapping).opened(before[0].key_id)


def test_rotation_works_under_a_machine_secret(tmp_path):
    ring = Keyring.open(tmp_path / "keys", b"m" * 32)
    keys = Keys(tmp_path / "keys", ring.root("encryption"))
    encrypted, first = keys.encrypt(), keys.keys.report()
    assert first.root == "ZC_MACHINE_SECRET"
    assert keys.keys.rotate().wrapping_key != first.wrapping_key
    again = Keyring.open(tmp_path / "keys", b"m" * 32)
    assert Keys(tmp_path / "keys", again.root("encryption")).decrypt(encrypted) == STATE
    other = Keyring.open(tmp_path / "elsewhere", b"n" * 32)
    assert (
        refusal(Keys(tmp_path / "keys", other.root("encryption")), encrypted).code == "encryption_root_other"
    )


def test_a_destroyed_key_is_named_and_all_else_goes_on(keys):
    gone = keys.encrypt(b"gone")
    keys.keys.rotate()
    kept = keys.encrypt(b"kept")
    wrapped = keys.keys._envelope().find(gone.key_id).wrapped
    keys.keys.destroy(gone.key_id)
    for each in (keys, Keys(keys.folder)):
        refused = refusal(each, gone)
        assert isinstance(refused, Expired)
        assert (refused.code, refused.details) == ("key_destroyed", {"key": gone.key_id})
        assert gone.key_id in refused.message and b"gone" not in str(refused).encode()
        assert each.decrypt(kept).content == b"kept"
    assert keys.state_of(gone.key_id) == "destroyed"
    assert keys.encrypt().key_id == kept.key_id
    for file in keys.folder.iterdir():
        assert not any(s in file.read_bytes() for s in spellings(wrapped)), file.name
    keys.keys.rotate()
    assert refusal(keys, gone).code == "key_destroyed"
    assert keys.decrypt(kept).content == b"kept"


def test_destroying_the_key_for_writing_leaves_another_one_for_writing(keys):
    gone = keys.encrypt()
    keys.keys.destroy(gone.key_id)
    assert refusal(keys, gone).code == "key_destroyed"
    fresh = keys.encrypt()
    assert fresh.key_id != gone.key_id
    assert keys.decrypt(fresh) == STATE


def test_destroying_a_key_again_changes_nothing_and_one_that_is_not_there_is_refused(keys):
    gone = keys.encrypt().key_id
    keys.keys.destroy(gone)
    before = keys.file.read_bytes()
    keys.keys.destroy(gone)
    assert keys.file.read_bytes() == before
    for name in ("dek_none", "", keys.keys.report().wrapping_key):
        with pytest.raises(NotFound) as refused:
            keys.keys.destroy(name)
        assert refused.value.code == "no_such_key"
    assert keys.file.read_bytes() == before


def test_readers_and_writers_go_on_in_the_midst_of_rotations(keys):
    first, stop, errors, read = keys.encrypt(), threading.Event(), [], []

    def work():
        try:
            while not stop.is_set():
                assert keys.decrypt(first) == STATE
                read.append(keys.decrypt(keys.encrypt()) == STATE)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        keys.keys.rotate()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == [] and read and all(read)
    assert len(keys.keys.report().data_keys) == 21


def test_two_processes_that_change_at_once_lose_nothing_of_each_other(keys):
    keys.encrypt()
    others, errors = [Keys(keys.folder) for _ in range(3)], []

    def rotate(each):
        try:
            for _ in range(10):
                each.keys.rotate()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=rotate, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(Keys(keys.folder).reports()) == 1 + 3 * 10


def test_a_destruction_that_failed_when_it_was_done_is_not_forgotten(keys, monkeypatch):
    gone = keys.encrypt()
    real = os.fsync

    def failing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing)
        with pytest.raises(Unavailable) as refused:
            keys.keys.destroy(gone.key_id)
        assert refused.value.code == "key_file_unusable"
    assert refusal(keys, gone).code == "key_destroyed"


# Nonces


def test_a_data_key_is_followed_by_a_new_one_before_its_limit(tmp_path):
    keys = Keys(tmp_path / "keys", uses_before_new=3)
    made = [keys.encrypt() for _ in range(10)]
    assert [[e.key_id for e in made].count(k) for k in dict.fromkeys(e.key_id for e in made)] == [3, 3, 3, 1]
    assert max(key.uses for key in keys.reports().values()) == 3
    assert len({e.nonce for e in made}) == 10
    assert all(keys.decrypt(each) == STATE for each in made)


def test_no_key_can_be_counted_beyond_the_limit():
    full = begin(ROOT, "2026-11-25T01:02:03.000000Z").counted(USES_LIMIT)
    with pytest.raises(ContractBroken):
        full.counted(1)


def test_a_count_is_never_too_low_after_a_crash(keys):
    for made in range(1, 4):
        process = Keys(keys.folder)
        key_id = {process.encrypt().key_id for _ in range(5)}.pop()
        assert process.reports()[key_id].uses == 1024 * (made - 1) + 5
        assert Keys(keys.folder).reports()[key_id].uses == 1024 * made


def test_a_count_that_cannot_be_stored_lets_nothing_be_encrypted(keys, monkeypatch):
    encrypted = keys.encrypt()

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    fresh = Keys(keys.folder)
    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", full)
        with pytest.raises(Unavailable) as refused:
            fresh.encrypt()
        assert refused.value.code == "key_file_unusable"
        assert fresh.decrypt(encrypted) == STATE, "reading goes on"
    assert fresh.decrypt(fresh.encrypt()) == STATE


# Crashes

DIES = """
import os, shutil, signal, sys
from pathlib import Path
from securecontext.boundaries.keyring.data_keys import DataKeys

folder, step, argument = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
CALLS = ("open", "fdopen", "close", "fsync", "rename", "unlink", "pwrite", "listdir", "lstat", "fstat")

def dying(name):
    real = getattr(os, name)
    def call(*args, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return call

for deaths in range(1000):
    copy = folder.with_name(f"died-{deaths}")
    shutil.copytree(folder, copy)
    child = os.fork()
    if child == 0:
        left = deaths
        for name in CALLS:
            setattr(os, name, dying(name))
        getattr(DataKeys(copy, bytes(range(64))), step)(*argument)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def deaths(keys, step, *argument):
    """A copy of the folder for each file operation that a change was killed at, and one where it was done."""
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(keys.folder), step, *argument],
        env={**os.environ, "PYTHONPATH": str(Path(aead.__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    died = sorted(keys.folder.parent.glob("died-*"), key=lambda each: int(each.name.removeprefix("died-")))
    assert len(died) > 12
    return [Keys(folder) for folder in died]


def left_over(folder):
    return [file.name for file in folder.iterdir() if file.name != "data.keys"]


def test_a_rotation_killed_at_any_file_operation_leaves_everything_readable(keys):
    stored = [keys.encrypt()]
    keys.keys.rotate()
    stored.append(keys.encrypt())
    wrapping = keys.keys.report().wrapping_key
    seen, drafts = set(), 0
    for after in deaths(keys, "rotate"):
        drafts += bool(left_over(after.folder))
        assert [after.decrypt(each) for each in stored] == [STATE, STATE]
        seen.add((len(after.reports()), after.keys.report().wrapping_key == wrapping))
        assert after.decrypt(after.encrypt()) == STATE
        assert left_over(after.folder) == []
    assert seen == {(2, True), (3, False)}, "never half of it"
    assert drafts, "a death in the midst of writing was tried"


def test_a_destruction_killed_at_any_file_operation_is_done_or_not_and_can_be_repeated(keys):
    gone = keys.encrypt()
    keys.keys.rotate()
    kept = keys.encrypt()
    wrapped = keys.keys._envelope().find(gone.key_id).wrapped
    seen = set()
    for after in deaths(keys, "destroy", gone.key_id):
        assert after.decrypt(kept) == STATE
        seen.add(after.state_of(gone.key_id))
        after.keys.destroy(gone.key_id)
        assert refusal(after, gone).code == "key_destroyed"
        assert left_over(after.folder) == []
        assert not any(spelling in after.file.read_bytes() for spelling in spellings(wrapped))
    assert seen == {"reading", "destroyed"}


def test_a_first_use_killed_at_any_file_operation_leaves_one_that_works(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    for after in deaths(Keys(tmp_path / "keys"), "for_writing"):
        assert after.decrypt(after.encrypt()) == STATE
        assert left_over(after.folder) == []


# Who may


@pytest.mark.parametrize("name", ["keys.rotate", "keys.destroy", "audit.end-epoch"])
def test_a_person_changes_no_key_without_the_operator(house, name):
    """Neither before there is one, which the answer says, nor at a terminal that is not unlocked."""
    arguments = {"key_id": "dek_x", "confirm": True} if name == "keys.destroy" else {}
    epoch = Keyring.open(house.app.settings.home / "keys").kid
    error = house.ask(name, arguments, who=PERSON).error
    assert (error.code, "zc operator init" in error.hint) == ("operator_not_set_up", True)
    with_operator(house)
    error = house.ask(name, arguments, who=PERSON).error
    assert (error.code, "zc operator unlock" in error.hint) == ("operator_locked", True)
    assert Keyring.open(house.app.settings.home / "keys").kid == epoch
    assert not (house.app.settings.home / "keys" / "data.keys").exists()


def test_the_service_itself_ends_an_epoch_without_the_operator(house):
    house.remember("k", "v")
    house.app.ledgers.checkpoint(house.app.machine)
    epoch = Keyring.open(house.app.settings.home / "keys").kid
    house.moment += timedelta(days=2)
    house.app.ledgers.end_old_epoch()
    assert Keyring.open(house.app.settings.home / "keys").kid != epoch


@pytest.mark.parametrize("name", ["keys.status", "keys.rotate", "keys.destroy"])
def test_an_agent_may_neither_see_nor_change_keys(house, name):
    arguments = {"key_id": "dek_x", "confirm": True} if name == "keys.destroy" else {}
    assert house.ask(name, arguments, who=AGENT).error.code == "not_permitted"
    assert not (house.app.settings.home / "keys" / "data.keys").exists()


def test_time_is_told_as_it_was(keys):
    assert {key.made for key in keys.reports().values()} == {f"{MOMENT:%Y-%m-%dT%H:%M:%S.%f}Z"}
