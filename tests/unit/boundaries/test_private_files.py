import os
import stat

import pytest

from securecontext.boundaries import private_files
from securecontext.types.errors import Unavailable


def refuse(what, hint):
    return Unavailable("test_unsafe", f"The file {what}.", hint)


@pytest.fixture
def folder(tmp_path):
    with private_files.opened(tmp_path / "keys") as descriptor:
        yield tmp_path / "keys", descriptor


def test_what_is_made_is_private_and_whole_and_never_replaces(folder):
    path, descriptor = folder
    private_files.make(descriptor, "a", b"first")
    private_files.make(descriptor, "a", b"second")
    assert private_files.load(descriptor, path / "a", refuse) == b"first"
    assert stat.S_IMODE((path / "a").stat().st_mode) == 0o600
    assert os.listdir(path) == ["a"]


def test_a_replaced_file_has_the_new_content_and_the_old_bytes_are_overwritten(folder):
    path, descriptor = folder
    private_files.make(descriptor, "a", b"old secret")
    held = os.open(path / "a", os.O_RDONLY)
    private_files.replace(descriptor, "a", b"new")
    assert private_files.load(descriptor, path / "a", refuse) == b"new"
    assert os.read(held, 100) == b"\0" * len(b"old secret")
    os.close(held)
    assert os.listdir(path) == ["a"]


def test_a_removed_file_is_gone_and_its_bytes_are_overwritten(folder):
    path, descriptor = folder
    private_files.make(descriptor, "a", b"old secret")
    held = os.open(path / "a", os.O_RDONLY)
    private_files.remove(descriptor, "a")
    private_files.remove(descriptor, "a")
    assert os.listdir(path) == []
    assert os.read(held, 100) == b"\0" * len(b"old secret")
    os.close(held)


def test_drafts_of_a_file_are_swept_and_their_bytes_overwritten(folder):
    path, descriptor = folder
    for name in ("a", ".a.0123456789abcdef", ".ab.0123456789abcdef", ".b"):
        private_files.make(descriptor, name, b"secret")
    held = os.open(path / ".a.0123456789abcdef", os.O_RDONLY)
    private_files.sweep(descriptor, "a")
    assert sorted(os.listdir(path)) == [".ab.0123456789abcdef", ".b", "a"]
    assert os.read(held, 100) == b"\0" * len(b"secret")
    os.close(held)


def test_a_copy_under_another_name_is_left_as_it_is(folder):
    path, descriptor = folder
    private_files.make(descriptor, "a", b"old secret")
    os.link(path / "a", path / "backup")
    private_files.replace(descriptor, "a", b"new")
    private_files.remove(descriptor, "a")
    assert (path / "backup").read_bytes() == b"old secret"


def test_a_link_is_neither_read_nor_overwritten(folder):
    path, descriptor = folder
    target = path.parent / "target"
    target.write_bytes(b"somebody's")
    (path / "a").symlink_to(target)
    with pytest.raises(Unavailable):
        private_files.load(descriptor, path / "a", refuse)
    with pytest.raises(OSError, match="symbolic"):
        private_files.replace(descriptor, "a", b"new")
    assert target.read_bytes() == b"somebody's"
    assert sorted(os.listdir(path)) == ["a"]
