"""What `deploy/` says holds together: settings that exist, volumes for keys, one port, units that systemd accepts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from securecontext.settings import VARIABLES, read
from tests.house.source import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
UNITS = sorted((DEPLOY / "systemd").glob("*.s[eo]*"))
OURS = ("one", "two")


def values(example: str) -> dict[str, str]:
    """Return what an env file sets."""
    lines = (DEPLOY / example).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Return a unit's sections; a key may stand there more than once."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            section = head[1]
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(key, []).append(value)
    return found


def test_every_setting_that_is_named_exists() -> None:
    named: dict[str, set[str]] = {}
    for file in sorted(path for path in DEPLOY.rglob("*") if path.is_file()):
        for name in re.findall(r"\bZC_[A-Z]+(?:_[A-Z]+)*\b", file.read_text(encoding="utf-8")):
            named.setdefault(name, set()).add(file.name)
    assert {"ZC_HOME", "ZC_POSTGRES_URL", "ZC_POSTGRES_ADMIN_URL", "ZC_MACHINE_SECRET"} <= set(named)
    unknown = {name: files for name, files in named.items() if name not in VARIABLES}
    assert not unknown


def test_the_values_that_are_set_are_values_of_the_settings(tmp_path: Path) -> None:
    in_image = dict(
        re.findall(r"\b([A-Z_]+)=(\S+)", DOCKERFILE[DOCKERFILE.index("ENV PATH") :].partition("USER")[0])
    )
    of_unit = dict(
        each.split("=", 1) for each in unit("securecontext-team.service")["Service"]["Environment"]
    )
    for found in (in_image, of_unit):
        settings = read({**values("service.env.example"), **found, "ZC_HOME": str(tmp_path)})
        assert (settings.http_port, settings.idle_minutes) == (3099, 525_600)
        assert settings.postgres_url and "/var/run/postgresql" in settings.postgres_url


def test_no_example_holds_a_secret() -> None:
    for example in ("service.env.example", "admin.env.example"):
        for name, value in values(example).items():
            if re.search(r"SECRET|PASSWORD", name):
                assert value == "", f"{example}: {name}"
            for password in re.findall(r"//[^:/]+:([^@]*)@", value):
                assert password == "PASSWORD", f"{example}: {name}"
    ignored = (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()
    assert {"admin.env", "service.env", "tls/"} <= set(ignored)


def test_each_service_has_its_own_keys_in_a_named_volume_and_is_let_in_first() -> None:
    homes = {}
    for name in OURS:
        (home,) = [each for each in SERVICES[name]["volumes"] if each.endswith(":/data")]
        homes[name] = home.split(":")[0]
        (before,) = SERVICES[name]["depends_on"]
        assert SERVICES[name]["depends_on"][before] == {"condition": "service_completed_successfully"}
        assert home in SERVICES[before]["volumes"], "it lets the keys of that very service in"
        assert SERVICES[before]["command"] == ["db", "migrate"]
        assert SERVICES[before]["restart"] == "no"
    assert len(set(homes.values())) == len(OURS)
    assert set(homes.values()) <= set(COMPOSE["volumes"])


def test_only_who_migrates_and_the_database_are_told_of_the_administrator() -> None:
    told = {name for name, each in SERVICES.items() if "admin.env" in each.get("env_file", ())}
    assert told == {"database", "migrate-one", "migrate-two"}
    assert "ZC_POSTGRES_ADMIN_URL" not in values("service.env.example")
    running = unit("securecontext-team.service")["Service"]["EnvironmentFile"]
    assert [Path(each).name for each in running] == ["service.env"]


def test_services_are_not_root_write_nothing_but_their_volume_and_have_no_way_out() -> None:
    for name in (*OURS, "migrate-one", "migrate-two"):
        each = SERVICES[name]
        assert each["read_only"] is True and each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in each
        assert each.get("network_mode") == "none" or each["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert [name for name, each in SERVICES.items() if "ports" in each] == ["proxy"]
    last = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    assert re.search(r"(?m)^USER 10001:10001$", last)
    assert last.index("COPY --from=build") < last.index("USER "), "the code is root's"


def test_the_image_is_made_of_what_locks_and_repository_hold() -> None:
    installs = re.findall(r"(?m)^RUN .*pip (?:install|wheel) (.*)$", DOCKERFILE)
    assert len(installs) == 4
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert "://" not in DOCKERFILE.replace("http://127.0.0.1", "")
    wanted = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split("\n")
    allowed = {line.removeprefix("!") for line in wanted if line.startswith("!")}
    for copied in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE):
        for source in copied.split():
            assert (REPOSITORY / source).exists(), source
            assert source.removeprefix("./") in allowed, f".dockerignore leaves out {source}"


def test_the_proxy_leads_to_the_services_and_ends_tls() -> None:
    text = (DEPLOY / "nginx" / "securecontext.conf").read_text(encoding="utf-8")
    port = re.search(r"(?m)^EXPOSE (\d+)$", DOCKERFILE)
    assert port and re.findall(r"server (\w+):(\d+) ", text) == [(name, port[1]) for name in OURS]
    assert "listen 443 ssl;" in text and not re.search(r"listen 80\b", text)
    (name,) = re.findall(r"server_name (\S+);", text)
    assert name in values("service.env.example")["ZC_HTTP_NAMES"].split(",")
    assert "non_idempotent" not in text, "a proxy that asks again does a call twice"


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_units_run_as_a_user_of_their_own_without_rights(file: Path) -> None:
    if file.suffix == ".socket":
        assert unit(file.name)["Socket"]["SocketMode"] == ["0660"]
        return
    if file.suffix != ".service":
        return
    service = unit(file.name)["Service"]
    assert service["User"] == ["securecontext-team"]
    for key, value in (
        ("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", ""), ("ProtectSystem", "strict"), ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"), ("UMask", "0077"), ("StateDirectoryMode", "0700"), ("RestrictNamespaces", "yes"),
    ):  # fmt: skip
        assert service[key] == [value], key
    (command,) = service["ExecStart"]
    assert command.split()[1:4] == ["-I", "-m", "securecontext"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="only root can install systemd here")
def test_systemd_finds_nothing_wrong_with_the_units_of_a_team(tmp_path: Path) -> None:
    program = tmp_path / "opt" / "securecontext" / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    for file in UNITS:
        if file.suffix == ".sysusers":
            continue
        text = file.read_text(encoding="utf-8").replace(
            "/opt/securecontext", str(tmp_path / "opt/securecontext")
        )
        (tmp_path / file.name).write_text(text)
    for made in sorted(tmp_path.glob("securecontext-team*")):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", made], capture_output=True, text=True, check=False
        )
        about_us = [line for line in done.stderr.splitlines() if "securecontext" in line]
        assert (done.returncode, about_us) == (0, []), done.stderr
