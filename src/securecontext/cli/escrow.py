"""``zc audit escrow``: have the ledger root encrypted into a file; and check erased epochs with such a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from securecontext.cli.answers import EXIT_TAMPERED, refuse
from securecontext.cli.operator import asked_at_terminal, call
from securecontext.types.errors import InvalidInput

PROMPT = "Operator's passphrase: "


def escrow(
    file: Annotated[str, typer.Argument(help="File that is made.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Encrypt the present ledger root into a file, with the operator's passphrase.

    Who has the file and the passphrase can check the MACs of all epochs from this one on, and can forge them. Keep it
    where neither agents nor other programs of yours reach it, or do not make it.
    """
    path = Path(file)
    if path.exists():
        refuse(InvalidInput("file_exists", "Something has that name.", "Use another name."))
    if not yes:
        typer.confirm(
            "Whoever gets this file and the passphrase can forge entries from now on. Make it?", abort=True
        )
    made = call({"do": "escrow", "passphrase": asked_at_terminal(PROMPT)})["escrow"]
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(opened, "w", encoding="ascii") as out:
            out.write(made)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        refuse(
            InvalidInput(
                "unwritable_file",
                f"{path} cannot be made ({error.strerror}).",
                "Name a file that you can make.",
            )
        )
    typer.echo(f"Wrote {path}. Move it away from this machine; check with `zc audit verify --escrow FILE`.")


def verify_with(file: str, folder: str, *, as_json: bool) -> None:
    """Verify every entry with the keys that an escrow gives back, show the verdict, and exit with it."""
    try:
        given = Path(file).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        refuse(
            InvalidInput("unreadable_file", f"{file} cannot be read ({error}).", "Name a readable file."),
            as_json=as_json,
        )
    request = {"do": "recall", "escrow": given, "folder": folder, "passphrase": asked_at_terminal(PROMPT)}
    answer = call(request)
    found: dict[str, Any] = answer["structured"]
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else answer["text"])
    if found["status"] != "OK":
        raise typer.Exit(EXIT_TAMPERED)
