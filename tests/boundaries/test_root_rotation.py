"""RT-S1-15: any root can be rotated. It is named by its id, a foreign one is refused, and history stays verifiable."""

import json
import os

import pytest

from securecontext.app import App
from securecontext.boundaries import private_files
from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.keyring import data_keys, key_file
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.policy import Role
from securecontext.settings import Settings
from securecontext.types.errors import Conflict, Unauthenticated
from securecontext.types.ids import now
from securecontext.types.security import AgentState
from tests.house_case import make_house
from tests.identity_case import OPERATOR, PHRASE, TERMINAL, with_operator

STATE = AgentState("prj_x", "alice", "fact/confidential", "1", b"what alice knows")
ROTATED = ("encryption", "tokens", "skills")


@pytest.fixture
def house(tmp_path):
    made = make_house(tmp_path / "house")
    made.remember("k", "v")
    with_operator(made)
    yield made
    made.app.close()


def restart(house):
    settings, clock = house.app.settings, house.app.clock
    house.app.close()
    house.app = App(settings, clock)


def keys_of(house):
    return house.app.settings.home / "keys"


def token_of(house):
    """A token's text, issued as an orchestrator's operation does."""
    claims = house.app.machine.write(
        lambda transaction: token_register.issue(
            transaction.connection, agent="alice", role=Role.DEVELOPER, project=house.project.id,
            issued_by="test", key=house.app.credentials.key_id, moment=house.moment,
        )
    )  # fmt: skip
    return house.app.credentials.sign(claims)


def verdicts(house):
    stores = (house.app.machine, house.app.store(house.project.id))
    return [str(house.app.ledgers.verify_store(store, whole=True).status) for store in stores]


def plan(house, root):
    return house.ask("keys.rotate-root", {"root": root, "confirm": True}, who=OPERATOR, project=None)


def test_rt_s1_15_after_rotating_every_root_history_verifies_and_what_was_encrypted_opens(house):
    sealed = StateEncryption(house.app.data_keys).encrypt_agent_state(STATE)
    house.app.code.accept()
    token = token_of(house)
    assert house.app.credentials.identify(token).aid == "alice"
    before = {name: (keys_of(house) / f"{name}.root").read_bytes() for name in ROTATED}
    for name in ROTATED:
        answer = plan(house, name)
        assert answer.error is None, answer.text
        assert answer.structured["before"] in before[name].decode()
    with pytest.raises(Unauthenticated, match="revoked"):
        house.app.credentials.identify(token)
    house.app.ledgers.end_epoch()
    restart(house)

    assert verdicts(house) == ["OK", "OK"]
    for name in ROTATED:
        after = (keys_of(house) / f"{name}.root").read_bytes()
        assert after != before[name] and not (keys_of(house) / f"{name}.next").exists()
        assert before[name].split()[-1] not in b"".join(p.read_bytes() for p in keys_of(house).iterdir())
    assert StateEncryption(house.app.data_keys).decrypt_agent_state(sealed) == STATE
    assert house.app.code.check().sound
    with pytest.raises(Unauthenticated, match="was rotated since") as refused:
        house.app.credentials.identify(token)
    assert refused.value.code == "token_wrong"
    assert house.app.credentials.identify(token_of(house)).aid == "alice"
    with house.app.machine.read() as connection:
        entries = house.app.ledgers.tail(connection, 30)
    told = [
        (row.kind, row.body["arguments"]["root"])
        for row in entries
        if row.body and row.body.get("operation") == "keys.rotate-root" and row.kind in ("intent", "result")
    ]
    assert sorted(told) == sorted((kind, name) for kind in ("intent", "result") for name in ROTATED)
    restart(house)
    assert verdicts(house) == ["OK", "OK"]


def test_rt_s1_15_a_foreign_ledger_root_is_refused_by_its_id(house):
    house.app.ledgers.checkpoint(house.app.store(house.project.id))
    with house.app.store(house.project.id).read() as connection:
        kid = connection.exec_driver_sql("SELECT kid FROM ledger_entries LIMIT 1").scalar()
    assert kid.split(".")[0] in (keys_of(house) / "ledger.root").read_text()
    house.app.close()
    os.rename(keys_of(house) / "ledger.root", keys_of(house) / "aside")
    os.rename(keys_of(house) / "signers.log", keys_of(house) / "aside2")
    house.app = App(house.app.settings, house.app.clock)
    verdict = house.app.ledgers.verify_store(house.app.store(house.project.id), whole=True)
    assert verdict.status == "TAMPERED"
    assert "foreign_key" in {found.kind.value for found in verdict.findings}


@pytest.mark.parametrize("name", ["ledger", "encryption"])
def test_rt_s1_15_a_root_that_is_not_rotated_so_is_refused(tmp_path, name):
    ring = Keyring.open(tmp_path / "keys", b"m" * 32)
    with pytest.raises(Conflict) as refused:
        ring.plan(name)
    assert refused.value.code == "root_not_rotated"
    assert not (tmp_path / "keys" / f"{name}.next").exists()


def test_a_rotation_needs_the_operator_and_to_be_confirmed(house):
    house.app.operator.lock()
    assert house.refused("keys.rotate-root", OPERATOR, root="tokens", confirm=True) == "operator_locked"
    with_unlocked(house)
    assert house.refused("keys.rotate-root", OPERATOR, root="tokens") == "not_confirmed"
    assert not (keys_of(house) / "tokens.next").exists()


def with_unlocked(house):
    house.app.operator.unlock(PHRASE, TERMINAL)


class Dies(BaseException):
    """The process is killed here."""


@pytest.mark.parametrize("at", range(11))
def test_a_death_at_any_file_of_a_rotation_loses_nothing(tmp_path, monkeypatch, at):
    """Every rename, link, unlink of a start that rotates, one after the other, is the last thing that is done."""
    house = make_house(tmp_path / "house")
    with_operator(house)
    house.app.code.accept()
    sealed = StateEncryption(house.app.data_keys).encrypt_agent_state(STATE)
    for name in ROTATED:
        assert plan(house, name).error is None
    settings, clock = house.app.settings, house.app.clock
    house.app.close()
    left = [at]

    def dying(work):
        def wrapped(*given, **named):
            if not str(given[0]).endswith(("-wal", "-shm", "-journal")):
                if left[0] == 0:
                    raise Dies
                left[0] -= 1
            return work(*given, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink"):
            patch.setattr(private_files.os, name, dying(getattr(os, name)))
        try:
            App(settings, clock).close()
        except Dies:
            pass
        else:
            assert left[0] > 0, "there are fewer files than that"
    house.app = App(settings, clock)
    assert StateEncryption(house.app.data_keys).decrypt_agent_state(sealed) == STATE
    assert house.app.code.check().sound
    assert not list(keys_of(house).glob("*.next"))
    assert str(house.app.ledgers.verify_store(house.app.machine, whole=True).status) == "OK"
    house.app.close()


def test_data_keys_of_a_foreign_root_are_left_as_they_are(tmp_path):
    ring = Keyring.open(tmp_path / "keys")
    DataKeys(tmp_path / "keys", ring.root("encryption")).for_writing()
    path = tmp_path / "keys" / data_keys.FILE
    before = path.read_bytes()
    with pytest.raises(Exception) as refused:
        data_keys.rewrap(tmp_path / "keys", b"f" * 64, b"g" * 64, now())
    assert refused.value.code == "encryption_root_other"
    assert path.read_bytes() == before
    assert key_file.is_under(before, ring.root("encryption")) and not key_file.is_under(before, b"g" * 64)


def test_a_baseline_that_was_changed_is_not_signed_anew(house):
    house.app.code.accept()
    path = house.app.settings.home / "baseline.json"
    whole = json.loads(path.read_bytes())
    whole["baseline"]["files"]["securecontext/evil.py"] = "00" * 32
    path.write_text(json.dumps(whole))
    assert plan(house, "skills").error is None
    restart(house)
    assert not house.app.code.check().sound


def test_settings_without_a_plan_change_nothing(tmp_path):
    (tmp_path / "zc").mkdir(mode=0o700)
    settings = Settings(home=tmp_path / "zc", user_home=tmp_path)
    App(settings).close()
    before = {p.name: p.read_bytes() for p in (tmp_path / "zc" / "keys").glob("*.root")}
    App(settings).close()
    assert {p.name: p.read_bytes() for p in (tmp_path / "zc" / "keys").glob("*.root")} == before
