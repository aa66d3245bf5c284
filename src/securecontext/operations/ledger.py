"""The ledger for people: verify it, look at its end; and for agents: is it whole?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from securecontext.boundaries.ledger.verdict import Verdict
from securecontext.boundaries.policy import Permission, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.pages import LARGEST, Cursor, cursor_of, place_of
from securecontext.pipeline.world import World
from securecontext.storage.port import Store


class VerifyInput(Input):
    """Arguments of audit.verify."""

    database: Annotated[
        fields.OptionalPath, Field(description="verify this copy instead"), fields.Plain()
    ] = None
    machine: fields.Flag = Field(False, description="verify the machine's own ledger")
    full: fields.Flag = Field(False, description="every entry, not only those since the last good check")


class VerifyOutput(Output):
    """The verdict; see `boundaries.ledger.verdict.Verdict` and docs/explanation/ledger.md."""

    status: str
    entries: int
    streams: int
    agents: int
    checkpoints: int
    broken_at: dict[str, Any] | None = None
    broken_kind: str | None = None
    broken: int
    unanchored: int
    purged: int = 0
    recovered: int = 0
    read_error: str | None = None
    check: str
    checked: int
    full_at: str | None = None
    findings: list[dict[str, Any]] = []
    text: str = ""


def _render_verdict(out: VerifyOutput) -> str:
    return out.text


def ledger_of(world: World, asker: Asker, *, machine: bool) -> Store:
    """Return the store whose ledger a call means: the machine's, or that of the caller's project."""
    return world.machine if machine or asker.project is None else world.store(asker.project.id)


def _verify(world: World, asker: Asker, given: VerifyInput) -> VerifyOutput:
    """Verify a copy, whole; or a ledger of our own, once it is placed and anchored to its end."""
    if given.database is None:
        store = ledger_of(world, asker, machine=given.machine)
        world.ledgers.checkpoint(store)
        return _output(world.ledgers.verify_store(store, whole=given.full))
    fields.refuse_relative(given.database)
    with world.open_copy(Path(given.database)) as connection:
        return _output(world.ledgers.verify(connection))


def _output(verdict: Verdict) -> VerifyOutput:
    return VerifyOutput(**verdict.as_dict(), text=verdict.as_text())


@operation(
    "audit.verify",
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=_render_verdict,
    audience=Standing.PERSON,
    machine_flag="machine",
    prepare=_verify,
    command=("audit", "verify"),
)
def verify(context: Context, given: VerifyInput) -> VerifyOutput:
    """Verify the ledger: what came after the last good check, or every entry; exit code 6 unless it is OK."""
    done: VerifyOutput = context.prepared
    return done


class EndEpochInput(Input):
    """Arguments of audit.end-epoch."""


class EndEpochOutput(Output):
    """What was done."""

    left_out: list[str] = []


def _end_epoch(world: World, asker: Asker, given: EndEpochInput) -> EndEpochOutput:
    return EndEpochOutput(left_out=list(world.ledgers.end_epoch()))


def _render_epoch(out: EndEpochOutput) -> str:
    lines = ["The epoch has ended: its keys are erased, and the ledgers are signed with new ones."]
    lines += [f"Left out, its last entries stay without a proof: {each}" for each in out.left_out]
    return "\n".join(lines)


@operation(
    "audit.end-epoch",
    permission=Permission.LEDGER_MANAGE,
    effects=Effects.WRITES,
    render=_render_epoch,
    audience=Standing.PERSON,
    on_machine=True,
    prepare=_end_epoch,
    command=("audit", "end-epoch"),
)
def end_epoch(context: Context, given: EndEpochInput) -> EndEpochOutput:
    """Erase the ledger's keys and go on with new ones: what was written so far can no longer be forged."""
    done: EndEpochOutput = context.prepared
    return done


class ChainInput(Input):
    """Arguments of zc_verify_audit_chain."""

    full: fields.Flag = Field(False, description="every entry, not only those since the last good check")


class ChainOutput(Output):
    """The verdict in short."""

    status: str
    entries: int
    streams: int
    broken: int
    broken_at: dict[str, Any] | None = None
    unanchored: int
    check: str
    full_at: str | None = None
    text: str


def _verify_chain(world: World, asker: Asker, given: ChainInput) -> Verdict:
    return world.ledgers.verify_store(ledger_of(world, asker, machine=False), whole=given.full)


@operation(
    "zc_verify_audit_chain",
    permission=Permission.LEDGER_VERIFY,
    effects=Effects.READS,
    render=lambda out: out.text,
    prepare=_verify_chain,
)
def verify_chain(context: Context, given: ChainInput) -> ChainOutput:
    """Verify this project's ledger, and say whether it is whole."""
    verdict: Verdict = context.prepared
    told = verdict.as_dict()
    short = {name: told[name] for name in ChainOutput.model_fields if name != "text"}
    return ChainOutput(**short, text=verdict.as_text())


class TailInput(Input):
    """Arguments of audit.tail."""

    limit: Annotated[int, Field(ge=1, le=1000, description="entries"), fields.Plain()] = 20
    machine: fields.Flag = Field(False, description="of the machine's own ledger")
    cursor: Cursor = None


class TailEntry(Output):
    """One entry."""

    entry: int
    ts: str
    kind: str
    principal: str
    session: str
    agent: str
    seq: int
    operation: str
    outcome: str
    body: dict[str, Any]


class TailOutput(Output):
    """The end of the ledger, newest first; ``next`` is the cursor of the page before it."""

    entries: list[TailEntry]
    next: str | None = None


def _render_tail(out: TailOutput) -> str:
    return (
        "\n".join(
            f"{e.entry:>6} {e.ts[:19].replace('T', ' ')} {e.kind:<8} {e.principal} {e.session} #{e.seq} "
            f"{_what(e)}"
            for e in out.entries
        )
        or "The ledger has no entries."
    )


def _what(entry: TailEntry) -> str:
    """Return what was done and how it ended: of a client's own call the tool."""
    told = entry.body.get("arguments")
    if entry.kind == "observed" and isinstance(told, dict) and "tool" in told:
        return f"{told['tool']} {told.get('outcome', '')}"
    return f"{entry.operation} {entry.outcome}"


@operation(
    "audit.tail",
    permission=Permission.LEDGER_READ,
    effects=Effects.READS,
    render=_render_tail,
    audience=Standing.PERSON,
    machine_flag="machine",
    command=("audit", "tail"),
)
def show_tail(context: Context, given: TailInput) -> TailOutput:
    """Show the newest entries of the ledger."""
    out = []
    (before,) = place_of(given.cursor, "tail", (LARGEST,))
    rows = context.world.ledgers.tail(context.connection, given.limit + 1, before=int(before))
    for row in rows[: given.limit]:
        body = dict(row.body or {})
        out.append(
            TailEntry(
                entry=row.entry,
                ts=row.ts,
                kind=row.kind,
                principal=row.principal,
                session=row.stream.removeprefix(row.principal + "/"),
                agent=row.claimed_agent,
                seq=row.seq,
                operation=str(body.get("operation", "")),
                outcome=str(body.get("outcome", "")),
                body=body,
            )
        )
    more = len(rows) > given.limit
    return TailOutput(entries=out, next=cursor_of("tail", out[-1].entry) if more else None)
