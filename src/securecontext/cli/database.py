"""``zc db``: the PostgreSQL database that holds the data, as its administrator sees it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from securecontext import settings
from securecontext.cli.answers import refuse
from securecontext.types.errors import ZcError

app = typer.Typer(no_args_is_help=True, help="The PostgreSQL database of the data: migrate.")


@app.command()
def migrate(
    login: Annotated[
        list[str] | None,
        typer.Option(
            "--login", help="A service's login; by default the one in ZC_POSTGRES_URL. Can be repeated."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the tables in a PostgreSQL database, or bring them up to date, and let services use them.

    Needs ZC_POSTGRES_ADMIN_URL, the address with a login that may make roles and schemas; the service never sees it.
    Lets the service of this ZC_HOME act in the database, too. Does all of it or nothing, and can be repeated.
    """
    from securecontext.app import database

    try:
        found = settings.read()
        keyring = database.keyring_of(found)
        done = database.migrate(settings.read_admin_url(), found.postgres_url, login or [], keyring)
    except ZcError as error:
        refuse(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2))
        return
    state = (
        "is up to date"
        if done.before == done.after
        else f"was brought from {done.before or 'nothing'} to {done.after}"
    )
    typer.echo(f"The database ({done.where}) {state}.")
    if done.logins:
        typer.echo(f"These logins may use it: {', '.join(done.logins)}.")
    else:
        typer.echo(
            "No login may use it yet: set ZC_POSTGRES_URL, or name one with --login, and run this again."
        )
