"""Which files a pattern means, and when two patterns meet."""

from __future__ import annotations

import pytest

from securecontext.coordination.patterns import MOST_WILDCARDS, Pattern, covers, names_of, overlap
from securecontext.types.errors import InvalidInput


def meet(one: str, other: str) -> bool:
    found = overlap(Pattern.of(one), Pattern.of(other))
    assert found == overlap(Pattern.of(other), Pattern.of(one)), "who comes first must not matter"
    return found


def means(pattern: str, file: str) -> bool:
    return covers(Pattern.of(pattern), names_of(file))


@pytest.mark.parametrize(
    ("pattern", "file"),
    [
        ("src/a.py", "src/a.py"),
        ("src/a.py", "SRC/A.py"),
        ("src", "src/deep/down/a.py"),
        ("./src//deep/", "src/deep/a.py"),
        ("src/*.py", "src/a.py"),
        ("src/*", "src/deep/a.py"),
        ("**/a.py", "a.py"),
        ("**/a.py", "x/y/a.py"),
        ("src/**/test_?.py", "src/test_1.py"),
        ("src/**/test_?.py", "src/x/y/test_1.py"),
        (".", "anything/at/all"),
        ("**", "anything"),
        ("app/[id]/page.tsx", "app/[id]/page.tsx"),
        ("café", "cafe\u0301/menu.txt"),
    ],
)
def test_a_pattern_covers_what_it_matches_and_all_below(pattern: str, file: str) -> None:
    assert means(pattern, file)


@pytest.mark.parametrize(
    ("pattern", "file"),
    [
        ("src/a.py", "src/a.pyc"),
        ("src/a", "src/ab"),
        ("src/*.py", "src/deep/a.py"),
        ("src/?.py", "src/ab.py"),
        ("app/[id]/page.tsx", "app/i/page.tsx"),
        ("src/x/**/a.py", "src/a.py"),
        ("src/a.py", "src"),
        ("src/a", "src/*"),
    ],
)
def test_a_pattern_does_not_cover_what_lies_elsewhere(pattern: str, file: str) -> None:
    assert not means(pattern, file)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.py", "src/a.py"),
        ("src/A.py", "src/a.py"),
        ("src", "src/a.py"),
        ("src/*.py", "src/a*"),
        ("a*c", "ab*"),
        ("**/x", "a/b"),
        ("a/**/b", "a/c/**"),
        ("*/b", "a/*"),
        (".", "x"),
    ],
)
def test_patterns_with_a_file_in_common_meet(one: str, other: str) -> None:
    assert meet(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.py", "src/b.py"),
        ("src/a", "src/ab"),
        ("*.py", "*.md"),
        ("a*b", "a*c"),
        ("a/*/b", "a/b/c"),
        ("src/?.py", "src/ab.py"),
    ],
)
def test_patterns_without_one_do_not(one: str, other: str) -> None:
    assert not meet(one, other)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("../a", "path_traversal"),
        ("a/../b", "path_traversal"),
        ("/etc/passwd", "path_absolute"),
        ("~/x", "path_absolute"),
        ("a\\b", "path_windows"),
        ("src/{a,b}.py", "pattern_braces"),
        ("*" * (MOST_WILDCARDS + 1), "pattern_wildcards"),
        ("", "path_empty"),
        ("a\0b", "path_character"),
        ("%2e%2e/a", "path_encoded"),
    ],
)
def test_what_is_no_pattern_is_refused(raw: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Pattern.of(raw)
    assert caught.value.code == code
