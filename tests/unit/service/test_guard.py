"""Which data folders may be used, with synthetic mounts and another kernel's sign of life."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from securecontext import rendezvous
from securecontext.service import guard
from securecontext.types.errors import Conflict, Unavailable

NOW = 1_000_000.0


def mounts(**kinds: str) -> str:
    lines = ["22 1 254:0 / / rw,relatime - ext4 /dev/vda rw"]
    for number, (where, kind) in enumerate(kinds.items()):
        lines.append(f"{30 + number} 22 0:{number} / {where} rw shared:1 master:2 - {kind} source rw,x=y")
    return "\n".join(lines)


def claim(
    home: Path, boot_id: str = "this", table: str | None = None, now: float = NOW
) -> guard.Claim | None:
    return guard.claim(home, boot_id=boot_id, mounts=mounts() if table is None else table, now=now)


def test_a_folder_is_made_private_and_claimed_once(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "zc"
    first = claim(home)
    assert first is not None and stat.S_IMODE(home.stat().st_mode) == 0o700
    assert claim(home) is None
    first.release()
    second = claim(home)
    assert second is not None and not list(home.glob(".writable*"))
    second.release()


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = claim(tmp_path)
    assert found is not None and stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    found.release()


@pytest.mark.parametrize("kind", sorted(guard.NETWORK_FILE_SYSTEMS))
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Unavailable) as caught:
        claim(tmp_path, table=mounts(**{str(tmp_path.resolve().parent): kind}))
    assert caught.value.code == "network_file_system"
    assert kind in caught.value.message and "ZC_HOME" in caught.value.hint


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (mounts(**{"/data": "nfs4", "/data/local": "ext4"}), "ext4"),
        (mounts(**{"/data": "ext4", "/data/local": "nfs4"}), "nfs4"),
        (mounts(**{"/data/local": "ext4", "/data/loc": "nfs"}), "ext4"),
        (
            mounts(**{"/data/local": "tmpfs", "/dat": "nfs"}) + "\n31 22 0:9 / /data/local rw - nfs x rw",
            "nfs",
        ),
        (mounts(**{"/data/local\\040disk": "nfs"}), "ext4"),
        ("", ""),
        ("nonsense\n- \n1 2 3 - x", ""),
    ],
)
def test_the_mount_that_counts_is_the_longest_and_the_last(table: str, kind: str) -> None:
    assert guard.file_system(Path("/data/local/zc"), table) == kind


def test_spaces_in_mounts_are_read(tmp_path: Path) -> None:
    where = tmp_path / "a b"
    where.mkdir()
    table = mounts(**{str(where.resolve()).replace(" ", "\\040"): "cifs"})
    assert guard.file_system(where, table) == "cifs"


def test_another_kernel_that_lives_keeps_the_folder(tmp_path: Path) -> None:
    owner = tmp_path / guard.OWNER
    owner.write_text("other")
    os.utime(owner, (NOW - guard.STALE_SECONDS + 1,) * 2)
    with pytest.raises(Conflict) as caught:
        claim(tmp_path)
    assert caught.value.code == "folder_shared" and owner.read_text() == "other"
    late = claim(tmp_path, now=NOW + 2)  # it gave no sign for long enough
    assert late is not None and owner.read_text() == "this"
    late.release()


@pytest.mark.parametrize("content", [b"", b"\n", b"this", b"this\n"])
def test_our_own_or_half_written_mark_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / guard.OWNER).write_bytes(content)
    os.utime(tmp_path / guard.OWNER, (NOW, NOW))
    found = claim(tmp_path)
    assert found is not None
    found.release()


def test_a_mark_that_is_no_text_is_another_kernels(tmp_path: Path) -> None:
    (tmp_path / guard.OWNER).write_bytes(b"\xff\xfe")
    os.utime(tmp_path / guard.OWNER, (NOW, NOW))
    with pytest.raises(Conflict):
        claim(tmp_path)


def test_a_sign_of_life_is_given_and_a_vanished_folder_is_noticed(tmp_path: Path) -> None:
    found = claim(tmp_path)
    assert found is not None
    os.utime(tmp_path / guard.OWNER, (0, 0))
    assert found.beat() is True and (tmp_path / guard.OWNER).stat().st_mtime > 1
    (tmp_path / guard.OWNER).unlink()
    assert found.beat() is True and (tmp_path / guard.OWNER).read_text() == "this"
    (tmp_path / rendezvous.SERVICE_LOCK).unlink()
    assert found.beat() is False
    found.release()


def test_a_folder_that_was_made_anew_is_another_services(tmp_path: Path) -> None:
    home = tmp_path / "zc"
    first = claim(home)
    assert first is not None and first.held()
    shutil.rmtree(home)
    assert not first.held()
    second = claim(home)
    assert second is not None and second.held() and not first.beat()
    first.release()
    assert (home / guard.OWNER).read_text() == "this" and second.beat()
    second.release()
    assert not (home / guard.OWNER).exists()


def test_two_that_look_at_a_folder_at_once_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = os.open

    def meanwhile(path: object, flags: int, mode: int = 0o777) -> int:
        descriptor = made(path, flags, mode)  # type: ignore[call-overload]
        for probe in tmp_path.glob(".writable*"):
            probe.unlink()
        return int(descriptor)

    monkeypatch.setattr(os, "open", meanwhile)
    found = claim(tmp_path)
    assert found is not None
    found.release()


def test_a_sign_of_life_from_the_future_is_old(tmp_path: Path) -> None:
    owner = tmp_path / guard.OWNER
    owner.write_text("other")
    os.utime(owner, (NOW + guard.STALE_SECONDS + 1,) * 2)
    found = claim(tmp_path)
    assert found is not None
    found.release()


def test_what_is_written_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "zc"
    before = os.umask(0)
    try:
        found = claim(home)
    finally:
        os.umask(before)
    assert found is not None
    assert {stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()} == {0o600}
    found.release()


def test_a_folder_in_the_place_of_a_file_of_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / guard.OWNER).mkdir()
    with pytest.raises(Unavailable) as caught:
        claim(tmp_path)
    assert caught.value.code == "file_blocked" and str(tmp_path / guard.OWNER) in caught.value.message


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable) as caught:
        claim(tmp_path / "file" / "zc")
    assert caught.value.code == "storage_read_only"
