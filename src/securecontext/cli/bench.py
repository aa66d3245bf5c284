"""``zc bench``: what this machine does, measured now."""

from __future__ import annotations

import dataclasses
import json
import os
from enum import StrEnum
from typing import Annotated

import typer

from securecontext.cli.answers import refuse
from securecontext.cli.derive import Json
from securecontext.types.errors import InvalidInput, ZcError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measurements on this machine, in files or a schema of their own.",
)


class Engine(StrEnum):
    """Where the queue lies."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


@app.callback()
def root() -> None:
    """Nothing by itself: each command measures something."""


@app.command()
def queue(
    engine: Annotated[
        Engine, typer.Option("--engine", help="sqlite, or postgres at ZC_POSTGRES_URL.")
    ] = Engine.SQLITE,
    workers: Annotated[int, typer.Option("--workers", min=1, max=500, help="Workers.")] = 50,
    tasks: Annotated[int, typer.Option("--tasks", min=1, max=1_000_000, help="Tasks.")] = 5_000,
    services: Annotated[
        int, typer.Option("--services", min=0, max=50, help="Processes; 1 by default, 4 with --kill.")
    ] = 0,
    kill: Annotated[bool, typer.Option("--kill", help="Kill a process at every tenth of the way.")] = False,
    as_json: Json = False,
) -> None:
    """Drain a queue with many workers; count claims, doubles and losses by the workers and by the ledger."""
    from securecontext.app.bench.queue import measure

    url = os.environ.get("ZC_POSTGRES_URL", "")
    if engine is Engine.POSTGRES and not url:
        wrong = InvalidInput("no_database", "ZC_POSTGRES_URL is not set.", "Set it to a database for tests.")
        refuse(wrong, as_json=as_json)
    try:
        measured = measure(engine.value, workers, tasks, kill=kill, services=services, url=url)
    except ZcError as error:
        refuse(error, as_json=as_json)
    found = dataclasses.asdict(measured)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo("\n".join(f"{name:<16} {value}" for name, value in found.items()))
    if measured.doubles or measured.lost:
        raise typer.Exit(1)
