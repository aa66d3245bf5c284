"""Which project a folder belongs to: real folders, real repositories."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import run

import pytest

from securecontext.projects.identity import locate, machine_id, told
from securecontext.projects.predecessor import hash_of, hashes, spellings
from securecontext.types.errors import InvalidInput
from securecontext.types.places import Place


def test_w_27_a_folder_of_another_user_is_told_by_its_path_alone_and_is_nobody_elses(tmp_path):
    """Nothing is looked at: neither whether there is such a folder, nor what lies in it."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: x")
    path = str(tmp_path / "sub")
    alice, bob = (told(path, machine="m", owner=owner) for owner in ("alice", "bob"))
    assert (alice.path_alias, alice.tree_alias, alice.name) == (f"path:m.alice:{path}", None, "sub")
    assert bob.path_alias != alice.path_alias
    spelled = (path + "/", "/" + path, f"{tmp_path}/x/../sub/.")
    assert {told(each, machine="m", owner="alice") for each in spelled} == {alice}
    for bad in ("/a\nb", "/\udc80", "/" + "x" * 1_001, "/a\u202eb"):
        with pytest.raises(InvalidInput):
            told(bad, machine="m", owner="alice")


def git(*words: str | Path) -> None:
    run(
        [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "protocol.file.allow=always",
            *map(str, words),
        ],
        check=True,
        capture_output=True,
    )


def repository(folder: Path) -> Path:
    git("init", "-q", folder)
    git("-C", folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def at(folder: Path, own_home: Path, scope: str = "") -> Place:
    return locate(str(folder), home=own_home, machine="m1", scope=scope)


def test_a_folder_within_a_repository_is_the_repository(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    (top / "a" / "b").mkdir(parents=True)
    place = at(top / "a" / "b", own_home)
    assert (place.top, place.name, place.path_alias) == (top, "repo", f"path:m1:{top}")
    assert place == at(top, own_home)
    assert place.tree_alias is not None


def test_a_file_stands_for_its_folder(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    (top / "file").touch()
    assert at(top / "file", own_home).top == top


def test_a_plain_folder_is_its_own_project(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "plain" / "sub").mkdir(parents=True)
    assert at(tmp_path / "plain", own_home).tree_alias is None
    assert at(tmp_path / "plain" / "sub", own_home).top == tmp_path / "plain" / "sub"


def test_a_folder_named_dot_git_that_is_no_repository_changes_nothing(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "plain" / ".git").mkdir(parents=True)
    (tmp_path / "plain" / "sub").mkdir()
    assert at(tmp_path / "plain" / "sub", own_home).top == tmp_path / "plain" / "sub"


def test_worktrees_share_and_can_be_kept_apart(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    git("-C", top, "worktree", "add", "-q", tmp_path / "tree")
    assert at(tmp_path / "tree", own_home) == at(top, own_home)
    apart = at(tmp_path / "tree", own_home, "worktree")
    assert (apart.top, apart.tree_alias) == (tmp_path / "tree", None)
    assert at(top, own_home, "worktree") == at(top, own_home)


def test_worktrees_of_a_bare_repository_share(tmp_path: Path, own_home: Path) -> None:
    bare = tmp_path / "repo.git"
    git("clone", "-q", "--bare", repository(tmp_path / "origin"), bare)
    git("-C", bare, "worktree", "add", "-q", tmp_path / "one", "-b", "one")
    git("-C", bare, "worktree", "add", "-q", tmp_path / "two", "-b", "two")
    assert at(tmp_path / "one", own_home) == at(tmp_path / "two", own_home)
    assert at(tmp_path / "one", own_home).path_alias == at(bare, own_home).path_alias


def test_a_submodule_is_its_own_project_in_every_worktree(tmp_path: Path, own_home: Path) -> None:
    top, library = repository(tmp_path / "repo"), repository(tmp_path / "library")
    git("-C", top, "submodule", "add", "-q", library, "lib")
    assert at(top / "lib", own_home).top == top / "lib"
    git("-C", top / "lib", "worktree", "add", "-q", tmp_path / "libtree")
    assert at(tmp_path / "libtree", own_home).top == tmp_path / "libtree"


def test_a_repository_that_is_the_home_folder_is_none(own_home: Path) -> None:
    repository(own_home)
    (own_home / "work").mkdir()
    assert at(own_home / "work", own_home).top == own_home / "work"
    assert at(own_home, own_home).tree_alias is None
    inner = repository(own_home / "work" / "repo")
    assert at(inner, own_home).top == inner


def test_a_link_leads_to_the_same_project(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    (tmp_path / "link").symlink_to(top)
    assert at(tmp_path / "link", own_home) == at(top, own_home)


def test_a_copy_has_another_tree_and_a_rename_the_same(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    before = at(top, own_home)
    run(["cp", "-a", top, tmp_path / "copy"], check=True)
    assert at(tmp_path / "copy", own_home).tree_alias != before.tree_alias
    top.rename(tmp_path / "renamed")
    assert at(tmp_path / "renamed", own_home).tree_alias == before.tree_alias


def test_a_tree_made_after_another_was_deleted_is_another(tmp_path: Path, own_home: Path) -> None:
    seen = set()
    for number in range(5):  # inodes are given again at once
        top = repository(tmp_path / f"repo{number}")
        seen.add(at(top, own_home).tree_alias)
        run(["rm", "-rf", top], check=True)
    assert len(seen) == 5


@pytest.mark.parametrize(
    "name",
    ["new\nline", "grüße 你好 \U0001f600", "e\u0301", "x" * 255, " ", "-rf", "100%0A", "a\\b", 'q"uote'],
    ids=["newline", "unicode", "decomposed", "long", "space", "dash", "percent", "backslash", "quote"],
)  # fmt: skip
def test_odd_names(tmp_path: Path, own_home: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    place = at(tmp_path / name, own_home)
    assert place.top == tmp_path / name
    assert place.path_alias.encode()
    assert place.name.encode()


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, own_home: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\xfe")
    odd.mkdir()
    with pytest.raises(InvalidInput, match="UTF-8"):
        at(odd, own_home)


def test_a_path_of_a_thousand_characters(tmp_path: Path, own_home: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    assert at(deep, own_home).path_alias.endswith("/" + "d" * 200)


@pytest.mark.parametrize("path", ["/no/such/folder", "a\0b", "/" + "x" * 300])
def test_what_is_no_folder_is_refused(own_home: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        locate(path, home=own_home, machine="m1")


@pytest.mark.parametrize("text", ["gitdir: /nowhere", "gitdir:", "nonsense", ""])
def test_a_dot_git_file_that_leads_nowhere_marks_a_top_level(
    tmp_path: Path, own_home: Path, text: str
) -> None:
    (tmp_path / "odd" / "sub").mkdir(parents=True)
    (tmp_path / "odd" / ".git").write_text(text)
    assert at(tmp_path / "odd" / "sub", own_home).top == tmp_path / "odd"


def test_the_machine_has_one_id() -> None:
    assert machine_id() == machine_id()


def test_w_04_hashes_cover_every_spelling(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    link, real = str(tmp_path / "link"), str(tmp_path / "real")
    wanted = {
        f(p + s) for p in (link, real) for s in ("", "/") for f in (str, lambda t: t.replace("/", "\\"))
    }
    assert set(hashes([link])) == {hash_of(each) for each in wanted}
    assert hashes([link])[0] == hash_of(link)


def test_the_home_repository_is_no_spelling_of_what_lies_in_it(own_home: Path) -> None:
    repository(own_home)
    (own_home / "work").mkdir()
    assert spellings(str(own_home / "work"), at(own_home / "work", own_home).top) == (str(own_home / "work"),)


def test_a_worktree_may_have_been_known_by_itself(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    git("-C", top, "worktree", "add", "-q", tmp_path / "tree")
    (tmp_path / "tree" / "sub").mkdir()
    place = at(tmp_path / "tree" / "sub", own_home)
    assert spellings(str(tmp_path / "tree" / "sub"), place.top) == (
        str(tmp_path / "tree" / "sub"), str(tmp_path / "tree"), str(top),
    )  # fmt: skip


def pointing(folder: Path, gitdir: str | bytes, common: str | bytes | None = None) -> Path:
    """A folder whose ``.git`` file says where its repository is, and whose ``x`` may say what that one shares."""
    (folder / "x").mkdir(parents=True)
    for path, text in ((folder / ".git", gitdir), (folder / "x" / "commondir", common)):
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.mark.parametrize("place", ["its own", "that of a worktree"])
def test_attack_a_folder_that_claims_another_projects_memory_gets_its_own(
    tmp_path: Path, own_home: Path, place: str
) -> None:
    victim = repository(tmp_path / "victim")
    git("-C", victim, "worktree", "add", "-q", tmp_path / "tree")
    private = "x" if place == "its own" else str(victim / ".git" / "worktrees" / "tree")
    hostile = pointing(tmp_path / "hostile", f"gitdir: {private}", str(victim / ".git"))
    (hostile / "x" / "gitdir").write_text(str(hostile / ".git"))
    assert at(hostile, own_home).top == hostile
    assert at(tmp_path / "tree", own_home).top == victim


def test_attack_a_link_to_a_worktrees_own_file_claims_nothing(tmp_path: Path, own_home: Path) -> None:
    victim = repository(tmp_path / "victim")
    git("-C", victim, "worktree", "add", "-q", tmp_path / "tree")
    (tmp_path / "hostile").mkdir()
    (tmp_path / "hostile" / ".git").symlink_to(tmp_path / "tree" / ".git")
    assert at(tmp_path / "hostile", own_home).top == tmp_path / "hostile"


@pytest.mark.parametrize("where", [".git", "x/commondir", "x/gitdir"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_attack_a_pipe_or_a_device_in_a_repository_is_not_read(
    tmp_path: Path, own_home: Path, where: str, kind: str
) -> None:
    hostile = pointing(tmp_path / "hostile", "gitdir: x", str(repository(tmp_path / "victim") / ".git"))
    (hostile / where).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(hostile / where)
    else:
        (hostile / where).symlink_to("/dev/zero")
    assert at(hostile, own_home).top == hostile


def test_attack_of_a_large_file_only_the_beginning_is_read(tmp_path: Path, own_home: Path) -> None:
    hostile = pointing(tmp_path / "hostile", "gitdir: x", b"")
    os.truncate(hostile / "x" / "commondir", 1 << 40)
    assert at(hostile, own_home).top == hostile


@pytest.mark.parametrize(
    ("gitdir", "common"),
    [
        (b"gitdir: \0", None), (b"gitdir: \xff\xfe", None), (b"\xff", None), (b"gitdir: " + b"a/" * 5000, None),
        (b"gitdir: x", b"\xff\xfe"), (b"gitdir: x", b"\0"), (b"gitdir: loop", None), (b"gitdir: .", b"."),
    ],
)  # fmt: skip
def test_a_malformed_dot_git_file_marks_a_top_level(
    tmp_path: Path, own_home: Path, gitdir: bytes, common: bytes | None
) -> None:
    odd = pointing(tmp_path / "odd", gitdir, common)
    (odd / "loop").symlink_to("loop")
    assert at(odd, own_home).top == odd


def test_a_dot_git_that_may_not_be_read_is_a_plain_refusal(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, is_dir = repository(tmp_path / "repo"), Path.is_dir

    def denied(path: Path) -> bool:
        if path.name == ".git":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", denied)  # root may read everything
    with pytest.raises(InvalidInput) as caught:
        at(top, own_home)
    assert caught.value.code == "unreadable_folder"


def test_a_worktree_that_names_its_folders_relatively_shares_too(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "repo")
    git("-C", top, "worktree", "add", "-q", tmp_path / "tree")
    (tmp_path / "tree" / ".git").write_text("gitdir: ../repo/.git/worktrees/tree\n")
    (top / ".git" / "worktrees" / "tree" / "gitdir").write_text("../../../../tree/.git\n")
    assert at(tmp_path / "tree", own_home) == at(top, own_home)
