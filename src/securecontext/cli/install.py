"""Install SecureContext into Claude Code, and take it out again without a trace."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import securecontext
from securecontext.cli import plugin_render
from securecontext.cli.client_files import (
    OWNED,
    PLUGIN_ID,
    ClientFiles,
    Watch,
    project_settings,
    read_object,
    sweep_mentions,
    sweep_settings,
)
from securecontext.types.errors import InvalidInput, Unavailable

Scope = Literal["user", "project"]
CLIENT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Report:
    """What an installation or its removal did.

    Args:
        action: ``installed``, ``updated``, ``uninstalled`` or ``nothing`` (there was nothing to remove).
        client: the client's program, None where a removal had to do without.
        folder: the marketplace folder that the client reads the plugin from.
        changed: files of the client that hold something else now.
        backups: copies of those files from before.
        removed: folders and files that were deleted.
        notes: plain sentences for a person.
    """

    action: Literal["installed", "updated", "uninstalled", "nothing"]
    client: Path | None
    folder: Path
    changed: tuple[Path, ...] = ()
    backups: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """One installation: for the user (``project`` None) or for one project."""

    project: str | None


@dataclass(frozen=True, slots=True)
class _State:
    """What a later removal must know.

    ``before`` maps a settings file to those of our keys that it had, or to None where it did not exist.
    """

    places: tuple[_Place, ...] = ()
    before: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)


def find_client(client: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the client's program: the given one, else ``$ZC_CLAUDE``, else ``claude`` on the path.

    Raises:
        Unavailable: ``client_missing``.
    """
    named = str(client) if client is not None else environment.get("ZC_CLAUDE") or "claude"
    found = shutil.which(named, path=environment.get("PATH", os.defpath))
    if found is None:
        raise Unavailable(
            "client_missing",
            f"Claude Code was not found: there is no program {named!r}.",
            "Install Claude Code, or name its program: zc install claude-code --client PATH",
        )
    return Path(found).absolute()


def default_home(environment: Mapping[str, str]) -> Path:
    """Return the data folder where ``ZC_HOME`` is not set."""
    return ClientFiles.of(environment).config / "zc-ctx"


def install_claude_code(
    *,
    scope: Scope = "user",
    project: Path,
    home: Path,
    environment: Mapping[str, str],
    client: Path | None = None,
    python: Path | None = None,
    now: datetime | None = None,
) -> Report:
    """Install the plugin into Claude Code, or bring an installed one to this version. Safe to repeat.

    Args:
        scope: for all projects of the user, or for ``project`` alone.
        project: the project's folder; the client is run in it.
        home: the data folder (``ZC_HOME``); the plugin is rendered into ``<home>/claude-code``.
        environment: the caller's environment (``HOME``, ``PATH``, ``CLAUDE_CONFIG_DIR``, ``ZC_CLAUDE``).
        client: the client's program, instead of the one on the path.
        python: the interpreter to write into the plugin; the running one by default.
        now: for the names of backups.

    Raises:
        InvalidInput: ``client_file_corrupt``, ``project_missing``.
        Unavailable: ``client_missing``, ``client_refused``, ``plugin_missing``.
    """
    now = now or datetime.now(UTC)
    program = find_client(client, environment)
    if not project.is_dir():
        raise InvalidInput("project_missing", f"{project} is not a folder.", "Name the project's folder.")
    files = ClientFiles.of(environment)
    folder = home.absolute() / "claude-code"
    with _alone(home):
        state = _load(folder, now)
        place = _Place(str(project.resolve()) if scope == "project" else None)
        settings = [files.settings, *([project_settings(project.resolve())] if scope == "project" else [])]
        watch = Watch([*settings, files.state], now)
        before = dict(state.before)
        for path in settings:
            if str(path) not in before:
                value = read_object(path, now)
                before[str(path)] = None if value is None else _keys_of_others(value)
        other_home = None if home.absolute() == default_home(environment) else home.absolute()
        machine = plugin_render.Machine(Path(python or sys.executable).absolute(), other_home)
        plugin_render.render(folder, machine)
        places = (*(p for p in state.places if p != place), place)
        _save(folder, _State(places, before))  # before the client acts: a removal must find it
        notes = _add(program, scope, project, folder, environment, files, now)
        changed, backups = watch.close(now)
    return Report(
        "updated" if place in state.places else "installed", program, folder, changed, backups, (), notes
    )


def _keys_of_others(settings: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys of `OWNED` that are there without us, if only as an empty object."""
    return tuple(key for key, ours in OWNED.items() if list(settings.get(key, [ours]) or ()) != [ours])


def _add(
    program: Path,
    scope: Scope,
    project: Path,
    folder: Path,
    environment: Mapping[str, str],
    files: ClientFiles,
    now: datetime,
) -> tuple[str, ...]:
    """Have the client take the rendered plugin, and check that it did."""

    def run(*words: str) -> str:
        return _run(program, words, project, environment)

    notes = []
    known = (read_object(files.marketplaces, now) or {}).get(plugin_render.MARKETPLACE)
    if isinstance(known, dict) and known.get("source") != {"source": "directory", "path": str(folder)}:
        run("marketplace", "remove", plugin_render.MARKETPLACE)
        notes.append("A marketplace of the same name from another place was replaced.")
    run("marketplace", "add", str(folder))
    run("install", PLUGIN_ID, "--scope", scope)
    found = _listed(run("list", "--json"), scope, project)
    if found is None:
        raise Unavailable(
            "client_refused",
            "Claude Code took the plugin but does not list it.",
            f"Look at the output of: {program} plugin list",
        )
    if found.get("enabled") is False:
        run("enable", PLUGIN_ID, "--scope", scope)
        notes.append("The plugin had been disabled and is enabled again.")
    if found.get("version") != securecontext.__version__:
        run("update", PLUGIN_ID, "--scope", scope)
    notes.append("Sessions that are running take it up after /reload-plugins, new ones at their start.")
    return tuple(notes)


def _listed(output: str, scope: Scope, project: Path) -> dict[str, object] | None:
    for entry in json.loads(output):
        here = scope == "user" or Path(entry.get("projectPath", "")).resolve() == project.resolve()
        if here and entry.get("id") == PLUGIN_ID and entry.get("scope") == scope:
            return dict(entry)
    return None


def uninstall_claude_code(
    *,
    home: Path,
    environment: Mapping[str, str],
    client: Path | None = None,
    now: datetime | None = None,
) -> Report:
    """Take the plugin out of Claude Code wherever it was installed from this data folder. The data stays.

    The client removes what it knows of; then its files are swept for what is still ours, so that this works
    without the client too.

    Args:
        home: the data folder (``ZC_HOME``).
        environment: the caller's environment.
        client: the client's program, instead of the one on the path.
        now: for the names of backups.

    Raises:
        InvalidInput: ``client_file_corrupt``.
    """
    now = now or datetime.now(UTC)
    files = ClientFiles.of(environment)
    folder = home.absolute() / "claude-code"
    notes: list[str] = []
    try:
        program: Path | None = find_client(client, environment)
    except Unavailable as missing:
        program = None
        notes.append(f"{missing.message} Its files were cleaned without it.")
    with _alone(home):
        state = _load(folder, now)
        places = state.places or (_Place(None),)
        projects = [Path(place.project) for place in places if place.project is not None]
        settings = [files.settings, *(project_settings(each) for each in projects)]
        watch = Watch([*settings, *{mention.file: None for mention in files.mentions}], now)
        if program is not None:
            notes += _take_out(program, places, home, environment)
        for path in settings:
            had = state.before.get(str(path), ())
            sweep_settings(path, None if had is None else frozenset(had), now)
        sweep_mentions(files, now)
        removed = [path for path in files.leftovers if plugin_render.remove(path)]
        if plugin_render.remove(folder):
            removed.append(folder)
        changed, backups = watch.close(now)
    action: Literal["uninstalled", "nothing"] = "uninstalled" if changed or removed else "nothing"
    return Report(action, program, folder, changed, backups, tuple(removed), tuple(notes))


def _take_out(
    program: Path, places: tuple[_Place, ...], home: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    for place in places:
        scope = "user" if place.project is None else "project"
        where = home if place.project is None else Path(place.project)
        if not where.is_dir():
            continue
        try:
            _run(program, ("uninstall", PLUGIN_ID, "--scope", scope), where, environment)
        except Unavailable as refused:
            yield f"The client said: {refused.message} What it left was cleaned."
    try:
        _run(program, ("marketplace", "remove", plugin_render.MARKETPLACE), home, environment)
    except Unavailable as refused:
        yield f"The client said: {refused.message} What it left was cleaned."


def _run(program: Path, words: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> str:
    """Run ``claude plugin …`` and return its standard output.

    Raises:
        Unavailable: ``client_refused``.
    """
    # A session's own variables would make the client believe that it is that session's child.
    own = ("CLAUDECODE", "CLAUDE_CODE_SESSION")
    given = {name: value for name, value in environment.items() if not name.startswith(own)}
    given |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - the program is the user's own client, the words are ours
            [str(program), "plugin", *words],
            cwd=folder,
            env=given,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CLIENT_SECONDS,
            check=False,
        )
        said, wrong = (done.stderr.strip() or done.stdout.strip()), done.returncode != 0
    except OSError as cannot:
        said, wrong = str(cannot), True
    except subprocess.TimeoutExpired:
        said, wrong = f"no answer in {CLIENT_SECONDS:.0f} s", True
    if wrong:
        last = said.splitlines()[-1] if said else "nothing"
        raise Unavailable(
            "client_refused",
            f"`claude plugin {' '.join(words[:2])}` failed: {last}",
            f"Try it yourself: {program} plugin {' '.join(words)}",
        )
    return done.stdout


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the lock of installations for this data folder."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "install.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load(folder: Path, now: datetime) -> _State:
    raw = read_object(folder / "install.json", now)
    if raw is None:
        return _State()
    before = {path: None if keys is None else tuple(keys) for path, keys in raw["before"].items()}
    return _State(tuple(_Place(each) for each in raw["places"]), before)


def _save(folder: Path, state: _State) -> None:
    value = {"places": [place.project for place in state.places], "before": dict(state.before)}
    path = folder / "install.json"
    draft = path.with_name(".install.json")
    draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
