"""`zc import predecessor`, through the running service: everything comes in, labelled, and nothing is touched."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from securecontext import rendezvous
from securecontext.operations.imports import FileReport
from securecontext.rpc.client import Client, Reply, control
from securecontext.types.errors import InvalidInput, NotFound
from tests.predecessor_files import OLDEST, Builder, Witness, name_of
from tests.waiting import wait_until

PRIVATE = (".machine_secret", "global.db", "integrity.json", "logs/audit.log")
TOKEN = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"


@pytest.fixture
def data(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder; its service is stopped at the end."""
    home = own_home / "zc-ctx"
    (home / "sessions").mkdir(parents=True)
    monkeypatch.setenv("ZC_HOME", str(home))
    monkeypatch.setenv("ZC_HTTP_PORT", "off")
    yield home
    try:
        connection = rendezvous.connect(str(home))
    except OSError:
        return
    pid = int(control(connection, {"do": "stop"})["pid"])
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the service")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's folder."""
    made = tmp_path / "shop"
    made.mkdir()
    return made


def call(data: Path, folder: Path | str, operation: str, **arguments: Any) -> Any:
    client = Client(str(data), str(folder))
    try:
        return client.call(operation, arguments)
    finally:
        client.close()


def bring(data: Path, folder: Path | str, **arguments: Any) -> list[dict[str, Any]]:
    return filled(call(data, folder, "import.predecessor", **arguments))


def filled(reply: Reply) -> list[dict[str, Any]]:
    """Return the reports of an answer, which leaves out what is nothing."""
    return [FileReport.model_validate(each).model_dump() for each in reply.structured["files"]]


def full(data: Path, path: str) -> Path:
    """Build a file with something of everything, left behind as by a killed process."""
    build = Builder(data / "sessions" / name_of(path))
    build.fact("db", "PostgreSQL for row-level security", importance=5, provenance="EXTRACTED")
    build.fact("deploy", f"the token is {TOKEN}", importance=4, agent_id="ops")
    build.fact("odd\nkey", "bell\x07 and nul\x00 here", importance=99)
    build.fact("long", "zebrastripes " * 400)
    build.fact("", "no key")
    build.fact(b"blob", b"caf\xc3\xa9 \xff")
    build.document("docs/adr.md", "We chose giraffes over okapis")
    build.document("https://example.org/a", "Walrus facts from outside", source_type="external")
    build.document("[SESSION_SUMMARY] 2025-03-04", "Migrated the aardvark module")
    build.document("empty", "")
    build.broadcast("ASSIGN", "boss", task="paint the pangolin", files=["src/a.py"], session_token_id="t0k")
    build.broadcast("set_key", "boss", summary="the channel key is swordfish")
    build.row("project_meta", key="project_label", value="Shop of old")
    return build.close(killed=True)


def test_everything_comes_in_labelled_and_no_file_is_touched(data: Path, folder: Path) -> None:
    full(data, str(folder))
    for name in PRIVATE[:3]:
        (data / name).write_bytes(os.urandom(40))
    (data / "logs").mkdir()
    (data / "logs" / "audit.log").write_text("{}\n")
    before = Witness.of(data / "sessions")
    single = {n: ((data / n).read_bytes(), (data / n).stat().st_mtime_ns) for n in PRIVATE}

    (report,) = bring(data, folder)
    assert report["file"] == name_of(str(folder))
    assert report["project"] == "shop"
    assert (report["facts"], report["documents"], report["broadcasts"]) == (4, 4, 1)
    assert (report["moved"], report["redacted"], report["refused"], report["unchanged"]) == (1, 1, 3, 0)
    assert report["mended"] == 3
    assert report["trouble"] == ""

    facts = {f["key"]: f for f in call(data, folder, "memory.list").structured["facts"]}
    assert facts["db"]["value"] == "PostgreSQL for row-level security"
    assert (facts["db"]["trust"], facts["db"]["provenance"], facts["db"]["importance"]) == (
        "imported",
        "EXTRACTED",
        5,
    )
    assert facts["db"]["created_at"].startswith("2025-03-04T05:06:07.89")
    assert facts["deploy"]["agent"] == "ops"
    assert TOKEN not in json.dumps(facts)
    assert "[REDACTED:" in facts["deploy"]["value"]
    assert facts["odd key"]["value"] == "bell  and nul  here"
    assert facts["odd key"]["importance"] == 5
    assert facts["blob"]["value"] == "café \ufffd"

    found = call(data, folder, "zc_search", queries=["giraffes okapis"])
    assert "docs/adr.md [imported]" in found.text
    assert "2025-03-04" in found.text
    assert "[external]" in call(data, folder, "zc_search", queries=["walrus"]).text
    assert "memory:default:long [imported]" in call(data, folder, "zc_search", queries=["zebrastripes"]).text
    pangolin = call(data, folder, "zc_search", queries=["pangolin"])
    assert "broadcast:1:ASSIGN [imported]" in pangolin.text
    ident = pangolin.structured["hits"][0]["id"]
    whole = call(data, folder, "zc_search", ids=[ident]).structured["texts"][0]["text"]
    assert "task: paint the pangolin" in whole
    assert "- src/a.py" in whole
    assert "t0k" not in whole
    assert call(data, folder, "zc_search", queries=["swordfish"]).structured.get("hits", []) == []

    recalled = call(data, folder, "zc_recall_context").text
    assert "db [imported]: PostgreSQL" in recalled
    assert "[imported] Migrated the aardvark module" in recalled

    assert Witness.of(data / "sessions") == before
    assert single == {n: ((data / n).read_bytes(), (data / n).stat().st_mtime_ns) for n in PRIVATE}
    assert call(data, folder, "audit.verify").structured["status"] == "OK"


def test_a_second_time_brings_nothing_new_in(data: Path, folder: Path) -> None:
    full(data, str(folder))
    bring(data, folder)
    facts = call(data, folder, "memory.export", history=True).structured["facts"]
    words = ["giraffes", "walrus", "aardvark", "pangolin", "zebrastripes"]
    hits = [hit["id"] for hit in call(data, folder, "zc_search", queries=words).structured["hits"]]
    assert len(hits) == 5
    (again,) = bring(data, folder)
    assert (again["facts"], again["documents"], again["broadcasts"], again["renamed"]) == (0, 0, 0, 0)
    assert again["unchanged"] == 9
    assert call(data, folder, "memory.export", history=True).structured["facts"] == facts
    found = call(data, folder, "zc_search", queries=words).structured["hits"]
    assert [hit["id"] for hit in found] == hits


def test_what_is_ours_is_never_overwritten(data: Path, folder: Path) -> None:
    call(data, folder, "zc_remember", key="db", value="SQLite after all", importance=5)
    call(data, folder, "zc_index", source="docs/adr.md", content="Our own newer text about lemurs")
    call(data, folder, "zc_summarize_session", summary="The newest summary is ours")
    full(data, str(folder))
    (report,) = bring(data, folder)
    assert report["renamed"] == 2
    facts = {f["key"]: f["value"] for f in call(data, folder, "memory.list").structured["facts"]}
    assert facts["db"] == "SQLite after all"
    assert facts["db (imported)"] == "PostgreSQL for row-level security"
    assert (
        call(data, folder, "zc_search", queries=["lemurs"]).structured["hits"][0]["source"] == "docs/adr.md"
    )
    giraffes = call(data, folder, "zc_search", queries=["giraffes"]).structured["hits"]
    assert giraffes[0]["source"] == "docs/adr.md (imported)"
    assert "The newest summary is ours" in call(data, folder, "zc_recall_context").text
    (again,) = bring(data, folder)
    assert (again["renamed"], again["facts"]) == (0, 0)


def test_an_imported_fact_that_was_changed_since_stays_changed(data: Path, folder: Path) -> None:
    full(data, str(folder))
    bring(data, folder)
    call(data, folder, "zc_remember", key="db", value="MariaDB")
    assert bring(data, folder)[0]["facts"] == 0
    facts = {f["key"]: f["value"] for f in call(data, folder, "memory.list").structured["facts"]}
    assert facts["db"] == "MariaDB"
    assert "db (imported)" not in facts


def spelt_as(form: str, folder: Path) -> str:
    return {
        "plain": str(folder),
        "slash": f"{folder}/",
        "backslash": str(folder).replace("/", "\\"),
        "backslash-slash": f"{folder}/".replace("/", "\\"),
    }[form]


@pytest.mark.parametrize("form", ["plain", "slash", "backslash", "backslash-slash"])
def test_w_04_every_spelling_of_the_path_is_found(data: Path, folder: Path, form: str) -> None:
    build = Builder(data / "sessions" / name_of(spelt_as(form, folder)))
    build.fact("k", "v")
    build.close()
    assert bring(data, folder)[0]["facts"] == 1


@pytest.mark.parametrize("form", ["plain", "backslash"])
def test_w_04_a_path_through_a_link_is_found_both_ways(
    data: Path, folder: Path, tmp_path: Path, form: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    for number, path in enumerate((link, folder)):
        build = Builder(data / "sessions" / name_of(spelt_as(form, path)))
        build.fact(f"k{number}", "v")
        build.close()
    reports = bring(data, link)
    assert sorted(r["facts"] for r in reports) == [1, 1]
    assert len({r["project_id"] for r in reports}) == 1


def test_a_subfolder_of_a_repository_finds_its_own_file_and_that_of_the_top(data: Path, folder: Path) -> None:
    run(["git", "init", "-q", str(folder)], check=True)
    (folder / "sub").mkdir()
    for path in (folder, folder / "sub"):
        build = Builder(data / "sessions" / name_of(str(path)))
        build.fact(path.name, "v")
        build.close()
    assert len(bring(data, folder / "sub")) == 2


def test_all_registers_unknown_projects_and_a_folder_finds_its_own_later(
    data: Path, folder: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    full(data, str(later))
    unlabelled = Builder(data / "sessions" / name_of("/nowhere/known"), OLDEST)
    unlabelled.row("working_memory", key="k", value="v")
    unlabelled.close()
    reports = {r["file"]: r for r in bring(data, folder, all=True)}
    assert reports[name_of(str(later))]["project"] == "Shop of old"
    digest = name_of("/nowhere/known").removesuffix(".db")
    assert reports[f"{digest}.db"]["project"] == f"predecessor {digest}"
    before = call(data, folder, "project.list").structured["projects"]
    assert len(before) == 3

    facts = {f["key"]: f for f in call(data, later, "memory.list").structured["facts"]}
    assert "db" in facts
    after = {p["id"]: p for p in call(data, folder, "project.list").structured["projects"]}
    assert len(after) == 3
    linked = after[reports[name_of(str(later))]["project_id"]]
    assert (linked["name"], linked["paths"]) == ("later", [str(later)])
    assert {r["facts"] for r in bring(data, folder, all=True)} == {0}
    assert len(call(data, folder, "project.list").structured["projects"]) == 3


def test_all_brings_the_file_of_a_known_folder_to_its_project(
    data: Path, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    call(data, other, "zc_remember", key="own", value="v")
    full(data, str(other))
    (report,) = bring(data, folder, all=True)
    assert report["project"] == "other"
    assert {"own", "db"} <= {f["key"] for f in call(data, other, "memory.list").structured["facts"]}


def test_a_broken_file_is_refused_by_name_and_the_others_go_on(data: Path, folder: Path) -> None:
    sessions = data / "sessions"
    (sessions / "0000000000000000.db").write_bytes(b"no database at all" * 300)
    Builder(sessions / "1111111111111111.db", "CREATE TABLE other (a)").close()
    (sessions / "2222222222222222.db").write_bytes(b"")
    (sessions / "notes.db").write_bytes(b"not of this name")
    torn = Builder(sessions / "3333333333333333.db", wal=False)
    for number in range(400):
        torn.document(f"doc {number}", "lorem " * 200)
    torn.close()
    content = bytearray((sessions / "3333333333333333.db").read_bytes())
    content[200_000:] = b"\xa5" * (len(content) - 200_000)
    (sessions / "3333333333333333.db").write_bytes(content)
    full(data, str(folder))
    before = Witness.of(sessions)
    answer = call(data, folder, "import.predecessor", all=True)
    reports = {r["file"]: r for r in filled(answer)}
    assert len(reports) == 5
    for broken in ("0000000000000000.db", "3333333333333333.db"):
        assert broken in reports[broken]["trouble"]
    assert "none of the predecessor's tables" in reports["1111111111111111.db"]["trouble"]
    assert "none of the predecessor's tables" in reports["2222222222222222.db"]["trouble"]
    assert "0000000000000000.db: not imported" in answer.text
    assert reports[name_of(str(folder))]["facts"] == 4
    assert Witness.of(sessions) == before


def test_a_dry_run_counts_and_writes_nothing(data: Path, folder: Path) -> None:
    call(data, folder, "zc_remember", key="db", value="SQLite after all")
    full(data, str(folder))
    full(data, "/nowhere/known")
    dry = bring(data, folder, all=True, dry_run=True)
    assert [(r["facts"], r["documents"], r["broadcasts"]) for r in dry] == [(4, 4, 1)] * 2
    assert sorted(r["renamed"] for r in dry) == [0, 1]
    assert len(call(data, folder, "memory.list").structured["facts"]) == 1
    assert len(call(data, folder, "project.list").structured["projects"]) == 1
    real = bring(data, folder, all=True)
    same = ("file", "facts", "documents", "broadcasts", "renamed", "redacted", "mended", "refused", "moved")
    assert [{k: r[k] for k in same} for r in real] == [{k: r[k] for k in same} for r in dry]


def test_another_folder_can_hold_the_files(data: Path, folder: Path, tmp_path: Path) -> None:
    full(tmp_path / "backup", str(folder))
    assert bring(data, folder, from_folder=str(tmp_path / "backup" / "sessions"))[0]["facts"] == 4


def test_what_cannot_be_found_is_refused_with_a_way_on(data: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as none:
        bring(data, folder)
    assert none.value.code == "no_predecessor"
    with pytest.raises(InvalidInput) as absent:
        bring(data, folder, from_folder=str(tmp_path / "absent"))
    assert absent.value.code == "no_such_folder"
    with pytest.raises(InvalidInput) as relative:
        bring(data, folder, from_folder="sessions")
    assert relative.value.code == "relative_path"


def test_many_rows_come_in_by_batches_and_what_a_notebook_cannot_hold_is_archived(
    data: Path, folder: Path
) -> None:
    build = Builder(data / "sessions" / name_of(str(folder)))
    for number in range(260):
        build.document(f"doc {number}", f"text about subject{number}")
    for number in range(130):
        build.fact(f"k{number}", f"value{number}", importance=1 + number % 5)
    build.close()
    (report,) = bring(data, folder)
    assert (report["documents"], report["facts"]) == (260, 130)
    held = call(data, folder, "memory.list").structured["facts"]
    assert len(held) + report["archived"] == 130
    assert report["archived"] > 0
    assert (
        call(data, folder, "zc_search", queries=["subject259"]).structured["hits"][0]["source"] == "doc 259"
    )
    assert call(data, folder, "zc_search", queries=["value0"]).structured["hits"][0]["archived"]
    assert bring(data, folder)[0]["unchanged"] == 390


def test_both_ledgers_have_the_import_with_its_counts(data: Path, folder: Path) -> None:
    full(data, str(folder))
    bring(data, folder)
    entries = call(data, folder, "audit.tail").structured["entries"]
    of_project = [e["body"] for e in entries if e["operation"] == "import.predecessor"]
    with closing(sqlite3.connect(f"file:{data}/machine.db?mode=ro", uri=True)) as machine:
        bodies = [json.loads(row[0]) for row in machine.execute("SELECT body FROM ledger_bodies")]
    of_machine = [b for b in bodies if b.get("operation") == "import.predecessor" and "counts" in b]
    for bodies in (of_project, of_machine):
        assert [(b["counts"]["facts"], b["counts"]["redacted"]) for b in bodies] == [(4, 1)]
        assert [b["arguments"]["file"] for b in bodies] == [name_of(str(folder))]


def test_texts_too_large_for_one_place_lose_nothing(data: Path, folder: Path) -> None:
    build = Builder(data / "sessions" / name_of(str(folder)))
    build.document("s" * 700, "content of the long name")
    build.document("big", "alpha " * 200_000 + "omegaend")
    build.fact("k" * 150, "value of the long key")
    build.close()
    (report,) = bring(data, folder)
    assert report["moved"] == 1
    assert report["documents"] == 4
    ident = call(data, folder, "zc_search", queries=["content of the long name"]).structured["hits"][0]["id"]
    assert "s" * 700 in call(data, folder, "zc_search", ids=[ident]).structured["texts"][0]["text"]
    assert (
        call(data, folder, "zc_search", queries=["omegaend"]).structured["hits"][0]["source"]
        == "big (part 2 of 2)"
    )
    assert call(data, folder, "zc_search", queries=["value of the long key"]).structured["hits"]


def test_the_command_says_what_it_did(data: Path, folder: Path) -> None:
    full(data, str(folder))
    done = run(
        [sys.executable, "-m", "securecontext", "import", "predecessor", "--from-folder", "../home/zc-ctx/sessions"],
        cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{name_of(str(folder))} -> shop: imported 4 facts, 4 documents, 1 broadcasts" in done.stdout
    assert "1 secrets redacted" in done.stdout
