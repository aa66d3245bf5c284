"""A folder as a project: what `projects.identity` makes and the register keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A folder as a project.

    Attributes:
        top: real path of what identifies the project.
        name: for people: the folder's name.
        path_alias: the alias by path.
        tree_alias: the alias that survives a rename; None outside repositories.
    """

    top: Path
    name: str
    path_alias: str
    tree_alias: str | None
