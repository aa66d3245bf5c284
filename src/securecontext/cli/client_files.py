"""The files of Claude Code that an installation touches: read strictly, back up, clean."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securecontext.cli.plugin_render import MARKETPLACE, PLUGIN, SERVER
from securecontext.types.errors import InvalidInput

PLUGIN_ID = f"{PLUGIN}@{MARKETPLACE}"
OWNED = {"enabledPlugins": PLUGIN_ID, "extraKnownMarketplaces": MARKETPLACE}
"""Our entry in each key of a settings file."""


@dataclass(frozen=True, slots=True)
class Mention:
    """An entry ``name`` in the JSON object ``file``, or in the object under its key ``within``."""

    file: Path
    within: str | None
    name: str


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
        user = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
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
    def marketplaces(self) -> Path:
        """The client's list of marketplaces."""
        return self.config / "plugins" / "known_marketplaces.json"

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """Where the client's own bookkeeping names the plugin: some of it outlives the plugin's removal."""
        return (
            Mention(self.config / "plugins" / "installed_plugins.json", "plugins", PLUGIN_ID),
            Mention(self.marketplaces, None, MARKETPLACE),
            Mention(self.state, "pluginUsage", PLUGIN_ID),
            Mention(self.state, "skillUsage", f"{PLUGIN}:{PLUGIN}"),
            Mention(self.config / "mcp-needs-auth-cache.json", None, f"plugin:{PLUGIN}:{SERVER}"),
        )

    @property
    def leftovers(self) -> tuple[Path, ...]:
        """Folders that the client makes for our plugin and leaves behind when it is uninstalled."""
        plugins = self.config / "plugins"
        logs = sorted(self.cache.glob(f"*/mcp-logs-plugin-{PLUGIN}-{SERVER}"))
        return plugins / "cache" / MARKETPLACE, plugins / "data" / f"{PLUGIN}-{MARKETPLACE}", *logs


def project_settings(project: Path) -> Path:
    """Return the settings file that a project shares."""
    return project / ".claude" / "settings.json"


def read_object(path: Path, now: datetime) -> dict[str, Any] | None:
    """Return the JSON object in ``path``, or None where there is no file.

    Raises:
        InvalidInput: ``client_file_corrupt``; a copy was made beside it and the file itself is left alone.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(raw or b"{}")
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except ValueError as wrong:
        copy = back_up(path, now)
        raise InvalidInput(
            "client_file_corrupt",
            f"{path} is not a JSON object ({wrong}); nothing was changed.",
            f"Correct the file (a copy is in {copy}), then run the command again.",
            file=str(path),
        ) from None
    return value


def back_up(path: Path, now: datetime) -> Path:
    """Copy ``path`` to ``<path>.zc-backup-<UTC time>`` with its mode, and return the copy's path."""
    stem = f"{path.name}.zc-backup-{now:%Y%m%dT%H%M%SZ}"
    copy = path.with_name(stem)
    number = 1
    while copy.exists():
        copy = path.with_name(f"{stem}-{number}")
        number += 1
    shutil.copy2(path, copy)
    return copy


class Watch:
    """Back up files before something changes them, and keep only the copies of those that did change."""

    def __init__(self, paths: list[Path], now: datetime) -> None:
        self._before = {path: read_object(path, now) for path in paths}
        self._copies = {path: back_up(path, now) for path, value in self._before.items() if value is not None}

    def close(self, now: datetime) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Return the files that changed, and the backups that were kept."""
        changed = tuple(p for p, before in self._before.items() if read_object(p, now) != before)
        for path, copy in self._copies.items():
            if path not in changed:
                copy.unlink()
        return changed, tuple(copy for path, copy in self._copies.items() if path in changed)


def sweep_settings(path: Path, had: frozenset[str] | None, now: datetime) -> None:
    """Take our entries out of a settings file, and what only we had brought into being.

    Args:
        path: the settings file; a link is followed, so that the file it leads to is the one rewritten.
        had: the keys of `OWNED` that the file had before the installation; None where there was no file.
        now: for the name of a backup, should the file be corrupt.
    """
    value = read_object(path, now)
    if value is None:
        return
    cleaned = dict(value)
    for key, ours in OWNED.items():
        entries = cleaned.get(key)
        if not isinstance(entries, dict):
            continue
        kept = {name: entry for name, entry in entries.items() if name != ours}
        cleaned[key] = kept
        if not kept and key not in (had or ()):
            del cleaned[key]
    if not cleaned and had is None:
        path.unlink()
        if path.parent.name == ".claude" and not any(path.parent.iterdir()):
            path.parent.rmdir()
    elif cleaned != value:
        _write(path, cleaned)


def sweep_mentions(files: ClientFiles, now: datetime) -> None:
    """Take our entries out of the client's own bookkeeping; a file without one is not touched."""
    for mention in files.mentions:
        value = read_object(mention.file, now) or {}
        entries = value if mention.within is None else value.get(mention.within)
        if isinstance(entries, dict) and entries.pop(mention.name, None) is not None:
            _write(mention.file, value)


def _write(path: Path, value: dict[str, Any]) -> None:
    real = path.resolve()
    draft = real.with_name(f".{real.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copymode(real, draft)
    draft.replace(real)
