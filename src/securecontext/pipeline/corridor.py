"""The corridor: every call of every door walks these seven steps, in this order, on this one page.

1 which operation · 2 who asks · 3 parse the input · 4 may they · 5 within limits · 6 do it · 7 write it into the
ledger, in the transaction of its effect.

The door has authenticated the caller (2) before it builds a `Call`; here it is asked again whether a session token
still counts, since a connection outlives a revocation. Rendering comes after. A refusal rolls back its
savepoint and is an entry of its own. An effect and its entry commit together or not at all; a read has its entry
committed before its answer is given.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, Protocol

from pydantic_core import to_jsonable_python

from securecontext.boundaries.limits import Gate, refuse_over_quota
from securecontext.boundaries.policy import Policy
from securecontext.boundaries.rate import RATE_LIMITED
from securecontext.boundaries.sight import actor_of
from securecontext.contracts import ensure
from securecontext.pipeline import replay
from securecontext.pipeline.call import Answer, Call, refusal
from securecontext.pipeline.intake import Intake, parse, redact_output
from securecontext.pipeline.operation import CATALOGUE, Asker, Asking, Context, Operation, Output
from securecontext.pipeline.refusals import kind_of
from securecontext.pipeline.world import World
from securecontext.storage.acting import acting
from securecontext.storage.port import Store, Transaction
from securecontext.types.errors import ContractBroken, InvalidInput, NotFound, Unavailable, ZcError
from securecontext.types.ids import new_id
from securecontext.types.ledger import EntryDraft

log = logging.getLogger("securecontext.corridor")


class Elsewhere(Protocol):
    """The service that holds the data, where this one is a gateway; see `upstreams`."""

    def pass_on(self, call: Call) -> Answer:
        """Return its answer to a call; raises where there is none."""


class Corridor:
    """Walks calls through the seven steps.

    Args:
        world: projects and stores.
        policy: step 4.
        gate: step 5.
        elsewhere: walks steps 2 to 7 of what does not run here; None where the data is here.
    """

    def __init__(self, world: World, policy: Policy, gate: Gate, elsewhere: Elsewhere | None = None) -> None:
        self._world = world
        self._policy = policy
        self._gate = gate
        self._elsewhere = elsewhere

    @ensure(
        lambda result: result.error is not None or bool(result.text), "a call that was done has an answer"
    )
    def walk(self, call: Call) -> Answer:
        """Return the answer to a call; a refusal is an answer too, nothing is raised."""
        operation: Operation[Any, Any] | None = None
        try:
            self._gate.rate.take(_caller(call))  # the first part of 5: a call that will be refused counts too
            operation = self._which(call)  # 1
            if self._elsewhere is not None and not operation.runs_here(call.arguments):
                with self._within_limits(operation, call):
                    return self._elsewhere.pass_on(self._localized(operation, call))  # 2 to 7, there
            self._still_known(call)  # 2
            self._has_project(operation, call)
            intake = parse(operation, call.arguments)  # 3
            self._policy.check(call.principal, operation.permission, _resource(call))  # 4
            with self._within_limits(
                operation, call
            ):  # 5; the quota is asked in the transaction, after a replay
                return self._do(operation, call, intake)  # 6 and 7
        except _Recorded as recorded:
            return refusal(recorded.error)
        except ZcError as error:
            self._tell_if_broken(call, error)
            self._record_refusal(call, operation, error)
            return refusal(error)
        except Exception as error:  # noqa: BLE001 - the last line: a defect is told, logged, and stops nobody else
            broken = self._defect(call, error)
            self._record_refusal(call, operation, broken)
            return refusal(broken)

    # 1, 2, 5

    def _which(self, call: Call) -> Operation[Any, Any]:
        found = CATALOGUE.get(call.operation)
        if found is None:
            raise NotFound(
                "unknown_operation",
                "There is no operation of that name.",
                "List them with tools/list, or `zc --help`.",
            )
        return found

    def _still_known(self, call: Call) -> None:
        if call.principal.token:
            self._world.credentials.check(call.principal.token)

    def _has_project(self, operation: Operation[Any, Any], call: Call) -> None:
        needed = operation.needs_project and not operation.is_for_machine(call.arguments)
        if needed and call.project is None:
            raise InvalidInput(
                "no_project", "This call names no project.", "Call from a project's folder, or name one."
            )

    def _within_limits(self, operation: Operation[Any, Any], call: Call) -> AbstractContextManager[None]:
        if operation.large:
            self._gate.refuse_large_work()
        return self._gate.entered(_caller(call))

    # Before 6, on the caller's machine

    def _localized(self, operation: Operation[Any, Any], call: Call) -> Call:
        """Return a call in words that hold on the machine to which it is passed on."""
        if operation.localize is None:
            return call
        intake = parse(operation, call.arguments)
        changed = operation.localize(self._asking(call), intake.given)
        return replace(call, arguments={**call.arguments, **to_jsonable_python(changed)})

    def _asking(self, call: Call) -> Asking:
        def ask(operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            answer = self.walk(
                replace(
                    call,
                    id=new_id("call", 12),
                    operation=operation,
                    arguments=arguments,
                    idempotency_key="",
                )
            )
            if answer.error is not None:
                raise answer.error
            return answer.structured

        return Asking(self._world, Asker(call.principal, call.project, call.moment), ask)

    # 6 and 7

    def _do(self, operation: Operation[Any, Any], call: Call, intake: Intake) -> Answer:
        """Do it as the caller: a database that knows whose its rows are gives it no others."""
        with acting(actor_of(call.principal, _resource(call), operation.duty)):
            return self._do_as_caller(operation, call, intake)

    def _do_as_caller(self, operation: Operation[Any, Any], call: Call, intake: Intake) -> Answer:
        prepared = None
        if operation.prepare is not None or operation.localize is not None:
            before = self._replayed(operation, call)
            if before is not None:
                return before
        if operation.localize is not None:
            changed = operation.localize(self._asking(call), intake.given)
            intake = replace(intake, given=intake.given.model_copy(update=dict(changed)))
        if operation.prepare is not None:
            asker = Asker(call.principal, call.project, call.moment)
            prepared = operation.prepare(self._world, asker, intake.given)
        try:
            store = self._store(operation, call)
            work = self._write if operation.writes else self._read
            return work(operation, call, intake, store, prepared)
        finally:
            if operation.settle is not None:
                operation.settle(self._world, prepared)

    def _replayed(self, operation: Operation[Any, Any], call: Call) -> Answer | None:
        """Return the kept answer of this very call: what it prepares may have been done by it already."""
        if not (operation.writes and call.idempotency_key and operation.keeps_answer):
            return None
        before = None
        # A store that is broken keeps no answer; what is done next mends it, or says so.
        with suppress(Unavailable), self._store(operation, call).read() as connection:
            before = replay.find(connection, call, _digest(call, operation))
        return None if before is None else Answer(**before)

    def _read(
        self, operation: Operation[Any, Any], call: Call, intake: Intake, store: Store, prepared: Any
    ) -> Answer:
        with store.read() as connection:
            context = self._context(call, intake, store, prepared, connection=connection)
            output = operation.function(context, intake.given)
        answer = _rendered(operation, output)
        if operation.recorded:
            draft = _draft(call, operation, intake, "ok", noted=context.noted)
            store.write(lambda transaction: transaction.record(draft))
        return answer

    def _write(
        self, operation: Operation[Any, Any], call: Call, intake: Intake, store: Store, prepared: Any
    ) -> Answer:
        request = _digest(call, operation)

        outputs: list[Output] = []

        def job(transaction: Transaction) -> Answer | ZcError:
            outputs.clear()
            try:
                before = (
                    replay.find(transaction.connection, call, request) if operation.keeps_answer else None
                )
                if before is not None:
                    return Answer(**before)
                if operation.stores:
                    refuse_over_quota(store.used, self._world.limits.quota_mb)
                with transaction.savepoint():
                    context = self._context(call, intake, store, prepared, transaction=transaction)
                    output = operation.function(context, intake.given)
                    answer = _rendered(operation, output)
            except ZcError as error:
                self._tell_if_broken(call, error)
                told = self._blinded(intake) if operation.stores else intake
                transaction.record(_draft(call, operation, told, error.code, kind=kind_of(error)))
                return error
            if operation.recorded:
                told = self._blinded(intake) if context.sealed else intake
                transaction.record(_draft(call, operation, told, "ok", noted=context.noted))
            if operation.keeps_answer:
                kept = {"structured": answer.structured, "text": answer.text}
                replay.keep(transaction.connection, call, request, kept)
            outputs.append(output)
            return answer

        done = store.write(job)
        if isinstance(done, ZcError):
            raise _Recorded(done)
        if operation.after is not None and outputs:
            operation.after(self._world, outputs[0])
        return done

    def _blinded(self, intake: Intake) -> Intake:
        """Return what the ledger is told of texts that are sealed, or were to be: nothing to test guesses against."""
        blinded = {name: self._world.bodies.blinded(text) for name, text in intake.digested.items()}
        return replace(intake, digested=blinded)

    def _store(self, operation: Operation[Any, Any], call: Call) -> Store:
        if operation.is_for_machine(call.arguments) or call.project is None:
            return self._world.machine
        return self._world.store(call.project.id)

    def _context(
        self,
        call: Call,
        intake: Intake,
        store: Store,
        prepared: Any,
        *,
        connection: Any = None,
        transaction: Transaction | None = None,
    ) -> Context:
        return Context(
            world=self._world,
            principal=call.principal,
            project=call.project,
            connection=transaction.connection if transaction is not None else connection,
            transaction=transaction,
            text=store.text,
            bodies=self._world.bodies,
            moment=call.moment,
            redactions=intake.redactions,
            prepared=prepared,
        )

    # Refusals before the transaction, and defects

    def _record_refusal(self, call: Call, operation: Operation[Any, Any] | None, error: ZcError) -> None:
        """Enter a refusal that happened outside a transaction; of a flood of calls that come too fast only some.

        Where the project's store cannot take it, the machine's ledger does; where that fails too, the log has it.
        """
        left_out = self._gate.rate.to_enter(_caller(call)) if error.code == RATE_LIMITED else 0
        if left_out is None:
            return
        draft = EntryDraft(
            principal=call.principal.name,
            session=call.principal.session,
            claimed_agent=call.principal.claimed_agent,
            kind=kind_of(error),
            body={
                "call": call.id,
                "door": call.principal.door,
                "operation": operation.name if operation else "unknown",
                "outcome": error.code,
                "arguments": {},
                **({"request": call.request} if call.request else {}),
                **({"left_out": left_out} if left_out else {}),
            },
            secrets={}
            if operation
            else {"operation": call.operation[:200].encode("utf-8", "replace").decode()},
        )
        on_machine = call.project is None or (operation is not None and operation.on_machine)
        on_machine |= self._elsewhere is not None
        project = None if on_machine else call.project
        try:
            try:
                store = self._world.machine if project is None else self._world.store(project.id)
                store.write(lambda transaction: transaction.record(draft))
            except ZcError:
                if project is None:
                    raise
                self._world.machine.write(lambda transaction: transaction.record(draft))
        except ZcError as failure:
            log.error("refusal of call %s could not be entered: %s", call.told, failure.code)
        except Exception:
            # Nothing is raised at a door: its caller is owed the first error, and the log has this one.
            log.exception("refusal of call %s could not be entered", call.told)

    def _tell_if_broken(self, call: Call, error: ZcError) -> None:
        """Put a broken contract into the log with its trace: it is a defect of ours, and the caller is sent there."""
        if isinstance(error, ContractBroken):
            log.error("call %s of %s broke a contract", call.told, call.operation, exc_info=error)

    def _defect(self, call: Call, error: BaseException) -> ZcError:
        log.exception("call %s of %s failed", call.told, call.operation, exc_info=error)
        return ContractBroken(
            "internal_error",
            "The service failed at this call; nothing was changed.",
            f"Report it with the lines of {call.id} in `zc service logs`.",
        )


def _caller(call: Call) -> str:
    return f"{call.principal.name}/{call.principal.session}"


class _Recorded(Exception):
    """A refusal whose entry is committed already."""

    def __init__(self, error: ZcError) -> None:
        super().__init__(error.code)
        self.error = error


def _rendered(operation: Operation[Any, Any], output: Output) -> Answer:
    seen: dict[str, str] = {}
    plain = output.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if operation.secret_answer:
        return Answer(structured=plain, text=operation.render(output))
    structured = redact_output(plain, seen)
    return Answer(structured=structured, text=str(redact_output(operation.render(output), seen)) or "Done.")


def _resource(call: Call) -> str:
    return call.project.id if call.project is not None else ""


def _digest(call: Call, operation: Operation[Any, Any]) -> str:
    """Return what a retry must have in common; the key, which is not stored, keeps arguments from being guessed."""
    if not call.idempotency_key:
        return ""
    plain = json.dumps([call.idempotency_key, operation.name, dict(call.arguments)], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _draft(
    call: Call,
    operation: Operation[Any, Any],
    intake: Intake,
    outcome: str,
    kind: Any = None,
    noted: Mapping[str, Any] | None = None,
) -> EntryDraft:
    body: dict[str, Any] = {
        "call": call.id,
        "door": call.principal.door,
        "operation": operation.name,
        "arguments": intake.plain,
        "outcome": outcome,
    }
    if call.request:
        body["request"] = call.request
    if intake.redactions:
        body["redacted"] = [r.model_dump() for r in intake.redactions]
    if noted:
        body["noted"] = dict(noted)
    return EntryDraft(
        principal=call.principal.name,
        session=call.principal.session,
        claimed_agent=call.principal.claimed_agent,
        kind=kind or operation.kind,
        body=body,
        secrets=intake.digested,
    )
