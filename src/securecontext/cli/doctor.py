"""``zc doctor``: does everything that has to work together really work together?

Each check does the thing rather than look whether it is configured: it asks the service, runs the installed hook as
the client would, verifies the ledger. Inside a Claude Code session it also proves that this very session's start hook
fired.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from securecontext import __version__, rendezvous
from securecontext.boundaries.code import inventory
from securecontext.cli.answers import ask
from securecontext.cli.client_files import PLUGIN_ID, SERVER_ID, ClientFiles, project_root
from securecontext.cli.findings import Check, Health, guarded
from securecontext.cli.install import client_environment, find_client
from securecontext.cli.installation import Installation
from securecontext.cli.service import running
from securecontext.cli.stored_state import stored_state
from securecontext.cli.upstream_state import asked_upstream, kept_upstream, no_code_through_a_gateway
from securecontext.types.errors import Unavailable

ROOTS = ("ledger", "encryption", "tokens", "skills")
SECONDS = 60.0
NEAR = 0.8
LIMITS_NEXT = "End clients, forget what is not needed, or raise the limit: see docs/reference/limits.md."
SHOWN = 8
"""Lines of one finding at most."""
SKIP_MS = 900_000
"""So long the client skips a server that failed to start, unless its entry says otherwise."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    client: Annotated[str | None, typer.Option("--client", help="The claude program.")] = None,
) -> None:
    """Check service, database, limits, keys, code, state, ledger, Claude Code, the plugin and its hooks."""
    checks = list(examine(Path(client) if client else None))
    failed = any(c.health is Health.FAIL for c in checks)
    if as_json:
        typer.echo(
            json.dumps(
                {"ok": not failed, "checks": [asdict(c) for c in checks]}, indent=2, ensure_ascii=False
            )
        )
    else:
        for check in checks:
            typer.echo(f"{check.health:<5} {check.name:<9} {check.detail}")
            if check.next:
                typer.echo(f"{'':<15} -> {check.next}")
        typer.echo("Something is wrong." if failed else "All is well.")
    raise typer.Exit(1 if failed else 0)


def examine(client: Path | None) -> Iterator[Check]:
    """Yield the findings one by one."""
    home = Path(rendezvous.home())
    service = guarded("service", _service)
    yield service
    shared = rendezvous.system_socket()
    up = not shared and (service.health is Health.OK or running() is not None)

    def served(name: str, work: Callable[[], Check]) -> Check:
        """Look at what needs the service only where there is one: each look would try to start it again."""
        return guarded(name, work) if up else _not_looked_at(name)

    upstream = bool((running() or {}).get("upstream")) if up else False
    if upstream:
        yield guarded("upstream", asked_upstream)
    yield served("database", lambda: _database(home)) if not upstream else kept_upstream("database")
    yield served("limits", _limits)
    yield _not_looked_at("keys") if shared else guarded("keys", lambda: _keys(home))
    yield served("code", _code)
    yield served("sandbox", _sandbox) if not upstream else no_code_through_a_gateway()
    yield from stored_state() if up else [_not_looked_at("state")]
    yield served("ledger", lambda: _ledger({}, "this project")) if not upstream else kept_upstream("ledger")
    yield served("ledger", lambda: _ledger({"machine": True}, "this machine"))
    yield guarded("client", lambda: _client(home, client))
    yield guarded("plugin", lambda: _plugin(home, client))
    yield served("hooks", lambda: _hooks(home))
    yield served("session", _session) if not upstream else kept_upstream("session")


def _not_looked_at(name: str) -> Check:
    return Check(name, Health.NOTE, "not looked at: it needs the service")


def _service() -> Check:
    shared = rendezvous.system_socket()
    try:
        rendezvous.connect_or_start(rendezvous.home()).close()
    except (OSError, rendezvous.ServiceAway) as error:
        next_step = "Mend that, then run `zc doctor` again; `zc service logs` may say more."
        raise Unavailable("service_away", str(error), next_step) from error
    if shared:
        return Check(
            "service",
            Health.NOTE,
            f"the system service at {shared} answers; its state is the administrator's to look at",
            "As the administrator: `zc doctor` as the service's own user.",
        )
    found = running()
    if found is None:
        why = rendezvous.reason(rendezvous.home())
        raise Unavailable(
            "service_away",
            f"The service started and went away{': ' + why if why else '.'}",
            "Mend that, then run `zc doctor` again; `zc service logs` may say more.",
        )
    detail = (
        f"version {found['version']}, pid {found['pid']}, {found['memory_mb']} MB, data in {found['home']}"
    )
    if found["version"] != __version__:
        return Check(
            "service", Health.FAIL, f"{detail}; this program is {__version__}", "Run `zc service restart`."
        )
    return Check("service", Health.OK, detail)


def _database(home: Path) -> Check:
    aside = [p.name for p in (*home.glob("*.set-aside"), *(home / "projects").glob("*.set-aside"))]
    if aside:
        return Check("database", Health.FAIL, f"set aside as broken: {', '.join(aside)}", "See `zc recover`.")
    reply = ask("zc_status", {})
    kept = (running() or {}).get("database", {})
    where = f" in PostgreSQL ({kept['where']})" if kept.get("engine") == "postgres" else ""
    return Check(
        "database",
        Health.OK,
        f"project {reply.structured['project']}, {reply.structured['facts']} facts; "
        f"{int(kept.get('bytes', 0)) >> 10} KiB in all{where}",
    )


def _limits() -> Check:
    found = running()
    if found is None:
        raise Unavailable("service_away", "The service went away.", "Run `zc doctor` again.")
    said = {name.replace("_", " "): (used, limit) for name, (used, limit) in found["limits"].items()}
    detail = ", ".join(f"{name} {used:g} of {limit:g}" for name, (used, limit) in said.items())
    reached = [name for name, (used, limit) in said.items() if used >= limit]
    if reached:
        return Check("limits", Health.FAIL, f"reached: {', '.join(reached)}; {detail}", LIMITS_NEXT)
    near = [name for name, (used, limit) in said.items() if used >= NEAR * limit]
    if near:
        return Check("limits", Health.NOTE, f"nearly reached: {', '.join(near)}; {detail}", LIMITS_NEXT)
    return Check("limits", Health.OK, detail)


def _keys(home: Path) -> Check:
    missing, wrong = [], []
    for name in ROOTS:
        file = home / "keys" / f"{name}.root"
        if not file.exists():
            if name == "ledger" or not os.environ.get("ZC_MACHINE_SECRET"):
                missing.append(file.name)
            continue
        found = file.stat()
        if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.getuid():
            wrong.append(f"{file.name} is open to others")
    if missing:
        return Check(
            "keys",
            Health.FAIL,
            "; ".join([*(f"{name} is missing" for name in missing), *wrong]),
            f"Restore {', '.join(missing)} in {home / 'keys'} from your backup.",
        )
    if wrong:
        return Check(
            "keys", Health.FAIL, "; ".join(wrong), f"Set mode 600 and your own owner in {home / 'keys'}."
        )
    return Check(
        "keys",
        Health.OK,
        "four roots, 0600, same user: other programs of yours could read them (level 1 of 3)",
    )


def _code() -> Check:
    found = ask("integrity.check", {}).structured
    lines = [found["why"], *(f"{each['how']} {each['name']}" for each in found.get("differences", ()))]
    shown = [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else lines
    match found["state"]:
        case "changed":
            return Check("code", Health.FAIL, "; ".join(shown), found["next"])
        case "unaccepted":
            return Check("code", Health.NOTE, "; ".join(shown), found["next"])
        case _:
            return Check("code", Health.OK, found["why"])


def _sandbox() -> Check:
    """Say which rung code runs under, why not a better one, and what would get there."""
    found = ask("sandbox.status", {}).structured
    rung, tried = found.get("rung", ""), found["tried"]
    against = [f"{each['rung']}: {each['why']}" for each in tried if each.get("why")]
    steps = " ".join(each["next"] for each in tried if each.get("next"))
    together = ", ".join(found.get("together", ())) or "nothing"
    if not rung:
        return Check("sandbox", Health.NOTE, f"no code is run: {'; '.join(against)}", steps)
    detail = "; ".join([f"code runs under {rung}, counted together: {together}", *against])
    if rung == "environment":
        return Check("sandbox", Health.NOTE, f"{detail}; the operator chose no isolation", steps)
    return Check("sandbox", Health.NOTE if against else Health.OK, detail, steps)


def _ledger(arguments: dict[str, Any], which: str) -> Check:
    verdict = ask("audit.verify", arguments).structured
    at = (verdict.get("full_at") or "never")[:16].replace("T", " ")
    detail = (
        f"{verdict['status']} for {which}: {verdict['entries']} entries in {verdict['streams']} streams, "
        f"all of them read last at {at} UTC"
    )
    if verdict["status"] != "OK":
        return Check(
            "ledger", Health.FAIL, f"{detail}; {verdict.get('broken_kind')}", "Run `zc audit verify --json`."
        )
    return Check("ledger", Health.OK, detail)


def _run(program: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603 - the user's own client
        [str(program), *words],
        env=client_environment(os.environ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Unavailable(
            "client_refused", f"`claude {' '.join(words[:2])}` failed: {last}", "Run it yourself to see more."
        )
    return done.stdout.strip()


def _program(home: Path, client: Path | None) -> Path:
    return find_client(client, os.environ, home, "zc doctor")


def _client(home: Path, client: Path | None) -> Check:
    program = _program(home, client)
    return Check("client", Health.OK, f"{_run(program, '--version')} at {program}")


def _plugin(home: Path, client: Path | None) -> Check:
    if not Installation.load(home).places:
        return Check("plugin", Health.FAIL, "not installed", "Run `zc install claude-code`.")
    program = _program(home, client)
    _run(program, "plugin", "validate", str(home / "claude-code"))
    listed = json.loads(_run(program, "plugin", "list", "--json"))
    mine = [entry for entry in listed if entry.get("id") == PLUGIN_ID]
    if not mine:
        return Check("plugin", Health.FAIL, "the client does not list it", "Run `zc install claude-code`.")
    here = {None, str(Path.cwd()), str(project_root(Path.cwd(), os.environ))}
    for_here = [entry for entry in mine if entry.get("projectPath") in here]
    if not for_here:
        return Check(
            "plugin",
            Health.NOTE,
            f"installed for {', '.join(sorted({str(entry['projectPath']) for entry in mine}))} only",
            "Run `zc install claude-code --scope project` to have it here too.",
        )
    if not any(e.get("enabled", True) for e in for_here):
        return Check(
            "plugin", Health.FAIL, "disabled in the client", f"Run `claude plugin enable {PLUGIN_ID}`."
        )
    if all(e.get("version") != __version__ for e in for_here):
        return Check(
            "plugin",
            Health.FAIL,
            f"version {for_here[0].get('version')}",
            "Run `zc install claude-code` again.",
        )
    for entry in for_here:
        unlike = _unlike(Path(entry.get("installPath", "")), home / "claude-code" / "plugin")
        if unlike:
            return Check(
                "plugin",
                Health.FAIL,
                f"the client's copy differs from what was installed: {', '.join(unlike[:SHOWN])}",
                "Run `zc uninstall`, then `zc install claude-code`: the client copies it anew.",
            )
    skipped = ClientFiles.of(os.environ).skipped_servers
    if _skips_us(skipped):
        return Check(
            "plugin",
            Health.FAIL,
            "Claude Code skips the memory server for 15 minutes, because it failed to start once",
            f"Remove the entry {SERVER_ID} from {skipped}, or wait; then restart Claude Code.",
        )
    scopes = ", ".join(sorted({str(e.get("scope")) for e in for_here}))
    return Check("plugin", Health.OK, f"valid, version {__version__}, enabled, scope {scopes}")


def _unlike(copy: Path, installed: Path) -> list[str]:
    """Return which of the plugin's files the client's own copy, which it runs, has otherwise or not at all."""
    there, wanted = (inventory.files(folder, "", _at_once) for folder in (copy, installed))
    forged = inventory.forged_bytecode(copy, "", _at_once)
    return [f"{copy}{name}" for name in (*sorted(n for n in wanted if there.get(n) != wanted[n]), *forged)]


def _at_once() -> None:
    """Wait for nobody."""


def _skips_us(file: Path) -> bool:
    """Say whether the client's list of servers that it does not start names ours, and still holds."""
    try:
        entry = json.loads(file.read_bytes())[SERVER_ID]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False  # what the client cannot read it takes for empty
    try:
        return float(entry["timestamp"]) + float(entry.get("ttlMs", SKIP_MS)) > time.time() * 1000
    except (ValueError, KeyError, TypeError):
        return True


def _hooks(home: Path) -> Check:
    """Run every installed handler's command with the word ``ping``: the service itself must answer it."""
    manifests = sorted((home / "claude-code").glob("**/hooks/hooks.json"))
    if not manifests:
        return Check("hooks", Health.FAIL, "not installed", "Run `zc install claude-code`.")
    plugin = manifests[0].parent.parent
    try:
        events = json.loads(manifests[0].read_text(encoding="utf-8"))["hooks"]
        handlers = [
            (event, h["command"], h["args"]) for event in events for g in events[event] for h in g["hooks"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        return Check(
            "hooks", Health.FAIL, f"{manifests[0]} is broken: {error}", "Run `zc install claude-code` again."
        )
    for event, command, arguments in handlers:
        words = [str(a).replace("${CLAUDE_PLUGIN_ROOT}", str(plugin)) for a in arguments[:-1]]
        done = subprocess.run(  # noqa: S603 - our own hook, as the client runs it
            [command, *words, "ping"],
            input=b"{}",
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != 0 or done.stdout.strip() != b"pong":
            return Check(
                "hooks",
                Health.FAIL,
                f"the hook of {event} got no answer from the service",
                "Run `zc install claude-code` again.",
            )
    return Check("hooks", Health.OK, f"{len(events)} events reach the service: {', '.join(events)}")


def _session() -> Check:
    session = os.environ.get("CLAUDE_CODE_SESSION_ID", "")
    seen = ask("session.seen", {"session": session} if session else {}).structured
    if session:
        if seen["started"]:
            return Check(
                "session",
                Health.OK,
                f"this Claude Code session's start hook fired, {seen['entries']} ledger entries since",
            )
        return Check(
            "session",
            Health.FAIL,
            "this Claude Code session's start hook did not fire",
            "Restart the session; check /hooks in it.",
        )
    if seen["last"]:
        return Check(
            "session",
            Health.OK,
            f"a session's hooks fired last at {seen['last'][:19].replace('T', ' ')} UTC in this project",
        )
    return Check(
        "session",
        Health.NOTE,
        "no session's hooks have fired in this project yet",
        "Start Claude Code here, then look again.",
    )
