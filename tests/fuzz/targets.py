"""What is fuzzed in this process: functions of bytes that raise nothing unless there is a defect.

Each one swallows the error that its parser promises, and looks whether what was accepted is sound.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath

from securecontext.boundaries import chain
from securecontext.boundaries.canonical import SAFE_INTEGER, canonical
from securecontext.boundaries.keyring import key_file, roots
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import bundle
from securecontext.boundaries.ledger.anchors import AnchorFile
from securecontext.boundaries.ledger.notes import (
    PublicKeys,
    SigningKeys,
    open_note,
    parse_checkpoint,
    signer_of,
)
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.tokens import PREFIX, TokenKey
from securecontext.hooks import handlers
from securecontext.http.body import parse_object
from securecontext.service.wire import parse_opening
from securecontext.types.errors import Denied, InvalidInput, Tampered, Unauthenticated, Unavailable
from securecontext.validators.addresses import why_not_public
from securecontext.validators.filesystem import SafePath
from securecontext.validators.input import (
    clean_agent_id,
    clean_text,
    mend,
    one_line,
    sanitize_agent_message,
    validate_agent_id,
)
from securecontext.validators.markup import refuse_markup, refuse_traversal
from securecontext.validators.secrets import redact, redact_value
from securecontext.validators.url import parse_url

CORPUS = Path(__file__).parent / "corpus"
LOG = "log_fuzz"
NOW = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
ROOT = bytes(range(64))
OLD = SigningKeys("sig_fuzz.0", bytes(range(32)), 12345)
YOUNG = SigningKeys("sig_fuzz.1", bytes(range(1, 33)), 54321)
_FOLDER = Path(tempfile.mkdtemp(prefix="zc-fuzz-"))
TOKENS = TokenKey(Keyring.open(_FOLDER / "keys", b"a machine secret that is no secret"))


def known(target: str) -> list[bytes]:
    """Return the corpus of a target, in order."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def fuzz_canonical(data: bytes) -> None:
    """Canonical JSON has one spelling, which reads back as itself where numbers are what RFC 8785 takes them for."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        once = canonical(value)
    except InvalidInput:
        return
    assert canonical(json.loads(once, parse_int=_number)) == once


def _number(said: str) -> int | float:
    """Read a number as the double that it is: 5.1e20 is written in full, and is no integer that is kept exact."""
    whole = int(said)
    return whole if abs(whole) <= SAFE_INTEGER else float(said)


def fuzz_entry(data: bytes) -> None:
    """An entry of the ledger is read in one spelling alone."""
    try:
        found = chain.decode(data)
    except Tampered:
        return
    assert chain.encode(found) == data


def fuzz_token(data: bytes) -> None:
    """A token is what was signed; even under a right MAC it has one form."""
    text = data.decode("utf-8", "surrogateescape")
    body = PREFIX + _base64url(data)
    for token in (text, f"{body}.{TOKENS._mac(body)}"):
        try:
            found = TOKENS.open(token, NOW)
        except Unauthenticated:
            continue
        assert TOKENS.sign(found) == token


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def fuzz_note(data: bytes) -> None:
    """Whatever opens as a note was signed, and a checkpoint has one spelling."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (signer_of, parse_checkpoint):
        try:
            read(text)
        except Tampered:
            continue
    try:
        opened = open_note(text, YOUNG.public)
    except Tampered:
        return
    assert opened in {note.rpartition("\n\n")[0] + "\n" for note in map(bytes.decode, known("note"))}


def fuzz_signers(data: bytes) -> None:
    """Whoever is listed after the first was endorsed."""
    try:
        found = Signers(data.split(b"\n"))
    except Tampered:
        return
    if found.pinned == OLD.public.fingerprint:
        shown = [
            PublicKeys("", *(base64.b64decode(json.loads(line)[n]) for n in ("ed25519", "p256")))
            for line in found.lines
        ]
        assert {keys.fingerprint for keys in shown} <= {OLD.public.fingerprint, YOUNG.public.fingerprint}


def fuzz_bundle(data: bytes) -> None:
    """A bundle that holds under the pinned key shows no entry that was not signed."""
    lines = data.split(b"\n")
    if bundle.check(lines, OLD.public.fingerprint).ok:
        assert _leaves(lines) <= _signed_leaves()
    bundle.check(lines)


def _leaves(lines: list[bytes]) -> set[tuple[str, str]]:
    shown = [json.loads(line) for line in lines]
    return {(line["canonical"], line["mac"].lower()) for line in shown if line["type"] == "entry"}


@cache
def _signed_leaves() -> set[tuple[str, str]]:
    return set().union(*(_leaves(data.split(b"\n")) for data in known("bundle")))


def fuzz_anchors(data: bytes) -> None:
    """A line of the anchors is read, passed over as unfinished, or named."""
    path = _FOLDER / "anchors.log"
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        found = AnchorFile(path).read(LOG)
    except (Tampered, Unavailable):
        return
    assert all(anchor.point.log == LOG for anchor in found)


def fuzz_key_file(data: bytes) -> None:
    """A file of data keys is read as it was written by somebody who has the root."""
    try:
        key_file.read(data, ROOT, Path("data.keys"))
    except (Unavailable, Tampered):
        return
    assert data in known("key_file")


def fuzz_root_file(data: bytes) -> None:
    """A root has one spelling."""
    try:
        found = roots.parse(data, Path("ledger.root"), "ledger")
    except Unavailable:
        return
    assert found.line() == data


def fuzz_opening(data: bytes) -> None:
    """The opening of a connection names a door that there is."""
    try:
        found = parse_opening(data)
    except InvalidInput:
        return
    assert found.door in ("mcp", "hook", "rpc", "control", "operator")


def fuzz_hook(data: bytes) -> None:
    """A hook's payload gives a session that a stream may be named by."""
    payload = handlers.parse(data)
    assert len(handlers.session_of(payload)) <= 100
    assert handlers.session_of(payload).isascii()
    handlers.observation_key(payload, "ok")


def fuzz_object(data: bytes) -> None:
    """The body of a request is an object."""
    try:
        assert isinstance(parse_object(data), dict)
    except InvalidInput:
        return


def fuzz_text(data: bytes) -> None:
    """A text is refused, or clean in every respect that its validator promises."""
    text = (
        data.decode("utf-8", "surrogatepass" if len(data) % 2 else "surrogateescape")
        if _decodes(data)
        else ""
    )
    for raw in (data, text):
        _attempt(lambda raw=raw: sanitize_agent_message(raw))
        _attempt(lambda raw=raw: validate_agent_id(raw))
    for multiline in (True, False):
        mended, _ = mend(text, multiline=multiline)
        try:
            clean = clean_text(text, field="x", limit=1 << 16, multiline=multiline)
            _attempt(lambda text=clean: refuse_markup(text, "x"))
            _attempt(lambda text=clean: refuse_traversal(text, "x"))
        except InvalidInput as error:
            assert error.code
        try:
            assert clean_text(mended, field="x", limit=1 << 20, multiline=multiline)
        except InvalidInput as error:
            assert error.code in ("empty", "too_long")
    _attempt(lambda: clean_agent_id(text))
    assert len(one_line(text, 100)) <= 100


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass" if len(data) % 2 else "surrogateescape")
    except UnicodeDecodeError:
        return False
    return True


def _attempt(work: Callable[[], object]) -> None:
    try:
        work()
    except InvalidInput as error:
        assert error.code
        assert error.hint


def fuzz_path(data: bytes) -> None:
    """A path that passes lies below its folder."""
    for raw in (data, data.decode("utf-8", "surrogateescape")):
        try:
            path = SafePath.of(raw)
            joined = path.inside(PurePosixPath("/srv/project"))
        except InvalidInput:
            continue
        assert os.path.normpath(joined) == str(joined)
        assert str(joined).startswith("/srv/project/")
        assert SafePath.of(str(path)) == path


def fuzz_url(data: bytes) -> None:
    """A URL that passes has one spelling, and no address in it that is not public."""
    for raw in (data, data.decode("utf-8", "surrogateescape")):
        try:
            url = parse_url(raw)
        except (InvalidInput, Denied) as error:
            assert error.code.startswith("url_")
            continue
        assert str(url).isascii()
        assert parse_url(str(url)) == url
        assert url.address is None or not why_not_public(url.address)


def fuzz_secrets(data: bytes) -> None:
    """What is redacted is found no second time, in texts and in values."""
    text = data.decode("utf-8", "surrogateescape")
    once = redact(text)
    assert redact(once.text).text == once.text
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        taken = redact_value(value)
    except RecursionError:
        return
    assert repr(redact_value(taken)) == repr(taken)  # NaN equals nothing, itself included


TARGETS: dict[str, Callable[[bytes], None]] = {
    name.removeprefix("fuzz_"): found for name, found in sorted(globals().items()) if name.startswith("fuzz_")
}
