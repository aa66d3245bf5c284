"""The signed baseline: private, whole, ours, and the one that was accepted last; everything else is refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from securecontext.boundaries.code.baseline import FILE, BaselineFile
from securecontext.boundaries.code.integrity import Baseline
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import Tampered

GIVEN = Baseline("0.1.0", {"package/a.py": "00", "package/ü.py": "11"})


@pytest.fixture
def file(tmp_path: Path) -> BaselineFile:
    return BaselineFile(tmp_path, Keyring.open(tmp_path / "keys"))


def test_what_was_saved_is_loaded(file: BaselineFile) -> None:
    assert file.load("") is None
    mac = file.save(GIVEN)
    assert file.load(mac) == GIVEN
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [each.name for each in file.path.parent.iterdir() if each.is_file()] == [FILE]


def _edit(path: Path, **values: object) -> None:
    whole = json.loads(path.read_text())
    whole["baseline"].update(values)
    path.write_text(json.dumps(whole))


SPOILT: dict[str, Callable[[Path], object]] = {
    "a digest": lambda path: _edit(path, files={"package/a.py": "ff", "package/ü.py": "11"}),
    "a file more": lambda path: _edit(path, files={**GIVEN.files, "package/evil.py": "22"}),
    "the version": lambda path: _edit(path, version="0.1.1"),
    "a member more": lambda path: _edit(path, more=1.5),
    "no files": lambda path: _edit(path, files=7),
    "no mac": lambda path: path.write_text(json.dumps({"baseline": {}})),
    "not json": lambda path: path.write_text("{"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "open to others": lambda path: path.chmod(0o644),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=list(SPOILT))
def test_w_73_a_baseline_that_is_not_the_signed_one_is_refused(
    file: BaselineFile, spoil: Callable[[Path], object]
) -> None:
    mac = file.save(GIVEN)
    spoil(file.path)
    with pytest.raises(Tampered) as caught:
        file.load(mac)
    assert caught.value.code == "baseline_broken"


def test_w_73_an_older_baseline_is_refused(file: BaselineFile) -> None:
    file.save(GIVEN)
    old = file.path.read_bytes()
    mac = file.save(Baseline("0.2.0", {"package/a.py": "ff"}))
    file.path.write_bytes(old)
    with pytest.raises(Tampered):
        file.load(mac)


def test_w_73_a_baseline_of_another_installation_is_refused(file: BaselineFile, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = BaselineFile(tmp_path / "other", Keyring.open(tmp_path / "other" / "keys"))
    mac = other.save(GIVEN)
    file.path.write_bytes(other.path.read_bytes())
    file.path.chmod(0o600)
    with pytest.raises(Tampered):
        file.load(mac)
