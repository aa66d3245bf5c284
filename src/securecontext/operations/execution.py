"""Running code for agents: confined, limited, read-only in the project, with an entry before and one after.

The entry before (kind ``intent``) is committed before anything starts; the call's own entry (kind ``result``) says how
it was isolated, what it might use and what it used. Of the code both hold a salted digest.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from securecontext.boundaries.jail import Jail
from securecontext.boundaries.policy import Permission
from securecontext.boundaries.sight import sight_of
from securecontext.knowledge.search import search
from securecontext.operations.found import DATA, SearchOutput, render_found, sealed_note, shown
from securecontext.operations.owned_files import within
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Host, Input, Output, operation
from securecontext.pipeline.world import World
from securecontext.sandbox import profiles
from securecontext.sandbox.execution import Executor, Outcome, Request
from securecontext.sandbox.languages import ALIASES
from securecontext.sandbox.limits import AT_ONCE, CODE_CHARACTERS, COMMANDS, KIB, Limits
from securecontext.types.errors import Denied, InvalidInput
from securecontext.types.ledger import EntryDraft
from securecontext.validators.filesystem import SafePath

LABEL = 100
HITS = 10
LEAST_BYTES = 16 * KIB
"""Of output that a command of a batch may show, however many there are."""

Code = Annotated[str, Field(min_length=1, max_length=CODE_CHARACTERS)]
"""Taken exactly as it is; the ledger has a salted digest of it."""
ProfileName = Annotated[str, Field(max_length=40), fields.Words(40, plain=True)]
Writes = Annotated[
    list[str],
    Field(max_length=16),
    fields.Words(4096, plain=True),
]
Explain = Annotated[bool, fields.Plain()]


def executor(world: World) -> Executor:
    """Return what runs code on this machine."""
    found = world.sandbox
    assert isinstance(found, Executor)  # noqa: S101 - for the type checker; the composition root made it
    return found


class RunOutput(Output):
    """What came of a run; or, where only that was asked, what it would be."""

    label: str = ""
    exit_code: int = 0
    ended: str = "exit"
    stdout: str = ""
    stderr: str = ""
    cut_bytes: int = 0
    rung: str = ""
    wall_ms: int = 0
    cpu_ms: int | None = None
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What `prepare` hands on: requests with what came of each, or the plan."""

    profile: str
    limits: Limits
    outcomes: tuple[Outcome, ...] = ()
    plan: str = ""


def project_of(world: World, asker: Asker) -> Path:
    """Return the real path of the top of the working tree that a call came from.

    Raises:
        Denied: ``gateway_runs_no_code``: the files are at one service, what the role may and the ledger at another;
            ``not_beside_the_files``: a system service has nobody's files, and who comes over HTTP from elsewhere
            has none of them here.
        InvalidInput: ``no_folder``: the call names none, or one of another project.
    """
    # The second half is for what somebody passes on all the same: the project's files here are not the caller's.
    if world.facts.gateway or asker.principal.door == "gateway":
        raise Denied(
            "gateway_runs_no_code",
            "Through a gateway no code is run: the files are here, the ledger is elsewhere.",
            "Run it by the client's own shell, or by a service that keeps its data itself: without ZC_API_URL.",
        )
    if world.facts.open_to_others and asker.principal.door == "http":
        raise Denied(
            "not_beside_the_files",
            "This service answers other machines over HTTP, and runs no code for callers that come so.",
            "Run it by the service of the machine that has the files: over its socket.",
        )
    if world.facts.for_many:
        raise Denied(
            "not_beside_the_files",
            "A system service runs no code: the files are not its own.",
            "Run it by your own service: leave ZC_SYSTEM_SOCKET unset.",
        )
    project = asker.project
    place = None
    if project is not None and project.folder:
        folder = Path(project.folder).resolve()
        place = within(world, project.id, folder) if folder.is_dir() else None
    if place is None:
        raise InvalidInput(
            "no_folder", "This call comes from no folder of the project.", "Call from its folder."
        )
    return place.top.resolve()


def _run(
    world: World,
    asker: Asker,
    name: str,
    profile: str,
    write: list[str],
    wanted: Sequence[tuple[str, str]],
    *,
    explain: bool = False,
    project: Path | None = None,
) -> Done:
    """Run programs, each a language and its code, with an entry before.

    Raises:
        ZcError: see `Executor.run`, `project_of` and `profiles.writable`; nothing has run then.
    """
    top = project or project_of(world, asker)
    with world.machine.read() as connection:
        found = profiles.named(connection, profile)
    places = tuple(profiles.writable(found, top, write))
    limits = found.limits
    if len(wanted) > 1:
        limits = replace(limits, stdout_bytes=max(LEAST_BYTES, limits.stdout_bytes // len(wanted)))
    requests = [Request(ALIASES[language], code, top, limits, places) for language, code in wanted]
    runs = executor(world)
    if explain:
        return Done(found.name, limits, plan="\n\n".join(runs.explain(each) for each in requests))
    rung = runs.ladder.best()
    who = asker.principal
    body = {
        "operation": name,
        "door": who.door,
        "arguments": {"language": wanted[0][0], "profile": found.name, "write": write, "rung": str(rung)},
        "outcome": "intended",
    }
    code = wanted[0][1] if len(wanted) == 1 else json.dumps([code for _, code in wanted])
    draft = EntryDraft(who.name, who.session, who.claimed_agent, "intent", body, {"code": code})
    assert asker.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
    world.store(asker.project.id).write(lambda transaction: transaction.record(draft))
    # A call that waits for its run holds no place among those that are worked on.
    with world.bell.aside():
        if len(requests) == 1:
            return Done(found.name, limits, (runs.run(requests[0]),))
        with ThreadPoolExecutor(AT_ONCE, "sandbox batch") as pool:
            return Done(found.name, limits, tuple(pool.map(runs.run, requests)))


def _told(context: Context, done: Done) -> None:
    """Say in the call's own entry how it was isolated, what it might use and what it used."""
    limits = done.limits
    context.noted["profile"] = done.profile
    if done.plan:
        context.noted["explained"] = True
        return
    context.noted["limits"] = {
        "wall_seconds": round(limits.wall_seconds),
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "processes": limits.processes,
    }
    context.noted["runs"] = [
        {
            "rung": str(each.rung),
            "exit_code": each.code,
            "ended": each.ended,
            "wall_ms": each.wall_ms,
            "cpu_ms": each.cpu_ms,
            "stdout_bytes": each.out.total,
            "stderr_bytes": each.err.total,
        }
        for each in done.outcomes
    ]


def _output(done: Done, each: int = 0, label: str = "") -> RunOutput:
    if done.plan:
        return RunOutput(plan=done.plan)
    found = done.outcomes[each]
    return RunOutput(
        label=label,
        exit_code=found.code,
        ended=found.ended,
        stdout=found.out.text,
        stderr=found.err.text,
        cut_bytes=found.out.cut + found.err.cut,
        rung=str(found.rung),
        wall_ms=found.wall_ms,
        cpu_ms=found.cpu_ms,
    )


_ENDINGS = {
    "exit": "",
    "timeout": ", ended because its time was up",
    "output": ", ended because it wrote too much",
    "cancelled": ", ended because the service ends",
}


def render_run(out: RunOutput) -> str:
    """Return a run for reading."""
    if out.plan:
        return out.plan
    label = f"{out.label}: " if out.label else ""
    head = f"{label}exit {out.exit_code}{_ENDINGS[out.ended]} ({out.rung}, {out.wall_ms} ms)"
    parts = [head]
    if out.stdout:
        parts.append(out.stdout.rstrip("\n"))
    if out.stderr:
        parts += ["--- errors", out.stderr.rstrip("\n")]
    return "\n".join(parts)


class ExecuteInput(Input):
    """Arguments of zc_execute."""

    language: Annotated[Literal["python", "python3", "javascript", "js", "bash", "sh"], fields.Plain()]
    code: Code
    profile: ProfileName = profiles.ANALYSIS
    write: Writes = []
    explain: Explain = Field(False, description="only tell the plan")


@operation(
    "zc_execute",
    permission=Permission.CODE_EXECUTE,
    effects=Effects.WRITES,
    host=Host.HERE,
    kind="result",
    large=True,
    render=render_run,
    prepare=lambda world, asker, given: _run(
        world,
        asker,
        "zc_execute",
        given.profile,
        given.write,
        [(given.language, given.code)],
        explain=given.explain,
    ),
    command=("execute",),
    example={"language": "python", "code": "print(sum(range(10)))"},
)
def execute(context: Context, given: ExecuteInput) -> RunOutput:
    """Run code in a sandbox: it reads the project; no network, no secrets, 30 s at most."""
    _told(context, context.prepared)
    return _output(context.prepared)


class ExecuteFileInput(Input):
    """Arguments of zc_execute_file."""

    path: Annotated[str, Field(max_length=4096), fields.FilePath()]
    language: Annotated[Literal["python", "python3"], fields.Plain()]
    code: Code


def _run_on_file(world: World, asker: Asker, given: ExecuteFileInput) -> Done:
    top = project_of(world, asker)
    named = Path(given.path)
    try:
        inside = named.relative_to(top) if named.is_absolute() else named
    except ValueError:
        raise Denied(
            "outside_jail", "The file lies outside the project.", "Name a file of the project."
        ) from None
    path = SafePath.of(str(inside))
    with Jail.at(top) as jail, jail.open(path):
        target = top.joinpath(*path.parts)
    code = f"TARGET_FILE = {json.dumps(str(target))}\n{given.code}"
    wanted = [(given.language, code)]
    return _run(world, asker, "zc_execute_file", profiles.ANALYSIS, [], wanted, project=top)


@operation(
    "zc_execute_file",
    permission=Permission.CODE_EXECUTE,
    effects=Effects.WRITES,
    host=Host.HERE,
    kind="result",
    large=True,
    render=render_run,
    prepare=_run_on_file,
    command=("execute-file",),
    example={"path": "data.csv", "language": "python", "code": "print(len(open(TARGET_FILE).readlines()))"},
)
def execute_file(context: Context, given: ExecuteFileInput) -> RunOutput:
    """Run Python in the sandbox on a file of the project, its path in TARGET_FILE."""
    _told(context, context.prepared)
    return _output(context.prepared)


class Command(BaseModel):
    """One command of a batch."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    label: Annotated[str, Field(min_length=1, max_length=LABEL)]
    command: Code


class BatchInput(Input):
    """Arguments of zc_batch."""

    commands: Annotated[list[Command], Field(min_length=1, max_length=COMMANDS)]
    queries: Annotated[list[str], Field(max_length=10), fields.Words(2_000, multiline=True)] = []


class BatchOutput(Output):
    """What came of each command, and what was found beside."""

    runs: list[RunOutput]
    found: SearchOutput | None = None


def _render_batch(out: BatchOutput) -> str:
    parts = [render_run(each) for each in out.runs]
    return "\n\n".join(parts if out.found is None else [*parts, render_found(out.found)])


def _run_batch(world: World, asker: Asker, given: BatchInput) -> tuple[Done, SearchOutput | None]:
    wanted = [("bash", each.command) for each in given.commands]
    done = _run(world, asker, "zc_batch", profiles.ANALYSIS, [], wanted)
    assert asker.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
    return done, _search(world, asker, asker.project.id, given.queries) if given.queries else None


def _search(world: World, asker: Asker, project: str, queries: list[str]) -> SearchOutput:
    store = world.store(project)
    with store.read() as connection:
        found = search(
            connection, store.text, world.bodies, project, queries, sight_of(asker.principal), HITS
        )
    note = (DATA if found.hits else "Nothing found.") + sealed_note(found.sealed)
    return SearchOutput(hits=[shown(h) for h in found.hits], note=note, fence=secrets.token_hex(4))


@operation(
    "zc_batch",
    permission=Permission.CODE_EXECUTE,
    effects=Effects.WRITES,
    host=Host.HERE,
    kind="result",
    large=True,
    tells_memory=True,
    render=_render_batch,
    prepare=_run_batch,
    command=("batch",),
    example={"commands": [{"label": "lines", "command": "wc -l *.py"}], "queries": ["coding style"]},
)
def batch(context: Context, given: BatchInput) -> BatchOutput:
    """Run shell commands, each in a sandbox of its own, and search this project's memory."""
    done, found = context.prepared
    _told(context, done)
    return BatchOutput(
        runs=[_output(done, index, each.label) for index, each in enumerate(given.commands)], found=found
    )
