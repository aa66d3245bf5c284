"""Which texts name a file below a folder: each refusal has its code, and none repeats the path."""

from pathlib import PurePosixPath

import pytest

from securecontext.types.errors import InvalidInput
from securecontext.validators.filesystem import SafePath

ROOT = PurePosixPath("/srv/project")


def code(raw: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        SafePath.of(raw)
    assert caught.value.hint
    if isinstance(raw, str) and len(raw) > 2:
        assert raw not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(
    ("raw", "inside"),
    [
        ("a", "a"),
        ("src/main.py", "src/main.py"),
        ("./src//main.py/", "src/main.py"),
        (b"caf\xc3\xa9/\xe6\xbc\xa2.md", "café/漢.md"),
        (".git/config", ".git/config"),
        ("...a", "...a"),
        ("a b/[id]+(x)@2%.txt", "a b/[id]+(x)@2%.txt"),
        ("100% sure", "100% sure"),
        ("confer/nullable/com10", "confer/nullable/com10"),
        ("x" * 255, "x" * 255),
    ],
)
def test_what_is_plain_passes(raw, inside):
    path = SafePath.of(raw)
    assert str(path) == inside
    assert path.inside(ROOT) == ROOT / inside


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, "path_not_text"),
        (7, "path_not_text"),
        (b"\xff", "path_not_text"),
        (b"\xc0\xae\xc0\xae\xc0\xafetc", "path_not_text"),
        (b"\xe0\x80\xae", "path_not_text"),
        ("", "path_empty"),
        (".", "path_empty"),
        ("./", "path_empty"),
        ("x" * 256, "path_too_long"),
        ("é" * 128, "path_too_long"),
        ("x/" * 2047 + "xx", "path_too_long"),
        ("x" * 10_000_000, "path_too_long"),
        ("é/" * 2000, "path_too_long"),
        ("/etc/passwd", "path_absolute"),
        ("//server/share", "path_absolute"),
        ("/dev/tty", "path_absolute"),
        ("/proc/self/fd/0", "path_absolute"),
        ("~/.ssh/id", "path_absolute"),
        ("~root", "path_absolute"),
        ("..", "path_traversal"),
        ("../x", "path_traversal"),
        ("a/../../x", "path_traversal"),
        ("a/..", "path_traversal"),
        ("a\0b", "path_character"),
        ("a\nb", "path_character"),
        ("a\u200bb", "path_character"),
        ("a\u202eb", "path_character"),
        ("a\ud800", "path_character"),
        ("a\ue000", "path_character"),
        ("a\u00a0b", "path_character"),
        ("%2e%2e/x", "path_encoded"),
        ("%252e%252E/x", "path_encoded"),
        ("a%2Fb", "path_encoded"),
        ("a%00", "path_encoded"),
        ("%c0%ae%c0%ae", "path_encoded"),
        ("%u002e", "path_encoded"),
        ("\uff0e\uff0e/x", "path_confusable"),
        ("\u2025/x", "path_confusable"),
        ("a\u2026", "path_confusable"),
        ("a\uff0fb", "path_confusable"),
        ("a\u2215b", "path_confusable"),
        ("a\u2044b", "path_confusable"),
        ("a\uff3cb", "path_confusable"),
        ("c\uff1ax", "path_confusable"),
        ("a\u2024b", "path_confusable"),
        ("cafe\u0301", "path_confusable"),
        ("a\\b", "path_windows"),
        ("..\\x", "path_windows"),
        ("\\\\server\\share", "path_windows"),
        ("C:/x", "path_windows"),
        ("c:x", "path_windows"),
        ("file.txt:stream", "path_windows"),
        ("file::$DATA", "path_windows"),
        ("CON", "path_windows"),
        ("a/nUl.txt", "path_windows"),
        ("AUX .c", "path_windows"),
        ("lpt1", "path_windows"),
        ("COM\u00b9", "path_windows"),
        ("CONIN$", "path_windows"),
        ("file.", "path_windows"),
        ("file ", "path_windows"),
        (" file", "path_windows"),
        ("...", "path_windows"),
        ("dir./x", "path_windows"),
    ],
)
def test_what_is_not_is_refused(raw, expected):
    assert code(raw) == expected


@pytest.mark.parametrize("parts", [(), ("..",), ("a", ".."), ("a/b",), ("",), ("/etc",), ("a\0",)])
def test_no_path_is_made_past_the_decision(parts):
    with pytest.raises(InvalidInput):
        SafePath(parts)


@pytest.mark.parametrize(
    ("root", "raw"),
    [
        ("srv", "a"),
        ("/srv/..", "a"),
        ("/", "proc/self/fd/3"),
        ("//", "proc/self/fd/3"),
        ("/", "dev/sda"),
        ("/proc", "1/root"),
        ("/sys/kernel", "x"),
    ],
)
def test_no_folder_for_files_is_none(root, raw):
    with pytest.raises(InvalidInput) as caught:
        SafePath.of(raw).inside(PurePosixPath(root))
    assert caught.value.code == "path_absolute"


def test_folder_and_path_are_bounded_together():
    root = PurePosixPath("/" + "/".join(["x" * 250] * 16))
    assert SafePath.of("a" * 70).inside(root)
    with pytest.raises(InvalidInput) as caught:
        SafePath.of("a" * 200).inside(root)
    assert caught.value.code == "path_too_long"
