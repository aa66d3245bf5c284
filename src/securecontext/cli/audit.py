"""``zc audit verify``: a ledger of our own through the service, a bundle without any service at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from securecontext import rendezvous
from securecontext.boundaries.ledger.bundle import Report, check
from securecontext.cli.answers import EXIT_TAMPERED, ask, refuse, show
from securecontext.cli.derive import Json, Project
from securecontext.cli.escrow import verify_with
from securecontext.types.errors import InvalidInput, ZcError


def verify(
    database: Annotated[
        str | None, typer.Option("--database", help="Verify this copy of a database instead.")
    ] = None,
    machine: Annotated[bool, typer.Option("--machine", help="Verify the machine's own ledger.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Every entry, not only those since the last good check.")
    ] = False,
    public: Annotated[
        str | None, typer.Option("--public", help="Check a bundle with the public key alone.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", help="With --public: a fingerprint that `zc audit key` showed. May be repeated."
        ),
    ] = None,
    escrow: Annotated[
        str | None,
        typer.Option("--escrow", help="Every entry, with the erased keys that this escrow gives back."),
    ] = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Verify the ledger: what came after the last good check, or every entry; exit code 6 unless it is OK."""
    if public is not None:
        if database or machine or project or full or escrow:
            wrong = InvalidInput("one_ledger", "--public names a bundle.", "Leave the other options out.")
            refuse(wrong, as_json=as_json)
        _show(_checked(public, key or [], as_json=as_json), as_json=as_json)
        return
    if escrow is not None:
        if database is not None:
            wrong = InvalidInput("one_ledger", "--escrow needs our own ledger.", "Leave --database out.")
            refuse(wrong, as_json=as_json)
        here = rendezvous.caller_headers().get("project-path") or "/"
        folder = str(Path(project).absolute()) if project else here
        verify_with(escrow, "" if machine else folder, as_json=as_json)
        return
    given = {
        "machine": machine,
        "full": full,
        **({"database": str(Path(database).absolute())} if database else {}),
    }
    try:
        reply = ask("audit.verify", given, project)
    except ZcError as error:
        refuse(error, as_json=as_json)
    reply.structured.setdefault("broken_at", None)  # what is not broken is said too, for programs
    reply.structured.setdefault("broken_kind", None)
    show(reply, as_json=as_json)
    if reply.structured["status"] != "OK":
        raise typer.Exit(EXIT_TAMPERED)


def _checked(file: str, keys: list[str], *, as_json: bool) -> Report:
    try:
        with Path(file).open("rb") as lines:
            return check((line.removesuffix(b"\n") for line in lines), *(key.strip().lower() for key in keys))
    except OSError as error:
        refuse(
            InvalidInput(
                "unreadable_file", f"{file} cannot be read ({error.strerror}).", "Name a readable file."
            ),
            as_json=as_json,
        )


def _show(report: Report, *, as_json: bool) -> None:
    status = "OK" if report.ok else "TAMPERED"
    if as_json:
        out = {
            "status": status,
            "log": report.log,
            "entries": report.entries,
            "size": report.size,
            "checkpoints": report.checkpoints,
            "purged": report.purged,
            "proof": report.proof,
            "fingerprint": report.pinned,
            "recovered": list(report.recovered),
            "problems": report.problems,
        }
        typer.echo(json.dumps(out, indent=2, ensure_ascii=False))
    else:
        what = "proved to be in" if report.proof else "of"
        typer.echo(
            f"{status}: {report.entries} entries {what} {report.size} under {report.checkpoints} checkpoints."
        )
        if report.purged:
            typer.echo(f"Purged bodies: {report.purged}.")
        typer.echo(f"First signer: {report.pinned or 'none'}")
        for problem in report.problems:
            typer.echo(problem)
    if not report.ok:
        raise typer.Exit(EXIT_TAMPERED)
