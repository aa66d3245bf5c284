"""What lies in a folder of code: every file at any depth, links as links, and bytecode that is not its source's."""

from __future__ import annotations

import hashlib
import os
import py_compile
import sys
from pathlib import Path

import pytest

from securecontext.boundaries.code import inventory

SOURCE = "def answer(x=('a', 1)):\n    return [y for y in range(x[1])]\n"
TAG = sys.implementation.cache_tag


def never() -> None:
    pass


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "deeper" / "module.py").write_text(SOURCE)
    (folder / "top.txt").write_text("t")
    return folder


def forged(tree: Path) -> list[str]:
    return inventory.forged_bytecode(tree, "p", never)


def bytecode(tree: Path, **how: object) -> Path:
    return Path(py_compile.compile(str(tree / "deep" / "deeper" / "module.py"), doraise=True, **how))  # type: ignore[arg-type]


def test_every_file_is_found_at_any_depth(tree: Path) -> None:
    assert inventory.files(tree, "p", never) == {
        "p/deep/deeper/module.py": hashlib.sha256(SOURCE.encode()).hexdigest(),
        "p/top.txt": hashlib.sha256(b"t").hexdigest(),
    }
    assert inventory.files(tree / "nowhere", "p", never) == {}


def test_links_are_entered_as_links_and_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    before = inventory.files(tree, "p", never)
    (tree / "folder").symlink_to(tmp_path / "outside")
    (tree / "file").symlink_to(tree / "top.txt")
    found = inventory.files(tree, "p", never)
    assert set(found) - set(before) == {"p/folder", "p/file"}
    assert found["p/file"] != found["p/top.txt"]


def test_a_name_that_is_no_text_is_entered_as_text(tree: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tree) + b"/\xff.py"))).write_text("x")
    [name] = set(inventory.files(tree, "p", never)) - {"p/deep/deeper/module.py", "p/top.txt"}
    assert name.encode("utf-8")


def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("deeper"):
            raise PermissionError(13, "no", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)  # root reads whatever its mode says
    with pytest.raises(PermissionError):
        inventory.files(tree, "p", never)


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_bytecode_of_its_source_is_none_of_the_inventory_and_no_forgery(
    tree: Path, level: int, mode: py_compile.PycInvalidationMode
) -> None:
    before = inventory.files(tree, "p", never)
    bytecode(tree, optimize=level, invalidation_mode=mode)
    assert inventory.files(tree, "p", never) == before
    assert forged(tree) == []


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
def test_w_73_bytecode_that_python_would_run_in_place_of_the_source_is_named(
    tree: Path, mode: py_compile.PycInvalidationMode
) -> None:
    source = tree / "deep" / "deeper" / "module.py"
    cached = bytecode(tree, invalidation_mode=mode)
    other = tree / "evil.py"
    other.write_text(SOURCE.replace("range", "print"))
    evil = Path(py_compile.compile(str(other), doraise=True)).read_bytes()
    cached.write_bytes(cached.read_bytes()[: inventory.HEADER_BYTES] + evil[inventory.HEADER_BYTES :])
    assert forged(tree) == [f"p/deep/deeper/__pycache__/module.{TAG}.pyc"]
    source.unlink()
    assert forged(tree) == [], "without its source Python does not load it"


def test_bytecode_that_is_none_is_named(tree: Path) -> None:
    cached = bytecode(tree)
    for body in (b"", b"\x00", b"N", b"\xe3" + bytes(30)):
        cached.write_bytes(cached.read_bytes()[: inventory.HEADER_BYTES] + body)
        assert len(forged(tree)) == 1


def test_bytecode_that_is_older_than_its_source_or_of_another_python_is_never_loaded(tree: Path) -> None:
    cached = bytecode(tree)
    evil = cached.read_bytes()[: inventory.HEADER_BYTES] + b"evil"
    cached.with_name("module.cpython-27.pyc").write_bytes(evil)
    cached.write_bytes(b"\0\0\0\0" + evil[4:])
    assert forged(tree) == []
    cached.write_bytes(evil)
    assert len(forged(tree)) == 1
    os.utime(tree / "deep" / "deeper" / "module.py", (1, 1))
    assert forged(tree) == []


def test_what_else_lies_among_bytecode_is_a_file_like_any_other(tree: Path) -> None:
    bytecode(tree).with_name("note.txt").write_text("n")
    (tree / "sourceless.pyc").write_bytes(b"x")
    assert {"p/deep/deeper/__pycache__/note.txt", "p/sourceless.pyc"} <= set(
        inventory.files(tree, "p", never)
    )


def test_it_pauses_between_files(tree: Path) -> None:
    paused = []
    inventory.files(tree, "p", lambda: paused.append(1))
    assert len(paused) == 2
