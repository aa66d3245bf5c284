"""Reading the predecessor's files: every age, every oddity, and never a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.predecessor_files import NEWEST, OLDEST, WHEN, Builder, Witness, name_of

from securecontext.storage.predecessor import open_predecessor, project_hash
from securecontext.types.errors import Unavailable

STORED = "2025-03-04T05:06:07.890000Z"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions" / name_of("/srv/app")


def test_reads_every_table_of_the_newest_schema(file: Path) -> None:
    build = Builder(file)
    build.fact("db", "PostgreSQL", importance=5, agent_id="planner", provenance="EXTRACTED")
    build.document("README.md", "How to start", provenance="INFERRED")
    build.document("https-notes", "Fetched", source_type="external")
    build.document("[SESSION_SUMMARY] 2025-03-04", "Did things")
    build.broadcast(
        "ASSIGN", "boss", task="T1", files=["a.py", "b.py"], task_dependencies=[4], session_token_id="tok"
    )
    build.row("project_meta", key="project_label", value="Shop")
    build.close()
    with open_predecessor(file) as found:
        assert found.label() == "Shop"
        (fact,) = found.facts()
        assert (fact.key, fact.value, fact.agent, fact.importance) == ("db", "PostgreSQL", "planner", 5)
        assert (fact.provenance, fact.created_at) == ("EXTRACTED", STORED)
        readme, notes, summary = found.documents()
        assert (readme.source, readme.content, readme.external, readme.summary) == (
            "README.md", "How to start", False, False,
        )  # fmt: skip
        assert (readme.provenance, readme.created_at) == ("INFERRED", STORED)
        assert notes.external
        assert summary.summary
        (broadcast,) = found.broadcasts()
        assert (broadcast.id, broadcast.type, broadcast.agent) == ("1", "ASSIGN", "boss")
        assert broadcast.words == (("task", "T1"), ("importance", "3"))
        assert broadcast.lists == (("files", ("a.py", "b.py")), ("task_dependencies", ("4",)))


def test_columns_and_tables_that_an_old_file_lacks_are_empty(file: Path) -> None:
    build = Builder(file, OLDEST)
    build.row("working_memory", key="db", value="SQLite")
    build.row("knowledge", source="http://example.org/", content="A page")
    build.row("broadcasts", type="STATUS", task="T0")
    build.row("db_meta", key="project_label", value="Old")
    build.close()
    with open_predecessor(file) as found:
        (fact,) = found.facts()
        assert (fact.agent, fact.importance, fact.created_at, fact.provenance) == ("", 3, "", "")
        (document,) = found.documents()
        assert document.external
        assert [b.words for b in found.broadcasts()] == [(("task", "T0"),)]
        assert found.label() == "Old"


def test_a_file_with_one_table_only(file: Path) -> None:
    build = Builder(file, "CREATE TABLE working_memory (key TEXT, value TEXT)", wal=False)
    build.close()
    with open_predecessor(file) as found:
        assert found.recognised
        assert (list(found.facts()), list(found.documents()), list(found.broadcasts()), found.label()) == (
            [], [], [], "",
        )  # fmt: skip


def test_a_database_of_something_else_is_not_recognised(file: Path) -> None:
    Builder(file, "CREATE TABLE other (a)", wal=False).close()
    with open_predecessor(file) as found:
        assert not found.recognised


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (WHEN, STORED),
        ("2025-03-04 05:06:07", "2025-03-04T05:06:07.000000Z"),
        ("2025-03-04T07:06:07+02:00", "2025-03-04T05:06:07.000000Z"),
        (1741064767, "2025-03-04T05:06:07.000000Z"),
        (1741064767000, "2025-03-04T05:06:07.000000Z"),
        ("yesterday", ""),
        ("", ""),
        (-5, ""),
        ("nan", ""),
        ("1e400", ""),
        (b"\xff\xfe", ""),
        ("0001-01-01T00:00:00+14:00", ""),
    ],
)
def test_times_of_every_form(file: Path, stored: object, read: str) -> None:
    build = Builder(file)
    build.fact("k", "v", created_at=stored)
    build.close()
    with open_predecessor(file) as found:
        assert [f.created_at for f in found.facts()] == [read]


def test_values_of_odd_types_are_read_as_text(file: Path) -> None:
    build = Builder(file)
    build.fact(b"raw\xff", 17, importance="many", agent_id=b"\x80agent")
    build.fact("b", b"caf\xc3\xa9", importance=9.7)
    build.fact("c", "x", importance="inf")
    build.broadcast(
        "STATUS", files="not json", depends_on="7", required_skills="{", acceptance_criteria="null"
    )
    build.close()
    with open_predecessor(file) as found:
        one, two, three = found.facts()
        assert (one.key, one.value, one.importance, one.agent) == ("raw\ufffd", "17", 3, "\ufffdagent")
        assert (two.value, two.importance, three.importance) == ("café", 9, 3)
        (broadcast,) = found.broadcasts()
        assert dict(broadcast.lists) == {
            "files": ("not json",),
            "depends_on": ("7",),
            "required_skills": ("{",),
        }


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
def test_rows_in_the_log_are_read_and_nothing_is_touched(file: Path, killed: bool) -> None:
    build = Builder(file)
    build.fact("db", "in the log")
    build.close(killed)
    assert file.with_name(file.name + "-wal").exists() is killed
    before = Witness.of(file.parent)
    with open_predecessor(file) as found:
        assert [f.value for f in found.facts()] == ["in the log"]
    assert Witness.of(file.parent) == before


def test_a_file_in_use_is_read_as_far_as_it_is_committed(file: Path) -> None:
    build = Builder(file)
    build.fact("a", "committed")
    build.db.execute("BEGIN IMMEDIATE")
    build.fact("b", "not yet")
    before = Witness.of(file.parent)
    with open_predecessor(file) as found:
        assert [f.key for f in found.facts()] == ["a"]
    assert Witness.of(file.parent) == before
    build.close()


def test_the_private_copy_is_gone_afterwards(file: Path, tmp_path: Path) -> None:
    Builder(file).close()
    with open_predecessor(file):
        assert list((tmp_path / "tmp").iterdir())
    assert list((tmp_path / "tmp").iterdir()) == []


def _garbage(file: Path) -> None:
    file.write_bytes(b"this is no database" * 500)


def _torn(file: Path) -> None:
    build = Builder(file, wal=False)
    for number in range(500):
        build.fact(f"k{number}", "v" * 300)
    build.close()
    content = bytearray(file.read_bytes())
    content[40_960:] = os.urandom(len(content) - 40_960)
    file.write_bytes(content)


def _folder(file: Path) -> None:
    file.mkdir()


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _dangling(file: Path) -> None:
    file.symlink_to(file.parent / "nowhere")


@pytest.mark.parametrize("spoil", [_garbage, _torn, _folder, _pipe, _dangling])
def test_what_is_no_sound_database_is_refused_by_name(file: Path, spoil: object) -> None:
    file.parent.mkdir()
    spoil(file)  # type: ignore[operator]
    with pytest.raises(Unavailable, match=file.name) as refused, open_predecessor(file) as found:
        list(found.facts())
    assert refused.value.code == "predecessor_unreadable"


def test_a_table_with_other_columns_is_refused(file: Path) -> None:
    Builder(file, NEWEST.replace("value TEXT NOT NULL,\n  importance", "worth TEXT,\n  importance")).close()
    with open_predecessor(file) as found, pytest.raises(Unavailable, match="working_memory"):
        list(found.facts())


def test_names_of_project_files(tmp_path: Path) -> None:
    assert project_hash(tmp_path / "0123456789abcdef.db") == "0123456789abcdef"
    for other in (
        "global.db",
        "0123456789abcdef.db-wal",
        "0123456789abcdef.events.jsonl",
        "0123456789ABCDEG.db",
    ):
        assert project_hash(tmp_path / other) is None
