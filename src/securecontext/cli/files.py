"""Commands that read files: ``zc index`` and ``zc memory import``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from securecontext.cli.answers import answered, ask, refuse, show
from securecontext.cli.derive import Json, Project
from securecontext.operations.exchange import IMPORTED_AT_ONCE
from securecontext.projects.identity import locate
from securecontext.types.errors import InvalidInput, ZcError

FIELDS = (
    "agent",
    "key",
    "value",
    "importance",
    "state",
    "created_at",
    "trust",
    "provenance",
    "classification",
)
"""What the import takes of an exported fact."""


def index(
    files: Annotated[list[str], typer.Argument(help="Files to index; - reads standard input.")],
    source: Annotated[
        str | None,
        typer.Option("--source", help="What names the text; by default the file's path within the project."),
    ] = None,
    classification: Annotated[
        str | None, typer.Option("--classification", help="public, internal, confidential or restricted.")
    ] = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Put texts into the project's archive, so that search finds them."""
    if source is not None and len(files) > 1:
        refuse(
            InvalidInput(
                "one_source", "--source names one text.", "Index files one by one, or leave --source out."
            ),
            as_json=as_json,
        )
    # All are read before one is stored: a file that cannot be read leaves nothing half done.
    texts = [(source or _named(file, project), read_text(file, as_json=as_json)) for file in files]
    done: list[dict[str, Any]] = []
    for name, content in texts:
        try:
            given = {"content": content, "source": name}
            if classification is not None:
                given["classification"] = classification
            reply = ask("zc_index", given, project)
        except ZcError as error:
            refuse(error, as_json=as_json)
        done.append(reply.structured)
        if not as_json:
            show(reply, as_json=False)
    if as_json:
        typer.echo(json.dumps(done[0] if len(done) == 1 else done, indent=2, ensure_ascii=False))


def _named(file: str, project: str | None) -> str:
    """Return what names a file: its path within the working tree, the same from wherever it is indexed."""
    if file == "-":
        return "stdin"
    real = Path(file).resolve()
    try:
        top = locate(project or ".", home=Path.home(), machine="", scope="worktree").top
    except InvalidInput:
        return str(real)
    return str(real.relative_to(top)) if real.is_relative_to(top) else str(real)


def import_facts(
    file: Annotated[str, typer.Argument(help="An export of `zc memory export`; - reads standard input.")],
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Read facts from an export into this project's memory."""
    try:
        export = json.loads(read_text(file, as_json=as_json))
        held = [f for f in export["facts"] if f.get("state", "active") in ("active", "archived")]
        facts = [{name: f[name] for name in FIELDS if name in f} for f in held]
        if export.get("format") != "securecontext-memory/1":
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        refuse(
            InvalidInput(
                "bad_export", f"{file} is no export of a memory.", "Make one with `zc memory export`."
            ),
            as_json=as_json,
        )
    if len(facts) > IMPORTED_AT_ONCE:
        refuse(
            InvalidInput(
                "too_many",
                f"{file} holds {len(facts)} facts; {IMPORTED_AT_ONCE} are imported at once.",
                "Split its list of facts into several files.",
            ),
            as_json=as_json,
        )
    answered("memory.import", {"facts": facts}, project=project, as_json=as_json)


def read_text(file: str, *, as_json: bool = False) -> str:
    """Return a file's text, or end the program with the reason why not."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        refuse(
            InvalidInput(
                "unreadable_file", f"{file} cannot be read ({error.strerror}).", "Name a readable file."
            ),
            as_json=as_json,
        )
    except UnicodeDecodeError:
        refuse(InvalidInput("not_text", f"{file} is not UTF-8 text.", "Name a text file."), as_json=as_json)
