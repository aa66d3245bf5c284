import base64
import os
import pickle
import stat

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securecontext.boundaries.keyring.roots import ROOTS, SEEDED
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import InvalidInput, Unavailable

FIXED = bytes(range(64))


def write_root(folder, name="ledger", *, data=None, signer="sig_fixed", epoch=0, secret=FIXED, mode=0o600):
    folder.mkdir(mode=0o700, exist_ok=True)
    line = f"securecontext-root v1 {name} {signer} {epoch} {base64.b64encode(secret).decode()}\n".encode()
    path = folder / f"{name}.root"
    path.write_bytes(line if data is None else data)
    path.chmod(mode)
    return path


def refusal(folder, secret=None):
    with pytest.raises(Unavailable) as refused:
        Keyring.open(folder, secret)
    return refused.value


def test_the_first_use_makes_four_independent_private_roots(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {f"{name}.root" for name in ROOTS}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}
    assert len({ring.root(name) for name in ROOTS}) == 4
    assert all(len(ring.root(name)) == 64 for name in ROOTS)


def test_a_wide_umask_does_not_open_the_files(tmp_path):
    old = os.umask(0)
    try:
        Keyring.open(tmp_path / "keys")
    finally:
        os.umask(old)
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in [tmp_path / "keys", *(tmp_path / "keys").iterdir()]
    )


def test_a_second_start_finds_the_same_roots(tmp_path):
    first, second = Keyring.open(tmp_path / "keys"), Keyring.open(tmp_path / "keys")
    assert [first.root(name) for name in ROOTS] == [second.root(name) for name in ROOTS]
    assert first.kid == second.kid


def test_the_file_is_one_documented_line(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    line = (tmp_path / "keys" / "ledger.root").read_text()
    mark, version, name, signer, epoch, encoded = line.removesuffix("\n").split(" ")
    assert (mark, version, name, epoch) == ("securecontext-root", "v1", "ledger", "0")
    assert ring.kid == f"{signer}.0"
    assert base64.b64decode(encoded) == ring.root("ledger")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o620, 0o601, 0o700])
def test_every_wrong_mode_is_refused(tmp_path, mode):
    write_root(tmp_path / "keys", mode=mode)
    refused = refusal(tmp_path / "keys")
    assert refused.code == "root_file_unsafe"
    assert f"chmod 600 {tmp_path / 'keys' / 'ledger.root'}" in refused.hint


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711])
def test_an_open_folder_is_refused(tmp_path, mode):
    Keyring.open(tmp_path / "keys")
    (tmp_path / "keys").chmod(mode)
    refused = refusal(tmp_path / "keys")
    assert refused.code == "key_folder_unsafe"
    assert "chmod 700" in refused.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_owner_is_refused(tmp_path):
    os.chown(write_root(tmp_path / "keys"), 12345, -1)
    assert refusal(tmp_path / "keys").code == "root_file_unsafe"
    os.chown(tmp_path / "keys", 12345, -1)
    assert refusal(tmp_path / "keys").code == "key_folder_unsafe"


def test_a_link_is_refused(tmp_path):
    real = write_root(tmp_path / "elsewhere")
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "ledger.root").symlink_to(real)
    assert refusal(tmp_path / "keys").code == "root_file_unsafe"
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert refusal(tmp_path / "linked").code == "key_folder_unsafe"


def test_a_pipe_in_place_of_a_root_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "keys" / "ledger.root", 0o600)
    assert refusal(tmp_path / "keys").code == "root_file_unsafe"


GOOD = base64.b64encode(FIXED).decode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        f"securecontext-root v1 tokens sig 0 {GOOD}\n".encode(),
        f"securecontext-root v2 ledger sig 0 {GOOD}\n".encode(),
        f"securecontext-root v1 ledger sig 0 {GOOD}".encode(),
        f"securecontext-root v1 ledger sig 0 {GOOD}\nmore\n".encode(),
        f"securecontext-root v1 ledger sig 00 {GOOD}\n".encode(),
        f"securecontext-root v1 ledger si.g 0 {GOOD}\n".encode(),
        f"securecontext-root v1 ledger sig 0 {GOOD[:-8]}\n".encode(),
        f"securecontext-root v1 ledger sig 0 {base64.b64encode(FIXED[:32]).decode()}\n".encode(),
        f"securecontext-root v1 ledger  0 {GOOD}\n".encode(),
    ],
)
def test_a_damaged_file_is_refused_without_showing_it(tmp_path, data):
    path = write_root(tmp_path / "keys", data=data)
    refused = refusal(tmp_path / "keys")
    assert refused.code == "root_file_malformed"
    assert GOOD[:20] not in str(refused)
    assert path.read_bytes() == data


def test_a_root_other_than_the_ledgers_has_no_later_epoch(tmp_path):
    write_root(tmp_path / "keys", "tokens", epoch=1)
    assert refusal(tmp_path / "keys").code == "root_file_malformed"


def test_the_ratchet_is_the_documented_one_and_the_old_root_is_gone(tmp_path):
    write_root(tmp_path / "keys")
    ring = Keyring.open(tmp_path / "keys")
    old = ring.stream_key("log_x", "s/1")
    assert ring.begin_epoch() == "sig_fixed.0"
    assert ring.kid == "sig_fixed.1" and ring.stream_key_for("sig_fixed.0", "log_x", "s/1") == old
    ring.end_epoch()
    expected = HKDF(SHA256(), 64, None, b'["securecontext/ledger/v1/ratchet"]').derive(FIXED)
    line = f"securecontext-root v1 ledger sig_fixed 1 {base64.b64encode(expected).decode()}\n"
    assert (tmp_path / "keys" / "ledger.root").read_text() == line
    assert ring.erased("sig_fixed.0") and not ring.erased("sig_fixed.1") and not ring.erased("sig_other.0")
    with pytest.raises(Unavailable) as refused:
        ring.stream_key_for("sig_fixed.0", "log_x", "s/1")
    assert refused.value.code == "ledger_key_erased"
    again = Keyring.open(tmp_path / "keys")
    assert (
        again.kid == "sig_fixed.1"
        and again.stream_key("log_x", "s/1") == ring.stream_key("log_x", "s/1") != old
    )


def test_after_a_death_within_an_epochs_end_the_old_epoch_goes_on_and_the_next_one_can_be_read(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    old = ring.begin_epoch()
    ahead = ring.stream_key("log_x", "s/1")
    again = Keyring.open(tmp_path / "keys")
    assert again.kid == old
    assert again.stream_key_for(ring.kid, "log_x", "s/1") == ahead
    assert not again.erased(ring.kid)


@pytest.mark.parametrize("epoch", ["17", "01", "-1", "x", "", "9" * 30, "²"])
def test_an_epoch_that_never_was_is_a_key_that_is_not_held(tmp_path, epoch):
    ring = Keyring.open(tmp_path / "keys")
    signer = ring.kid.removesuffix(".0")
    with pytest.raises(Unavailable) as refused:
        ring.stream_key_for(f"{signer}.{epoch}", "log_x", "s/1")
    assert refused.value.code == "ledger_key_unknown"


def test_a_folder_that_cannot_be_made_is_a_plain_refusal(tmp_path):
    assert refusal(tmp_path / "absent" / "keys").code == "key_folder_unusable"


def test_the_machine_secret_seeds_three_roots_and_never_the_ledger(tmp_path):
    one = Keyring.open(tmp_path / "a", b"m" * 32)
    two = Keyring.open(tmp_path / "b", b"m" * 32)
    other = Keyring.open(tmp_path / "c", b"n" * 32)
    assert all(one.root(name) == two.root(name) != other.root(name) for name in SEEDED)
    assert len({one.root(name) for name in ROOTS}) == 4
    assert one.root("ledger") != two.root("ledger")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"ledger.root"}


def test_a_machine_secret_never_hides_roots_that_exist(tmp_path):
    Keyring.open(tmp_path / "keys")
    assert refusal(tmp_path / "keys", b"m" * 32).code == "root_conflict"


def test_a_short_machine_secret_is_refused(tmp_path):
    with pytest.raises(InvalidInput) as refused:
        Keyring.open(tmp_path / "keys", b"m" * 31)
    assert refused.value.code == "machine_secret_short"
    assert not (tmp_path / "keys").exists()


def test_stream_keys_differ_by_log_and_stream(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    places = [("a", "b"), ("b", "a"), ("a", "a"), ("ab", ""), ("", "ab"), ('a","b', "c"), ("a", 'b","c')]
    keys = {ring.stream_key(*place) for place in places}
    assert len(keys) == len(places)
    assert all(len(key) == 32 for key in keys)


def test_a_key_that_is_not_held_is_refused(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    assert ring.stream_key_for(ring.kid, "log", "s") == ring.stream_key("log", "s")
    for kid in ("", "sig_other.0", ring.kid[:-1] + "2"):
        with pytest.raises(Unavailable) as refused:
            ring.stream_key_for(kid, "log", "s")
        assert refused.value.code == "ledger_key_unknown"


def test_a_keyring_is_never_pickled(tmp_path):
    with pytest.raises(TypeError, match="never serialised"):
        pickle.dumps(Keyring.open(tmp_path / "keys"))
