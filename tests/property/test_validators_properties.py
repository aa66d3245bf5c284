"""Whatever comes in: validators raise their error alone, and what they pass is what they promise."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securecontext.boundaries.jail import Jail, by_kernel, by_walk
from securecontext.contracts.agent import is_agent_id, is_message
from securecontext.types.errors import InvalidInput, ZcError
from securecontext.validators.filesystem import PATH_BYTES, SafePath
from securecontext.validators.input import sanitize_agent_message, validate_agent_id
from securecontext.validators.markup import views

PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "%2e", "%2f", "%25", "&#60;", "&#x", "&lt;", "\\u00", "\\x3c", "<", ">", "script", "on",
     "load", "=", "javascript", ":", "\u2025", "\uff0f", "\uff0e", "\u2215", "\0", "\ud800", "\u200b", "\u202e",
     "\u2469", "\ufdfa", "CON", "nul", "~", "dev", "proc", "a", "e\u0301", " ", "9" * 50, "\ufe0f", "\U000e0041"]
)  # fmt: skip
texts = st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join))
anything = st.one_of(texts, st.binary(), st.none(), st.integers(), st.lists(texts, max_size=2), st.floats())


@given(anything)
def test_messages_are_what_they_promise_or_refused(raw):
    try:
        made = sanitize_agent_message(raw)
    except InvalidInput as error:
        assert error.code and error.hint
        return
    assert is_message(made.value)
    assert sanitize_agent_message(made.value).value == made.value
    for view in views(made.value):
        assert re.search(r"<script[\s/>]", view, re.IGNORECASE) is None
        assert re.search(r"(?<!\.)\.\./", view) is None
        assert "....//" not in view


@given(anything)
def test_agent_ids_are_what_they_promise_or_refused(raw):
    try:
        made = validate_agent_id(raw)
    except InvalidInput as error:
        assert error.code and error.hint
        return
    assert is_agent_id(made.value)


@given(anything, st.sampled_from(["/srv/project", "/", "//", "/a", "/proc", "srv"]))
def test_a_path_that_passes_lies_inside_whatever_follows_it(raw, root):
    try:
        path = SafePath.of(raw)
        joined = path.inside(PurePosixPath(root))
    except InvalidInput as error:
        assert error.code and error.hint
        return
    lexical = os.path.normpath(str(joined))
    assert lexical == str(joined)
    assert lexical.startswith(os.path.normpath(root).replace("//", "/").rstrip("/") + "/")
    assert not lexical.startswith(("/dev/", "/proc/", "/sys/"))
    assert len(os.fsencode(lexical)) <= PATH_BYTES
    assert SafePath.of(str(path)) == path
    assert SafePath.of(str(path).encode()) == path


NAMES = st.sampled_from(["a", "b", "c", "d"])
TREES = st.lists(
    st.tuples(
        st.lists(NAMES, min_size=1, max_size=3),
        st.sampled_from(["file", "folder", "link out", "link up", "link in", "link folder", "pipe", "hard"]),
    ),
    max_size=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, paths=st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=8))
def test_a_jail_reads_what_lies_in_it_and_nothing_else(tmp_path_factory, tree, paths):
    """Trees of files, links of all kinds and pipes: each way reads the same, and never what lies outside."""
    top = tmp_path_factory.mktemp("jail")
    outside, root = top / "outside", top / "root"
    outside.mkdir()
    root.mkdir()
    for name in "abcd":
        (outside / name).write_bytes(b"outside")
    for parts, kind in tree:
        _make(root.joinpath(*parts), kind, root, outside)
    for parts in paths:
        found = [_read(way, root, parts) for way in (by_kernel, by_walk)]
        assert found[0] == found[1]
        plain = root.joinpath(*parts)
        linked = any(root.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts)))
        if isinstance(found[0], bytes):
            assert found[0] == b"inside" and not linked and plain.is_file()
        else:
            assert linked or not plain.is_file()


def _make(path: Path, kind: str, root: Path, outside: Path) -> None:
    try:
        if any(each.is_symlink() for each in path.parents if each.is_relative_to(root)):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "file":
                path.write_bytes(b"inside")
            case "folder":
                path.mkdir()
            case "link out":
                path.symlink_to(outside / "a")
            case "link up":
                path.symlink_to("../" * len(path.relative_to(root).parts) + "outside/b")
            case "link in":
                path.symlink_to(root / "a")
            case "link folder":
                path.symlink_to(outside)
            case "pipe":
                os.mkfifo(path)
            case "hard":
                os.link(root / "a", path)
    except OSError:
        return  # something stands there already


def _read(way, root: Path, parts: list[str]) -> bytes | str:
    with Jail.at(root, way) as jail:
        try:
            return jail.read(SafePath.of("/".join(parts)), 100)
        except ZcError as error:
            return error.code
