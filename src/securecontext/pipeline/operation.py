"""A verb of the product, declared once. Tool, route, command, OpenAPI and reference page derive from it.

Usage::

    @operation(
        "zc_forget", permission=Permission.MEMORY_WRITE, effects=Effects.DESTROYS,
        example={"key": "db"}, render=render_forgotten,
    )
    def forget(context: Context, given: ForgetInput) -> ForgetOutput:
        '''Delete a fact, from working memory and from the archive.'''

The docstring's first paragraph is the tool's description. What the ledger is told of each input field is
declared with the field: see ``fields``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from securecontext.boundaries.policy import Permission, Principal, Standing
from securecontext.contracts import require
from securecontext.types.ledger import EntryKind

if TYPE_CHECKING:
    from securecontext.boundaries.keyring.bodies import Bodies
    from securecontext.pipeline.world import Project, World
    from securecontext.storage.port import TextIndex, Transaction


class Input(BaseModel):
    """Base of input models: nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, defer_build=True, hide_input_in_errors=True
    )


class Redaction(BaseModel):
    """A secret that was replaced before storing; the value itself is nowhere."""

    field: str
    type: str
    fingerprint: str


class Output(BaseModel):
    """Base of output models."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class Host(StrEnum):
    """Where an operation runs, which is a question where the data is kept by another service: see `Corridor`."""

    STORE = "store"
    """Where the data is: a gateway passes it on."""
    HERE = "here"
    """On this machine: what it is about are this service's own code, keys and files."""


class Effects(StrEnum):
    """What an operation does to the world, at most."""

    READS = "reads"
    WRITES = "writes"
    DESTROYS = "destroys"


GivenT = TypeVar("GivenT", bound=Input)
OutputT = TypeVar("OutputT", bound=Output)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a `prepare` step works for.

    Attributes:
        principal: who calls.
        project: the project of the call, if it has one.
        moment: when the call came in.
    """

    principal: Principal
    project: Project | None
    moment: datetime


@dataclass(frozen=True, slots=True)
class Asking:
    """What a `localize` step works with.

    Attributes:
        world: the folders of this machine; not the data, which may be elsewhere.
        asker: who calls; its project is the one that the folder has on this machine.
        ask: walks another call of the same caller's, here or elsewhere, and returns its structured answer; raises what
            it was refused with.
    """

    world: World
    asker: Asker
    ask: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(slots=True)
class Context:
    """What an operation's function works with.

    Attributes:
        world: projects and their stores, for operations that look beyond one.
        principal: who calls.
        project: the project of the call; None for an operation of the machine.
        connection: the reader's connection, or the writer's inside the transaction.
        transaction: the writer's transaction; None while reading.
        text: the full-text index that goes with the connection.
        bodies: seals and opens confidential and restricted texts.
        moment: when the call came in.
        redactions: secrets that were replaced in the input.
        prepared: what the operation's `prepare` step returned.
        sealed: set where a text of the arguments was stored sealed: the ledger then gets a digest that nobody can
            test guesses against.
        noted: what the entry says of the effect beside the arguments, such as the id that something got; plain JSON,
            no stored text.
    """

    world: World
    principal: Principal
    project: Project | None
    connection: Connection
    transaction: Transaction | None
    text: TextIndex
    bodies: Bodies
    moment: datetime
    redactions: tuple[Redaction, ...] = ()
    prepared: Any = None
    noted: dict[str, Any] = field(default_factory=dict)
    sealed: bool = False

    @property
    def here(self) -> Project:
        """The project of the call; the corridor has made sure that there is one."""
        assert self.project is not None  # noqa: S101 - for the type checker; the corridor refuses before
        return self.project

    @property
    def writing(self) -> Transaction:
        """The transaction of a writing operation."""
        assert self.transaction is not None  # noqa: S101 - for the type checker; a contract of the corridor
        return self.transaction


@dataclass(frozen=True, slots=True)
class Operation(Generic[GivenT, OutputT]):
    """One verb. See the module's docstring; attributes are its decorator's arguments."""

    name: str
    function: Callable[[Context, GivenT], OutputT]
    given: type[GivenT]
    output: type[OutputT]
    permission: Permission
    effects: Effects
    audience: Standing
    render: Callable[[OutputT], str]
    summary: str
    description: str
    host: Host = Host.STORE
    needs_project: bool = True
    on_machine: bool = False
    machine_flag: str = ""
    localize: Callable[[Asking, GivenT], Mapping[str, Any]] | None = None
    prepare: Callable[[World, Asker, GivenT], Any] | None = None
    after: Callable[[World, OutputT], None] | None = None
    settle: Callable[[World, Any], None] | None = None
    kind: EntryKind = "call"
    always_load: bool = False
    recorded: bool = True
    stores: bool = False
    large: bool = False
    secret_answer: bool = False
    tells_memory: bool = False
    duty: str = ""
    open_world: bool = False
    command: tuple[str, ...] = ()
    example: dict[str, Any] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Say whether the function runs in the writer's transaction."""
        return self.effects is not Effects.READS

    @property
    def keeps_answer(self) -> bool:
        """Say whether an answer may lie in the database, for a retry of the call."""
        return not (self.secret_answer or self.tells_memory)

    def is_for_machine(self, arguments: Mapping[str, Any]) -> bool:
        """Say whether a call with these arguments, parsed or not yet, works on the machine's store."""
        # A flag is parsed strictly: nothing but true is true.
        return self.on_machine or arguments.get(self.machine_flag) is True

    def runs_here(self, arguments: Mapping[str, Any]) -> bool:
        """Say whether a gateway does a call with these arguments itself: of the machine's own ledger for one."""
        return self.host is Host.HERE or arguments.get(self.machine_flag) is True

    @property
    def route(self) -> str:
        """The HTTP path below ``/api/v1``."""
        return "/" + self.name.removeprefix("zc_").replace("_", "-").replace(".", "/")


CATALOGUE: dict[str, Operation[Any, Any]] = {}
"""Every declared operation by name. Filled by importing `securecontext.operations`."""


def operation(
    name: str,
    *,
    permission: Permission,
    effects: Effects,
    render: Callable[[Any], str],
    audience: Standing = Standing.AGENT,
    host: Host = Host.STORE,
    needs_project: bool = True,
    on_machine: bool = False,
    machine_flag: str = "",
    localize: Callable[[Asking, Any], Mapping[str, Any]] | None = None,
    prepare: Callable[[World, Asker, Any], Any] | None = None,
    after: Callable[[World, Any], None] | None = None,
    settle: Callable[[World, Any], None] | None = None,
    kind: EntryKind = "call",
    always_load: bool = False,
    recorded: bool = True,
    stores: bool = False,
    large: bool = False,
    secret_answer: bool = False,
    tells_memory: bool = False,
    duty: str = "",
    open_world: bool = False,
    command: tuple[str, ...] = (),
    example: dict[str, Any] | None = None,
) -> Callable[[Callable[[Context, Any], Any]], Callable[[Context, Any], Any]]:
    """Declare the decorated function as an operation and enter it in the catalogue.

    Args:
        name: the one name at every door.
        permission: what the caller must be allowed.
        effects: what it may do at most; decides whether it runs on a reader or on the writer.
        render: the text that an agent or a person reads.
        audience: who is shown it: agents get tools, persons get commands and routes, hooks are for hooks.
        host: where it runs, where the data is kept by another service.
        needs_project: whether a call without a project is refused.
        on_machine: whether it works on the machine's store instead of the project's.
        machine_flag: the argument that, where it is true, makes a call work on the machine's store; such a call
            needs no project.
        localize: done on the caller's machine, before `prepare`: returns the arguments that name things of that machine
            again, in words that hold on every one.
        prepare: what is done before, outside any transaction (files, other stores).
        after: what is done once the effect is durable.
        settle: what is done at the very end with what `prepare` returned, whether the call was done or refused.
        kind: the kind of its ledger entry.
        always_load: whether a client should load the tool's schema from the start.
        recorded: whether a call has a ledger entry of its own (polls have none).
        stores: whether it stores content in the project, and is refused once the project's quota is used up.
        large: whether it takes much memory, and is refused while the service has too little.
        secret_answer: whether its answer is a secret that the caller is owed: shown as it is, and kept nowhere, so
            that a retry does it anew.
        tells_memory: whether its answer tells stored texts, of which some may be sealed: it is kept nowhere either.
        duty: what it does with rows beyond those that its caller may see; see `storage.acting`.
        open_world: whether it reaches beyond this machine.
        command: words on the command line; by default derived from the name.
        example: arguments of an example, for help and reference.
    """

    def enter(function: Callable[[Context, Any], Any]) -> Callable[[Context, Any], Any]:
        hints = function.__annotations__
        module = __import__(function.__module__, fromlist=["_"])
        given, output = (_resolve(module, hints[part]) for part in ("given", "return"))
        text = (function.__doc__ or "").strip()
        declared: Operation[Any, Any] = Operation(
            name=name,
            function=function,
            given=given,
            output=output,
            permission=permission,
            effects=effects,
            audience=audience,
            render=render,
            host=host,
            summary=text.split("\n", 1)[0],
            description=" ".join(text.split("\n\n", 1)[0].split()),
            needs_project=needs_project,
            on_machine=on_machine,
            machine_flag=machine_flag,
            localize=localize,
            prepare=prepare,
            after=after,
            settle=settle,
            kind=kind,
            always_load=always_load,
            recorded=recorded,
            stores=stores,
            large=large,
            secret_answer=secret_answer,
            tells_memory=tells_memory,
            duty=duty,
            open_world=open_world,
            command=command or (name.removeprefix("zc_").replace("_", "-"),),
            example=example or {},
        )
        _add(declared)
        return function

    return enter


@require(lambda declared: declared.name not in CATALOGUE, "an operation is declared once")
@require(lambda declared: bool(declared.summary), "an operation says what it does")
def _add(declared: Operation[Any, Any]) -> None:
    CATALOGUE[declared.name] = declared


def _resolve(module: Any, hint: Any) -> Any:
    return getattr(module, hint) if isinstance(hint, str) else hint
