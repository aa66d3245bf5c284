"""What an installation into Claude Code refuses, and what it writes, before the client is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import securecontext
from securecontext.boundaries.code import plugin_files
from securecontext.cli import plugin_render
from securecontext.cli.backups import KEPT, Backups
from securecontext.cli.client_files import (
    MARKETPLACE,
    PLUGIN_ID,
    RULE,
    SETTINGS,
    ClientFiles,
    other_local_settings,
    project_root,
    put_back,
    take_rule_out,
)
from securecontext.cli.install import find_client, install_claude_code, uninstall_claude_code
from securecontext.cli.installation import Installation
from securecontext.types.errors import InvalidInput, Unavailable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "project").mkdir()
    (tmp_path / ".claude").mkdir()
    return {"HOME": str(tmp_path), "PATH": "/nowhere"}


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A program in the client's place that notes that it was asked, and refuses."""
    program = tmp_path / "recorder"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\necho no good >&2\nexit 1\n')
    program.chmod(0o755)
    return program


def test_without_the_client_the_refusal_names_the_next_step(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with pytest.raises(Unavailable) as refused:
        install_claude_code(project=tmp_path / "project", home=tmp_path / "zc", environment=environment)
    assert refused.value.code == "client_missing"
    assert "--client" in refused.value.hint
    assert not (tmp_path / "zc").exists()


def test_the_client_is_the_given_one_then_the_environments(tmp_path: Path, recorder: Path) -> None:
    other = tmp_path / "claude"
    other.symlink_to(recorder)
    assert find_client(recorder, {"ZC_CLAUDE": str(other)}) == recorder
    assert find_client(None, {"ZC_CLAUDE": str(recorder), "PATH": str(tmp_path)}) == recorder
    assert find_client(None, {"PATH": str(tmp_path)}) == other
    with pytest.raises(Unavailable, match="client_missing") as missing:
        find_client(tmp_path / "absent", {"PATH": str(tmp_path)}, command="zc doctor")
    assert "zc doctor --client PATH" in missing.value.hint


def test_the_client_named_at_the_installation_is_remembered(tmp_path: Path, recorder: Path) -> None:
    home = tmp_path / "zc"
    home.mkdir()
    Installation(places=(None,), client=str(recorder)).save(home)
    other = tmp_path / "claude"
    other.symlink_to("/bin/true")
    path = {"PATH": str(tmp_path)}
    assert find_client(None, path, home) == recorder
    assert find_client(None, {**path, "ZC_CLAUDE": str(other)}, home) == other
    assert find_client(other, path, home) == other
    recorder.unlink()
    assert find_client(None, path, home) == other


@pytest.mark.parametrize("content", ["{broken", "[]", '"text"', "{\xff", '{"a": 1} trailing'])
@pytest.mark.parametrize(
    "which",
    [
        ".claude/settings.json",
        "project/.claude/settings.local.json",
        ".claude.json",
        ".claude/plugins/installed_plugins.json",
    ],
)
def test_a_corrupt_file_of_the_client_is_refused_named_copied_and_left(
    tmp_path: Path, environment: dict[str, str], recorder: Path, which: str, content: str
) -> None:
    path = tmp_path / which
    path.parent.mkdir(exist_ok=True)
    before = set(tmp_path.rglob("*"))
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidInput) as refused:
        install_claude_code(
            scope="project",
            project=tmp_path / "project",
            home=tmp_path / "zc",
            environment=environment,
            client=recorder,
            now=NOW,
        )
    assert refused.value.code == "client_file_corrupt"
    assert str(path) in refused.value.message
    assert path.read_bytes() == content.encode("latin-1")
    [copy] = (tmp_path / "zc" / "backups" / "20260102T030405Z").iterdir()
    assert copy.name == "__".join(path.parts[1:])
    assert copy.read_bytes() == content.encode("latin-1")
    assert {each for each in tmp_path.rglob("*") if not each.is_relative_to(tmp_path / "zc")} == {
        *before,
        path,
    }
    assert str(copy) in refused.value.hint
    assert not (tmp_path / "asked").exists()
    assert not (tmp_path / "zc" / "claude-code").exists()


def test_a_client_that_refuses_is_quoted_and_nothing_of_the_attempt_is_left(
    tmp_path: Path, environment: dict[str, str], recorder: Path
) -> None:
    settings = tmp_path / ".claude" / "settings.json"
    settings.write_text('{"model":   "opus"}')
    before = set(tmp_path.rglob("*"))
    for scope in ("user", "project"):
        with pytest.raises(Unavailable) as refused:
            install_claude_code(
                scope=scope,  # type: ignore[arg-type]
                project=tmp_path / "project",
                home=tmp_path / "zc",
                environment=environment,
                client=recorder,
            )
        assert refused.value.code == "client_refused"
        assert "no good" in refused.value.message
        lock = tmp_path / "zc" / "install.lock"
        assert set(tmp_path.rglob("*")) - before == {lock.parent, lock, tmp_path / "asked"}
        assert settings.read_text() == '{"model":   "opus"}'


def test_a_client_that_breaks_off_halfway_leaves_its_files_as_they_were(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    settings = tmp_path / ".claude" / "settings.json"
    settings.write_text('{"model":   "opus"}')
    program = tmp_path / "halfway"
    program.write_text(
        f"#!/bin/sh\n/bin/mkdir -p {tmp_path}/.claude/plugins/cache/securecontext {tmp_path}/project/.claude\n"
        f"echo '{{}}' > {tmp_path}/.claude/plugins/known_marketplaces.json\n"
        f"echo '{{}}' > {tmp_path}/project/.claude/settings.local.json\n"
        f'echo \'{{"model": "opus", "enabledPlugins": {{}}}}\' > {settings}\nexit 1\n'
    )
    program.chmod(0o755)
    with pytest.raises(Unavailable):
        install_claude_code(
            scope="project",
            project=tmp_path / "project",
            home=tmp_path / "zc",
            environment=environment,
            client=program,
        )
    assert settings.read_text() == '{"model":   "opus"}'
    assert [each.name for each in (tmp_path / ".claude").iterdir()] == ["settings.json"]
    assert list((tmp_path / "project").iterdir()) == []
    assert [each.name for each in (tmp_path / "zc").iterdir()] == ["install.lock"]


def test_nothing_to_uninstall_changes_nothing_and_does_not_ask_the_client(
    tmp_path: Path, environment: dict[str, str], recorder: Path
) -> None:
    settings = tmp_path / ".claude" / "settings.json"
    settings.write_text('{"model":   "opus", "enabledPlugins": {}}')
    report = uninstall_claude_code(home=tmp_path / "zc", environment=environment, client=recorder)
    assert (report.action, report.notes) == ("nothing", ())
    assert settings.read_text() == '{"model":   "opus", "enabledPlugins": {}}'
    assert [p.name for p in settings.parent.iterdir()] == ["settings.json"]
    assert not (tmp_path / "asked").exists()


def test_backups_of_one_second_do_not_overwrite_each_other_and_are_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    copies = []
    for text in ("one", "two", "three"):
        path.write_text(text)
        copies.append(Backups(tmp_path / "zc", NOW).copy(path))
    assert [copy.read_text() for copy in copies] == ["one", "two", "three"]
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}
    assert {folder.stat().st_mode & 0o777 for folder in copies[0].parents[:2]} == {0o700}
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["settings.json"]


def test_the_newest_backups_are_kept(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 50) / ("name" * 50)
    path.parent.mkdir()
    path.touch()
    for minute in range(KEPT + 3):
        Backups(tmp_path / "zc", NOW.replace(minute=minute)).copy(path)
    kept = sorted(each.name for each in (tmp_path / "zc" / "backups").iterdir())
    assert len(kept) == KEPT
    assert kept[0] == "20260102T030305Z"
    assert kept[-1] == f"20260102T03{KEPT + 2}05Z"


THEIRS = b'{"statusLine": {},\t"enabledPlugins": {"a@b": true}}'


@pytest.mark.parametrize(
    ("original", "now", "then"),
    [
        (THEIRS, {"statusLine": {}, "enabledPlugins": {"a@b": True, PLUGIN_ID: True}}, THEIRS),
        (
            THEIRS,
            {"statusLine": {}, "enabledPlugins": {"a@b": 1, PLUGIN_ID: True}},
            {"enabledPlugins": {"a@b": 1}},
        ),
        (THEIRS, {"new": 1, "enabledPlugins": {PLUGIN_ID: True}}, {"new": 1, "enabledPlugins": {}}),
        (b"{ }", {"enabledPlugins": {}, "extraKnownMarketplaces": {MARKETPLACE: {}}}, b"{ }"),
        (b"", {"extraKnownMarketplaces": {MARKETPLACE: {}}}, b""),
        (None, {"enabledPlugins": {}, "extraKnownMarketplaces": {MARKETPLACE: {}}}, None),
        (None, {"enabledPlugins": {"a@b": True, PLUGIN_ID: True}}, {"enabledPlugins": {"a@b": True}}),
        (b'{"enabledPlugins": {}}', {"enabledPlugins": {PLUGIN_ID: True}}, b'{"enabledPlugins": {}}'),
        (b'{"enabledPlugins": {"%s": true}}' % PLUGIN_ID.encode(), {"enabledPlugins": {}}, None),
    ],
)
def test_a_file_is_put_back_as_it_was_unless_others_changed_it(
    tmp_path: Path, original: bytes | None, now: dict[str, Any], then: bytes | dict[str, Any] | None
) -> None:
    real = tmp_path / "dotfiles.json"
    path = tmp_path / "settings.json"
    path.symlink_to(real)
    real.write_text(json.dumps(now))
    real.chmod(0o640)
    put_back(path, original, SETTINGS, Backups(tmp_path / "zc"), form=True)
    if then is None:
        assert not path.exists()
        return
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    if isinstance(then, bytes):
        assert real.read_bytes() == then
    else:
        assert {
            key: value for key, value in json.loads(real.read_bytes()).items() if key != "statusLine"
        } == then


def test_a_file_that_does_not_name_us_keeps_the_form_that_it_has_now(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"model":\t"opus"}')
    put_back(path, b'{"model": "opus"}', SETTINGS, Backups(tmp_path / "zc"), form=False)
    assert path.read_text() == '{"model":\t"opus"}'


@pytest.mark.parametrize(
    ("original", "now", "then"),
    [
        (None, f"{RULE}\n", None),
        (None, f"{RULE}\n*.o\n", "*.o\n"),
        ("*.o", f"*.o\n{RULE}\n", "*.o"),
        ("*.o\n", f"*.o\n\n{RULE}\n", "*.o\n"),
        ("*.o\n", f"*.o\n\n{RULE}\n*.a\n", "*.o\n\n*.a\n"),
        ("*.o\n", "*.a\n", "*.a\n"),
    ],
)
def test_the_clients_rule_goes_out_of_the_users_ignore_file(
    tmp_path: Path, original: str | None, now: str, then: str | None
) -> None:
    path = tmp_path / "ignore"
    path.write_text(now)
    take_rule_out(path, None if original is None else original.encode())
    assert (path.read_text() if path.exists() else None) == then


def test_local_settings_of_other_projects_are_seen(tmp_path: Path, environment: dict[str, str]) -> None:
    files = ClientFiles.of(environment)
    backups = Backups(tmp_path / "zc")
    assert other_local_settings(files, backups) == []
    theirs = tmp_path / "project" / ".claude" / "settings.local.json"
    files.state.write_text(json.dumps({"projects": {str(tmp_path / "project"): {}, "/no/such": {}}}))
    assert other_local_settings(files, backups) == []
    theirs.parent.mkdir()
    theirs.touch()
    assert other_local_settings(files, backups) == [theirs]


def test_local_settings_are_those_of_the_repository_or_of_the_folder(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    inside = tmp_path / "repository" / "sub"
    inside.mkdir(parents=True)
    assert project_root(inside, environment) == inside
    (tmp_path / "repository" / ".git").mkdir()
    (tmp_path / "repository" / ".git" / "HEAD").touch()
    assert project_root(inside, environment) == tmp_path / "repository"


def test_rendering_writes_this_machines_paths_and_this_version(tmp_path: Path) -> None:
    target = tmp_path / "a folder" / "claude-code"
    python = Path(sys.executable)
    plugin_render.render(target, plugin_files.Machine(python, tmp_path / "o'data\\"))
    hooks = json.loads((target / "plugin/hooks/hooks.json").read_text())
    handlers = [h for groups in hooks["hooks"].values() for group in groups for h in group["hooks"]]
    assert {h["command"] for h in handlers} == {str(python)}
    assert {(*h["args"][:3], h["args"][4]) for h in handlers} == {
        ("-I", "-S", "-c", "${CLAUDE_PLUGIN_ROOT}/hooks")
    }
    server = json.loads((target / "plugin/.mcp.json").read_text())["mcpServers"]["zc-ctx"]
    assert server["command"] == str(python)
    assert server["args"][:2] == ["-I", "-S"]
    assert Path(server["args"][2]).is_absolute()
    manifest = json.loads((target / "plugin/.claude-plugin/plugin.json").read_text())
    assert manifest["version"] == securecontext.__version__
    scope: dict[str, object] = {"__name__": "entry"}
    exec((target / "plugin/hooks/entry.py").read_text(), scope)
    assert scope["COMMAND"] == [str(python), "-I", "-m", "securecontext", "serve"]
    assert scope["HOME"] == str(tmp_path / "o'data\\")
    assert scope["VERSION"] == securecontext.__version__


def test_rendering_again_drops_what_is_no_longer_part_of_the_plugin(tmp_path: Path) -> None:
    machine = plugin_files.Machine(Path(sys.executable))
    plugin_render.render(tmp_path, machine)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    old = tmp_path / "plugin" / "commands" / "old.md"
    old.parent.mkdir()
    old.write_text("gone")
    plugin_render.render(tmp_path, machine)
    assert not old.parent.exists()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_rendered_hook_runs_and_finds_the_data_folder_without_help(tmp_path: Path) -> None:
    machine = plugin_files.Machine(Path(sys.executable), tmp_path / "data")
    plugin_render.render(tmp_path / "plug", machine)
    subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "plug/plugin/hooks/entry.py"), "stop"],
        input=b"{}",
        env={"HOME": str(tmp_path)},
        check=True,
        timeout=20,
    )
    assert len(list((tmp_path / "data" / "spool").glob("*.json"))) == 1


def test_the_plugins_own_files_agree_on_the_version() -> None:
    source = plugin_files.plugin_source()
    manifest = json.loads((source / ".claude-plugin" / "plugin.json").read_text())
    assert manifest["version"] == securecontext.__version__
    assert f'VERSION = "{securecontext.__version__}"' in (source / "hooks" / "entry.py").read_text()
