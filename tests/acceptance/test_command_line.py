"""The command line as a person uses it: files, JSON, what is refused, and what is asked before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from securecontext.cli import answers
from securecontext.types import errors
from tests.acceptance.service_case import World
from tests.engine import tamper


def zc(world: World, *words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person does, without a terminal to ask at."""
    return subprocess.run(
        [sys.executable, "-I", "-m", "securecontext", *words],
        env={**world.env, **env}, cwd=cwd or world.project, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip


def said(world: World, *words: str, cwd: Path | None = None) -> Any:
    """Return the JSON of a command that was done."""
    done = zc(world, *words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_a_file_is_one_text_from_wherever_it_is_indexed(world: World) -> None:
    (world.project / ".git").mkdir()
    (world.project / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (world.project / "sub").mkdir()
    for folder in (world.project, world.project / "sub"):
        (folder / "README.md").write_text(f"the pelican of {folder.name}")
    one = said(world, "index", "README.md", "sub/README.md")
    assert [each["source"] for each in one] == ["README.md", "sub/README.md"]
    again = said(world, "index", "README.md", cwd=world.project / "sub")
    assert (again["source"], again["replaced"]) == ("sub/README.md", True)
    outside = world.root / "notes.txt"
    outside.write_text("a note")
    assert said(world, "index", str(outside))["source"] == str(outside.resolve())
    assert len(said(world, "archive", "list")["documents"]) == 3
    refused = zc(world, "index", "README.md", "missing.md", "--json")
    assert refused.returncode == 2 and json.loads(refused.stdout)["error"]["code"] == "unreadable_file"


def test_an_import_brings_in_all_facts_or_none(world: World) -> None:
    facts = [{"key": f"k{n}", "value": "v" * (4_001 if n == 230 else 10)} for n in range(250)]
    export = world.root / "export.json"
    export.write_text(json.dumps({"format": "securecontext-memory/1", "facts": facts}))
    refused = zc(world, "memory", "import", str(export), "--json")
    assert json.loads(refused.stdout)["error"]["details"]["field"] == "facts.230.value"
    assert said(world, "memory", "list")["facts"] == []
    export.write_text(json.dumps({"format": "securecontext-memory/1", "facts": facts[:150]}))
    done = said(world, "memory", "import", str(export))
    assert done["imported"] == 150 and done["archived"] > 0
    assert len(said(world, "memory", "list")["facts"]) == 150 - done["archived"]


def test_what_destroys_is_asked_for_and_refused_where_nobody_can_answer(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    refused = zc(world, "forget", "db")
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert [f["key"] for f in said(world, "memory", "list")["facts"]] == ["db"]
    assert zc(world, "forget", "db", "--yes").returncode == 0
    assert said(world, "memory", "list")["facts"] == []


def test_a_person_is_told_the_command_and_not_the_tool(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL for the pelican")
    found = zc(world, "search", "pelican").stdout
    assert "zc search --ids m1" in found and "ids=[" not in found
    assert "PostgreSQL for the pelican" in zc(world, "search", "--ids", "m1").stdout


def test_a_claim_that_is_none_is_refused_with_its_code(world: World) -> None:
    refused = zc(world, "status", ZC_AGENT_ID="bad id")
    assert refused.returncode == 2 and "bad_agent_id" in refused.stderr
    refused = zc(world, "status", ZC_PROJECT_SCOPE="nonsense")
    assert refused.returncode == 2 and "bad_setting" in refused.stderr


def test_the_tail_of_either_ledger_can_be_seen(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    assert "zc_remember ok" in zc(world, "audit", "tail").stdout
    machine = zc(world, "audit", "tail", "--machine").stdout
    assert "project.register ok" in machine and "zc_remember" not in machine


def test_an_edit_that_changes_nothing_says_so(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    assert "nothing was changed" in zc(world, "memory", "edit", "db", "PostgreSQL").stdout
    assert "zc memory undo db" in zc(world, "memory", "edit", "db", "SQLite").stdout


def code_of(done: subprocess.CompletedProcess[str]) -> str:
    return str(json.loads(done.stdout)["error"]["code"])


def test_exit_code_3_what_is_named_does_not_exist(world: World) -> None:
    done = zc(world, "memory", "show", "absent", "--json")
    assert (done.returncode, code_of(done)) == (3, "no_such_fact")
    assert zc(world, "project", "move", "absent", str(world.root)).returncode == 3


def test_exit_code_5_the_state_has_moved_on(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    world.stop()
    tamper(world.home, "UPDATE alembic_version SET version_num = '9999'")
    done = zc(world, "status", "--json")
    assert (done.returncode, code_of(done)) == (5, "schema_newer")


def test_exit_code_6_the_ledger_does_not_verify(world: World) -> None:
    zc(world, "remember", "db", "PostgreSQL")
    assert zc(world, "audit", "verify").returncode == 0
    world.stop()
    tamper(world.home, "UPDATE ledger_entries SET principal = 'uid:4711' WHERE stream NOT LIKE 'system/%'")
    done = zc(world, "audit", "verify")
    assert done.returncode == 6 and done.stdout.startswith("TAMPERED: ")
    told = zc(world, "audit", "verify", "--json")
    assert (told.returncode, json.loads(told.stdout)["status"]) == (6, "TAMPERED")


def test_every_class_of_refusal_has_its_exit_code_at_the_command_line() -> None:
    for kind, wanted in (
        (errors.InvalidInput, 2), (errors.NotFound, 3), (errors.Denied, 4), (errors.Unauthenticated, 4),
        (errors.Conflict, 5), (errors.Expired, 5), (errors.Tampered, 6), (errors.Unavailable, 7),
        (errors.LimitReached, 1), (errors.ContractBroken, 1),
    ):  # fmt: skip
        with pytest.raises(typer.Exit) as ended:
            answers.refuse(kind("some_code", "It is so.", "Do this."), as_json=True)
        assert ended.value.exit_code == wanted, kind


def test_a_restart_replaces_the_service_and_starts_one_where_there_is_none(world: World) -> None:
    first = zc(world, "service", "restart")
    assert first.returncode == 0 and first.stdout == f"Runs as pid {world.pid()}.\n"
    before = world.pid()
    again = zc(world, "service", "restart")
    assert again.returncode == 0 and again.stdout == f"Runs as pid {world.pid()}.\n"
    assert world.pid() != before and world.services() == [world.pid()]


def test_a_restart_that_cannot_be_says_why(world: World) -> None:
    zc(world, "service", "restart")
    world.stop()
    (world.home / "keys").chmod(0o755)
    done = zc(world, "service", "restart")
    assert done.returncode == 7 and "service_away" in done.stderr and "open to other users" in done.stderr


def test_the_log_is_shown_newest_last_and_as_many_lines_as_asked(world: World) -> None:
    none = zc(world, "service", "logs")
    assert none.returncode == 0 and none.stdout == "" and "There is no log yet" in none.stderr
    zc(world, "service", "restart")
    zc(world, "service", "restart")
    written = (world.home / "logs" / "service.log").read_text().splitlines()
    assert len(written) > 2
    shown = zc(world, "service", "logs").stdout.splitlines()
    shown = [line for line in shown if line[:4].isdigit()]  # without the lines of a trace
    assert len(shown) == len(written) and f"pid {world.pid()}" in "".join(shown)
    assert "{" not in shown[-1] and " info " in shown[-1]
    assert len(zc(world, "service", "logs", "-n", "1").stdout.splitlines()) == 1
    as_json = zc(world, "service", "logs", "-n", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in as_json] == [json.loads(w)["event"] for w in written[-2:]]
    assert zc(world, "service", "logs", "-n", "0").returncode == 2
