"""The locks: every package with its hashes, and not a word about where they came from."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.source import REPOSITORY
from tests.tools import VERSIONS

RUNTIME, BUILD, DEV = "requirements.lock", "requirements-build.lock", "requirements-dev.lock"
LOCKS = (RUNTIME, BUILD, DEV)
FUZZ = "requirements-fuzz.lock"
SHARED = "requirements-postgres.lock"
EVERY = (*LOCKS, FUZZ, SHARED)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def _text(lock: str) -> str:
    return (REPOSITORY / lock).read_text(encoding="utf-8")


def _entries(lock: str) -> list[str]:
    """Return the logical lines: a requirement with its hashes, comments dropped."""
    joined = re.sub(r"(?m)^\s*#.*\n?", "", _text(lock)).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip()]


def _pins(lock: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for entry in _entries(lock):
        requirement = Requirement(entry.partition(" --hash")[0].strip())
        pins.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return pins


@pytest.mark.parametrize("lock", EVERY)
def test_every_package_is_pinned_and_has_hashes(lock: str) -> None:
    entries = _entries(lock)
    assert len(entries) >= (5 if lock in LOCKS else 1)
    for entry in entries:
        assert re.fullmatch(
            r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==\S+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry
        ), entry


@pytest.mark.parametrize("lock", EVERY)
@pytest.mark.parametrize(
    "pattern",
    [
        r"://",
        r"--(extra-)?index",
        r"--find-links",
        r"--trusted",
        r"(?m)(^|[\s'\"=])/\w",
        r"file:",
        r"@ ",
        r"\.whl",
        r"(?m)^-[er]",
    ],
)
def test_no_place_is_named(lock: str, pattern: str) -> None:
    assert re.search(pattern, _text(lock)) is None


@pytest.mark.parametrize("lock", EVERY)
def test_markers_do_not_narrow_the_python_versions_we_support(lock: str) -> None:
    """A lock made for one version of Python alone would say so in no marker: the oldest one is in its command."""
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    for entry in _entries(lock):
        marker = Requirement(entry.partition(" --hash")[0].strip()).marker
        if (
            marker is None
            or "sys_platform" in str(marker)
            or "platform_" in str(marker)
            or "implementation" in str(marker)
        ):
            continue
        versions = [
            marker.evaluate({"python_full_version": f"3.{minor}.1", "python_version": f"3.{minor}"})
            for minor in (11, 12, 13)
        ]
        assert any(versions), entry


def test_what_the_project_asks_for_is_locked() -> None:
    groups = PROJECT["dependency-groups"]
    asked = {
        RUNTIME: PROJECT["project"]["dependencies"],
        SHARED: [
            *PROJECT["project"]["dependencies"],
            *PROJECT["project"]["optional-dependencies"]["postgres"],
        ],
        BUILD: [*groups["build"], *PROJECT["build-system"]["requires"]],
        FUZZ: groups["fuzz"],
        DEV: [*groups["dev"], *PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]],
    }
    for lock, wanted in asked.items():
        pins = _pins(lock)
        for line in wanted:
            requirement = Requirement(line)
            versions = pins.get(canonicalize_name(requirement.name))
            assert versions, f"{requirement.name} is not in {lock}: run `make lock`"
            assert all(requirement.specifier.contains(version.removeprefix("==")) for version in versions), (
                line
            )


def test_the_locks_agree_with_each_other() -> None:
    runtime, build, dev = (_pins(lock) for lock in LOCKS)
    shared = _pins(SHARED)
    for name, versions in (runtime | build).items():
        assert dev[name] == versions, name
    assert all(shared[name] == versions for name, versions in runtime.items())
    assert shared["psycopg"] == dev["psycopg"]
    assert all(build[name] == runtime[name] for name in build.keys() & runtime.keys())


def test_the_tools_of_the_end_to_end_tests_are_pinned_with_hashes() -> None:
    text = (REPOSITORY / "tests/e2e/package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text, "npm writes addresses unless it is told --omit-lockfile-registry-resolved"
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"] == VERSIONS
    for name, version in VERSIONS.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert packages[f"node_modules/{name}"]["version"] == version
    assert [name for name, package in packages.items() if "integrity" not in package] == []
