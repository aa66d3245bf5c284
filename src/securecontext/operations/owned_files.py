"""Where a file lies within a project, as reservations name it: from the top of its working tree, links seen through.

What is found out here is found out on the machine whose files these are, and told in words that hold on every one: the
service that knows the reservations may be another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from securecontext.coordination import ownership
from securecontext.coordination.ownership import Reservation, holding
from securecontext.coordination.patterns import Pattern, names_of
from securecontext.pipeline.operation import Asking, Input
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput

PATH_CHARACTERS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path lies.

    Attributes:
        top: real path of the working tree's top.
        name: the path from there on; ``.`` for the top itself.
    """

    top: Path
    name: str


class Named(Input):
    """A file by one of its names, as reservations know files.

    Attributes:
        name: from the top of the working tree on; links in its folders are seen through.
        aliases: the same file as patterns name it that lead through a link.
    """

    name: str = Field(max_length=PATH_CHARACTERS)
    aliases: list[Annotated[str, Field(max_length=PATH_CHARACTERS)]] = Field(
        [], max_length=ownership.MOST_LIVE
    )


Written = Annotated[list[Named], Field(max_length=2)]
"""What a file is to a project: as it is named, and where its links lead; only what lies in the project."""


def written(world: World, project: str, path: str, patterns: Iterable[Pattern] = ()) -> list[Named]:
    """Return what a file is to a project.

    Args:
        world: knows which folder belongs to which project.
        project: id of the project.
        path: absolute; need not exist.
        patterns: what is reserved.

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
    linked = {place.top: _links(place.top, patterns) for place in found if place is not None}
    return [
        Named(name=place.name, aliases=_aliases(place.name, linked[place.top]))
        for place in found
        if place is not None
    ]


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


def localized(asking: Asking, lists: Mapping[str, list[str] | None]) -> dict[str, list[str]]:
    """Return lists of patterns by their names, those that are absolute as from the working tree's top.

    Raises:
        InvalidInput: ``files_elsewhere``: one of them lies outside the project.
    """
    project = asking.asker.project
    there = "" if project is None else project.id
    return {
        name: [pattern_within(asking.world, there, text) for text in texts]
        for name, texts in lists.items()
        if texts
    }


def pattern_within(world: World, project: str, text: str) -> str:
    """Return a pattern as one from the working tree's top, where it is absolute; any other as it is.

    Raises:
        InvalidInput: ``files_elsewhere``: it lies outside the project.
    """
    if not text.startswith("/"):
        return text
    parts = text.split("/")
    plain = _plain(parts)
    try:
        base = Path("/", *plain)
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
    return "/".join([*(() if place.name == "." else (place.name,)), *parts[len(plain) :]]) or "."


def held_against(there: Iterable[Reservation], agent: str, file: Iterable[Named]) -> Reservation | None:
    """Return the reservation that keeps an agent from writing a file; None where nothing does.

    What another agent has reserved by either name of the file does. What another has reserved by a name that leads
    here through a link does, unless the agent itself has reserved the file.
    """
    live = list(there)
    others = [each for each in live if each.agent != agent]
    own = [each for each in live if each.agent == agent]
    for place in file:
        names = names_of(place.name)
        held = holding(others, names)
        if held is not None:
            return held
        if holding(own, names) is None:
            linked = [holding(others, names_of(alias)) for alias in place.aliases]
            if any(linked):
                return next(each for each in linked if each is not None)
    return None


def _links(top: Path, patterns: Iterable[Pattern]) -> dict[str, str]:
    """Return which folders and files that patterns begin with are links in this working tree, and to what in it."""
    found = {}
    for text in dict.fromkeys("/".join(_plain(pattern.text.split("/"))) for pattern in patterns):
        base = top / text
        try:
            real = base.resolve()
        except (OSError, RuntimeError):
            continue
        if real != base and real.is_relative_to(top):
            found[text] = real.relative_to(top).as_posix()
    return found


def _aliases(name: str, links: dict[str, str]) -> list[str]:
    """Return by which names a file is reached through links."""
    return [
        link if name == real else f"{link}/{name if real == '.' else name.removeprefix(f'{real}/')}"
        for link, real in links.items()
        if real in (name, ".") or name.startswith(f"{real}/")
    ]


def _plain(parts: list[str]) -> list[str]:
    """Return the parts of a pattern before the first one with a wildcard."""
    return parts[: next((i for i, part in enumerate(parts) if "*" in part or "?" in part), len(parts))]
