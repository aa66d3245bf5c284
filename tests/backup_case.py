"""What the tests of backups share: make one, restore it, start anew, and forge one with the very key that signs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from securecontext.app import App
from securecontext.boundaries import backup_file
from securecontext.boundaries.backup_file import Manifest, Member
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.signers import signing_keys
from securecontext.boundaries.policy import Principal
from tests.house_case import PERSON, House, make_house
from tests.identity_case import PHRASE, with_operator


@dataclass
class Kept:
    """A house with an operator, and a folder for backups outside it."""

    house: House
    operator: Principal
    out: Path

    @property
    def home(self) -> Path:
        return self.house.app.settings.home

    def backup(self, name: str = "one.zcbackup") -> Path:
        done = self.house.do("backup", PERSON, file=str(self.out / name))
        return Path(done["file"])

    def restore(self, file: Path, *keys: str) -> str:
        """Restore and start anew; return the new fingerprint."""
        done = self.house.do("restore", self.operator, file=str(file), key=list(keys), confirm=True)
        self.start_anew()
        return str(done["fingerprint"])

    def refused(self, file: Path, *keys: str) -> str:
        """Have a restore refused; nothing may have changed, and nothing may be left behind."""
        before = self.house.shown()
        given = {"file": str(file), "key": list(keys), "confirm": True}
        answer = self.house.ask("restore", given, who=self.operator)
        assert answer.error is not None, answer.text
        assert self.house.shown() == before
        assert not [each.name for each in self.home.iterdir() if "restore" in each.name]
        return answer.error.code

    def unlock(self) -> None:
        """Have the operator unlock the terminal of a service that has started anew."""
        self.house.app.operator.unlock(PHRASE, self.operator.terminal)

    def start_anew(self) -> None:
        self.house.app.close()
        self.house.app = App(self.house.app.settings, lambda: self.house.moment)

    def status(self, **given: bool) -> str:
        return str(self.house.do("audit.verify", PERSON, **given)["status"])


def kept_house(root: Path) -> Kept:
    house = make_house(root)
    out = root / "out"
    out.mkdir()
    return Kept(house, with_operator(house), out)


@dataclass
class Parts:
    """A backup taken apart: its manifest, and the bytes of its files by name."""

    manifest: Manifest
    files: dict[str, bytes]

    def signed(self, keyring: Keyring, out: Path) -> Path:
        """Put it together again as it is now, signed by whoever holds the keys."""
        members = tuple(self._member(each) for each in self.manifest.files)
        manifest = replace(self.manifest, files=members)
        body = b"".join(self.files.get(each.name, b"") for each in members)
        out.write_bytes(backup_file.head(manifest, signing_keys(keyring)) + body)
        return out

    def _member(self, member: Member) -> Member:
        data = self.files.get(member.name, b"")
        return replace(member, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def apart(file: Path) -> Parts:
    data = file.read_bytes()
    stream = io.BytesIO(data)
    manifest = backup_file.read_head(stream, len(data)).manifest
    files = {each.name: b"".join(backup_file.pieces(stream, each)) for each in manifest.files}
    return Parts(manifest, files)


def edited(parts: Parts, name: str, folder: Path, edit: Callable[[Path], None]) -> None:
    """Change a database of a backup, as somebody who has the file does."""
    path = folder / "edited.db"
    path.write_bytes(parts.files[name])
    edit(path)
    parts.files[name] = path.read_bytes()
    path.unlink()
