"""The languages that code may be in, and the programs that run them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from securecontext.types.errors import Unavailable

PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""The whole PATH of a run. The programs are looked for here and nowhere else."""

Language = Literal["python", "javascript", "bash"]
ALIASES: Final[dict[str, Language]] = {
    "python": "python", "python3": "python", "javascript": "javascript", "js": "javascript", "bash": "bash",
    "sh": "bash",
}  # fmt: skip
_PROGRAMS: Final[dict[Language, str]] = {"python": "python3", "javascript": "node", "bash": "bash"}
_WORDS: Final[dict[Language, tuple[str, ...]]] = {
    "python": ("-",),
    "javascript": ("-",),
    # A command of the script must not read the script: it is read whole before its first command runs.
    "bash": ("--norc", "--noprofile", "-c", 'script=$(cat) && exec </dev/null && eval "$script"'),
}
RESERVES: Final[frozenset[Language]] = frozenset({"javascript"})
"""Languages whose engine reserves more address space than it uses: their use is limited, not what they reserve."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What runs a language.

    Attributes:
        argv: its command; code comes by standard input.
        reserves: see `RESERVES`.
    """

    argv: tuple[str, ...]
    reserves: bool = False


def interpreter(language: Language, path: str = PATH) -> Interpreter:
    """Return what runs a language.

    Raises:
        Unavailable: ``no_interpreter``: it is not installed for everybody.
    """
    found = shutil.which(_PROGRAMS[language], path=path)
    if found is None:
        raise Unavailable(
            "no_interpreter",
            f"There is no {_PROGRAMS[language]} in {path}.",
            "Install it for the whole machine, or use another language.",
            language=language,
        )
    return Interpreter((str(Path(found)), *_WORDS[language]), language in RESERVES)
