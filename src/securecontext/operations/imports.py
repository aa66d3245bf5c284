"""`zc import predecessor`: what the predecessor remembered comes in, labelled; its own files stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from securecontext.boundaries.policy import Permission, Standing
from securecontext.operations.imported_rows import Tally
from securecontext.operations.importing import Target, bring_in, count_only
from securecontext.pipeline import fields
from securecontext.pipeline.operation import Asker, Context, Effects, Input, Output, operation
from securecontext.pipeline.world import Project, World
from securecontext.projects import predecessor, register
from securecontext.storage.acting import MANAGE
from securecontext.storage.port import Transaction
from securecontext.storage.predecessor import Predecessor, open_predecessor, project_hash
from securecontext.types.errors import InvalidInput, NotFound, ZcError
from securecontext.types.ids import new_id, timestamp
from securecontext.types.ledger import EntryDraft
from securecontext.validators.input import one_line
from securecontext.validators.secrets import redact


class ImportInput(Input):
    """Arguments of import.predecessor."""

    all: fields.Flag = Field(False, description="every file found, not only those of the current folder")
    from_folder: fields.OptionalPath = Field(
        None, description="folder with the predecessor's files; by default where it kept them"
    )
    dry_run: fields.Flag = Field(False, description="count what would come in, and write nothing")


class FileReport(Output):
    """What came of one file; for the counts see `imported_rows.Tally`."""

    file: str
    project: str = ""
    project_id: str = ""
    facts: int = 0
    documents: int = 0
    broadcasts: int = 0
    unchanged: int = 0
    renamed: int = 0
    redacted: int = 0
    mended: int = 0
    moved: int = 0
    archived: int = 0
    refused: int = 0
    trouble: str = ""


class ImportOutput(Output):
    """What came in, file by file."""

    dry_run: bool
    folder: str
    files: list[FileReport]


_SAID = (
    ("unchanged", "{} here already"),
    ("renamed", "{} stored beside ours as “… (imported)”"),
    ("redacted", "{} secrets redacted"),
    ("mended", "{} control characters replaced by spaces"),
    ("moved", "{} facts too large for a fact became documents"),
    ("archived", "{} facts moved to the archive, where search finds them"),
    ("refused", "{} rows without name or text, or configuration, left out"),
)


def _render_file(report: FileReport, verb: str) -> str:
    done = f"{report.facts} facts, {report.documents} documents, {report.broadcasts} broadcasts"
    counts = report.model_dump()
    notes = [words.format(counts[name]) for name, words in _SAID if counts[name]]
    if report.trouble and not report.project:
        return f"{report.file}: not imported. {report.trouble}"
    line = f"{report.file} -> {report.project}: {verb} {done}"
    line += f" ({'; '.join(notes)})." if notes else "."
    return line + (f" Stopped: {report.trouble}" if report.trouble else "")


def _render(out: ImportOutput) -> str:
    verb = "would import" if out.dry_run else "imported"
    lines = [_render_file(report, verb) for report in out.files]
    lines.append(
        f"{len(out.files)} file(s) read from {out.folder}; they stay as they are. "
        "Where two projects are one, bring them together with `zc project merge`."
    )
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Known:
    """A registered project that a file belongs to."""

    id: str
    name: str


def _import(world: World, asker: Asker, given: ImportInput) -> ImportOutput:
    """Do the work, file by file: one that is refused is named, and the others go on."""
    folder = Path(given.from_folder) if given.from_folder else world.facts.home / "sessions"
    fields.refuse_relative(str(folder))
    found = _files(folder, given.from_folder is not None)
    if given.all:
        chosen = found
        known = _by_hash(world)
    else:
        if asker.project is None:
            raise InvalidInput(
                "no_project",
                "This call names no project.",
                "Call from a project's folder, or import every file with --all.",
            )
        known = dict.fromkeys(_hashes_of(world, asker.project), _Known(asker.project.id, asker.project.name))
        chosen = {digest: found[digest] for digest in known if digest in found}
    if not chosen:
        raise NotFound(
            "no_predecessor",
            "There is no file of the predecessor's for this folder."
            if found
            else f"There is no file of the predecessor's in {folder}.",
            "Import every file with `zc import predecessor --all`, or name their folder with --from-folder.",
            files=len(found),
        )
    reports = [_file(world, asker, given.dry_run, path, known.get(digest)) for digest, path in chosen.items()]
    return ImportOutput(dry_run=given.dry_run, folder=str(folder), files=reports)


def _files(folder: Path, named: bool) -> dict[str, Path]:
    """Return the predecessor's project files by hash.

    Raises:
        InvalidInput: the folder that was named cannot be listed.
    """
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        if not named:
            return {}
        raise InvalidInput(
            "no_such_folder", "The folder cannot be read.", "Name the folder that holds <hash>.db files."
        ) from error
    return {digest: path for path in paths if (digest := project_hash(path)) is not None}


def _hashes_of(world: World, project: Project) -> tuple[str, ...]:
    """Return the hashes under which the predecessor may have kept this project."""
    with world.machine.read() as connection:
        paths = register.paths(connection, [project.id])[project.id]
    named: tuple[str, ...] = ()
    if project.folder:
        named = predecessor.spellings(project.folder, world.locate(project.folder).top)
    return predecessor.hashes([*named, *paths])


def _by_hash(world: World) -> dict[str, _Known]:
    """Return the registered projects by every hash they may have; an import that was made before decides."""
    out: dict[str, _Known] = {}
    with world.machine.read() as connection:
        entries = register.every(connection)
        aliases = register.aliases(connection, predecessor.ALIAS)
    for entry in entries:
        for digest in predecessor.hashes(entry.paths):
            out.setdefault(digest, _Known(entry.id, entry.name))
    names = {entry.id: entry.name for entry in entries}
    for alias, project in aliases.items():
        if project in names:
            out[alias.removeprefix(predecessor.ALIAS)] = _Known(project, names[project])
    return out


def _file(world: World, asker: Asker, dry_run: bool, path: Path, known: _Known | None) -> FileReport:
    digest = path.name.removesuffix(".db")
    tally = Tally()
    target: _Known | None = None
    trouble = ""
    try:
        with open_predecessor(path) as file:
            if not file.recognised:
                return FileReport(file=path.name, trouble="It holds none of the predecessor's tables.")
            target = known or _Known("", _label(file, digest))
            if dry_run:
                there = _target(world, asker, digest, target) if target.id else None
                count_only(file, there, timestamp(asker.moment), tally)
            else:
                target = _registered(world, asker, digest, target)
                bring_in(file, _target(world, asker, digest, target), tally)
    except ZcError as error:
        trouble = error.message
    return FileReport(
        file=path.name,
        project=target.name if target else "",
        project_id=target.id if target else "",
        trouble=trouble,
        **tally.counts(),
    )


def _label(file: Predecessor, digest: str) -> str:
    return one_line(redact(file.label()).text, 120) or f"predecessor {digest}"


def _target(world: World, asker: Asker, digest: str, known: _Known) -> Target:
    store, moment = world.store(known.id), timestamp(asker.moment)
    return Target(known.id, store, world.bodies, asker.principal, digest, moment, world.limits.quota_mb)


def _registered(world: World, asker: Asker, digest: str, wanted: _Known) -> _Known:
    """Register the project if it is not yet, and let the predecessor's hash lead to it."""
    moment = timestamp(asker.moment)
    alias = predecessor.ALIAS + digest
    fresh = new_id("prj")

    def job(transaction: Transaction) -> str:
        connection = transaction.connection
        project = wanted.id or register.add(connection, fresh, wanted.name, moment)
        if register.by_alias(connection, alias) != project:
            register.point(connection, alias, project, moment)
        if project == fresh:
            body = {"operation": "project.register", "outcome": "ok", "arguments": {"project": project}}
            transaction.record(EntryDraft("system", "projects", "", "call", body, {"path": alias}))
        return project

    return _Known(world.machine.write(job), wanted.name)


def _drafts(context: Context, reports: Iterable[FileReport]) -> Iterable[EntryDraft]:
    for report in reports:
        yield EntryDraft(
            principal=context.principal.name,
            session=context.principal.session,
            claimed_agent=context.principal.claimed_agent,
            kind="result",
            body={
                "operation": "import.predecessor",
                "door": context.principal.door,
                "arguments": {"file": report.file},
                "project": report.project_id,
                "counts": {k: v for k, v in report.model_dump().items() if isinstance(v, int)},
                "outcome": "predecessor_unreadable" if report.trouble else "ok",
            },
        )


@operation(
    "import.predecessor",
    duty=MANAGE,
    permission=Permission.PROJECT_MANAGE,
    effects=Effects.WRITES,
    large=True,
    audience=Standing.PERSON,
    render=_render,
    needs_project=False,
    on_machine=True,
    prepare=_import,
    command=("import", "predecessor"),
)
def import_predecessor(context: Context, given: ImportInput) -> ImportOutput:
    """Bring in what the predecessor kept for this folder: facts, archive and broadcasts, labelled as imported."""
    done: ImportOutput = context.prepared
    if not done.dry_run:
        for draft in _drafts(context, done.files):
            context.writing.record(draft)
    return done
