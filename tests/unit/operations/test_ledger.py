"""Verifying a copy of a ledger: what may be named, and what is refused at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.house_case import PERSON, House, in_role

from securecontext.app import verification
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.ledger.marks import LASTS
from securecontext.boundaries.policy import Principal, Role
from securecontext.types.errors import Expired


@pytest.fixture
def copy(house: House, tmp_path: Path) -> Path:
    house.remember("k", "v")
    house.app.stores.forget(house.project.id)  # closed, so that all of it is in the file
    copied = tmp_path / "copy.db"
    shutil.copy(house.app.stores.path(house.project.id), copied)
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


def with_token(house: House) -> Principal:
    """A developer whose token counts."""
    claims = house.app.machine.write(
        lambda transaction: token_register.issue(
            transaction.connection, agent="alice", role=Role.DEVELOPER, project=house.project.id,
            issued_by="test", key=house.app.credentials.key_id, moment=house.moment,
        )
    )  # fmt: skip
    return in_role(Role.DEVELOPER, project=house.project.id, token=claims.tid)


def edited(house: House) -> None:
    """Change an entry of the project's ledger behind the service's back."""
    connection = sqlite3.connect(house.app.stores.path(house.project.id))
    connection.execute("UPDATE ledger_entries SET kind = 'refusal' WHERE seq = 1 AND stream = 'uid:1000/s1'")
    connection.commit()
    connection.close()


def test_a_short_ledger_is_read_whole_each_time(house: House) -> None:
    house.remember("k", "v")
    assert house.do("audit.verify", PERSON)["check"] == "full"
    edited(house)
    found = house.do("audit.verify", PERSON)
    assert (found["check"], found["status"]) == ("full", "TAMPERED")


def test_a_check_that_is_asked_to_reads_what_was_found_good_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "WHOLE_BELOW", 0)
    house.remember("k", "v")
    assert house.do("audit.verify", PERSON)["check"] == "full"
    edited(house)
    assert house.do("audit.verify", PERSON)["check"] == "incremental"
    found = house.do("audit.verify", PERSON, full=True)
    assert (found["check"], found["status"], found["broken_kind"]) == ("full", "TAMPERED", "altered_column")
    assert house.do("audit.verify", PERSON)["status"] == "TAMPERED"


def test_a_chain_is_verified_for_an_agent_from_the_same_mark_and_whole_when_it_asks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "WHOLE_BELOW", 0)
    house.remember("k", "v")
    house.do("audit.verify", PERSON)
    agent = with_token(house)
    assert house.do("zc_verify_audit_chain", agent)["check"] == "incremental"
    edited(house)
    assert house.do("zc_verify_audit_chain", agent, full=True)["status"] == "TAMPERED"


def test_the_service_reads_every_open_ledger_whole_once_a_day(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.remember("k", "v")
    house.do("audit.verify", PERSON)
    house.do("audit.verify", PERSON, machine=True)
    paused: list[int] = []
    edited(house)
    house.app.ledgers.verify_due(lambda: paused.append(1))
    assert (paused, caplog.records) == ([], [])
    house.moment += LASTS
    house.app.ledgers.verify_due(lambda: paused.append(1))
    assert paused
    assert [
        "TAMPERED" in record.getMessage() for record in caplog.records if record.levelname == "ERROR"
    ] == [True]


def test_a_check_in_the_background_can_be_broken_off(house: House) -> None:
    house.remember("k", "v")

    def stop() -> None:
        raise Expired("service_stopping", "The service is ending.", "Later.")

    house.app.ledgers.verify_due(stop)
    assert house.do("audit.verify", PERSON)["check"] == "full", "nothing is remembered of a part"
