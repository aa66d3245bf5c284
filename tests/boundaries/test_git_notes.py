"""Anchors in the notes of a git repository: real git, nothing of the user's is touched, and a roll back shows."""

import os
import subprocess
from datetime import timedelta

import pytest

from securecontext.app import App
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.ledger.git_notes import PAUSE, REF, GitNotes
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.ledger.verify import verify
from securecontext.settings import Settings
from securecontext.types.errors import Tampered, Unavailable
from tests.ledger_case import LOG, MOMENT, SQLITE_ALONE, Case, draft

pytestmark = SQLITE_ALONE
ENV = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
}  # fmt: skip


class Repository:
    """A repository of the user's, with work under way and hooks that leave a trace."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit("first")
        (path / "staged").write_text("staged")
        self.git("add", "staged")
        (path / "half done").write_text("not added")
        for hook in ("reference-transaction", "post-commit", "pre-commit", "post-rewrite", "commit-msg"):
            file = path / ".git" / "hooks" / hook
            file.write_text(f"#!/bin/sh\necho {hook} >> {path}/../hooked\n")
            file.chmod(0o755)

    def git(self, *words):
        return subprocess.run(
            ["git", "-C", str(self.path), *words], env=ENV, capture_output=True, text=True, check=True
        ).stdout

    def commit(self, name):
        (self.path / name).write_text(name)
        self.git("add", name)
        self.git("-c", "core.hooksPath=/dev/null", "commit", "-q", "-m", name)

    def state(self):
        """What must stay as it is: files, index, branches, where HEAD is; and whether a hook ran."""
        files = {p.name: p.read_bytes() for p in self.path.iterdir() if p.is_file()}
        refs = [line for line in self.git("show-ref").splitlines() if REF not in line]
        index = (self.path / ".git" / "index").read_bytes()
        config = (self.path / ".git" / "config").read_bytes()
        return (
            files,
            refs,
            index,
            config,
            self.git("status", "--porcelain"),
            (self.path / ".git/HEAD").read_text(),
        )

    def note(self, revision="HEAD"):
        return self.git("notes", "--ref", REF, "show", revision)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def anchor(case, notes, moment=MOMENT):
    """Place, sign and note what is new."""
    signed = case.sequence(moment=moment)
    with case.connection.begin():
        return notes.append(signed, Tiles(case.connection, case.log), moment)


def status(case, notes):
    with case.connection.begin():
        verdict = verify(case.connection, case.log, case.keyring, anchors=[notes])
    return verdict.status.value, verdict.unanchored, [found.kind.value for found in verdict.findings]


def test_a_checkpoint_is_noted_and_nothing_of_the_users_is_touched(filled, repository):
    before = repository.state()
    notes = GitNotes(repository.path)
    assert anchor(filled, notes)
    assert repository.state() == before
    assert not (repository.path / ".." / "hooked").exists()
    (found,) = notes.read(LOG)
    assert (found.point.size, found.note in repository.note().encode().decode("unicode_escape")) == (
        11,
        False,
    )
    assert '"log":"log_test"' in repository.note()
    assert status(filled, notes) == ("OK", 0, [])


def test_each_commit_keeps_the_newest_line_of_each_log(filled, repository):
    notes = GitNotes(repository.path)
    anchor(filled, notes)
    other = Case(filled.connection, filled.keyring, "log_other")
    anchor(other, notes)
    later = MOMENT + PAUSE
    filled.append(draft("s1"))
    assert anchor(filled, notes, later)
    assert [found.point.size for found in notes.read(LOG)] == [12]
    assert len(repository.note().splitlines()) == 2
    repository.commit("second")
    filled.append(draft("s1"))
    assert anchor(filled, notes, later + PAUSE)
    assert [found.point.size for found in notes.read(LOG)] == [12, 13]
    assert [found.point.size for found in notes.read("log_other")] == [1]
    assert repository.git("rev-list", "--count", REF).strip() == "4", (
        "older notes stay in the history of the ref"
    )


def test_within_the_pause_nothing_more_is_noted(filled, repository):
    notes = GitNotes(repository.path)
    assert anchor(filled, notes)
    filled.append(draft("s1"))
    assert not anchor(filled, notes, MOMENT + PAUSE - timedelta(seconds=1))
    assert [found.point.size for found in notes.read(LOG)] == [11]


def test_a_log_that_was_put_back_is_a_roll_back_for_the_notes_and_gets_none(filled, repository):
    notes = GitNotes(repository.path)
    anchor(filled, notes)
    for table in ("entries", "bodies", "heads"):
        filled.sql(f"DELETE FROM ledger_{table} WHERE stream = 'uid:1000/s2'")
    for table in ("checkpoints", "tiles"):
        filled.sql(f"DELETE FROM ledger_{table}")
    filled.sql("UPDATE ledger_entries SET leaf_index = NULL")
    filled.anchors.path.unlink()
    assert status(filled, notes)[0] == "ROLLED_BACK"
    filled.ledger = Ledger(LOG, filled.keyring)
    for _ in range(9):
        filled.append(draft("s3"))
    with pytest.raises(Tampered) as refused:
        anchor(filled, GitNotes(repository.path), MOMENT + PAUSE)
    assert refused.value.code == "anchor_inconsistent"


@pytest.mark.parametrize("text", ["not an anchor", '{"log":"log_test"}', "\\x00"])
def test_a_note_that_is_none_of_ours_is_named(filled, repository, text):
    notes = GitNotes(repository.path)
    anchor(filled, notes)
    repository.git("notes", "--ref", REF, "append", "-m", text)
    assert status(filled, notes) == ("TAMPERED", 11, ["altered_anchor"])


@pytest.mark.parametrize("what", ["no repository", "no commit", "no folder"])
def test_what_is_no_repository_is_a_plain_refusal(filled, tmp_path, what):
    folder = tmp_path / "place"
    if what != "no folder":
        folder.mkdir()
    if what == "no commit":
        subprocess.run(["git", "init", "-q", str(folder)], env=ENV, check=True)
    with pytest.raises(Unavailable) as refused:
        anchor(filled, GitNotes(folder))
    assert refused.value.code == "git_witness_unusable"


def test_what_the_repositorys_own_configuration_names_is_not_run(filled, repository, tmp_path):
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    evil.chmod(0o755)
    for name in (
        "core.editor",
        "core.pager",
        "core.fsmonitor",
        "core.sshCommand",
        "gpg.program",
        "credential.helper",
    ):
        repository.git("config", name, str(evil))
    for name in ("commit.gpgSign", "tag.gpgSign"):
        repository.git("config", name, "true")
    repository.git("config", "core.hooksPath", str(repository.path / ".git" / "hooks"))
    repository.git("config", "notes.displayRef", "refs/notes/*")
    assert anchor(filled, GitNotes(repository.path))
    assert status(filled, GitNotes(repository.path)) == ("OK", 0, [])
    assert not (tmp_path / "ran").exists() and not (tmp_path / "hooked").exists()


def test_a_service_notes_its_ledgers_and_a_repository_that_is_gone_stops_nothing(
    filled, repository, tmp_path
):
    home = tmp_path / "zc"
    home.mkdir(mode=0o700)
    app = App(Settings(home=home, user_home=tmp_path, witness_git=repository.path))
    app.ledgers.checkpoint(app.machine)
    assert '"size":1' in repository.note()
    assert app.ledgers.verify_store(app.machine, whole=True).status == "OK"
    repository.path.rename(tmp_path / "elsewhere")
    app.machine.write(lambda transaction: transaction.record(draft("s1")))
    assert app.ledgers.end_epoch() == []
    app.close()
