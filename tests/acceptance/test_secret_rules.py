"""Both sets of rules in a real service: it answers before the second is there, and mends what was let pass."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from securecontext.validators.secret_engine import RULES, Engine
from tests.acceptance.service_case import World, call
from tests.engine import rows
from tests.rules_case import COMPILED, engine_of_rules, hugging_face
from tests.waiting import wait_until

__all__ = ["engine_of_rules"]

TOKEN = hugging_face()
GONE = "[REDACTED:huggingface_access_token]"


def with_compiled_rules(world: World) -> None:
    """Leave the rules where a service of this version has compiled them before."""
    folder = world.home / "secret-rules"
    folder.mkdir(mode=0o700, parents=True)
    world.home.chmod(0o700)
    for file in COMPILED.glob("*.vscdb"):
        shutil.copy2(file, folder)
    (folder / RULES.replace(" ", "-")).touch(mode=0o600)


def stored(world: World) -> list[str]:
    """The values of all facts, as an outsider reads them."""
    return [str(value) for (value,) in rows(world.home, "SELECT value FROM facts")]


def bytes_on_disk(world: World) -> bytes:
    return b"\0".join(file.read_bytes() for file in world.home.rglob("*") if file.is_file())


def state(world: World) -> str:
    return str(world.control(do="status")["secret_rules"])


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["result"]["content"][0]["text"])


def test_what_passed_before_the_rules_were_there_is_taken_out_of_every_file(
    world: World, engine_of_rules: Engine
) -> None:
    world.serve()
    assert state(world) == "off"
    session = world.session()
    given = {"key": "model", "value": f"is loaded with {TOKEN}"}
    assert "error" not in session.ask(call(1, "zc_remember", **given))
    assert stored(world) == [f"is loaded with {TOKEN}"]
    world.stop()

    with_compiled_rules(world)
    del world.env["ZC_SECRET_RULES"]
    world.serve()
    session = world.session()
    assert "model" in text_of(session.ask(call(1, "zc_recall_context")))  # it answers, and opens the project
    wait_until(lambda: stored(world) == [f"is loaded with {GONE}"], "the secret to be taken out", 60)
    wait_until(lambda: TOKEN.encode() not in bytes_on_disk(world), "every byte of it to be gone", 60)
    assert state(world) == "ready"
    assert world.person().call("audit.verify", {}).structured["status"] == "OK"
    assert GONE in text_of(session.ask(call(2, "zc_recall_context")))
    told = text_of(session.ask(call(3, "zc_remember", key="other", value=f"with {TOKEN}")))
    assert "huggingface_access_token" in told and TOKEN not in told
    assert TOKEN.encode() not in bytes_on_disk(world)


def test_the_service_answers_with_our_own_rules_while_the_others_are_compiled_and_ends_without_them(
    world: World,
) -> None:
    del world.env["ZC_SECRET_RULES"]
    service = world.serve()
    wait_until(lambda: compilers(world), "the compiler to run", 60)
    assert state(world) == "building"
    session = world.session()
    secret = "gh" + "p_" + TOKEN[3:] + "ab"
    answer = text_of(session.ask(call(1, "zc_remember", key="k", value=f"it is {secret}")))
    assert "github_pat" in answer
    world.stop()
    assert service.wait(30) == 0
    assert secret.encode() not in bytes_on_disk(world)
    assert compilers(world) == []


def compilers(world: World) -> list[int]:
    """The processes that compile rules for this world."""
    mark = str(world.home / "secret-rules").encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
