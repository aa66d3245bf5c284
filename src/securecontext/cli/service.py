"""``zc service``: see, stop and restart the running service, read its log."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import typer

from securecontext import rendezvous
from securecontext.cli.answers import refuse
from securecontext.rpc.client import control, refused
from securecontext.types.errors import Unavailable

app = typer.Typer(no_args_is_help=True, help="The user's one service: status, stop, restart, logs.")
STOP_SECONDS = 15.0
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def running() -> dict[str, Any] | None:
    """Return the status of the running service, or None if there is none. One that refuses ends the program."""
    return _asked("status")


def _asked(do: str) -> dict[str, Any] | None:
    try:
        answer = control(rendezvous.connect(rendezvous.home(), timeout=5.0), {"do": do})
    except (OSError, rendezvous.ServiceAway, ValueError):
        return None
    if "structured" in answer:
        refuse(refused(answer))
    return answer if "pid" in answer else None


def _has_ended(home: str, pid: int) -> bool:
    """Say whether a service is gone: its process, or at least its hold on the data folder."""
    if not Path(f"/proc/{pid}").exists():
        return True
    try:
        lock = os.open(Path(home) / rendezvous.SERVICE_LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def stop_running() -> bool:
    """Stop the running service and wait until it has ended; return whether there was one."""
    home = rendezvous.home()
    told = _asked("stop")
    if told is None:
        return False
    until = time.monotonic() + STOP_SECONDS
    while time.monotonic() < until:
        if _has_ended(home, told["pid"]):
            return True
        time.sleep(0.02)
    refuse(Unavailable("still_running", "The service has not ended yet.", "Look at `zc service logs`."))


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether the service runs, and how it is."""
    found = running()
    if found is None:
        if as_json:
            typer.echo(json.dumps({"running": False}))
        else:
            typer.echo("The service does not run. It starts by itself with the first client.")
        return
    if as_json:
        typer.echo(json.dumps({"running": True, **found}, indent=2))
        return
    typer.echo(
        f"SecureContext {found['version']} runs as pid {found['pid']} for {found['uptime_seconds']} s, "
        f"{found['memory_mb']} MB, {found['connections']} connection(s).\n"
        f"Data: {found['home']}\nHTTP: {found['http'] or found.get('http_trouble') or _http_state(found)}"
    )
    if upstream := found.get("upstream"):
        typer.echo(f"Upstream: {upstream['in_use'] or 'none was asked yet'}, of {', '.join(upstream['all'])}")
        for address, why in upstream["trouble"].items():
            typer.echo(f"  {address} {why}")
    typer.echo(f"Secrets: {_RULES.get(found.get('secret_rules', ''), 'our own rules')}")
    if found.get("secret_rules_trouble"):
        typer.echo(f"  {found['secret_rules_trouble']}")
    if found.get("token_file"):
        typer.echo(f"Token: {found['token_file']}")
    for name, (used, limit) in found.get("limits", {}).items():
        said = name.replace("_", " ").capitalize().replace(" mb", " (MiB)")
        typer.echo(f"{said}: {used:g} of {limit:g}")


_RULES = {
    "waiting": "our own rules, the others come in a moment",
    "building": "our own rules, the others are made ready",
    "ready": "both sets of rules",
    "failed": "our own rules alone; the others could not be made ready:",
}


def _http_state(found: dict[str, Any]) -> str:
    return "starting" if found.get("http_wanted", True) else "off"


@app.command()
def stop() -> None:
    """Let the service finish what it is doing and end. The next client starts it again."""
    typer.echo("Stopped." if stop_running() else "The service does not run.")


@app.command()
def restart() -> None:
    """Stop the service and start it anew."""
    stop_running()
    try:
        rendezvous.connect_or_start(rendezvous.home()).close()
    except (OSError, rendezvous.ServiceAway) as error:
        refuse(Unavailable("service_away", str(error), "Look at `zc service logs`."))
    found = running()
    if found is None:
        why = rendezvous.reason(rendezvous.home()) or "It started and went away."
        refuse(
            Unavailable("service_away", f"The service does not start: {why}", "Look at `zc service logs`.")
        )
    typer.echo(f"Runs as pid {found['pid']}.")


@app.command()
def logs(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many of the newest lines.")
    ] = 40,
    as_json: Json = False,
) -> None:
    """Print the newest lines of the service's log."""
    file = Path(rendezvous.home()) / "logs" / "service.log"
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            newest = deque(stream, lines)
    except OSError:
        typer.echo(f"There is no log yet at {file}.", err=True)
        return
    for line in newest:
        typer.echo(line.rstrip("\n") if as_json else _readable(line))


def _readable(line: str) -> str:
    try:
        record = json.loads(line)
        text = f"{record['ts'][:19].replace('T', ' ')} {record['level']:<7} {record['component']}: {record['event']}"
        return text + (f"\n{record['trace']}" if "trace" in record else "")
    except (ValueError, KeyError, TypeError):
        return line.rstrip("\n")
