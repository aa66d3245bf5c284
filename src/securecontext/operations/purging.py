"""The right to deletion: what a session stored is deleted, and what the ledger says of it is purged.

Entries, chain and proofs stay: that something was done, by whom and when. What it was is gone, and the purge itself is
an entry. An agent purges its own session; what it was refused, and which tools the client saw it use, stay on record.
Of others, and whole, an orchestrator or the operator purges.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from securecontext.boundaries.ledger.purge import Purged
from securecontext.boundaries.policy import Permission, Policy, Principal
from securecontext.coordination import keeping, rewriting
from securecontext.knowledge import archive, indexing
from securecontext.memory import sessions
from securecontext.memory.withdrawal import withdraw
from securecontext.operations.memory import index_again, scrub
from securecontext.pipeline import fields, replay
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.storage.acting import PURGE
from securecontext.storage.port import Transaction
from securecontext.types.ids import parse_timestamp, timestamp
from securecontext.types.ledger import EntryDraft, EntryKind

RECORD: tuple[EntryKind, ...] = ("refusal", "failure", "observed")
"""What an agent that purges its own session leaves on record: what it was refused, and what the client saw it do."""
LONGEST_CALL = timedelta(minutes=10)
"""The answer of a session's first call was kept under the time at which the call came in, before its entry."""


class PurgeInput(Input):
    """Arguments of zc_purge_session."""

    session: fields.Name | None = Field(None, description="session; yours by default")


class PurgeOutput(Output):
    """What was deleted, and how many entries of the ledger say no more than that they were made."""

    sessions: list[str]
    facts: int
    documents: int
    events: int
    broadcasts: int = 0
    bodies: int
    tasks: int = 0
    kept: int = 0
    back: list[str] = []


def _render(out: PurgeOutput) -> str:
    tasks = f", {out.tasks} tasks and results blanked" if out.tasks else ""
    text = (
        f"Purged {', '.join(out.sessions)}: {out.facts} facts, {out.documents} documents, {out.events} events and "
        f"{out.broadcasts} broadcasts deleted{tasks}; {out.bodies} entries of the ledger no longer say what was done."
    )
    if out.back:
        text += f" Values from before count again: {', '.join(out.back)}."
    if out.kept:
        text += (
            f" {out.kept} stay: refusals, and what the client saw it do; the operator can purge those too."
        )
    return text + " Backups and exports that were made before still hold it."


def _allowed(world: World, who: Principal, given: PurgeInput, project: str) -> tuple[str | None, bool]:
    """Return whose part is purged (None for everybody's), and whether refusals and reports go too."""
    whole = Policy(world.operator).check_purge(who, given.session, project)
    return (None if whole else who.name), whole


def _purge(world: World, asker: Asker, given: PurgeInput) -> None:
    """Purge the machine's ledger, which lies in another file: a crash before the project's is mended by repeating."""
    who = asker.principal
    by, whole = _allowed(world, who, given, asker.project.id if asker.project else "")

    def job(transaction: Transaction) -> None:
        for session in _named(who, given):
            purged = world.ledgers.purge(
                transaction.connection, session, by, asker.moment, () if whole else RECORD
            )
            if purged.bodies:
                transaction.record(_entry(who, session, purged))
                transaction.scrub_after_commit()

    world.machine.write(job)


def _named(who: Principal, given: PurgeInput) -> tuple[str, ...]:
    return who.sessions if given.session is None else (given.session,)


def _entry(who: Principal, session: str, purged: Purged) -> EntryDraft:
    body = {
        "operation": "zc_purge_session",
        "door": who.door,
        "outcome": "ok",
        "arguments": {"session": session},
        **purged.told(),
    }
    return EntryDraft(who.name, who.session, who.claimed_agent, "purge", body)


@operation(
    "zc_purge_session",
    duty=PURGE,
    permission=Permission.SESSION_PURGE,
    effects=Effects.DESTROYS,
    prepare=_purge,
    render=_render,
    example={"session": "mcp-1a2b3c4d5e6f"},
)
def purge_session(context: Context, given: PurgeInput) -> PurgeOutput:
    """Delete for good what a session stored, and what the ledger says it did; that it did something stays provable."""
    who = context.principal
    by, whole = _allowed(context.world, who, given, context.here.id)
    named = _named(who, given)
    facts = documents = events = broadcasts = bodies = tasks = kept = 0
    back: list[str] = []
    for session in named:
        purged = context.world.ledgers.purge(
            context.connection, session, by, context.moment, () if whole else RECORD
        )
        if purged.bodies:
            context.writing.record(_entry(who, session, purged))
        bodies, kept = bodies + purged.bodies, kept + purged.kept
        for principal, first, last in purged.spans:
            start = timestamp(parse_timestamp(first) - LONGEST_CALL)
            replay.drop_of(context.connection, principal, context.here.id, start, last)
        gone, again = _withdraw(context, session, by)
        facts, back = facts + gone, back + again
        texts = archive.of_session(context.connection, context.here.id, session, by)
        archive.drop(context.connection, context.text, texts)
        documents += len(texts)
        tasks += rewriting.withdraw(
            context.connection, context.here.id, session, by, timestamp(context.moment)
        )
        broadcasts += keeping.drop_of_session(context.connection, context.here.id, session, by)
        if (
            by is None or purged.spans
        ):  # events carry no principal: whose stream the session is says whose they are
            events += sessions.drop(context.connection, context.here.id, session)
    if tasks:  # payloads are in what workers were answered, too
        replay.drop_answers(context.connection, "zc_claim_task")
    scrub(context)
    return PurgeOutput(
        sessions=list(named),
        facts=facts,
        documents=documents,
        events=events,
        broadcasts=broadcasts,
        bodies=bodies,
        tasks=tasks,
        kept=kept,
        back=back,
    )


def _withdraw(context: Context, session: str, by: str | None) -> tuple[int, list[str]]:
    done = withdraw(context.connection, context.bodies, context.here.id, session, by)
    indexing.unindex(context.connection, context.text, indexing.FACT, done.gone)
    for fact, of_session in done.back:
        index_again(context, fact, of_session)
    return len(done.gone), [fact.key for fact, _ in done.back]
