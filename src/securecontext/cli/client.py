"""``zc install claude-code`` and ``zc uninstall``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from securecontext import rendezvous
from securecontext.cli.answers import refuse
from securecontext.cli.install import Report, Scope, install_claude_code, uninstall_claude_code
from securecontext.cli.service import stop_running
from securecontext.types.errors import InvalidInput, ZcError

install = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Install into a client: claude-code.")
Client = Annotated[
    str | None, typer.Option("--client", help="The claude program; by default the one on PATH.")
]


@install.command("claude-code")
def claude_code(
    scope: Annotated[
        str, typer.Option("--scope", help="user: all projects; project: this one, on this machine.")
    ] = "user",
    client: Client = None,
) -> None:
    """Install the plugin into Claude Code; run again to update it."""
    wanted: Scope
    match scope:
        case "user" | "project":
            wanted = scope
        case _:
            refuse(
                InvalidInput(
                    "bad_scope", "The scope is user or project.", "Say --scope user or --scope project."
                )
            )
    try:
        report = install_claude_code(
            scope=wanted,
            project=Path.cwd(),
            home=Path(rendezvous.home()),
            environment=dict(os.environ),
            client=Path(client) if client else None,
        )
    except ZcError as error:
        refuse(error)
    _tell(report)
    program = Path(sys.executable).parent / "zc"
    if shutil.which("zc") is None and program.exists():
        typer.echo(f"  zc is not on your PATH. Put it there: ln -s {program} ~/.local/bin/zc")
    typer.echo("Next: start Claude Code in a project. `zc doctor` says whether all is well.")


def uninstall(
    client: Client = None,
) -> None:
    """Take the plugin out of Claude Code without a trace. What is stored stays."""
    home = Path(rendezvous.home())
    try:
        report = uninstall_claude_code(
            home=home, environment=dict(os.environ), client=Path(client) if client else None
        )
    except ZcError as error:
        refuse(error)
    _tell(report)
    if report.action == "nothing":
        return
    stop_running()
    typer.echo(f"Your data stays in {home}. Remove that folder if you want it gone too.")


def _tell(report: Report) -> None:
    typer.echo(f"{report.action.capitalize()}." if report.action != "nothing" else "Nothing was installed.")
    for title, paths in (
        ("changed", report.changed),
        ("backup", report.backups),
        ("removed", report.removed),
    ):
        for path in paths:
            typer.echo(f"  {title}: {path}")
    for note in report.notes:
        typer.echo(f"  {note}")
