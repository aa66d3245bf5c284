"""The command line: derived commands, commands of the service, and those that read files."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext import __version__
from securecontext.cli import (
    audit,
    bench,
    client,
    database,
    derive,
    doctor,
    escrow,
    files,
    git_hooks,
    moving,
    operator,
    queue,
    service,
)
from securecontext.cli.answers import refuse
from securecontext.types.errors import ZcError

EXAMPLES = """
Memory that survives, and a ledger of every tool call, for coding agents.

Examples:

  zc install claude-code            the next Claude Code session has it

  zc remember db "PostgreSQL 16" --importance 5

  zc search "why PostgreSQL?"

  zc memory list

  zc audit verify

  zc doctor
"""

app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode=None, help=EXAMPLES)
GROUPS = {
    "memory": "Working memory: list, show, edit, undo, export, import.",
    "archive": "Documents and session summaries: list, show, forget.",
    "project": "Projects: list, move, merge, delete.",
    "audit": "The ledger: verify it, look at its end, prove it to others.",
    "keys": "Keys of encrypted texts, and the roots of all keys: status, rotate, destroy.",
    "egress": "What left this machine, and what may: list, allowed, allow, disallow.",
    "sandbox": "How code is confined here, and the profiles that a run may name.",
    "secrets": "What looks like a secret and is none: allowed, allow, disallow.",
    "integrity": "The installed code against its signed baseline: check, accept.",
    "state": "Whether what is stored keeps its invariants: check.",
    "token": "Session tokens: issue, list, revoke.",
    "channel-key": "The key that agents show to broadcast in a project: set, waive, status.",
    "ownership": "Whose files are whose: list, hand-over.",
    "import": "Bring in what others stored.",
}
_groups: dict[str, typer.Typer] = {"queue": queue.app}


def _group(name: str) -> typer.Typer:
    if name not in _groups:
        _groups[name] = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=GROUPS[name])
        app.add_typer(_groups[name], name=name)
    return _groups[name]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"securecontext {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing by itself: each command does its own."""


@app.command()
def mcp() -> None:
    """Speak MCP on standard input and output: what Claude Code starts."""
    from securecontext.mcp.shim import main as shim

    raise typer.Exit(shim())


@app.command()
def serve() -> None:
    """Run the service in the foreground. Clients start it by themselves; nobody has to."""
    from securecontext.service.run import main as run

    raise typer.Exit(run())


derive.add_all(app, _group)
app.command("index")(files.index)
_group("memory").command("import")(files.import_facts)
_group("audit").command("verify")(audit.verify)
_group("audit").command("escrow")(escrow.escrow)
app.add_typer(queue.app, name="queue")
app.add_typer(bench.app, name="bench")
app.add_typer(service.app, name="service")
app.add_typer(operator.app, name="operator")
app.add_typer(git_hooks.app, name="hooks")
app.add_typer(client.install, name="install")
app.command("uninstall")(client.uninstall)
app.add_typer(database.app, name="db")
app.add_typer(moving.app, name="migrate")
app.command("doctor")(doctor.doctor)


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        app(standalone_mode=True)
    except ZcError as error:
        try:
            refuse(error)
        except typer.Exit as ended:
            return ended.exit_code
    except SystemExit as ended:
        return int(ended.code or 0)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return 0
