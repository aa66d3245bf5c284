"""Install SecureContext into Claude Code, and take it out again without a trace."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import securecontext
from securecontext.boundaries.code import plugin_files
from securecontext.cli import client_files, plugin_render
from securecontext.cli.backups import Backups, Watch
from securecontext.cli.client_files import (
    LOCAL_SETTINGS,
    PLUGIN_ID,
    SETTINGS,
    ClientFiles,
    Mention,
    project_root,
    put_back,
    read_object,
    without_us,
)
from securecontext.cli.installation import Installation
from securecontext.types.errors import InvalidInput, Unavailable

Scope = Literal["user", "project"]
CLIENT_SECONDS = 120.0
RUNNING = "Sessions that are running still hold the plugin: end them, then run `zc uninstall` again."


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


def find_client(
    client: Path | None,
    environment: Mapping[str, str],
    home: Path | None = None,
    command: str = "zc install claude-code",
) -> Path:
    """Return the client's program.

    Args:
        client: the one a person names now; else ``$ZC_CLAUDE``, else the one named at the installation, else
            ``claude`` on the path.
        environment: the caller's environment.
        home: the data folder, which remembers the installation.
        command: for the hint where there is none.

    Raises:
        Unavailable: ``client_missing``.
    """
    path = environment.get("PATH", os.defpath)
    named = str(client) if client is not None else environment.get("ZC_CLAUDE")
    if not named and home is not None:
        named = Installation.load(home).client
        named = named if named and shutil.which(named, path=path) else None  # it may have moved since
    named = named or "claude"
    found = shutil.which(named, path=path)
    if found is None:
        raise Unavailable(
            "client_missing",
            f"Claude Code was not found: there is no program {named!r}.",
            f"Install Claude Code, or name its program: {command} --client PATH",
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

    What fails leaves everything as it was.

    Args:
        scope: for all projects of the user, or for ``project`` alone. The latter is the client's scope ``local``:
            the project's shared settings would name a marketplace that only this machine has.
        project: a folder of the project.
        home: the data folder (``ZC_HOME``); the plugin is rendered into ``<home>/claude-code``.
        environment: the caller's environment (``HOME``, ``PATH``, ``CLAUDE_CONFIG_DIR``, ``ZC_CLAUDE``).
        client: the client's program, instead of the one on the path.
        python: the interpreter to write into the plugin; the running one by default.
        now: for the names of backups.

    Raises:
        InvalidInput: ``client_file_corrupt``, ``project_missing``.
        Unavailable: ``client_missing``, ``client_refused``, ``plugin_missing``.
    """
    program = find_client(client, environment, home)
    if not project.is_dir():
        raise InvalidInput("project_missing", f"{project} is not a folder.", "Name the project's folder.")
    files = ClientFiles.of(environment)
    folder = home.absolute() / "claude-code"
    root = project_root(project, environment) if scope == "project" else None
    with _alone(home):
        backups = Backups(home, now)
        earlier = Installation.load(home)
        known = earlier if earlier.places else Installation()
        json_files = [*files.mentions, *([root / LOCAL_SETTINGS] if root else [])]
        for path in json_files:
            read_object(path, backups)
        ignore = client_files.ignore_file(environment) if root else None
        rendered = plugin_render.contents(folder)
        with Watch([*json_files, *([ignore] if ignore else [])], backups) as watch:
            noted = known.noting(home, watch.before, files.folders)
            if ignore and not client_files.has_rule(watch.before[ignore]):
                noted = replace(noted, ignore=noted.ignore or str(ignore))
            place = None if root is None else str(root)
            noted = replace(
                noted,
                places=(*(each for each in noted.places if each != place), place),
                client=earlier.client if client is None else str(program),
            )
            try:
                noted.save(home)  # before the client acts: a removal must find it
                other_home = None if home.absolute() == default_home(environment) else home.absolute()
                machine = plugin_files.Machine(Path(python or sys.executable).absolute(), other_home)
                plugin_render.render(folder, machine)
                notes = _add(program, root, project, folder, environment, files, backups)
            except BaseException:
                # Running sessions write the client's bookkeeping all the time, and an installation does not.
                watch.undo(leave=files.state)
                plugin_render.bring(folder, rendered)
                if not known.places:
                    _remove_traces(files, noted)
                earlier.settle(home)
                raise
            noted.settle(home)
    action: Literal["installed", "updated"] = "updated" if place in known.places else "installed"
    return Report(action, program, folder, watch.changed, watch.copies, (), notes)


def _add(
    program: Path,
    root: Path | None,
    project: Path,
    folder: Path,
    environment: Mapping[str, str],
    files: ClientFiles,
    backups: Backups,
) -> tuple[str, ...]:
    """Have the client take the rendered plugin, and check that it did."""
    scope = "user" if root is None else "local"

    def run(*words: str) -> str:
        return _run(program, words, root or project, environment)

    notes = []
    known = (read_object(files.marketplaces, backups) or {}).get(plugin_files.MARKETPLACE)
    if isinstance(known, dict) and known.get("source") != {"source": "directory", "path": str(folder)}:
        run("marketplace", "remove", plugin_files.MARKETPLACE)
        notes.append("A marketplace of the same name from another place was replaced.")
    run("marketplace", "add", str(folder))
    run("install", PLUGIN_ID, "--scope", scope)
    found = _listed(run("list", "--json"), scope, root)
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


def _listed(output: str, scope: str, root: Path | None) -> dict[str, object] | None:
    for entry in json.loads(output):
        here = root is None or Path(entry.get("projectPath", "")).resolve() == root
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
    """Take the plugin out of Claude Code wherever it is installed. The data stays.

    The client removes what it knows of; then its files are swept for what is still ours, so that this works
    without the client too, and brought back to what they were where nobody else changed them.

    Args:
        home: the data folder (``ZC_HOME``).
        environment: the caller's environment.
        client: the client's program, instead of the one on the path.
        now: for the names of backups.

    Raises:
        InvalidInput: ``client_file_corrupt``.
    """
    files = ClientFiles.of(environment)
    folder = home.absolute() / "claude-code"
    with _alone(home):
        backups = Backups(home, now)
        noted = Installation.load(home)
        entries = _entries(files, backups)
        projects = {Path(place) for place in (*noted.places, *(place for _, place in entries)) if place}
        mentions = dict(files.mentions)
        for project in sorted(projects):
            mentions |= {project / LOCAL_SETTINGS: SETTINGS, project / ".claude" / "settings.json": SETTINGS}
        ignore = None if noted.ignore is None else Path(noted.ignore)
        # Local settings of a removed installation, which a session may have brought back.
        mentions |= {Path(name): SETTINGS for name in noted.files if name.endswith(LOCAL_SETTINGS)}
        written = {
            path for path, where in mentions.items() if noted.places or _names_us(path, where, backups)
        }
        with Watch([*mentions, *([ignore] if ignore else [])], backups) as watch:
            program: Path | None = None
            notes: list[str] = []
            if entries or _names_us(files.marketplaces, mentions[files.marketplaces], backups):
                program, notes = _take_out(client, entries, home, environment)
            for path, where in mentions.items():
                original = noted.original(home, path, watch.before[path])
                put_back(path, original, where, backups, form=path in written)
            if ignore and not client_files.other_local_settings(files, backups):
                client_files.take_rule_out(ignore, noted.original(home, ignore, watch.before[ignore]))
            removed = _remove_traces(files, noted)
            if plugin_render.remove(folder):
                removed.append(folder)
        replace(noted, places=()).settle(home)
    if not watch.changed and not removed:
        return Report("nothing", program, folder, (), (), (), tuple(notes))
    return Report(
        "uninstalled", program, folder, watch.changed, watch.copies, tuple(removed), (*notes, RUNNING)
    )


def _entries(files: ClientFiles, backups: Backups) -> list[tuple[str, str | None]]:
    """Return where the client has the plugin: its scopes, and their projects' folders."""
    listed = (read_object(files.installed, backups) or {}).get("plugins")
    entries = listed.get(PLUGIN_ID) if isinstance(listed, dict) else None
    return [
        (str(entry.get("scope")), entry.get("projectPath"))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    ]


def _names_us(path: Path, mentions: Iterable[Mention], backups: Backups) -> bool:
    value = read_object(path, backups) or {}
    return without_us(value, mentions) != value


def _take_out(
    client: Path | None, entries: list[tuple[str, str | None]], home: Path, environment: Mapping[str, str]
) -> tuple[Path | None, list[str]]:
    """Have the client remove the plugin; return the client, and what it said against it."""
    try:
        program = find_client(client, environment, home)
    except Unavailable as missing:
        return None, [f"{missing.message} Its files were cleaned without it."]
    calls = [
        (("uninstall", PLUGIN_ID, "--scope", scope), home if project is None else Path(project))
        for scope, project in entries
    ]
    notes = []
    for words, where in (*calls, (("marketplace", "remove", plugin_files.MARKETPLACE), home)):
        if not where.is_dir():
            continue
        try:
            _run(program, words, where, environment)
        except Unavailable as refused:
            notes.append(f"The client said: {refused.message} What it left was cleaned.")
    return program, notes


def _remove_traces(files: ClientFiles, noted: Installation) -> list[Path]:
    """Remove folders that are for our plugin alone, and those that came with it and are empty now."""
    removed = [path for path in files.leftovers if plugin_render.remove(path)]
    came = [path.parent for path in removed if path.is_relative_to(files.cache)] + [
        Path(each) for each in noted.folders
    ]
    for path in sorted(came, reverse=True):
        with suppress(OSError):  # it holds something, or is not there
            path.rmdir()
            removed.append(path)
    return removed


def client_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a run of the client that is ours: it calls nobody and updates nothing."""
    # A session's own variables would make the client believe that it is that session's child.
    own = ("CLAUDECODE", "CLAUDE_CODE_SESSION")
    given = {name: value for name, value in environment.items() if not name.startswith(own)}
    return given | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}


def _run(program: Path, words: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> str:
    """Run ``claude plugin …`` and return its standard output.

    Raises:
        Unavailable: ``client_refused``.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the program is the user's own client, the words are ours
            [str(program), "plugin", *words],
            cwd=folder,
            env=client_environment(environment),
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
