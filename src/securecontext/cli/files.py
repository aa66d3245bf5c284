"""Commands that read files: ``zc index`` and ``zc memory import``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from securecontext.cli.answers import answered, ask, refuse, show
from securecontext.cli.derive import Json, Project
from securecontext.rpc.client import Reply
from securecontext.types.errors import InvalidInput, ZcError

PART = 200
"""Facts that one call of the import takes."""

FIELDS = ("agent", "key", "value", "importance", "state", "created_at", "trust", "provenance")
"""What the import takes of an exported fact."""


def index(
    files: Annotated[list[str], typer.Argument(help="Files to index; - reads standard input.")],
    source: Annotated[
        str | None, typer.Option("--source", help="What names the text; by default the file's path.")
    ] = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Put texts into the project's archive, so that search finds them."""
    if source is not None and len(files) > 1:
        refuse(
            InvalidInput(
                "one_source", "--source names one text.", "Index files one by one, or leave --source out."
            )
        )
    for file in files:
        answered(
            "zc_index", {"content": read_text(file), "source": source or ("stdin" if file == "-" else file)},
            project=project, as_json=as_json,
        )  # fmt: skip


def import_facts(
    file: Annotated[str, typer.Argument(help="An export of `zc memory export`; - reads standard input.")],
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Read facts from an export into this project's memory."""
    try:
        export = json.loads(read_text(file))
        held = [f for f in export["facts"] if f.get("state", "active") in ("active", "archived")]
        facts = [{name: f[name] for name in FIELDS if name in f} for f in held]
        if export.get("format") != "securecontext-memory/1":
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        refuse(
            InvalidInput(
                "bad_export", f"{file} is no export of a memory.", "Make one with `zc memory export`."
            )
        )
    total: dict[str, Any] = {"imported": 0, "unchanged": 0, "redacted": 0}
    for start in range(0, len(facts), PART):
        try:
            reply = ask("memory.import", {"facts": facts[start : start + PART]}, project)
        except ZcError as error:
            refuse(error, as_json=as_json)
        for name in total:
            total[name] += reply.structured[name]
    text = "Imported {imported} facts; {unchanged} stood there already; {redacted} secrets redacted.".format(
        **total
    )
    show(Reply(text, total), as_json=as_json)


def read_text(file: str) -> str:
    """Return a file's text, or end the program with the reason why not."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        refuse(
            InvalidInput(
                "unreadable_file", f"{file} cannot be read ({error.strerror}).", "Name a readable file."
            )
        )
    except UnicodeDecodeError:
        refuse(InvalidInput("not_text", f"{file} is not UTF-8 text.", "Index text files."))
