"""The files of Claude Code that an installation touches: where they are, read strictly, cleaned of us."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securecontext.boundaries.code.plugin_files import MARKETPLACE, PLUGIN, SERVER
from securecontext.cli.backups import Backups, write
from securecontext.projects.identity import locate
from securecontext.types.errors import InvalidInput

PLUGIN_ID = f"{PLUGIN}@{MARKETPLACE}"
SERVER_ID = f"plugin:{PLUGIN}:{SERVER}"
LOCAL_SETTINGS = ".claude/settings.local.json"
RULE = f"**/{LOCAL_SETTINGS}"
"""What the client writes into the user's own git ignore file when it writes local settings."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Our entry ``name`` in a JSON object, or in the object under its key ``within``.

    ``lasting``: the key belongs to the file's format, and stays without entries too.
    """

    name: str
    within: str | None = None
    lasting: bool = False


SETTINGS = (Mention(PLUGIN_ID, "enabledPlugins"), Mention(MARKETPLACE, "extraKnownMarketplaces"))
"""Where a settings file names us."""


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """Where the client keeps what.

    Args:
        config: the client's folder, ``~/.claude`` unless ``CLAUDE_CONFIG_DIR`` moves it.
        state: the client's own bookkeeping file ``.claude.json``.
        cache: the folder of the client's logs.
    """

    config: Path
    state: Path
    cache: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> ClientFiles:
        """Return the places that the client uses in this environment."""
        user = user_home(environment)
        cache = Path(environment.get("XDG_CACHE_HOME") or user / ".cache") / "claude-cli-nodejs"
        moved = environment.get("CLAUDE_CONFIG_DIR")
        if moved:
            return cls(Path(moved), Path(moved) / ".claude.json", cache)
        return cls(user / ".claude", user / ".claude.json", cache)

    @property
    def settings(self) -> Path:
        """The user's settings."""
        return self.config / "settings.json"

    @property
    def installed(self) -> Path:
        """The client's list of installed plugins."""
        return self.config / "plugins" / "installed_plugins.json"

    @property
    def marketplaces(self) -> Path:
        """The client's list of marketplaces."""
        return self.config / "plugins" / "known_marketplaces.json"

    @property
    def skipped_servers(self) -> Path:
        """The servers that the client does not start for a while, because they failed once."""
        return self.config / "mcp-needs-auth-cache.json"

    @property
    def mentions(self) -> dict[Path, tuple[Mention, ...]]:
        """Where the files of the user name us: some of it outlives the plugin's removal by the client."""
        return {
            self.settings: SETTINGS,
            self.installed: (Mention(PLUGIN_ID, "plugins", lasting=True),),
            self.marketplaces: (Mention(MARKETPLACE),),
            self.state: (Mention(PLUGIN_ID, "pluginUsage"), Mention(f"{PLUGIN}:{PLUGIN}", "skillUsage")),
            self.skipped_servers: (Mention(SERVER_ID),),
        }

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders that the client makes for its first plugin and never removes."""
        plugins = self.config / "plugins"
        return plugins, plugins / "cache", plugins / "data", plugins / "marketplaces"

    @property
    def leftovers(self) -> tuple[Path, ...]:
        """Folders that the client makes for our plugin and leaves behind when it is uninstalled."""
        plugins = self.config / "plugins"
        logs = sorted(self.cache.glob(f"*/mcp-logs-plugin-{PLUGIN}-{SERVER}"))
        return plugins / "cache" / MARKETPLACE, plugins / "data" / f"{PLUGIN}-{MARKETPLACE}", *logs


def user_home(environment: Mapping[str, str]) -> Path:
    """Return the user's home folder."""
    return Path(environment["HOME"]) if environment.get("HOME") else Path.home()


def project_root(folder: Path, environment: Mapping[str, str]) -> Path:
    """Return the folder whose local settings hold for a session in ``folder``, as the client sees it.

    That is the top of its repository, which worktrees share; a folder outside one, and a worktree of a bare
    repository, is by itself.
    """
    top = locate(str(folder.absolute()), home=user_home(environment), machine="").top
    return top if (top / ".git").exists() else folder.resolve()


def read_object(path: Path, backups: Backups) -> dict[str, Any] | None:
    """Return the JSON object in ``path``, or None where there is no file.

    Raises:
        InvalidInput: ``client_file_corrupt``; a copy was made and the file itself is left alone.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return parsed(raw)
    except ValueError as wrong:
        copy = backups.copy(path)
        raise InvalidInput(
            "client_file_corrupt",
            f"{path} is not a JSON object ({wrong}); nothing was changed.",
            f"Correct the file (a copy is in {copy}), then run the command again.",
            file=str(path),
        ) from None


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in ``raw``; an empty file is an empty one.

    Raises:
        ValueError: it is none.
    """
    value = json.loads(raw or b"{}")
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def without_us(
    value: dict[str, Any], mentions: Iterable[Mention], had: Container[str] | None = None
) -> dict[str, Any]:
    """Return a client's JSON object without our entries.

    Args:
        value: the object.
        mentions: where it may name us.
        had: the keys that it had before the installation: others go when they are empty. Without it, a key goes
            that held nothing but us.
    """
    cleaned = dict(value)
    for mention in mentions:
        if mention.within is None:
            cleaned.pop(mention.name, None)
            continue
        entries = cleaned.get(mention.within)
        if not isinstance(entries, dict):
            continue
        kept = {name: entry for name, entry in entries.items() if name != mention.name}
        cleaned[mention.within] = kept
        ours = bool(entries) if had is None else mention.within not in had
        if not kept and ours and not mention.lasting:
            del cleaned[mention.within]
    return cleaned


def put_back(
    path: Path, original: bytes | None, mentions: Iterable[Mention], backups: Backups, *, form: bool
) -> None:
    """Take us out of a file of the client; bring it back to what it was where nobody else changed it.

    Args:
        path: the file.
        original: what it held before the installation, None where there was no file.
        mentions: where it may name us.
        backups: for a file that is corrupt.
        form: the file was written anew since, so that its form is the client's where its value is the original.

    Raises:
        InvalidInput: ``client_file_corrupt``.
    """
    value = read_object(path, backups)
    if value is None:
        return
    was = parsed(original or b"")
    before = without_us(was, mentions)
    named_us = not _same(before, was)
    cleaned = without_us(value, mentions, had=before)
    if _hollow(cleaned) and (original is None or (named_us and _hollow(before))):
        path.unlink()
    elif form and original is not None and not named_us and _same(cleaned, was):
        write(path, original)
    elif cleaned != value:
        write(path, (json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n").encode())


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two objects are one JSON value: to Python, ``1`` and ``true`` are equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _hollow(value: dict[str, Any]) -> bool:
    return not any(content for key, content in value.items() if key != "version")


def ignore_file(environment: Mapping[str, str]) -> Path:
    """Return the user's own git ignore file, where the client writes `RULE`."""
    try:
        asked = subprocess.run(
            ["git", "config", "--global", "--get", "core.excludesfile"],  # noqa: S607 - the user's own git
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
        )
        told = asked.stdout.strip()
    except OSError:
        told = ""
    user = user_home(environment)
    if told:
        named = user / told[2:] if told.startswith("~/") else Path(told)
        if named.is_absolute():
            return named
    moved = Path(environment.get("XDG_CONFIG_HOME", ""))
    return (moved if moved.is_absolute() else user / ".config") / "git" / "ignore"


def has_rule(content: bytes | None) -> bool:
    """Say whether an ignore file holds `RULE`."""
    return RULE.encode() in (content or b"")


def take_rule_out(path: Path, original: bytes | None) -> None:
    """Take `RULE` out of an ignore file that did not hold it before."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    kept = b"".join(line for line in content.splitlines(keepends=True) if line.strip() != RULE.encode())
    if original is None and not kept.strip():
        path.unlink()
    elif kept != content:
        write(path, original if original is not None and kept.strip() == original.strip() else kept)


def other_local_settings(files: ClientFiles, backups: Backups) -> list[Path]:
    """Return the local settings of the projects that the client knows."""
    projects = (read_object(files.state, backups) or {}).get("projects")
    folders = projects if isinstance(projects, dict) else {}
    return [path for each in folders if (path := Path(each) / LOCAL_SETTINGS).exists()]
