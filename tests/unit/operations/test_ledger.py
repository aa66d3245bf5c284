"""Verifying a copy of a ledger: what may be named, and what is refused at once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.house_case import PERSON, House


@pytest.fixture
def copy(house: House, tmp_path: Path) -> Path:
    house.remember("k", "v")
    house.app.stores.forget(house.project.id)  # closed, so that all of it is in the file
    copied = tmp_path / "copy.db"
    shutil.copy(house.app.project_path(house.project.id), copied)
    return copied


def test_a_copy_is_verified(house: House, copy: Path) -> None:
    assert house.do("audit.verify", PERSON, database=str(copy))["status"] == "OK"


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_a_pipe_in_place_of_a_copy_is_refused_and_not_waited_for(
    house: House, copy: Path, suffix: str
) -> None:
    pipe = copy.with_name(copy.name + suffix)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    assert house.refused("audit.verify", PERSON, database=str(copy)) == "not_a_file"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/no/such/copy.db", "no_such_file"),
        ("/tmp", "not_a_file"),
        ("/tmp/\0", "bad_path"),
        ("copy.db", "relative_path"),
        ("/" + "x" * 300, "copy_unreadable"),
    ],
)
def test_what_is_no_file_is_a_plain_refusal(house: House, path: str, code: str) -> None:
    assert house.refused("audit.verify", PERSON, database=path) == code
