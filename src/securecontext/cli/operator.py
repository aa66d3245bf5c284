"""``zc operator``: set the passphrase up, unlock this terminal for some minutes, lock again.

The passphrase is read from the terminal itself, never from an argument, a variable or standard input, which an agent
could fill; it goes over the service's socket once.
"""

from __future__ import annotations

import os
import termios
from typing import Any

import typer

from securecontext import handover, rendezvous
from securecontext.boundaries.identity.operator import UNLOCKED_SECONDS
from securecontext.cli.answers import refuse
from securecontext.rpc.client import START_SECONDS, at_door, refused
from securecontext.types.errors import Denied, InvalidInput, Unavailable

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The operator: a person with a passphrase, at a terminal.",
)
LONGEST = 4_096


@app.command()
def init() -> None:
    """Choose the operator's passphrase. Without one, what needs an operator is refused."""
    passphrase = asked_at_terminal("New passphrase (16 characters or more): ")
    if asked_at_terminal("The same again: ") != passphrase:
        refuse(
            InvalidInput(
                "passphrases_differ", "The two passphrases differ.", "Try again: `zc operator init`."
            )
        )
    call({"do": "init", "passphrase": passphrase})
    typer.echo("There is an operator now. Next: `zc operator unlock`.")


@app.command()
def unlock() -> None:
    """Unlock this terminal for ten minutes."""
    call({"do": "unlock", "passphrase": asked_at_terminal("Operator's passphrase: ")})
    typer.echo(
        f"This terminal is unlocked for {UNLOCKED_SECONDS / 60:.0f} minutes. Lock it with `zc operator lock`."
    )


@app.command()
def lock() -> None:
    """Lock every terminal again."""
    call({"do": "lock"})
    typer.echo("Locked.")


def call(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of the operator's door, or end with its refusal."""
    try:
        connection = handover.reach(rendezvous.home(), START_SECONDS)
    except (rendezvous.ServiceAway, OSError) as error:
        refuse(Unavailable("service_away", str(error), "See `zc service logs` and `zc doctor`."))
    answer = at_door("operator/1", connection, request)
    if answer.get("ok") is True:
        return answer
    if "structured" in answer:
        refuse(refused(answer))
    refuse(Unavailable("service_stopped", "The service went away in the middle of the call.", "Try again."))


def asked_at_terminal(prompt: str) -> str:
    """Return what is typed at the controlling terminal, unseen."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        refuse(
            Denied(
                "no_terminal",
                "An operator sits at a terminal; this process has none.",
                "Call from your own terminal.",
            )
        )
    try:
        before = termios.tcgetattr(terminal)
        silent = [*before]
        silent[3] &= ~termios.ECHO
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
            os.write(terminal, prompt.encode())
            line = os.read(terminal, LONGEST)
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")
    finally:
        os.close(terminal)
    return line.decode("utf-8", "surrogateescape").rstrip("\n")
