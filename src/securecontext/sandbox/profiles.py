"""What runs may be asked for: one profile for analysis, and those that the operator has named.

A profile says how long a run may take, how much it may use, and which folders of the project may be written to.
They are kept in the machine's store.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from securecontext.sandbox.limits import MIB, Limits
from securecontext.sandbox.plan import STEERING
from securecontext.storage import meta_rows
from securecontext.types.errors import Denied, InvalidInput, LimitReached, NotFound
from securecontext.validators.filesystem import SafePath

ANALYSIS: Final = "analysis"
MOST: Final = 50
SECONDS: Final = 3600
MEMORY_MB: Final = 65_536
PROCESSES: Final = 4096
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_ROW: Final = "sandbox_profiles"
_UNCONFINED: Final = "sandbox_unconfined"


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of run.

    Attributes:
        name: its own.
        write: folders that may be written to, from the project's top; none for analysis.
        seconds: of wall and processor.
        memory_mb: see `limits.Limits`.
        processes: see `limits.Limits`.
    """

    name: str = ANALYSIS
    write: tuple[str, ...] = ()
    seconds: int = 30
    memory_mb: int = 1024
    processes: int = 64

    @property
    def limits(self) -> Limits:
        """What a run of this kind may use."""
        return replace(
            Limits(),
            wall_seconds=float(self.seconds),
            cpu_seconds=self.seconds,
            memory_bytes=self.memory_mb * MIB,
            processes=self.processes,
        )


def checked(profile: Profile) -> Profile:
    """Return a profile as it may be kept.

    Raises:
        InvalidInput: ``bad_profile``, or a path of it is refused; see `validators.filesystem`.
    """
    if _NAME.fullmatch(profile.name) is None or profile.name == ANALYSIS:
        raise InvalidInput(
            "bad_profile",
            "A profile's name has up to 40 lower-case letters, digits and hyphens, and is not analysis.",
            "Choose another name.",
        )
    return replace(profile, write=tuple(dict.fromkeys(_writable(text) for text in profile.write)))


def _writable(text: str) -> str:
    path = SafePath.of(text)
    steering = next((part for part in path.parts if part.casefold() in STEERING), None)
    if steering is not None:
        raise Denied(
            "never_writable",
            f"{steering} makes other programs run something later; no run may write there.",
            "Name folders for what a build makes.",
        )
    return str(path)


def read(connection: Connection) -> dict[str, Profile]:
    """Return every profile by name, the one for analysis first."""
    said = meta_rows.read(connection, _ROW)
    named = [] if said is None else json.loads(said)
    found = [Profile(**{**each, "write": tuple(each["write"])}) for each in named]
    return {each.name: each for each in (Profile(), *found)}


def named(connection: Connection, name: str) -> Profile:
    """Return a profile.

    Raises:
        NotFound: ``no_such_profile``.
    """
    found = read(connection).get(name)
    if found is None:
        raise NotFound("no_such_profile", "There is no profile of that name.", "See `zc sandbox profiles`.")
    return found


def put(connection: Connection, profile: Profile) -> None:
    """Keep a profile, in place of the one of that name.

    Raises:
        InvalidInput: see `checked`.
        LimitReached: ``too_many_profiles``.
    """
    kept = read(connection) | {profile.name: checked(profile)}
    if len(kept) > MOST:
        raise LimitReached(
            "too_many_profiles", f"{MOST} profiles are kept.", "Remove one: `zc sandbox remove`."
        )
    _keep(connection, kept)


def remove(connection: Connection, name: str) -> None:
    """Remove a profile of the operator's.

    Raises:
        NotFound: ``no_such_profile``.
    """
    kept = read(connection)
    if name == ANALYSIS or kept.pop(name, None) is None:
        raise NotFound("no_such_profile", "The operator named no such profile.", "See `zc sandbox profiles`.")
    _keep(connection, kept)


def _keep(connection: Connection, kept: dict[str, Profile]) -> None:
    rows = [asdict(each) for each in kept.values() if each.name != ANALYSIS]
    meta_rows.put(connection, _ROW, json.dumps(rows))


def unconfined(connection: Connection) -> bool:
    """Say whether the operator has chosen to run code without isolation where no rung holds."""
    return meta_rows.read(connection, _UNCONFINED) == "yes"


def choose_unconfined(connection: Connection, chosen: bool) -> None:
    """Keep the operator's choice."""
    meta_rows.put(connection, _UNCONFINED, "yes" if chosen else "no")


def writable(profile: Profile, project: Path, asked: list[str]) -> list[Path]:
    """Return the real paths that a run may write to.

    Args:
        profile: of the run.
        project: real path of the project's top.
        asked: paths from there on, each an existing folder or file.

    Raises:
        Denied: ``write_refused``: the profile does not cover it; ``outside_jail``: a link leads elsewhere;
            ``never_writable``.
        NotFound: ``no_such_file``.
        InvalidInput: see `validators.filesystem`.
    """
    found = []
    for text in asked:
        path = SafePath.of(_writable(text))
        if not any(path.parts[: len(p)] == p for p in (SafePath.of(each).parts for each in profile.write)):
            raise Denied(
                "write_refused",
                f"The profile {profile.name} lets no run write there.",
                "Name a profile that does: `zc sandbox profiles` lists them, the operator defines them.",
            )
        place = project.joinpath(*path.parts)
        if not place.exists():
            raise NotFound("no_such_file", "What is to be written to is not there.", "Make the folder first.")
        if place.resolve() != place:
            raise Denied("outside_jail", "The path leads through a link.", "Name the folder itself.")
        found.append(place)
    return found
