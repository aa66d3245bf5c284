"""The ledger for outsiders: its public key, an export, the proof of one entry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field
from sqlalchemy import Connection

from securecontext.boundaries.policy import Permission, Standing
from securecontext.operations.ledger import ledger_of
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.storage.port import Store
from securecontext.types.errors import InvalidInput


class KeyInput(Input):
    """Arguments of audit.key."""


class KeyOutput(Output):
    """What an auditor is given beforehand, by another way than the bundle."""

    fingerprint: str
    signers: int
    recovered: list[str] = []


def _render_key(out: KeyOutput) -> str:
    if not out.fingerprint:
        return "Nothing is signed yet. Run `zc audit verify`, then ask again."
    more = "".join(f"{each}\n" for each in out.recovered)
    if more:
        more += (
            "The fingerprints after the first are of signers that began with a backup that was restored.\n"
        )
    return (
        f"{out.fingerprint}\n{more}"
        f"Fingerprint of the first of {out.signers} signing keys; each was endorsed by the one before. "
        "Give it to whoever is to check a bundle, by another way than the bundle."
    )


@operation(
    "audit.key",
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=_render_key,
    audience=Standing.PERSON,
    on_machine=True,
    command=("audit", "key"),
)
def key(context: Context, given: KeyInput) -> KeyOutput:
    """Show the fingerprint of the ledger's signing keys, for an auditor to pin."""
    signers = context.world.ledgers.signers()
    return KeyOutput(
        fingerprint=signers.pinned,
        signers=len(signers.lines),
        recovered=list(signers.fingerprints[1:]),
    )


class ExportInput(Input):
    """Arguments of audit.export."""

    file: Annotated[fields.Path, Field(description="file that is made"), fields.Plain()]
    bodies: fields.Flag = Field(False, description="with what was done, not only that it was")
    machine: fields.Flag = Field(False, description="of the machine's own ledger")


class ExportOutput(Output):
    """What was written."""

    file: str
    entries: int
    fingerprint: str
    recovered: list[str] = []


def _render_export(out: ExportOutput) -> str:
    return (
        f"Wrote {out.entries} {'entry' if out.entries == 1 else 'entries'} to {out.file}.\n"
        f"Check it anywhere: zc audit verify --public {out.file} --key {out.fingerprint}"
        + "".join(f" --key {each}" for each in out.recovered)
    )


def _export(world: World, asker: Asker, given: ExportInput) -> ExportOutput:
    store = ledger_of(world, asker, machine=given.machine)
    world.ledgers.checkpoint(store)
    return _written(
        world, store, given.file, lambda connection: world.ledgers.export(connection, bodies=given.bodies)
    )


def _written(
    world: World, store: Store, file: str, lines: Callable[[Connection], Iterator[bytes]]
) -> ExportOutput:
    """Write a bundle into a new file, which is there whole or not at all."""
    fields.refuse_relative(file)
    entries = 0
    path = Path(file)
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise InvalidInput("file_exists", "Something has that name.", "Use another name.") from None
    except OSError as error:
        raise InvalidInput(
            "unwritable_file", f"{path} cannot be made ({error.strerror}).", "Name a file that you can make."
        ) from None
    try:
        with os.fdopen(made, "wb") as out, store.read() as connection:
            for line in lines(connection):
                entries += line.endswith(b'"type":"entry"}')
                out.write(line + b"\n")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    pinned, *recovered = world.ledgers.signers().fingerprints or ("",)
    return ExportOutput(file=file, entries=entries, fingerprint=pinned, recovered=recovered)


@operation(
    "audit.export",
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=_render_export,
    audience=Standing.PERSON,
    machine_flag="machine",
    prepare=_export,
    command=("audit", "export"),
)
def export(context: Context, given: ExportInput) -> ExportOutput:
    """Write the ledger into a file that an outsider can check with the public key alone."""
    done: ExportOutput = context.prepared
    return done


class ProveInput(Input):
    """Arguments of audit.prove."""

    entry: Annotated[int, Field(ge=1, le=2**53, description="as `zc audit tail` numbers it"), fields.Plain()]
    file: Annotated[fields.Path, Field(description="file that is made"), fields.Plain()]
    machine: fields.Flag = Field(False, description="of the machine's own ledger")


def _prove(world: World, asker: Asker, given: ProveInput) -> ExportOutput:
    store = ledger_of(world, asker, machine=given.machine)
    world.ledgers.checkpoint(store)
    return _written(world, store, given.file, lambda connection: world.ledgers.proof(connection, given.entry))


@operation(
    "audit.prove",
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=_render_export,
    audience=Standing.PERSON,
    machine_flag="machine",
    prepare=_prove,
    command=("audit", "prove"),
)
def prove(context: Context, given: ProveInput) -> ExportOutput:
    """Write the proof of one entry into a file that an outsider can check with the public key alone."""
    done: ExportOutput = context.prepared
    return done
