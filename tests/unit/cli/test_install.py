"""What an installation into Claude Code refuses, and what it writes, before the client is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import securecontext
from securecontext.cli import plugin_render
from securecontext.cli.client_files import OWNED, back_up, sweep_settings
from securecontext.cli.install import find_client, install_claude_code, uninstall_claude_code
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
    with pytest.raises(Unavailable, match="client_missing"):
        find_client(tmp_path / "absent", {"PATH": str(tmp_path)})


@pytest.mark.parametrize("content", ["{broken", "[]", '"text"', "{\xff", '{"a": 1} trailing'])
@pytest.mark.parametrize("which", [".claude/settings.json", "project/.claude/settings.json", ".claude.json"])
def test_a_corrupt_file_of_the_client_is_refused_named_copied_and_left(
    tmp_path: Path, environment: dict[str, str], recorder: Path, which: str, content: str
) -> None:
    path = tmp_path / which
    path.parent.mkdir(exist_ok=True)
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
    copy = path.with_name(path.name + ".zc-backup-20260102T030405Z")
    assert copy.read_bytes() == content.encode("latin-1")
    assert str(copy) in refused.value.hint
    assert not (tmp_path / "asked").exists()
    assert not (tmp_path / "zc" / "claude-code").exists()


def test_a_client_that_refuses_is_quoted(tmp_path: Path, environment: dict[str, str], recorder: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        install_claude_code(
            project=tmp_path / "project", home=tmp_path / "zc", environment=environment, client=recorder
        )
    assert refused.value.code == "client_refused"
    assert "no good" in refused.value.message


def test_nothing_to_uninstall_changes_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    settings = tmp_path / ".claude" / "settings.json"
    settings.write_text('{"model":   "opus"}')
    report = uninstall_claude_code(home=tmp_path / "zc", environment=environment)
    assert report.action == "nothing"
    assert settings.read_text() == '{"model":   "opus"}'
    assert [p.name for p in settings.parent.iterdir()] == ["settings.json"]


def test_backups_of_one_second_do_not_overwrite_each_other(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    copies = []
    for text in ("one", "two", "three"):
        path.write_text(text)
        path.chmod(0o600)
        copies.append(back_up(path, NOW))
    assert [copy.read_text() for copy in copies] == ["one", "two", "three"]
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}


def test_sweeping_keeps_what_is_others_and_follows_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    path = tmp_path / "settings.json"
    path.symlink_to(real)
    theirs = {"statusLine": {}, "enabledPlugins": {"a@b": True}}
    ours = {key: {name: True} for key, name in OWNED.items()}
    ours["enabledPlugins"] |= theirs["enabledPlugins"]
    real.write_text(json.dumps({**theirs, **ours}))
    sweep_settings(path, frozenset({"enabledPlugins"}), NOW)
    assert path.is_symlink()
    assert json.loads(real.read_text()) == theirs


def test_rendering_writes_this_machines_paths_and_this_version(tmp_path: Path) -> None:
    target = tmp_path / "a folder" / "claude-code"
    python = Path(sys.executable)
    plugin_render.render(target, plugin_render.Machine(python, tmp_path / "o'data\\"))
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
    machine = plugin_render.Machine(Path(sys.executable))
    plugin_render.render(tmp_path, machine)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    old = tmp_path / "plugin" / "commands" / "old.md"
    old.parent.mkdir()
    old.write_text("gone")
    plugin_render.render(tmp_path, machine)
    assert not old.parent.exists()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_rendered_hook_runs_and_finds_the_data_folder_without_help(tmp_path: Path) -> None:
    machine = plugin_render.Machine(Path(sys.executable), tmp_path / "data")
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
    source = plugin_render.plugin_source()
    manifest = json.loads((source / ".claude-plugin" / "plugin.json").read_text())
    assert manifest["version"] == securecontext.__version__
    assert f'VERSION = "{securecontext.__version__}"' in (source / "hooks" / "entry.py").read_text()
