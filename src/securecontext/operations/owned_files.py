"""Where a file lies within a project, as reservations name it: from the top of its working tree, links seen through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from securecontext.coordination.ownership import Reservation, holding
from securecontext.coordination.patterns import Part, Pattern, covers, names_of
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path lies.

    Attributes:
        top: real path of the working tree's top.
        name: the path from there on; ``.`` for the top itself.
    """

    top: Path
    name: str


@dataclass(frozen=True, slots=True)
class Written:
    """A file that somebody is about to write.

    Attributes:
        places: as it is named, and where its links lead; only what lies in the project.
    """

    places: tuple[Place, ...]


def written(world: World, project: str, path: str) -> Written:
    """Return what a file is to a project.

    Args:
        world: knows which folder belongs to which project.
        project: id of the project.
        path: absolute; need not exist.

    Raises:
        InvalidInput: ``relative_path``, ``bad_path``.
    """
    if not path.startswith("/"):
        raise InvalidInput("relative_path", "The path is not absolute.", "Name it from / on.")
    try:
        named = Path(path)
        seen = dict.fromkeys((named.parent.resolve() / named.name, named.resolve()))
        found = [within(world, project, each) for each in seen]
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(
            "bad_path", "The path cannot be looked at.", "Name a file that can be written."
        ) from error
    return Written(tuple(place for place in found if place is not None))


def within(world: World, project: str, path: Path) -> Place | None:
    """Return where a path without links in its folders lies in a project; None where it does not.

    A folder of another project within it, a submodule for one, is looked at from outside too: what is reserved there
    is reserved.
    """
    folder = path
    while not folder.is_dir():
        folder = folder.parent
    while True:
        top = world.locate(str(folder), "worktree").top
        if project in (world.known_project(str(folder)), world.known_project(str(folder), "worktree")):
            return Place(top, path.relative_to(top).as_posix())
        if top == top.parent:
            return None
        folder = top.parent


def pattern_within(world: World, project: str, text: str) -> str:
    """Return a pattern as one from the working tree's top, where it is absolute; any other as it is.

    Raises:
        InvalidInput: ``files_elsewhere``: it lies outside the project.
    """
    if not text.startswith("/"):
        return text
    parts = text.split("/")
    plain = next((i for i, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
    try:
        base = Path("/", *parts[:plain])
        place = None if world.facts.for_many else within(world, project, base.resolve())
    except (OSError, RuntimeError, ValueError):
        place = None
    if place is None:
        raise InvalidInput(
            "files_elsewhere",
            "A file to be owned lies outside the project.",
            "Name files from the project's top folder on.",
            field="files",
        )
    return "/".join([*(() if place.name == "." else (place.name,)), *parts[plain:]]) or "."


def held_against(there: Iterable[Reservation], agent: str, file: Written) -> Reservation | None:
    """Return the reservation that keeps an agent from writing a file; None where nothing does.

    What another agent has reserved by either name of the file does. What another has reserved by a name that leads
    here through a link does, unless the agent itself has reserved the file.
    """
    live = list(there)
    others = [each for each in live if each.agent != agent]
    own = [each for each in live if each.agent == agent]
    for place in file.places:
        names = names_of(place.name)
        held = holding(others, names)
        if held is not None:
            return held
        if holding(own, names) is None:
            linked = next((each for each in others if _leads_to(place.top, each.pattern, names)), None)
            if linked is not None:
                return linked
    return None


def _leads_to(top: Path, pattern: Pattern, names: tuple[Part, ...]) -> bool:
    """Say whether a pattern's folder is, in this working tree, a link under which a file lies."""
    parts = pattern.text.split("/")
    plain = next((i for i, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
    base = top.joinpath(*parts[:plain])
    try:
        real = base.resolve()
    except (OSError, RuntimeError):
        return False
    if real == base or not real.is_relative_to(top):
        return False
    inside = real.relative_to(top).as_posix()
    led = Pattern("/".join([inside, *parts[plain:]]), (*names_of(inside), *pattern.parts[plain:]))
    return covers(led, names)
