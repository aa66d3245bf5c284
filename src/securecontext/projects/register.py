"""The register of projects: opaque ids, and the aliases that lead to them. Lives in the machine's store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from securecontext.contracts import ensure, require
from securecontext.contracts.session import has_a_moment
from securecontext.projects.identity import lies_beside, marks, tree_at
from securecontext.storage import meta_rows
from securecontext.storage.tables import project_aliases, projects
from securecontext.types.errors import Conflict, NotFound
from securecontext.types.places import Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered project."""

    id: str
    name: str
    state: str
    created_at: str
    last_used_at: str
    merged_into: str | None = None
    paths: tuple[str, ...] = ()


_BY_ALIAS = select(project_aliases.c.project).where(project_aliases.c.alias == bindparam("wanted"))
_COLUMNS = (
    projects.c.project,
    projects.c.name,
    projects.c.state,
    projects.c.created_at,
    projects.c.last_used_at,
    projects.c.merged_into,
)
_FILE = "file:"
"""Begins the name under which the register keeps that a project's file was made."""


def find(connection: Connection, place: Place) -> str | None:
    """Return the id of the project at this place, or None.

    The tree decides before the path: two repositories that changed places took their memory with them.
    """
    found = None if place.tree_alias is None else by_alias(connection, place.tree_alias)
    return found if found is not None else _at_path(connection, place)


def _at_path(connection: Connection, place: Place) -> str | None:
    """Return the project that a place's path leads to, unless its repository was renamed and this is another one."""
    found = by_alias(connection, place.path_alias)
    if found is None:
        return None
    trees = {alias for alias in leading_to(connection, found) if alias.startswith("tree:")}
    return None if lies_beside(place.top, trees - {place.tree_alias}) else found


@has_a_moment
@ensure(
    lambda result, connection, place: by_alias(connection, place.path_alias) == result,
    "the path of a project that was entered leads to it",
)
def enter(
    connection: Connection, place: Place, new_id: str, moment: str, older: Callable[[], Sequence[str]] = tuple
) -> str:
    """Return the id of the project at this place, registering it, or its new path, if need be.

    Args:
        connection: inside the writer's transaction of the machine's store.
        place: the folder.
        new_id: for a project that is registered now.
        moment: timestamp.
        older: called where a project is about to be registered: aliases under which its memory may have been
            brought in before its folder was known.
    """
    known = find(connection, place)
    if known is None:
        known = _homeless(connection, older())
        if known is not None:
            connection.execute(
                update(projects)
                .where(projects.c.project == known)
                .values(name=place.name, last_used_at=moment)
            )
    else:
        connection.execute(update(projects).where(projects.c.project == known).values(last_used_at=moment))
    if known is None:
        known = add(connection, new_id, place.name, moment)
    elif by_alias(connection, place.path_alias) != known:
        _leave_old_paths(connection, known, place)
        if not paths(connection, [known])[known]:  # its only folder has another name now
            connection.execute(update(projects).where(projects.c.project == known).values(name=place.name))
    for alias in (place.path_alias, place.tree_alias):
        if alias is not None:
            point(connection, alias, known, moment)
    return known


def _leave_old_paths(connection: Connection, project: str, place: Place) -> None:
    """Let the paths that a renamed project had no longer lead to it: another one may be made there."""
    machine = place.path_alias.split(":", 2)[1]
    for alias, whose in aliases(connection, f"path:{machine}:").items():
        if whose != project:
            continue
        path = alias.split(":", 2)[2]
        tree = tree_at(path, machine)
        moved = by_alias(connection, tree) != project if tree is not None else marks(path) is None
        if moved:
            connection.execute(delete(project_aliases).where(project_aliases.c.alias == alias))


def add(connection: Connection, new_id: str, name: str, moment: str) -> str:
    """Register a project to which nothing leads yet, and return its id."""
    connection.execute(
        insert(projects),
        {"project": new_id, "name": name, "state": "active", "created_at": moment, "last_used_at": moment},
    )
    return new_id


def _homeless(connection: Connection, aliases: Sequence[str]) -> str | None:
    """Return the first project that one of the aliases leads to and that has no folder."""
    for alias in aliases:
        found = by_alias(connection, alias)
        if found is not None and not paths(connection, [found])[found]:
            return found
    return None


def point(connection: Connection, alias: str, project: str, moment: str) -> None:
    """Let an alias lead to a project, whatever it led to before."""
    changed = connection.execute(
        update(project_aliases).where(project_aliases.c.alias == alias).values(project=project)
    )
    if changed.rowcount == 0:
        connection.execute(
            insert(project_aliases), {"alias": alias, "project": project, "created_at": moment}
        )


def by_alias(connection: Connection, alias: str) -> str | None:
    """Return the project that an alias leads to."""
    found = connection.execute(_BY_ALIAS, {"wanted": alias}).scalar()
    return None if found is None else str(found)


def leading_to(connection: Connection, project: str) -> tuple[str, ...]:
    """Return the aliases that lead to a project, in order."""
    query = select(project_aliases.c.alias).where(project_aliases.c.project == project)
    return tuple(connection.execute(query.order_by(project_aliases.c.alias)).scalars())


def aliases(connection: Connection, prefix: str) -> dict[str, str]:
    """Return the aliases that begin so, with the projects that they lead to."""
    query = select(project_aliases.c.alias, project_aliases.c.project).where(
        project_aliases.c.alias.startswith(prefix, autoescape=True)
    )
    return {row.alias: row.project for row in connection.execute(query)}


def get(connection: Connection, reference: str) -> Entry:
    """Return a project by id, or by a name that only one active project has.

    Raises:
        NotFound: there is none.
        Conflict: several active projects have the name.
    """
    query = select(*_COLUMNS).where(or_(projects.c.project == reference, projects.c.name == reference))
    rows = [Entry(*row) for row in connection.execute(query)]
    exact = [r for r in rows if r.id == reference] or [r for r in rows if r.state == "active"]
    if not exact:
        raise NotFound("no_such_project", "There is no such project.", "List them with `zc project list`.")
    if len(exact) > 1:
        raise Conflict(
            "ambiguous_project", f"{len(exact)} projects have that name.", "Name it by id: `zc project list`."
        )
    return exact[0]


def every(connection: Connection, states: Sequence[str] = ("active",)) -> list[Entry]:
    """Return registered projects with their paths, last used first."""
    query = select(*_COLUMNS).where(projects.c.state.in_(states)).order_by(projects.c.last_used_at.desc())
    rows = [Entry(*row) for row in connection.execute(query)]
    where = paths(connection, [entry.id for entry in rows])
    return [replace(entry, paths=where[entry.id]) for entry in rows]


def paths(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the paths that lead to each project."""
    out: dict[str, list[str]] = {i: [] for i in ids}
    query = select(project_aliases.c.alias, project_aliases.c.project).where(
        project_aliases.c.project.in_(ids)
    )
    for alias, project in connection.execute(query.order_by(project_aliases.c.created_at)):
        if alias.startswith("path:"):
            out[project].append(alias.split(":", 2)[2])
    return {i: tuple(p) for i, p in out.items()}


def is_empty(connection: Connection) -> bool:
    """Say whether no project was ever registered."""
    return connection.execute(select(projects.c.project).limit(1)).first() is None


def has_file(connection: Connection, project: str) -> bool:
    """Say whether the project's file was made: it is missed if it is not there."""
    return meta_rows.read(connection, _FILE + project) is not None


def with_files(connection: Connection) -> list[str]:
    """Return the active projects whose files were made."""
    query = select(projects.c.project).where(projects.c.state == "active")
    return [
        p for p in connection.execute(query.order_by(projects.c.project)).scalars() if has_file(connection, p)
    ]


def keep_file(connection: Connection, project: str, moment: str) -> None:
    """Keep that the project's file was made."""
    meta_rows.put(connection, _FILE + project, moment)


def give_up_file(connection: Connection, project: str) -> None:
    """Let a file be made for the project as if it had none."""
    meta_rows.drop(connection, _FILE + project)


@require(lambda source, target: source != target, "a project is not merged into itself")
@ensure(
    lambda connection, source: not leading_to(connection, source),
    "nothing leads to a project that was merged",
)
def merge(connection: Connection, source: str, target: str) -> None:
    """Let every alias of one project lead to another, and mark the first as merged."""
    connection.execute(
        update(project_aliases).where(project_aliases.c.project == source).values(project=target)
    )
    connection.execute(
        update(projects).where(projects.c.project == source).values(state="merged", merged_into=target)
    )


@ensure(
    lambda connection, project: not leading_to(connection, project), "nothing leads to a project that is gone"
)
def remove(connection: Connection, project: str) -> None:
    """Mark a project as deleted and let nothing lead to it."""
    connection.execute(delete(project_aliases).where(project_aliases.c.project == project))
    connection.execute(update(projects).where(projects.c.project == project).values(state="deleted"))


def others_at(connection: Connection, place: Place, project: str) -> list[str]:
    """Return the projects other than this one that live at a place."""
    there = [_at_path(connection, place)]
    if place.tree_alias is not None:
        there.append(by_alias(connection, place.tree_alias))
    return list(dict.fromkeys(other for other in there if other not in (None, project)))


@has_a_moment
@ensure(
    lambda connection, project, place: by_alias(connection, place.path_alias) == project,
    "the new place of a project leads to it",
)
def move(connection: Connection, project: str, place: Place, moment: str) -> None:
    """Let a project live at a new place; its old paths no longer lead to it.

    Raises:
        Conflict: another project lives at that place.
    """
    there = others_at(connection, place, project)
    if there:
        raise Conflict(
            "place_taken",
            "Another project lives at that place.",
            "Merge the two with `zc project merge`.",
            project=there[0],
        )
    connection.execute(
        delete(project_aliases).where(
            project_aliases.c.project == project,
            or_(project_aliases.c.alias.startswith("path:"), project_aliases.c.alias.startswith("tree:")),
        )
    )
    for alias in (place.path_alias, place.tree_alias):
        if alias is not None:
            point(connection, alias, project, moment)
    connection.execute(update(projects).where(projects.c.project == project).values(name=place.name))
