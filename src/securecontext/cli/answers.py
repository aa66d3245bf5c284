"""From an operation's answer to a terminal: data on standard output, talk on standard error, one exit code."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from securecontext import rendezvous
from securecontext.rpc.client import Client, Reply
from securecontext.types.errors import InvalidInput, ZcError

_READ_ON, _COMMAND = re.compile(r'zc_search ids=\["([^"\]\s]+)"\]'), r"zc search --ids \1"
"""How an agent reads a hit whole, and how a person does."""


def ask(operation: str, arguments: dict[str, Any], project: str | None = None) -> Reply:
    """Return the service's answer to one call.

    Raises:
        ZcError: what it refused with.
    """
    client = Client(rendezvous.home(), str(Path(project).absolute()) if project else None)
    try:
        return client.call(operation, arguments)
    finally:
        client.close()


def answered(operation: str, arguments: dict[str, Any], *, project: str | None, as_json: bool) -> None:
    """Print the answer to one call; end the program with the error's exit code where it was refused."""
    try:
        reply = ask(operation, arguments, project)
    except ZcError as error:
        refuse(error, as_json=as_json)
    show(reply, as_json=as_json)


def show(reply: Reply, *, as_json: bool) -> None:
    """Print an answer."""
    text = (
        json.dumps(reply.structured, indent=2, ensure_ascii=False)
        if as_json
        else _READ_ON.sub(_COMMAND, reply.text)
    )
    typer.echo(text)


def refuse(error: ZcError, *, as_json: bool = False) -> NoReturn:
    """Print an error and end the program with its exit code."""
    if as_json:
        typer.echo(json.dumps({"error": error.as_dict()}, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"zc: {error.message} [{error.code}]\n    {error.hint}", err=True)
    raise typer.Exit(error.exit_code)


def confirmed(what: str, *, yes: bool) -> None:
    """Go on only if the person agrees: by ``--yes``, or at a prompt where there is a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        refuse(InvalidInput("not_confirmed", f"{what.strip()}: this needs a yes.", "Say so with --yes."))
    typer.confirm(f"{what.strip()}. Go on?", abort=True, err=True)
