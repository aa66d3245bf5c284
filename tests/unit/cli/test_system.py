"""`zc install --system`: what it writes, what it refuses, and that it goes away again. Into another system's root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from securecontext.cli import system_units as units
from securecontext.cli.system import (
    Remove,
    Run,
    Target,
    Write,
    carry_out,
    has_data,
    installing,
    members,
    refuse_what_others_write,
    removing,
    told,
)
from securecontext.cli.system_units import Member
from securecontext.types.errors import ZcError

PYTHON = Path("/usr/bin/env")
"""A program of root's, which stands for the interpreter."""
ALICE, BOB = Member(1001, "alice"), Member(1002, "bob")


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """An empty system beside ours; whether our own code is root's is a test of its own."""
    monkeypatch.setattr("securecontext.cli.system.refuse_what_others_write", lambda *_: None)
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    return Target(root)


def written(target: Target) -> dict[str, str]:
    return {
        str(path.relative_to(target.root)): path.read_text()
        for path in target.root.rglob("*")
        if path.is_file() and path.parts[-2] not in ("etc",)
    }


def put(target: Target, *wanted: Member) -> None:
    """Carry out what is written, and leave programs of the system out."""
    for step in installing(target, PYTHON, wanted):
        if isinstance(step, Write):
            file = target.at(step.path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text)


def test_the_units_say_what_the_design_says() -> None:
    texts = units.files(Path("/opt/a b/python"), (ALICE,))
    socket, service = texts[units.SOCKET_UNIT].splitlines(), texts[units.SERVICE_UNIT].splitlines()
    for line in (
        f"ListenStream={units.SOCKET}",
        "SocketMode=0660",
        f"SocketGroup={units.GROUP}",
        "SocketUser=root",
    ):
        assert line in socket
    for line in (
        "User=securecontext", "StateDirectoryMode=0700", "UMask=0077", "Environment=ZC_HOME=/var/lib/securecontext",
        "Environment=ZC_PRINCIPALS=/etc/securecontext/principals", "Environment=ZC_HTTP_PORT=off", "PrivateNetwork=yes",
        "ProtectHome=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
        "ExecStart='/opt/a b/python' -I -m securecontext serve",
    ):  # fmt: skip
        assert line in service
    assert texts[units.PRINCIPALS].splitlines()[-1] == "1001 alice"
    assert all(text.startswith(units.MARK) for text in texts.values())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="only root can install systemd here")
def test_systemd_finds_nothing_wrong_with_the_units(target: Target) -> None:
    put(target, ALICE)
    for unit in (units.SERVICE_UNIT, units.SOCKET_UNIT):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", target.at(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        about_us = [line for line in done.stderr.splitlines() if "securecontext" in line]
        assert (done.returncode, about_us) == (0, []), done.stderr


def test_a_dry_run_says_every_file_and_every_program_and_does_nothing(target: Target) -> None:
    lines = "\n".join(told(installing(target, PYTHON, (ALICE,)), target))
    for path, text in units.files(PYTHON, (ALICE,)).items():
        assert f"write {target.at(path)}:" in lines
        assert all(line in lines for line in text.splitlines())
    assert "run systemd-sysusers" in lines and f"--groups {units.GROUP} alice" in lines
    assert written(target) == {}


def test_a_second_installation_keeps_the_map_and_adds_to_it(target: Target) -> None:
    put(target, ALICE)
    kept = target.at(units.PRINCIPALS)
    kept.write_text(kept.read_text() + "1009 carol  # by hand\n")
    put(target, ALICE, BOB)
    lines = [line for line in kept.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["1001 alice", "1009 carol  # by hand", "1002 bob"]


@pytest.mark.parametrize("path", [units.SOCKET_UNIT, units.SERVICE_UNIT, units.PRINCIPALS, units.SYSUSERS])
def test_a_file_that_is_not_ours_is_refused_and_stays(target: Target, path: str) -> None:
    there = target.at(path)
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("[Unit]\n")
    with pytest.raises(ZcError) as caught:
        installing(target, PYTHON, (ALICE,))
    assert caught.value.code == "file_not_ours"
    assert Remove(path) not in removing(target)
    there.unlink()
    there.symlink_to("/etc/passwd")
    with pytest.raises(ZcError, match="file_not_ours"):
        installing(target, PYTHON, (ALICE,))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can install a system service")
@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="only root can install systemd here")
def test_it_is_installed_into_another_root_and_goes_away_again(target: Target) -> None:
    """With the system's own programs, on the files of a system beside ours."""
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        if Path("/etc", name).exists():
            shutil.copy(f"/etc/{name}", target.root / "etc" / name)
    before = {path: path.read_text() for path in (target.root / "etc").iterdir()}
    (nobody,) = members(["nobody"])
    carry_out(installing(target, PYTHON, (nobody,)), target)
    passwd, group = ((target.root / "etc" / name).read_text() for name in ("passwd", "group"))
    assert any(
        line.startswith("securecontext:") and "/var/lib/securecontext" in line for line in passwd.splitlines()
    )
    assert any(line.startswith(f"{units.GROUP}:") and line.endswith("nobody") for line in group.splitlines())
    assert f"{nobody.uid} nobody" in target.at(units.PRINCIPALS).read_text()
    assert target.at(units.PRINCIPALS).stat().st_mode & 0o777 == 0o644
    carry_out(removing(target), target)
    assert written(target) == {}
    for path, text in before.items():
        assert sorted(path.read_text().splitlines()) == sorted(text.splitlines()), path
    assert removing(target) == []


def test_data_stays_and_its_user_with_it(target: Target) -> None:
    put(target, ALICE)
    assert Run(("userdel", "--prefix", str(target.root), units.USER)) in removing(target)
    data = target.at(units.DATA)
    data.mkdir(parents=True)
    (data / "machine.db").write_text("kept")
    assert has_data(target)
    assert not [step for step in removing(target) if isinstance(step, Run) and step.words[0] == "userdel"]


def test_a_step_that_fails_says_which(target: Target) -> None:
    if os.geteuid() != 0:
        with pytest.raises(ZcError, match="root_needed"):
            carry_out([Run(("false",))], target)
        return
    for step in (Run(("false",)), Run(("no-such-program",)), Write("/etc", "a folder lies there")):
        with pytest.raises(ZcError, match="step_failed"):
            carry_out([step], target)


def test_an_unknown_user_is_refused() -> None:
    with pytest.raises(ZcError, match="no_such_user"):
        members(["nobody-of-that-name"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can own a file that passes")
def test_w_19_code_that_others_can_change_or_nobody_else_read_is_refused(tmp_path: Path) -> None:
    refuse_what_others_write(Path("/usr/bin/env"))
    for mode, owner in ((0o777, 0), (0o775, 0), (0o700, 0), (0o755, 65534)):
        folder = tmp_path / f"{mode}-{owner}"
        folder.mkdir()
        (folder / "python").write_text("")
        (folder / "python").chmod(0o755)
        folder.chmod(mode)
        os.chown(folder, owner, owner)
        with pytest.raises(ZcError, match="program_not_roots"):
            refuse_what_others_write(folder / "python")
