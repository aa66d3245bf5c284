"""The HTTP door's token file: made once, private, refused when it is not."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from securecontext.boundaries.identity.door_token import FILE, DoorToken, open_token
from securecontext.types.errors import Unavailable


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """An empty key folder."""
    folder = tmp_path / "keys"
    folder.mkdir(0o700)
    return folder


def test_it_is_made_once_with_32_random_bytes_for_the_owner_alone(keys: Path) -> None:
    first = open_token(keys)
    text = first.path.read_text("ascii")
    assert len(bytes.fromhex(text)) == 32
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert open_token(keys).matches(text.strip())
    assert [file.name for file in keys.iterdir()] == [FILE]
    (keys / "other").mkdir(0o700)
    assert not open_token(keys / "other").matches(text.strip())


def test_many_at_once_end_with_one_token(keys: Path) -> None:
    found: list[DoorToken] = []
    threads = [threading.Thread(target=lambda: found.append(open_token(keys))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({token.short for token in found}) == 1
    assert [file.name for file in keys.iterdir()] == [FILE]


def test_only_the_token_itself_matches(keys: Path) -> None:
    token = open_token(keys)
    text = token.path.read_text("ascii").strip()
    assert token.matches(text)
    for other in ("", text[:-1], text + "0", text.upper(), text + "\n", "\udcff", "ä" * 64, "0" * 64):
        assert not token.matches(other)


def test_the_secret_shows_nowhere(keys: Path) -> None:
    token = open_token(keys)
    text = token.path.read_text("ascii").strip()
    assert text not in repr(token)
    assert len(token.short) == 8
    assert token.short not in text


def _loose(path: Path) -> None:
    path.chmod(0o640)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _short(path: Path) -> None:
    path.write_text("abc\n")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _more(path: Path) -> None:
    path.write_text(path.read_text() * 2)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_loose, "token_file_unsafe"),
        (_link, "token_file_unsafe"),
        (_dangling, "token_file_unsafe"),
        (_folder, "token_file_unsafe"),
        (_pipe, "token_file_unsafe"),
        (_short, "token_file_malformed"),
        (_empty, "token_file_malformed"),
        (_more, "token_file_malformed"),
    ],
)
def test_a_file_that_may_be_known_or_is_none_is_refused(
    keys: Path, spoil: Callable[[Path], None], code: str
) -> None:
    spoil(open_token(keys).path)
    with pytest.raises(Unavailable) as caught:
        open_token(keys)
    assert caught.value.code == code
    assert "zc service restart" in caught.value.hint
