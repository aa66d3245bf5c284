"""The keys of encrypted texts, for people: look at them, rotate them, destroy one.

What changes a key is outside the database, so it has an entry of kind ``intent`` before and one of kind ``result``
after, both in the machine's ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from securecontext.boundaries.policy import Permission, Principal, Standing
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput
from securecontext.types.ids import parse_timestamp
from securecontext.types.ledger import EntryDraft, EntryKind
from securecontext.types.security import KeysReport


class StatusInput(Input):
    """Arguments of keys.status: none."""


class RotateInput(Input):
    """Arguments of keys.rotate: none."""


class DestroyInput(Input):
    """Arguments of keys.destroy."""

    key_id: fields.Name = Field(description="id of a data key; see `zc keys status`")
    confirm: Annotated[bool, Field(description="must be true: nothing brings it back"), fields.Plain()] = (
        False
    )


class DataKeyStatus(Output):
    """A data key: its state is writing, reading or destroyed."""

    id: str
    state: str
    made: str
    days: int
    uses: int
    destroyed: str = ""


class KeysOutput(Output):
    """The keys: where they lie, their ids, ages and uses; never a byte of one."""

    root: str
    file: str
    wrapping_key: str
    wrapping_made: str
    wrapping_days: int
    data_keys: list[DataKeyStatus]


def _output(report: KeysReport, moment: datetime) -> KeysOutput:
    def days(made: str) -> int:
        return max(0, (moment - parse_timestamp(made)).days)

    return KeysOutput(
        root=report.root,
        file=report.file,
        wrapping_key=report.wrapping_key,
        wrapping_made=report.wrapping_made,
        wrapping_days=days(report.wrapping_made),
        data_keys=[
            DataKeyStatus(
                id=key.id,
                state=key.state,
                made=key.made,
                days=days(key.made),
                uses=key.uses,
                destroyed=key.destroyed,
            )
            for key in report.data_keys
        ],
    )


def _line(key: DataKeyStatus) -> str:
    state = f"destroyed {key.destroyed[:10]}" if key.destroyed else key.state
    return f"  {key.id}  {state}, made {key.made[:10]} ({key.days} days old), at most {key.uses} uses"


def _render(out: KeysOutput) -> str:
    return "\n".join(
        [
            f"Encryption root: {out.root}",
            f"Key-encryption key: {out.wrapping_key}, made {out.wrapping_made[:10]} ({out.wrapping_days} days old)",
            f"Data keys, in {out.file}:",
            *(_line(key) for key in out.data_keys),
        ]
    )


def _render_rotated(out: KeysOutput) -> str:
    kept = [key for key in out.data_keys if key.state == "reading"]
    return (
        f"The key-encryption key is {out.wrapping_key} now; it wraps the data keys of before ({len(kept)} of them) "
        f"and {out.data_keys[-1].id}, under which texts are encrypted from now on."
    )


def _render_destroyed(out: KeysOutput) -> str:
    gone = [key.id for key in out.data_keys if key.destroyed]
    return (
        f"Destroyed; what it protected cannot be read any more. Destroyed so far: {', '.join(gone)}. "
        "Copies of the folder of keys, such as backups, are yours to erase."
    )


# Changes. Every one of them goes through `_changed`: a further proof of the person is asked for at its top.


def _changed(
    world: World, asker: Asker, name: str, arguments: dict[str, Any], change: Callable[[], KeysReport]
) -> KeysReport:
    draft = _draft(asker.principal, "intent", name, arguments, "intended")
    world.machine.write(lambda transaction: transaction.record(draft))
    return change()


def _draft(
    principal: Principal, kind: EntryKind, name: str, arguments: dict[str, Any], outcome: str
) -> EntryDraft:
    body = {"operation": name, "door": principal.door, "arguments": arguments, "outcome": outcome}
    return EntryDraft(principal.name, principal.session, principal.claimed_agent, kind, body)


def _rotate(world: World, asker: Asker, given: RotateInput) -> KeysReport:
    return _changed(world, asker, "keys.rotate", {}, world.data_keys.rotate)


def _destroy(world: World, asker: Asker, given: DestroyInput) -> KeysReport:
    if not given.confirm:
        raise InvalidInput(
            "not_confirmed",
            "What this key protects could never be read again.",
            "Say so with --yes (confirm: true).",
        )
    return _changed(
        world, asker, "keys.destroy", {"key_id": given.key_id}, lambda: world.data_keys.destroy(given.key_id)
    )


def _told(context: Context, name: str, ids: Callable[[KeysReport], dict[str, Any]]) -> KeysOutput:
    """Enter the result of a change that was done, and return what there is now."""
    report: KeysReport = context.prepared
    context.writing.record(_draft(context.principal, "result", name, ids(report), "ok"))
    return _output(report, context.moment)


@operation(
    "keys.status",
    host=Host.HERE,
    permission=Permission.SERVICE_MANAGE,
    effects=Effects.READS,
    render=_render,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    command=("keys", "status"),
)
def status(context: Context, given: StatusInput) -> KeysOutput:
    """Show the keys of encrypted texts: ids, ages and uses, and where their root lies."""
    return _output(context.world.data_keys.report(), context.moment)


@operation(
    "keys.rotate",
    host=Host.HERE,
    permission=Permission.KEYS_MANAGE,
    effects=Effects.WRITES,
    render=_render_rotated,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_rotate,
    command=("keys", "rotate"),
)
def rotate(context: Context, given: RotateInput) -> KeysOutput:
    """Wrap all data keys with a new key-encryption key, and encrypt under a new data key from now on."""
    return _told(
        context,
        "keys.rotate",
        lambda report: {"wrapping_key": report.wrapping_key, "data_key": report.data_keys[-1].id},
    )


@operation(
    "keys.destroy",
    host=Host.HERE,
    permission=Permission.KEYS_MANAGE,
    effects=Effects.DESTROYS,
    render=_render_destroyed,
    audience=Standing.PERSON,
    needs_project=False,
    on_machine=True,
    prepare=_destroy,
    command=("keys", "destroy"),
)
def destroy(context: Context, given: DestroyInput) -> KeysOutput:
    """Erase a data key: what it protects can never be read again, all else goes on."""
    return _told(context, "keys.destroy", lambda report: {"key_id": given.key_id})
