"""``zc install``, ``zc doctor`` and ``zc uninstall`` as a user runs them, and what they say of what is broken."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installed import REMEMBER, User, first, recalled, user
from tests.acceptance.scripted_model import Call, Say, ScriptedModel

REPOSITORY = Path(__file__).parents[2]
FACT = "kept by the plugin"
KEEP = Call(REMEMBER, {"key": "fact", "value": FACT})
AWAY = "SecureContext is not reachable, so this session starts without its memory; run: "
CHECKS = [
    "service",
    "database",
    "limits",
    "keys",
    "code",
    "sandbox",
    "state",
    "ledger",
    "ledger",
    "client",
    "plugin",
    "hooks",
    "session",
]


@pytest.fixture
def bare(claude: Path, tmp_path: Path) -> Iterator[User]:
    """A user who has not installed anything yet."""
    with user(tmp_path, claude, install=False) as someone:
        yield someone


def examined(someone: User) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the doctor's exit code, and its findings by name."""
    done = someone.zc("doctor", "--json")
    report = json.loads(done.stdout)
    assert set(report) == {"ok", "checks"}
    assert report["ok"] is (done.returncode == 0)
    assert [check["name"] for check in report["checks"]] == CHECKS
    for check in report["checks"]:
        assert set(check) == {"name", "health", "detail", "next"}
        assert check["next"] or check["health"] != "fail", "whatever is wrong has a next step"
    return done.returncode, {check["name"]: check for check in report["checks"]}


def lines_shown(someone: User, *words: str) -> list[str]:
    """Run a session and return what its hooks tell the person."""
    done = someone.run("-p", "go", "--verbose", "--output-format", "stream-json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "SecureContext is not reachable" in line]


def test_doctor_inside_a_session_knows_that_this_sessions_hook_fired(alone: User) -> None:
    session = str(uuid.uuid4())
    look = Call("Bash", {"command": "zc doctor --json > found.json; echo $? > code; zc doctor > found.txt"})
    with ScriptedModel({"dev": [look, Say("bye")]}) as model:
        alone.model_url = model.url
        assert (
            alone.zc("integrity", "accept", "--yes").returncode == 0
        )  # a checkout's code is a person's to accept
        alone.ask("go", "--session-id", session)
    report = json.loads((alone.project / "found.json").read_text())
    assert (alone.project / "code").read_text() == "0\n", report
    assert [check["name"] for check in report["checks"]] == CHECKS
    assert {check["health"] for check in report["checks"]} == {"ok"}
    assert "this Claude Code session's start hook fired" in report["checks"][-1]["detail"]
    assert "All is well." in (alone.project / "found.txt").read_text()
    # A session that no hook of ours saw start is found out.
    alone.extra["CLAUDE_CODE_SESSION_ID"] = str(uuid.uuid4())
    code, found = examined(alone)
    assert (code, found["session"]["health"]) == (1, "fail")
    assert "did not fire" in found["session"]["detail"]


def test_doctor_after_install_and_when_each_part_is_broken(alone: User) -> None:
    code, found = examined(alone)
    assert code == 0, found
    assert found["session"]["health"] == "note"
    assert "Start Claude Code here" in found["session"]["next"]

    plugin = "securecontext@securecontext"
    assert alone.run("plugin", "disable", plugin).returncode == 0
    code, found = examined(alone)
    assert (code, found["plugin"]["health"]) == (1, "fail")
    assert found["plugin"]["next"] == f"Run `claude plugin enable {plugin}`."
    assert alone.run("plugin", "enable", plugin).returncode == 0

    rendered = alone.zc_home / "claude-code" / "plugin" / "hooks"
    for name, broken in (("hooks.json", "{ not json"), ("entry.py", "raise SystemExit(1)\n")):
        whole = (rendered / name).read_text()
        (rendered / name).write_text(broken)
        code, found = examined(alone)
        assert code == 1, name
        assert found["hooks"]["health"] == "fail"
        assert "zc install claude-code" in found["hooks"]["next"]
        (rendered / name).write_text(whole)

    [copy] = (alone.home / ".claude" / "plugins" / "cache").glob(
        "securecontext/securecontext/*/hooks/entry.py"
    )
    whole = copy.read_text()
    copy.write_text(whole + "#")
    code, found = examined(alone)
    assert (code, found["plugin"]["health"]) == (1, "fail")
    assert str(copy) in found["plugin"]["detail"]
    for words in (("uninstall",), ("install", "claude-code")):  # what its next step says
        assert alone.zc(*words).returncode == 0
    assert copy.read_text() == whole

    (rendered / "entry.py").unlink()
    assert alone.zc("install", "claude-code").returncode == 0
    code, found = examined(alone)
    assert code == 0, found


@pytest.mark.parametrize("trouble", ["the key is broken", "the folder cannot be made"])
def test_a_service_that_cannot_start_costs_a_session_one_line(alone: User, trouble: str) -> None:
    assert alone.zc("status").returncode == 0
    assert alone.zc("service", "stop").returncode == 0
    if trouble == "the key is broken":
        (alone.zc_home / "keys" / "ledger.root").write_bytes(b"")
    else:
        file = alone.root / "file"
        file.touch()
        alone.extra["ZC_HOME"] = str(file / "data")
    steps = [
        Call("Write", {"file_path": str(alone.project / "made"), "content": "by the session"}),
        Call("Bash", {"command": "exit 3"}),
        Say("bye"),
    ]
    with ScriptedModel({"dev": steps}) as model:
        alone.model_url = model.url
        [line] = lines_shown(alone, "--allowedTools", "Bash,Write")
        assert AWAY + "zc doctor" in line
        assert len(model.requests("dev")) == 3
    assert (alone.project / "made").read_text() == "by the session"
    code, found = examined(alone)
    assert code == 1
    assert found["service"]["health"] == "fail"
    why = "ledger.root is damaged" if trouble == "the key is broken" else "cannot be written"
    assert why in found["service"]["detail"]
    assert [
        name for name, check in found.items() if check["detail"] == "not looked at: it needs the service"
    ] == [
        "database",
        "limits",
        "code",
        "sandbox",
        "state",
        "ledger",
        "hooks",
        "session",
    ]


def around(someone: User) -> dict[str, bytes]:
    """Return what lies in the user's home and in the project, but for what the client keeps of its sessions."""
    kept = (
        *("zc-ctx/", "projects/", "backups/", "sessions/", "session-env/", "shell-snapshots/", "statsig/"),
        *("plugins/store/", ".last-cleanup", "history.jsonl"),
    )
    own = (*(f".claude/{name}" for name in kept), ".claude.json", ".cache/", ".local/", ".git/")
    found = {}
    for top in (someone.home, someone.project):
        for path in top.rglob("*"):
            name = path.relative_to(top).as_posix()
            if not f"{name}/".startswith(own):
                found[str(path)] = b"" if path.is_dir() else path.read_bytes()
    return found


def git(someone: User, *words: str) -> str:
    """Run git in the project as this user."""
    done = subprocess.run(
        ["git", *words],
        cwd=someone.project,
        env=someone.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def state(someone: User) -> Any:
    return json.loads((someone.home / ".claude.json").read_text())


@pytest.mark.parametrize("scope", ["user", "project"])
def test_install_and_uninstall_leave_everything_as_it_was(bare: User, scope: str) -> None:
    git(bare, "init", "--quiet")
    own = '{"model":\t"opus", "env": {"A": "1"},\n\n "enabledPlugins": {"other@place": false}}'
    for folder in (bare.home, bare.project):
        (folder / ".claude").mkdir()
        (folder / ".claude" / "settings.json").write_text(own)
    git(bare, "add", "--all")
    with ScriptedModel({"dev": [Say("hi")]}) as model:
        bare.model_url = model.url
        bare.ask("go")
    before, keys = around(bare), set(state(bare))
    installed = bare.zc("install", "claude-code", "--scope", scope)
    assert installed.returncode == 0, installed.stderr
    assert installed.stdout.startswith("Installed.\n")
    assert around(bare) != before
    assert (bare.project / ".claude" / "settings.json").read_text() == own
    assert git(bare, "status", "--porcelain") == "A  .claude/settings.json\n"
    now = json.loads((bare.home / ".claude" / "settings.json").read_text())
    assert (now["model"], now["env"], now["enabledPlugins"]["other@place"]) == ("opus", {"A": "1"}, False)
    skill = Call("Skill", {"skill": "securecontext:securecontext"})
    with ScriptedModel({"dev": [KEEP, skill, Say("kept")], "elsewhere": [Say("hi")]}) as model:
        bare.model_url = model.url
        bare.ask("go", tools=f"Skill,{REMEMBER}")
        there = bare.at("elsewhere")
        there.ask("go", agent="elsewhere")
    assert bool(recalled(first(model, "elsewhere"))) is (scope == "user")
    assert {"pluginUsage", "skillUsage"} & set(state(bare))
    gone = bare.zc("uninstall")
    assert gone.returncode == 0, gone.stderr
    assert f"Your data stays in {bare.zc_home}." in gone.stdout
    assert "Sessions that are running still hold the plugin" in gone.stdout
    assert around(bare) == before
    assert not {"pluginUsage", "skillUsage"} & (set(state(bare)) - keys)
    assert git(bare, "status", "--porcelain") == "A  .claude/settings.json\n"
    assert bare.facts() == {"fact": FACT}
    with ScriptedModel({"dev": [Say("hi")]}) as model:
        bare.model_url = model.url
        bare.ask("go")
    assert "SecureContext" not in first(model, "dev").text
    again = bare.zc("install", "claude-code", "--scope", scope)
    assert again.returncode == 0, again.stderr
    with ScriptedModel({"dev": [Say("hi")]}) as model:
        bare.model_url = model.url
        bare.ask("go")
    assert FACT in recalled(first(model, "dev"))[0]


def test_installed_for_a_project_from_a_folder_within_it(bare: User) -> None:
    git(bare, "init", "--quiet")
    inside = bare.at("project/inside")
    assert inside.zc("install", "claude-code", "--scope", "project").returncode == 0
    assert (bare.project / ".claude" / "settings.local.json").exists()
    with ScriptedModel({"dev": [KEEP, Say("kept")], "next": [Say("hi")]}) as model:
        bare.model_url = inside.model_url = model.url
        bare.ask("go")
        inside.ask("go", agent="next")
    assert FACT in recalled(first(model, "next"))[0]
    assert examined(inside)[1]["plugin"]["detail"].endswith("enabled, scope local")
    assert inside.zc("uninstall").returncode == 0
    assert not (bare.project / ".claude").exists()


def test_what_a_session_brings_back_goes_with_the_next_uninstall(alone: User) -> None:
    assert alone.zc("uninstall").returncode == 0
    before = around(alone)
    plain = state(alone)
    usage = {"pluginUsage": {"securecontext@securecontext": {"usageCount": 1}}, "skillUsage": {}}
    (alone.home / ".claude.json").write_text(json.dumps(plain | usage))
    plugins = alone.home / ".claude" / "plugins"
    (plugins / "data" / "securecontext-securecontext").mkdir(parents=True)
    (plugins / "installed_plugins.json").write_text('{"version": 2, "plugins": {}}')
    (alone.home / ".claude" / "mcp-needs-auth-cache.json").write_text(
        '{"plugin:securecontext:zc-ctx": {"timestamp": 1}}'
    )
    gone = alone.zc("uninstall")
    assert gone.stdout.startswith("Uninstalled.\n")
    assert around(alone) == before
    assert state(alone) == plain
    assert alone.zc("uninstall").stdout == "Nothing was installed.\n"


def test_an_installation_that_fails_leaves_no_trace_and_an_update_the_earlier_one(bare: User) -> None:
    bare.run("plugin", "list")
    before = around(bare)
    failed = bare.zc("install", "claude-code", "--client", "/bin/false")
    assert failed.returncode != 0
    assert "[client_refused]" in failed.stderr
    assert around(bare) == before
    assert [each.name for each in bare.zc_home.iterdir()] == ["install.lock"]
    assert examined(bare)[1]["hooks"]["detail"] == "not installed"
    assert bare.zc("install", "claude-code").stdout.startswith("Installed.\n")

    def installed() -> dict[str, bytes]:
        kept = ((bare.zc_home / name).rglob("*") for name in ("claude-code", "backups"))
        files = (*(path for each in kept for path in each), bare.zc_home / "install.json")
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    before, rendered = around(bare), installed()
    for words in (("--client", "/bin/false"), ("--scope", "project", "--client", "/bin/false")):
        assert bare.zc("install", "claude-code", *words).returncode != 0
        assert (around(bare), installed()) == (before, rendered)
    assert examined(bare)[0] == 0


def test_the_client_named_at_the_installation_serves_the_doctor_and_the_removal(bare: User) -> None:
    folder = bare.root / "bin"
    folder.mkdir()
    for name in ("git", "sh", "env"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/false")
    bare.extra["PATH"] = str(folder)
    assert bare.zc("install", "claude-code", "--client", str(bare.program)).returncode == 0
    code, found = examined(bare)
    assert (code, found["client"]["health"]) == (0, "ok"), found
    assert "cleaned without it" not in bare.zc("uninstall").stdout
    assert bare.zc("install", "claude-code").returncode == 0
    assert examined(bare)[0] == 0
    (bare.zc_home / "install.json").unlink()
    assert "zc doctor --client PATH" in examined(bare)[1]["client"]["next"]


def test_doctor_in_a_project_that_the_plugin_is_not_installed_for(bare: User) -> None:
    assert bare.zc("install", "claude-code", "--scope", "project").returncode == 0
    assert examined(bare)[1]["plugin"]["health"] == "ok"
    code, found = examined(bare.at("elsewhere"))
    assert (code, found["plugin"]["health"]) == (0, "note"), found
    assert found["plugin"]["detail"] == f"installed for {bare.project} only"


def test_doctor_sees_that_the_client_skips_our_server(alone: User) -> None:
    file = alone.home / ".claude" / "mcp-needs-auth-cache.json"
    for minutes, health in ((1, "fail"), (16, "ok")):
        entry = {"timestamp": (time.time() - minutes * 60) * 1000, "id": "x"}
        file.write_text(json.dumps({"plugin:securecontext:zc-ctx": entry}))
        plugin = examined(alone)[1]["plugin"]
        assert plugin["health"] == health
    file.write_text('{"plugin:securecontext:zc-ctx": {}}')
    plugin = examined(alone)[1]["plugin"]
    assert str(file) in plugin["next"]
    assert "restart Claude Code" in plugin["next"]


def test_doctor_says_to_restore_keys_that_are_missing(alone: User) -> None:
    assert alone.zc("status").returncode == 0
    (alone.zc_home / "keys" / "ledger.root").unlink()
    keys = examined(alone)[1]["keys"]
    assert keys["health"] == "fail"
    assert keys["next"] == f"Restore ledger.root in {alone.zc_home / 'keys'} from your backup."


@pytest.mark.only_in_files("breaks one project's file; in a database all stand or fall")
def test_the_machines_ledger_is_verified_from_a_project_whose_database_is_broken(alone: User) -> None:
    assert alone.zc("status").returncode == 0
    assert alone.zc("service", "stop").returncode == 0
    alone.database().write_bytes(b"not a database" * 1000)
    assert alone.zc("status").returncode != 0
    code, found = examined(alone)
    assert (code, found["database"]["health"]) == (1, "fail")
    assert "set aside" in found["database"]["detail"]
    assert found["ledger"]["health"] == "ok"
    assert "OK for this machine" in found["ledger"]["detail"]
    assert alone.told("audit", "verify", "--machine")["status"] == "OK"


def test_corrupt_settings_are_refused_and_left_alone(bare: User) -> None:
    settings = bare.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"model": "opus",')
    done = bare.zc("install", "claude-code")
    assert done.returncode != 0
    assert "[client_file_corrupt]" in done.stderr
    assert str(settings) in done.stderr
    assert settings.read_text() == '{"model": "opus",'
    settings.write_text('{"model": "opus"}')
    assert bare.zc("install", "claude-code").returncode == 0


def test_the_plugin_straight_from_a_checkout_says_the_next_step(bare: User) -> None:
    plugin = ("--plugin-dir", str(REPOSITORY / "plugin"), "--allowedTools", REMEMBER)
    with ScriptedModel({"dev": [KEEP, Say("kept"), Say("read")]}) as model:
        bare.model_url = model.url
        [line] = lines_shown(bare, *plugin)
        assert AWAY + "zc install claude-code" in line
        # `zc` is on the path, so the server has started the service, and the next session recalls.
        assert bare.facts() == {"fact": FACT}
        assert lines_shown(bare, *plugin) == []
        assert FACT in recalled(model.requests("dev")[-1])[0]


def test_the_plugin_from_a_checkout_without_our_command(bare: User, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    for name in ("bash", "sh", "env"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/false")
    bare.extra["PATH"] = str(folder)
    with ScriptedModel({"dev": [Say("bye")]}) as model:
        bare.model_url = model.url
        [line] = lines_shown(bare, "--plugin-dir", str(REPOSITORY / "plugin"))
    assert AWAY + "zc install claude-code" in line
    assert not (bare.zc_home / "machine.db").exists()
    with pytest.raises(sqlite3.OperationalError):
        bare.facts()
