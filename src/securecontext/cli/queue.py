"""``zc queue``: how the work queue stands, once or live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from securecontext import rendezvous
from securecontext.cli.answers import refuse, show
from securecontext.cli.derive import Json, Project
from securecontext.rpc.client import Client
from securecontext.types.errors import InvalidInput, ZcError

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="The work queue: how it stands, live with --watch; enqueue, claim, complete, list, requeue.",
)
EVERY_SECONDS = 2.0
CLEAR = "\x1b[H\x1b[2J"


@app.callback()
def queue(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds.")] = False,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Show how the work queue stands; with --watch until it is interrupted."""
    if context.invoked_subcommand is not None:
        if watch:
            refuse(InvalidInput("no_watch", "--watch goes with `zc queue` alone.", "Leave the rest out."))
        return
    try:
        client = Client(rendezvous.home(), str(Path(project).absolute()) if project else None)
        try:
            while True:
                reply = client.call("queue.show", {})
                if watch and sys.stdout.isatty():
                    typer.echo(CLEAR, nl=False)
                show(reply, as_json=as_json)
                if not watch:
                    return
                time.sleep(EVERY_SECONDS)
        finally:
            client.close()
    except KeyboardInterrupt:  # how a person ends it
        return
    except ZcError as error:
        refuse(error, as_json=as_json)
