"""Overlap of patterns against a model that tries every file of a small world."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from securecontext.coordination.patterns import Pattern, Taken, covers, names_of, overlap

NAMES = ["".join(letters) for size in (1, 2) for letters in product("ab", repeat=size)]
FILES = ["/".join(names) for depth in (1, 2, 3) for names in product(NAMES, repeat=depth)]
"""If two patterns of at most two parts, of two characters each, have a file in common, they have one of these."""
NAMED = [(file, names_of(file)) for file in FILES]
parts = st.one_of(st.text("ab*?", min_size=1, max_size=2), st.just("**"))
patterns = st.lists(parts, min_size=1, max_size=2).map("/".join)


def matches_name(part: str, name: str) -> bool:
    """Whether a part matches a name, said the slow way."""
    if not part:
        return not name
    if part[0] == "*":
        return any(matches_name(part[1:], name[cut:]) for cut in range(len(name) + 1))
    return bool(name) and part[0] in ("?", name[0]) and matches_name(part[1:], name[1:])


def matches(parts: list[str], names: list[str]) -> bool:
    """Whether a pattern's parts match a path or something above it, said the slow way."""
    if not parts:
        return True
    if parts[0] == "**":
        return any(matches(parts[1:], names[cut:]) for cut in range(len(names) + 1))
    return bool(names) and matches_name(parts[0], names[0]) and matches(parts[1:], names[1:])


@given(patterns)
def test_covers_is_what_the_slow_matcher_says(text: str) -> None:
    pattern, parts = Pattern.of(text), text.split("/")
    for file, names in NAMED:
        assert covers(pattern, names) == matches(parts, file.split("/")), (text, file)


@given(patterns, patterns)
def test_two_patterns_meet_if_and_only_if_there_is_a_common_file(one: str, other: str) -> None:
    first, second = Pattern.of(one), Pattern.of(other)
    common = [file for file, names in NAMED if covers(first, names) and covers(second, names)]
    assert overlap(first, second) == overlap(second, first) == bool(common), (one, other, common[:1])


@given(patterns)
def test_every_pattern_meets_itself_and_its_other_case(text: str) -> None:
    assert overlap(Pattern.of(text), Pattern.of(text.upper()))


@given(st.lists(patterns, max_size=6), patterns)
def test_what_is_taken_meets_a_pattern_if_and_only_if_one_of_it_does(taken: list[str], text: str) -> None:
    there, one = [Pattern.of(each) for each in taken], Pattern.of(text)
    assert Taken(there).meets(one) == any(overlap(each, one) for each in there)
