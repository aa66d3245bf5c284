"""Backup and restore, for people. What a backup holds and how one takes the place of what is there: see `app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import Staged, World
from securecontext.types.errors import InvalidInput
from securecontext.types.ledger import EntryDraft

NOT_IN_IT = "the roots of all keys, the operator's verifier, the HTTP token, the service's log and the spool"


class BackupInput(Input):
    """Arguments of backup."""

    file: Annotated[fields.Path, Field(description="file that is made, or a folder for it"), fields.Plain()]
    with_keys: fields.Flag = Field(
        False, description="the wrapped data keys too: a key destroyed later is then still in this backup"
    )


class BackupOutput(Output):
    """What was made.

    Attributes:
        keys: what encrypted texts in the backup need and is not in it; empty where there are none.
    """

    file: str
    projects: int
    entries: int
    size: int
    digest: str
    fingerprints: list[str]
    keys: list[str] = []


def _render_made(out: BackupOutput) -> str:
    keys = "".join(f" --key {each}" for each in out.fingerprints)
    lines = [
        f"Wrote {out.file}: {out.projects} projects, {out.entries} entries of ledgers, {out.size // 1024} KiB.",
        f"Not in it: {NOT_IN_IT}. It holds what you stored as it is: keep it where only you can read it.",
        f"Elsewhere it is restored with: zc restore {Path(out.file).name}{keys}",
        "Keep that fingerprint apart from the file: it says who made it.",
    ]
    if out.keys:
        lines.append(
            f"WARNING: encrypted texts in it can be read only together with {' and '.join(out.keys)}, not in it. "
            "Keep copies of that apart, or they are lost with this machine."
        )
    return "\n".join(lines)


def _make(world: World, asker: Asker, given: BackupInput) -> BackupOutput:
    fields.refuse_relative(given.file)
    made = world.backups.make(Path(given.file), with_keys=given.with_keys)
    report = world.data_keys.report()
    needed = [report.root, *([] if given.with_keys else [report.file])]
    return BackupOutput(
        file=str(made.file),
        projects=sum(1 for each in made.manifest.files if each.project),
        entries=made.entries,
        size=made.manifest.size,
        digest=made.manifest.digest,
        fingerprints=list(made.fingerprints),
        keys=needed if made.manifest.data_keys else [],
    )


@operation(
    "backup",
    host=Host.HERE,
    permission=Permission.BACKUP_MAKE,
    effects=Effects.READS,
    render=_render_made,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    large=True,
    prepare=_make,
    command=("backup",),
)
def backup(context: Context, given: BackupInput) -> BackupOutput:
    """Write consistent copies of all databases into one signed file, while the service goes on."""
    done: BackupOutput = context.prepared
    return done


class RestoreInput(Input):
    """Arguments of restore."""

    file: Annotated[fields.Path, Field(description="a backup"), fields.Plain()]
    key: Annotated[
        list[str] | None,
        Field(
            max_length=20,
            description="fingerprint that the backup was made with, if this folder does not know it",
        ),
        fields.Words(64, plain=True, strip=True),
    ] = None
    without_keys: fields.Flag = Field(
        False, description="restore although encrypted texts in it cannot be read here"
    )
    confirm: Annotated[
        bool, Field(description="must be true: it takes the place of what is there"), fields.Plain()
    ] = False


class RestoreOutput(Output):
    """What takes the place of what was there, once the service has started anew."""

    made: str
    projects: int
    entries: int
    signer: str
    fingerprint: str
    set_aside: str


def _render_restored(out: RestoreOutput) -> str:
    return "\n".join(
        (
            f"The backup of {out.made[:19].replace('T', ' ')} was verified and takes the place of what was here: "
            f"{out.projects} projects, {out.entries} entries of ledgers. The service starts anew with the next call.",
            f"What was here is kept in {out.set_aside}. Session tokens count no more.",
            f"The ledgers go on under a new signer, which nobody endorsed; auditors pin it too: {out.fingerprint}",
            "Next: `zc audit verify`. On another machine, `zc project move` tells which folder a project is now.",
        )
    )


def _stage(world: World, asker: Asker, given: RestoreInput) -> Staged:
    fields.refuse_relative(given.file)
    if not given.confirm:
        raise InvalidInput(
            "not_confirmed",
            "The backup would take the place of everything that is stored here.",
            "Say so with --yes (confirm: true). What is here is kept in a folder of its own.",
        )
    who = asker.principal

    def draft(arguments: dict[str, object]) -> EntryDraft:
        body = {"operation": "restore", "door": who.door, "outcome": "ok", "arguments": arguments}
        return EntryDraft(who.name, who.session, who.claimed_agent, "recovered", body)

    trusted = [key.lower() for key in given.key or ()]
    return world.backups.stage(Path(given.file), trusted, draft, without_keys=given.without_keys)


def _commit(world: World, out: RestoreOutput) -> None:
    world.backups.commit(out.signer)


def _drop(world: World, staged: Staged | None) -> None:
    if staged is not None:
        world.backups.drop(staged.signer)


@operation(
    "restore",
    host=Host.HERE,
    permission=Permission.BACKUP_RESTORE,
    effects=Effects.DESTROYS,
    render=_render_restored,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    large=True,
    prepare=_stage,
    after=_commit,
    settle=_drop,
    command=("restore",),
    example={"file": "/media/stick/securecontext-20261129T000000Z.zcbackup"},
)
def restore(context: Context, given: RestoreInput) -> RestoreOutput:
    """Verify a backup and put it in the place of what is stored here, which is kept. The operator does it."""
    staged: Staged = context.prepared
    return RestoreOutput(
        made=staged.made,
        projects=staged.projects,
        entries=staged.entries,
        signer=staged.signer,
        fingerprint=staged.fingerprint,
        set_aside=str(context.world.facts.home / "before-restore"),
    )
