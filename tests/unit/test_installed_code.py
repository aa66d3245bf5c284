"""The installed code of a running App: what is accepted, what is entered, and what strictness refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from securecontext.app.installed import InstalledCode
from securecontext.boundaries.code.baseline import FILE
from securecontext.boundaries.code.installation import Installation
from securecontext.boundaries.code.integrity import State
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import Tampered, Unavailable
from tests.house_case import PERSON, House, house

__all__ = ["house"]


@pytest.fixture
def at(house: House, tmp_path: Path) -> Installation:
    """A small package of its own, beside its plugin, as a checkout has them."""
    package, plugin = tmp_path / "src" / "package", tmp_path / "plugin"
    (package / "deep").mkdir(parents=True)
    (package / "deep" / "module.py").write_text("x = 1\n")
    (plugin / "hooks").mkdir(parents=True)
    (plugin / "hooks" / "entry.py").write_text("y = 1\n")
    return Installation(package, plugin, house.app.settings.home, "1.0.0", Path("/usr/bin/python3"))


def code_of(house: House, at: Installation) -> InstalledCode:
    keyring = Keyring.open(house.app.settings.home / "keys")
    return InstalledCode(at, keyring, lambda: house.app.machine)


@pytest.fixture
def code(house: House, at: Installation) -> Iterator[InstalledCode]:
    made = house.app.code = code_of(house, at)  # the operations ask it as well
    yield made


def machine_entries(house: House) -> list[dict[str, Any]]:
    """The entries of the integrity stream in the machine's ledger, newest first."""
    with house.app.machine.read() as connection:
        rows = house.app.ledgers.tail(connection, 50)
    return [{"kind": r.kind, **(r.body or {})} for r in rows if r.stream == "system/integrity"]


def change(at: Installation) -> None:
    (at.package / "deep" / "module.py").write_text("x = 2\n")


def test_a_checkout_is_a_persons_to_accept(house: House, code: InstalledCode) -> None:
    assert code.check().state is State.UNACCEPTED
    assert machine_entries(house) == []
    shown = house.do("integrity.accept", PERSON)
    assert (shown["state"], shown["accepted"]) == ("unaccepted", False)
    assert house.do("integrity.accept", PERSON, confirm=True)["accepted"] is True
    assert house.do("integrity.check", PERSON)["state"] == "sound"
    [entry] = machine_entries(house)
    assert (entry["kind"], entry["operation"], entry["arguments"]["how"]) == (
        "call",
        "integrity.baseline",
        "person",
    )


def test_w_73_a_change_is_named_and_entered_once_as_long_as_it_is_the_same(
    house: House, code: InstalledCode, at: Installation
) -> None:
    code.accept()
    change(at)
    for _ in range(3):
        found = house.do("integrity.check", PERSON)
        assert (found["state"], found["differences"]) == (
            "changed",
            [{"name": "package/deep/module.py", "how": "changed"}],
        )
    findings = [e for e in machine_entries(house) if e["operation"] == "integrity.check"]
    [finding] = findings
    assert (finding["kind"], finding["outcome"]) == ("failure", "code_changed")
    assert finding["arguments"]["differences"] == ["changed package/deep/module.py"]
    (at.plugin or at.package).joinpath("hooks", "entry.py").write_text("y = 2\n")
    assert house.do("integrity.check", PERSON)["count"] == 2
    assert len([e for e in machine_entries(house) if e["operation"] == "integrity.check"]) == 2
    house.do("integrity.accept", PERSON, confirm=True)
    assert house.do("integrity.check", PERSON)["state"] == "sound"
    assert machine_entries(house)[0]["arguments"]["differences"] == [
        "changed package/deep/module.py",
        "changed plugin/hooks/entry.py",
    ]


@pytest.mark.parametrize("trouble", ["removed", "older", "emptied"])
def test_w_73_the_baseline_itself_is_part_of_what_is_checked(
    house: House, code: InstalledCode, at: Installation, trouble: str
) -> None:
    file = house.app.settings.home / FILE
    code.accept()
    old = file.read_bytes()
    change(at)
    code.accept()
    if trouble == "removed":
        file.unlink()
    else:
        file.write_bytes(old if trouble == "older" else b"")
    found = code.check()
    assert (found.state, [d.name for d in found.differences]) == (State.CHANGED, [FILE])
    code.accept()
    assert code.check().state is State.SOUND


def test_rt_s1_05_a_new_version_of_a_checkout_is_a_persons_to_accept_and_entered_with_both_versions(
    house: House, code: InstalledCode, at: Installation
) -> None:
    code.accept()
    change(at)
    newer = code_of(house, replace(at, version="1.1.0"))
    assert newer.check().state is State.UNACCEPTED
    newer.accept()
    said = machine_entries(house)[0]["arguments"]
    assert (said["before"], said["version"]) == ("1.0.0", "1.1.0")
    assert newer.check().state is State.SOUND


def test_strictness_goes_on_with_sound_code_alone(
    house: House, code: InstalledCode, at: Installation
) -> None:
    with pytest.raises(Tampered) as caught:
        code.require_sound()
    assert caught.value.code == "code_unaccepted" and "zc integrity accept" in caught.value.hint
    code.accept()
    code.require_sound()
    change(at)
    with pytest.raises(Tampered) as caught:
        code.require_sound()
    assert caught.value.code == "code_changed" and "package/deep/module.py" in caught.value.message
    assert caught.value.exit_code == 6


def test_forged_bytecode_cannot_be_accepted(house: House, code: InstalledCode, at: Installation) -> None:
    import py_compile

    cached = Path(py_compile.compile(str(at.package / "deep" / "module.py"), doraise=True))
    cached.write_bytes(cached.read_bytes()[:16] + b"N")
    assert house.refused("integrity.accept", PERSON, confirm=True) == "bytecode_forged"
    assert code.check().differences[0].how == "forged"


def test_what_cannot_be_read_is_told_and_not_taken_for_sound(
    code: InstalledCode, at: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.accept()

    def closed(_self: Path) -> bytes:
        raise PermissionError(13, "no", "a file")

    monkeypatch.setattr(Path, "read_bytes", closed)  # root reads whatever a mode says
    for ask in (code.check, code.require_sound):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert caught.value.code == "code_unreadable"


def test_agents_may_not_accept(house: House, code: InstalledCode) -> None:
    assert house.refused("integrity.accept", confirm=True) == "not_permitted"
