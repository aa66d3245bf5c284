"""The map of users of a system service: who is in it comes in, and a map that is wrong lets nobody in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from securecontext.boundaries.policy import Standing
from securecontext.service.peers import MOST_BYTES, Peer, Peers
from securecontext.types.errors import ZcError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "principals"
    made.write_text("# who may\n\n1000 alice  # the first\n1001\tbob-2\n0 root\n")
    made.chmod(0o644)
    return made


def refusal(file: Path, uid: int = 1000) -> str:
    with pytest.raises(ZcError) as caught:
        Peers(file).admit(uid)
    return caught.value.code


def test_users_are_named_as_the_map_says(file: Path) -> None:
    peers = Peers(file)
    assert [peers.admit(uid).name for uid in (1000, 1001, 0)] == ["alice", "bob-2", "root"]
    assert peers.admit(1000).principal == "user:alice"
    assert refusal(file, 1002) == "user_not_mapped"
    file.write_text("1001 bob\n")
    assert refusal(file, 1000) == "user_not_mapped"  # from the next connection on


def test_a_mapped_user_is_a_member_and_its_hooks_are_hooks() -> None:
    alice, own = Peer(1000, "alice"), Peer(1000)
    assert [alice.standing(each) for each in (Standing.PERSON, Standing.AGENT, Standing.HOOK)] == [
        Standing.MEMBER, Standing.MEMBER, Standing.HOOK,
    ]  # fmt: skip
    assert [own.standing(each) for each in Standing] == list(Standing)
    assert own.principal == 1000


@pytest.mark.parametrize(
    "text",
    ["1000", "alice 1000", "1000 Alice", "1000 a:b", "01000 alice", "+1 alice", "1000 alice bob", "1000 -a",
     "\u0661 alice", "1000 alice\n1000 bob", "1000 alice\n1001 alice", "99999999999 alice", "1000 " + "a" * 33,
     "#" * (MOST_BYTES + 1)],
)  # fmt: skip
def test_one_wrong_line_lets_nobody_in(file: Path, text: str) -> None:
    file.write_text(f"1000 carol\n{text}\n" if "1000 " not in text else f"{text}\n")
    assert refusal(file) == "principals_unusable"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_map_that_others_can_write_lets_nobody_in(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert refusal(file) == "principals_unusable"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_map_of_another_user_lets_nobody_in(file: Path) -> None:
    os.chown(file, 65534, 65534)
    assert refusal(file) == "principals_unusable"


def test_what_is_no_file_lets_nobody_in_and_is_not_waited_for(file: Path, tmp_path: Path) -> None:
    link, pipe, folder = tmp_path / "link", tmp_path / "pipe", tmp_path / "folder"
    link.symlink_to(file)
    os.mkfifo(pipe)
    folder.mkdir()
    for each in (link, pipe, folder, tmp_path / "none"):
        assert refusal(each) == "principals_unusable"
