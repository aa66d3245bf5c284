"""`zc keys` on a real service: status, rotation, destruction, and the service's death between them."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service_case import World, world_in
from tests.acceptance.terminal import operators_terminal
from tests.acceptance.test_command_line import said, zc


def test_keys_are_shown_rotated_and_destroyed_on_the_command_line(world: World) -> None:
    shown = zc(world, "keys", "status")
    assert shown.returncode == 0, shown.stderr
    assert str(world.home / "keys" / "encryption.root") in shown.stdout
    first = said(world, "keys", "status")
    (key,) = first["data_keys"]
    assert key["id"] in shown.stdout and first["wrapping_key"] in shown.stdout

    refused = zc(world, "keys", "rotate")
    assert refused.returncode == 4 and "zc operator init" in refused.stderr
    with operators_terminal(world.env, world.project) as operator:
        code, rotated = operator.zc("keys rotate")
        assert code == 0 and "wraps the data keys of before (1 of them)" in rotated
        second = said(world, "keys", "status")
        assert second["wrapping_key"] != first["wrapping_key"] and second["wrapping_key"] in rotated
        assert [each["state"] for each in second["data_keys"]] == ["reading", "writing"]

        elsewhere = zc(world, "keys", "destroy", key["id"], "--yes")
        assert elsewhere.returncode == 4 and "operator_locked" in elsewhere.stderr
        code, asked = operator.zc(f"keys destroy {key['id']} < /dev/null")
        assert code == 2 and "not_confirmed" in asked
        missing, told = operator.zc("keys destroy dek_none --yes --json")
        assert missing == 3 and json.loads(told)["error"]["code"] == "no_such_key"
        code, destroyed = operator.zc(f"keys destroy {key['id']} --yes")
        assert code == 0 and key["id"] in destroyed
    world.kill()
    states = {each["id"]: each["state"] for each in said(world, "keys", "status")["data_keys"]}
    assert states == {key["id"]: "destroyed", second["data_keys"][1]["id"]: "writing"}
    assert stat.S_IMODE((world.home / "keys" / "data.keys").stat().st_mode) == 0o600

    entries = said(world, "audit", "tail", "--machine", "--limit", "50")["entries"]
    told = [(each["kind"], each["operation"], each["outcome"]) for each in reversed(entries)]
    for change in ("keys.rotate", "keys.destroy"):
        expected = [("intent", change, "intended"), ("result", change, "ok"), ("call", change, "ok")]
        at = len(told) - 1 - told[::-1].index(expected[0])
        assert told[at : at + 3] == expected
    assert zc(world, "audit", "verify", "--machine").returncode == 0


@pytest.fixture
def seeded(tmp_path: Path) -> Iterator[World]:
    """A world with a machine secret from the beginning."""
    with world_in(tmp_path, machine_secret="bWFjaGluZS1zZWNyZXQgZm9yIHRoaXMgdGVzdCBhbG9uZS4u") as made:
        yield made


def test_a_machine_secret_has_keys_that_rotate_too(seeded: World) -> None:
    world = seeded
    first = said(world, "keys", "status")
    assert first["root"] == "ZC_MACHINE_SECRET"
    with operators_terminal(world.env, world.project) as operator:
        code, told = operator.zc("keys rotate --json")
    assert code == 0 and json.loads(told)["wrapping_key"] != first["wrapping_key"]
    assert not (world.home / "keys" / "encryption.root").exists()


@pytest.mark.only_in_files(
    "a service with another secret is one that a database does not know, and does not start"
)
def test_another_machine_secret_than_the_keys_were_made_with_is_refused(seeded: World) -> None:
    world = seeded
    said(world, "keys", "status")
    world.kill()
    world.env["ZC_MACHINE_SECRET"] = "YW5vdGhlciBtYWNoaW5lLXNlY3JldCwgdG9vIGxhdGUgbm93Li4="
    refused = zc(world, "keys", "status", "--json")
    assert refused.returncode == 7
    assert json.loads(refused.stdout)["error"]["code"] == "encryption_root_other"
