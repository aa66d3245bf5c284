"""Is the installed code the code that was installed? The decision, without I/O: an inventory in, a judgement out.

A baseline is what was accepted last: the SHA-256 of every file of the package and of the plugin, by name, and the
version that they are. It is signed (see `baseline`). The rules:

- Files that are not those of the baseline are named: added, removed, changed. Nothing accepts them by itself.
- A newer version is accepted as an upgrade only where every file is what the wheel's own RECORD says, and so is the
  first baseline. A source checkout has no such record: a person accepts it (`zc integrity accept`). So does an older
  version, and a version that its files do not bear out.
- The plugin as it was written into the data folder may be that of the baseline, or what this package writes there
  (`plugin_files`): installing it again needs no acceptance.
- Bytecode that is not what its source compiles to is always a finding.

What this defends against: files that were changed, added or lost behind the back of the package's installer, by
mistake or by a program that reaches them but not the keys. What it does not: another program of the same user that
reads the key root can sign a baseline of its own, and one that rewrites this very module, or the interpreter and the
libraries beside it, decides what it says. Against those only another user's ownership of the files helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from securecontext.handover import numbers

CLIENT = "client/"
"""What the names of the plugin's files in the data folder begin with."""


class State(StrEnum):
    """How the code stands."""

    SOUND = "sound"
    FIRST = "first"
    UPGRADED = "upgraded"
    INSTALLED = "installed"
    UNACCEPTED = "unaccepted"
    CHANGED = "changed"


ACCEPTED_BY_ITSELF = frozenset({State.FIRST, State.UPGRADED, State.INSTALLED})
"""States that make a new baseline: something vouches for the files. INSTALLED: the plugin was written or removed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not what it should be: ``added``, ``removed``, ``changed`` or ``forged`` (bytecode)."""

    name: str
    how: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was accepted.

    Attributes:
        version: of the package.
        files: SHA-256 in hex by name.
    """

    version: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there now.

    Attributes:
        version: the package says so.
        files: SHA-256 in hex by name.
        forged: names of bytecode that is not its source's.
        record: what the wheel's RECORD says of the package's files; None for a source checkout.
        written: what this package would write of the plugin, each file with every digest that it may have.
    """

    version: str
    files: Mapping[str, str]
    forged: tuple[str, ...]
    record: Mapping[str, str] | None
    written: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be thought of the code.

    Attributes:
        state: how it stands.
        why: a plain sentence.
        differences: the files that are not what they should be.
        version: of the code that was looked at.
        before: version of the baseline; empty where there is none.
    """

    state: State
    why: str
    differences: tuple[Difference, ...] = ()
    version: str = ""
    before: str = ""

    @property
    def sound(self) -> bool:
        """Say whether the code is accepted."""
        return self.state not in (State.UNACCEPTED, State.CHANGED)


def judge(baseline: Baseline | None, seen: Seen) -> Judgement:
    """Return what is to be thought of the code that was seen. See the module's rules."""
    state, why, found = _own(baseline, seen)
    if seen.forged:
        state, why = State.CHANGED, "There is bytecode that its source does not compile to."
        found = (*found, *(Difference(name, "forged") for name in sorted(seen.forged)))
    plugin, moved = _client(baseline, seen, trusted=state is not State.CHANGED)
    if plugin and state is not State.CHANGED:
        state, why = State.CHANGED, "The installed plugin is neither the accepted one nor this package's."
    elif moved and state is State.SOUND:
        state, why = (
            State.INSTALLED,
            "The plugin was installed or removed since; its files are this package's.",
        )
    before = "" if baseline is None else baseline.version
    return Judgement(state, why, (*found, *plugin), seen.version, before)


def _own(baseline: Baseline | None, seen: Seen) -> tuple[State, str, tuple[Difference, ...]]:
    """Judge the files of the package."""
    here = _without_client(seen.files)
    if baseline is None:
        if seen.record is None:
            return State.UNACCEPTED, "This is a source checkout, and nobody has accepted its files yet.", ()
        found = differences(seen.record, here)
        if found:
            return State.CHANGED, "The files are not what the installed wheel's record says.", found
        return State.FIRST, f"The files of version {seen.version} are what the wheel's record says.", ()
    found = differences(_without_client(baseline.files), here)
    if not found:
        return State.SOUND, f"The files are those accepted as version {baseline.version}.", ()
    if seen.version == baseline.version:
        return State.CHANGED, f"Files changed, and the version is still {seen.version}.", found
    if numbers(seen.version) <= numbers(baseline.version):
        why = f"This is version {seen.version}, older than the accepted {baseline.version}."
        return State.CHANGED, why, found
    if seen.record is None:
        why = f"This is a source checkout of version {seen.version}; accepted is {baseline.version}."
        return State.UNACCEPTED, why, found
    unlike = differences(seen.record, here)
    if unlike:
        return (
            State.CHANGED,
            f"The files of version {seen.version} are not what its wheel's record says.",
            unlike,
        )
    return State.UPGRADED, f"Upgraded from {baseline.version} to {seen.version}.", ()


def _client(baseline: Baseline | None, seen: Seen, *, trusted: bool) -> tuple[tuple[Difference, ...], bool]:
    """Judge the plugin's files in the data folder: what is wrong, and whether they moved away from the baseline.

    Args:
        baseline: what was accepted.
        seen: what is there.
        trusted: whether the package may vouch for what it would write.
    """
    known = {} if baseline is None else _only_client(baseline.files)
    here = _only_client(seen.files)
    if not here:
        return (), bool(known)  # not installed, or not any more
    if baseline is None and not trusted:
        return (), False  # there is nothing to compare them with
    written = seen.written if trusted else {}
    found = []
    for name, digest in here.items():
        if digest != known.get(name) and digest not in written.get(name, ()):
            found.append(Difference(name, "changed" if name in known or name in written else "added"))
    as_before = all(here.get(name) == digest for name, digest in known.items()) and bool(known)
    # What an older plugin had, and this one has not, may go with it.
    expected = known if as_before or not trusted else written
    found += [Difference(name, "removed") for name in expected if name not in here]
    return tuple(sorted(found, key=lambda each: each.name)), known != here


def differences(wanted: Mapping[str, str], here: Mapping[str, str]) -> tuple[Difference, ...]:
    """Return each file that is not as it should be, by name."""

    def each() -> Iterable[Difference]:
        for name in sorted({*wanted, *here}):
            if name not in here:
                yield Difference(name, "removed")
            elif name not in wanted:
                yield Difference(name, "added")
            elif wanted[name] != here[name]:
                yield Difference(name, "changed")

    return tuple(each())


def _only_client(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith(CLIENT)}


def _without_client(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if not name.startswith(CLIENT)}
