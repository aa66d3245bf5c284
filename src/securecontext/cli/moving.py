"""``zc migrate``: carry the data of this folder from its files into a PostgreSQL database."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from securecontext import rendezvous, settings
from securecontext.cli.answers import confirmed, refuse
from securecontext.cli.service import stop_running
from securecontext.service import guard
from securecontext.types.errors import Conflict, ZcError

app = typer.Typer(no_args_is_help=True, help="Carry the data from files into a PostgreSQL database.")


@app.command("sqlite-to-postgres")
def sqlite_to_postgres(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Use the files again after a migration that did not finish.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Carry memory, archive, register and ledgers into the database that ZC_POSTGRES_URL names.

    Stops the service, carries every row, compares each table with its file and verifies each ledger; only then the
    folder says that its data is in the database. The files are read and never changed. Run it again where it was
    interrupted.
    """
    from securecontext.app import moving

    home = Path(rendezvous.home())
    try:
        if not give_up:
            confirmed(f"This stops the service and carries the data of {home} into the database", yes=yes)
        with _claimed(home):
            if give_up:
                there = moving.give_up(home)
                typer.echo("The files are used again." if there else "No migration was under way.")
                return
            done = moving.Move(settings.read(), _progress).run()
    except ZcError as error:
        refuse(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in done], indent=2))
        return
    for each in done:
        typer.echo(f"{each.name}: {each.rows} rows carried, {each.entries} ledger entries, {each.ledger}")
    typer.echo(
        f"The data of {home} is in the database now. Keep ZC_POSTGRES_URL set wherever the service may start; the "
        "files stay as they were, and nobody needs them any more."
    )


@contextmanager
def _claimed(home: Path) -> Iterator[None]:
    """Keep every service away from the folder."""
    stop_running()
    claim = guard.claim(home, boot_id=guard.boot_id(), mounts=guard.mounts(), now=guard.wall_clock())
    if claim is None:
        raise Conflict("service_runs", "A service runs on this folder.", "End its sessions, then try again.")
    try:
        yield
    finally:
        claim.release()


def _progress(name: str, rows: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{name}: {rows} rows\x1b[K" + ("\n" if name.endswith("compared") else ""))
        sys.stderr.flush()
