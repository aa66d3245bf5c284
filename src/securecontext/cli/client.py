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
from securecontext.cli.system import (
    NEXT,
    Step,
    Target,
    carry_out,
    has_data,
    installing,
    members,
    removing,
    systemd_is_missing,
    told,
)
from securecontext.cli.system_units import DATA, USER
from securecontext.types.errors import InvalidInput, ZcError

install = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Install into a client (claude-code), or as a system service.",
)
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --system: say what would be done, and do nothing.")
]
Root = Annotated[
    str | None,
    typer.Option("--root", help="With --system: the root folder of another system, e.g. of an image."),
]
Client = Annotated[
    str | None, typer.Option("--client", help="The claude program; by default the one on PATH.")
]


@install.callback(invoke_without_command=True)
def system_service(
    context: typer.Context,
    system: Annotated[
        bool, typer.Option("--system", help="A service under a user of its own, for several users; as root.")
    ] = False,
    user: Annotated[
        list[str] | None, typer.Option("--user", help="With --system: who may use it; repeat for several.")
    ] = None,
    dry_run: DryRun = False,
    root: Root = None,
) -> None:
    """Install into a client, or as a system service."""
    if not system:
        if context.invoked_subcommand is None:
            refuse(InvalidInput("what_to_install", "Say what to install.", "See `zc install --help`."))
        return
    target = Target(Path(root).absolute() if root else Path("/"))
    try:
        steps = installing(target, Path(sys.executable), members(user or []))
        if not dry_run:
            carry_out(steps, target)
    except ZcError as error:
        refuse(error)
    _tell_steps(steps, target, dry_run)
    if systemd_is_missing():
        typer.echo("systemd does not run here; the units take effect where it does.")
    typer.echo(NEXT)
    raise typer.Exit


def _tell_steps(steps: list[Step], target: Target, dry_run: bool) -> None:
    typer.echo("This would be done:" if dry_run else "Done:")
    for line in told(steps, target):
        typer.echo(f"  {line}")


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
    system: Annotated[bool, typer.Option("--system", help="The system service instead; as root.")] = False,
    dry_run: DryRun = False,
    root: Root = None,
) -> None:
    """Take the plugin out of Claude Code without a trace. What is stored stays."""
    if system:
        _uninstall_system(Target(Path(root).absolute() if root else Path("/")), dry_run)
        return
    if dry_run:
        refuse(InvalidInput("only_for_system", "Only a system service has a dry run.", "Add --system."))
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


def _uninstall_system(target: Target, dry_run: bool) -> None:
    try:
        steps = removing(target)
        if not dry_run and steps:
            carry_out(steps, target)
    except ZcError as error:
        refuse(error)
    if not steps:
        typer.echo("Nothing was installed.")
        return
    _tell_steps(steps, target, dry_run)
    if has_data(target):
        typer.echo(
            f"The data stays in {target.at(DATA)}, and the user {USER} with it: remove both if you want."
        )


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
