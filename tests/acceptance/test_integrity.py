"""The installed code against its baseline, as a user has it: a wheel in an environment of its own, and its `zc`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SECONDS = 120
RENDER = """
import sys; from pathlib import Path
from securecontext.boundaries.code.plugin_files import Machine
from securecontext.cli.plugin_render import render
render(Path(sys.argv[1]), Machine(Path(sys.executable).absolute(), Path(sys.argv[1]).parent))
"""
"""What `zc install` writes for the client, without the client."""


class Installed:
    """A wheel of this checkout in an environment of its own, and a data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "zc"
        self.venv = root / "venv"
        self.python = self.venv / "bin" / "python"
        self._build = root / "build"
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(self.venv)], check=True, timeout=SECONDS
        )
        [self.site] = self.venv.glob("lib/python*/site-packages")
        (self.site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.package = self.site / "securecontext"
        for name in ("src", "plugin", "pyproject.toml", "README.md", "LICENSE"):
            there = REPOSITORY / name
            ignore = shutil.ignore_patterns("__pycache__")
            if there.is_dir():
                shutil.copytree(there, self._build / name, ignore=ignore)
            else:
                self._build.mkdir(exist_ok=True)
                shutil.copy(there, self._build / name)
        self.install()

    def install(self, version: str | None = None) -> None:
        """Build a wheel, of another version if need be, and install it over what is there."""
        told = self._build / "src" / "securecontext" / "__init__.py"
        if version is not None:
            lines = [
                f'__version__ = "{version}"' if "__version__" in x else x
                for x in told.read_text().split("\n")
            ]
            told.write_text("\n".join(lines))
            (told.parent / "new_in_this_version.py").write_text('"""New."""\n')
        dist = Path(tempfile.mkdtemp(dir=self.root))
        offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
        pip = [sys.executable, "-m", "pip"]
        wheel = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(dist), str(self._build)]
        subprocess.run(wheel, check=True, timeout=SECONDS)
        [made] = dist.glob("*.whl")
        again = [*pip, "--python", str(self.python), "install", *offline, "--force-reinstall", str(made)]
        subprocess.run(again, check=True, timeout=SECONDS)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {
            "HOME": str(self.root),
            "PATH": os.environ["PATH"],
            "ZC_HOME": str(self.home),
            "ZC_SECRET_RULES": "own",
            "ZC_HTTP_PORT": "off",
            "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
            **more,
        }
        return subprocess.run(
            [str(self.python), "-I", *words],
            env=env,
            cwd=self.root,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )

    def zc(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "securecontext", *words, **more)

    def check(self) -> tuple[int, dict[str, Any]]:
        """What `zc integrity check` says, and its exit code."""
        done = self.zc("integrity", "check", "--json")
        return done.returncode, json.loads(done.stdout)

    def found(self) -> list[str]:
        """The files that the check names; it must have failed."""
        code, said = self.check()
        assert (code, said["state"]) == (6, "changed"), said
        return [f"{each['how']} {each['name']}" for each in said["differences"]]

    def doctor(self) -> dict[str, str]:
        """The doctor's finding about the code."""
        checks = json.loads(self.zc("doctor", "--json").stdout)["checks"]
        [found] = [check for check in checks if check["name"] == "code"]
        return dict(found)

    def entries(self) -> str:
        """The machine's ledger as the command shows it whole."""
        return self.zc("audit", "tail", "--machine", "--limit", "100", "--json").stdout


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path)
    yield made
    made.zc("service", "stop")


def test_w_73_every_changed_added_or_removed_file_at_any_depth_is_named(installed: Installed) -> None:
    code, said = installed.check()
    assert (code, said["state"]) == (0, "first"), said
    assert installed.check()[1]["state"] == "sound"
    assert installed.doctor()["health"] == "ok"
    changed = [
        "boundaries/policy.py",
        "storage/migrations/versions/0001_first_release.py",
        "_plugin/hooks/entry.py",
        "_plugin/.claude-plugin/plugin.json",
    ]
    whole = {name: (installed.package / name).read_bytes() for name in changed}
    for name, content in whole.items():
        (installed.package / name).write_bytes(content[:3] + bytes([content[3] ^ 0x20]) + content[4:])
    (installed.package / "memory" / "extra.py").write_text("")
    (installed.package / "py.typed").unlink()
    named = sorted([*(f"package/{name}" for name in changed), "package/memory/extra.py", "package/py.typed"])
    assert [each.partition(" ")[2] for each in installed.found()] == named
    red = installed.doctor()
    assert red["health"] == "fail" and "changed package/boundaries/policy.py" in red["detail"]
    assert "code_changed" in installed.entries()
    for name, content in whole.items():
        (installed.package / name).write_bytes(content)
    (installed.package / "memory" / "extra.py").unlink()
    (installed.package / "py.typed").touch()
    assert installed.check()[1]["state"] == "sound"
    assert installed.zc("audit", "verify", "--machine").returncode == 0


def test_rt_s1_05_an_upgrade_is_accepted_and_entered_and_a_bumped_number_is_not(installed: Installed) -> None:
    _, said = installed.check()
    version = said["version"]
    told = installed.package / "__init__.py"
    whole = told.read_text()
    told.write_text(whole.replace(version, "9.0.0"))
    installed.zc("service", "restart")
    assert installed.found() == ["changed package/__init__.py"]
    told.write_text(whole)
    installed.install("9.1.0")
    installed.zc("service", "restart")
    code, said = installed.check()
    assert code == 0 and installed.check()[1]["state"] == "sound", said
    entered = installed.entries()
    assert '"how": "upgraded"' in entered and f'"before": "{version}"' in entered and '"9.1.0"' in entered
    assert installed.zc("service", "status").stdout.startswith("SecureContext 9.1.0 ")


def test_strictness_keeps_a_service_with_changed_code_from_starting(installed: Installed) -> None:
    strict = {"ZC_STRICT_INTEGRITY": "1"}
    assert installed.zc("status", **strict).returncode == 0
    installed.zc("service", "stop")
    (installed.package / "hooks" / "handlers.py").open("a").write("\n")
    done = installed.zc("serve", **strict)
    assert done.returncode == 6, done.stderr
    why = (installed.home / "start.error").read_text()
    assert "does not start with changed code" in why and "changed package/hooks/handlers.py" in why
    client = installed.zc("status", **strict)
    assert client.returncode != 0
    assert "package/hooks/handlers.py" in client.stderr
    assert "Traceback" not in client.stderr
    # Without it the service starts, says so in log and ledger, and a person may accept.
    assert installed.zc("status").returncode == 0
    assert "changed package/hooks/handlers.py" in installed.entries()
    assert installed.zc("integrity", "accept", "--yes").returncode == 0
    installed.zc("service", "stop")
    assert installed.zc("status", **strict).returncode == 0


def test_w_74_hooks_and_manifest_of_an_installed_client_are_checked(installed: Installed) -> None:
    rendered = installed.home / "claude-code"
    assert installed.check()[0] == 0
    done = installed.run("-c", RENDER, str(rendered))
    assert done.returncode == 0, done.stderr
    # Already accepted where the service looked by itself in between.
    accepted = installed.check()[1]["state"] in ("installed", "sound")
    assert accepted, "what this package writes needs no acceptance"
    assert installed.check()[1]["state"] == "sound"
    for name in (
        "plugin/hooks/entry.py",
        "plugin/hooks/hooks.json",
        "plugin/.claude-plugin/plugin.json",
        "plugin/.mcp.json",
        ".claude-plugin/marketplace.json",
    ):
        file = rendered / name
        content = file.read_bytes()
        file.write_bytes(content.replace(b"python", b"pythoN") if b"python" in content else content + b" ")
        assert installed.found() == [f"changed client/{name}"]
        assert installed.doctor()["next"] == "Run `zc install claude-code` again."
        file.write_bytes(content)
    (rendered / "plugin" / "hooks" / "more.json").write_text("{}")
    assert installed.found() == ["added client/plugin/hooks/more.json"]
    shutil.rmtree(rendered)
    assert installed.check()[1]["state"] == "installed", "and so may it go"
