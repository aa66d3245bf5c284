"""The escrow of the ledger root, made and used at a real terminal by a real operator, and by nobody else."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.service_case import World
from tests.acceptance.terminal import PHRASE, operators_terminal, terminal


def test_the_operator_makes_an_escrow_and_checks_an_erased_epoch_with_it(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "escrow.txt"
    with operators_terminal(world.env, world.project) as person:
        assert person.zc("remember key value")[0] == 0
        code, said = person.zc(f"audit escrow {file} --yes", "not the passphrase at all")
        assert (code, file.exists()) == (4, False), said
        code, said = person.zc(f"audit escrow {file} --yes", PHRASE)
        assert code == 0, said
        assert file.stat().st_mode & 0o777 == 0o600
        assert person.zc(f"audit escrow {file} --yes", PHRASE)[0] == 2, "nothing is overwritten"
        assert person.zc("audit end-epoch")[0] == 0
        assert person.zc("remember key2 value")[0] == 0
        for which in ("", "--machine"):
            code, said = person.zc(f"audit verify {which} --escrow {file} --json", PHRASE)
            found = json.loads(said[said.index("{") :])
            assert (code, found["status"], found["check"]) == (0, "OK", "full")
        code, said = person.zc(f"audit verify --escrow {file}", "not the passphrase at all")
        assert code == 4 and "escrow_not_opened" in said
        root = (Path(world.home) / "keys" / "ledger.root").read_text().split()[-1]
        assert root not in file.read_text()
        code, said = person.zc("audit tail --machine --limit 40 --json")
        assert "operator.escrow" in said and "operator.recall" in said
        assert file.read_text().split()[-1] not in said and PHRASE not in said
        person.zc("service stop")


def test_without_an_operator_there_is_no_escrow(world: World, tmp_path: Path) -> None:
    with terminal(world.env, world.project) as person:
        code, said = person.zc(f"audit escrow {tmp_path / 'e'} --yes", PHRASE)
        assert code == 4 and "operator_not_set_up" in said
        assert not (tmp_path / "e").exists()
        person.zc("service stop")
