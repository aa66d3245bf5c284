"""The judgement over the installed code: what is a finding, what vouches for itself, what a person must accept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecontext.boundaries.code.integrity import Baseline, Difference, Seen, State, judge

OWN = {"package/a.py": "a", "package/deep/b.py": "b"}
PLUGIN = {"client/hooks/entry.py": "e", "client/plugin.json": "p"}
WRITTEN = {name: frozenset({digest, digest * 2}) for name, digest in PLUGIN.items()}
ACCEPTED = Baseline("1.2.0", {**OWN, **PLUGIN})


def seen(
    version: str = "1.2.0", own: dict[str, str] = OWN, plugin: dict[str, str] = PLUGIN, **more: object
) -> Seen:
    """What is there: by default what was accepted, from a wheel."""
    return replace(Seen(version, {**own, **plugin}, (), dict(own), WRITTEN), **more)  # type: ignore[arg-type]


def named(*pairs: str) -> tuple[Difference, ...]:
    return tuple(Difference(*pair.split(" ")[::-1]) for pair in pairs)


def test_what_was_accepted_is_sound() -> None:
    found = judge(ACCEPTED, seen())
    assert (found.state, found.differences, found.sound) == (State.SOUND, (), True)


@pytest.mark.parametrize(
    ("own", "difference"),
    [
        ({**OWN, "package/deep/b.py": "x"}, "changed package/deep/b.py"),
        ({**OWN, "package/deep/c.py": "c"}, "added package/deep/c.py"),
        ({"package/a.py": "a"}, "removed package/deep/b.py"),
    ],
)
def test_w_73_a_file_that_differs_in_the_same_version_is_named(own: dict[str, str], difference: str) -> None:
    for record in (own, OWN, None):  # whatever the wheel's record has come to say
        found = judge(ACCEPTED, seen(own=own, record=record))
        assert (found.state, found.differences, found.sound) == (State.CHANGED, named(difference), False)


def test_rt_s1_05_a_newer_version_is_accepted_as_an_upgrade_where_the_wheel_bears_it_out() -> None:
    new = {"package/a.py": "A", "package/new.py": "n"}
    found = judge(ACCEPTED, seen("1.10.0", new))
    assert (found.state, found.version, found.before) == (State.UPGRADED, "1.10.0", "1.2.0")
    assert found.sound


def test_w_73_a_version_bump_alone_accepts_nothing() -> None:
    new = {**OWN, "package/a.py": "bumped"}
    found = judge(ACCEPTED, seen("1.3.0", new, record=OWN))
    assert (found.state, found.differences) == (State.CHANGED, named("changed package/a.py"))
    found = judge(ACCEPTED, seen("1.3.0", new, record=None))
    assert (found.state, found.differences, found.sound) == (
        State.UNACCEPTED,
        named("changed package/a.py"),
        False,
    )


@pytest.mark.parametrize("version", ["1.1.9", "1.2.0rc1", "", "9" * 200])
def test_an_older_version_and_one_that_is_none_are_a_persons_to_accept(version: str) -> None:
    assert judge(ACCEPTED, seen(version, {**OWN, "package/a.py": "old"})).state is State.CHANGED


def test_the_first_baseline_is_made_of_what_the_wheel_brought_and_of_nothing_else() -> None:
    assert judge(None, seen()).state is State.FIRST
    found = judge(None, seen(own={**OWN, "package/evil.py": "x"}, record=OWN))
    assert (found.state, found.differences) == (State.CHANGED, named("added package/evil.py"))
    assert judge(None, seen(record=None)).state is State.UNACCEPTED


def test_forged_bytecode_is_a_finding_whatever_else_holds() -> None:
    forged = ("package/__pycache__/a.pyc",)
    for baseline in (ACCEPTED, None):
        for record in (OWN, None):
            found = judge(baseline, seen(forged=forged, record=record))
            assert (found.state, found.differences) == (
                State.CHANGED,
                named("forged package/__pycache__/a.pyc"),
            )
    assert judge(ACCEPTED, seen("1.3.0", {**OWN, "package/a.py": "A"}, forged=forged)).state is State.CHANGED


def test_w_74_a_hook_or_manifest_that_is_neither_accepted_nor_ours_is_named() -> None:
    for plugin, difference in (
        ({**PLUGIN, "client/hooks/entry.py": "x"}, "changed client/hooks/entry.py"),
        ({**PLUGIN, "client/hooks/more.py": "x"}, "added client/hooks/more.py"),
        ({"client/plugin.json": "p"}, "removed client/hooks/entry.py"),
    ):
        for baseline in (ACCEPTED, Baseline("1.2.0", OWN), None):
            found = judge(baseline, seen(plugin=plugin))
            assert (found.state, found.differences) == (State.CHANGED, named(difference)), baseline
        assert judge(None, seen(plugin=plugin, record=None)).state is State.CHANGED


def test_the_plugin_may_be_installed_again_or_removed_without_being_accepted() -> None:
    again = {name: digest * 2 for name, digest in PLUGIN.items()}
    for baseline, plugin in ((ACCEPTED, again), (Baseline("1.2.0", OWN), PLUGIN), (ACCEPTED, {})):
        assert judge(baseline, seen(plugin=plugin)).state is State.INSTALLED


def test_a_package_that_was_changed_vouches_for_no_plugin() -> None:
    found = judge(
        ACCEPTED,
        seen(own={**OWN, "package/a.py": "x"}, plugin={**PLUGIN, "client/plugin.json": "pp"}),
    )
    assert found.differences == named("changed package/a.py", "changed client/plugin.json")


def test_the_accepted_plugin_stays_good_after_an_upgrade_of_the_package() -> None:
    new = {"client/hooks/entry.py": frozenset({"E"}), "client/more": frozenset({"m"})}
    upgraded = {**OWN, "package/a.py": "A"}
    assert judge(ACCEPTED, seen("1.3.0", upgraded, written=new)).state is State.UPGRADED
    half = {"client/hooks/entry.py": "E", "client/plugin.json": "p"}
    found = judge(ACCEPTED, seen("1.3.0", upgraded, half, written=new))
    assert (found.state, found.differences) == (State.CHANGED, named("removed client/more"))
