"""Each known attack that the security kernel answers has a test that bears its id, in its name or its docstring."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.source import parsed

ATTACKS = {
    "RT-S0-01": "a secret's file with a wrong mode",
    "RT-S0-02": "a description that leaks a key",
    "RT-S0-03": "a row's content changed",
    "RT-S0-04": "a row deleted or inserted",
    "RT-S0-05": "fields that collide through a separator",
    "RT-S0-06": "another key",
    "RT-S0-07": "a forgery without the secret",
    "RT-S0-08": "an entry edited",
    "RT-S0-09": "a way to edit or delete entries",
    "RT-S0-10": "a secret in what is entered",
    "RT-S0-12": "a marker that says nothing of what it replaced",
    "RT-S0-13": "a scanner that shows what it found",
    "RT-S0-14": "a private key in a text",
    "RT-S1-02": "a log that others may read",
    "RT-S1-03": "a line break in a log's event",
    "RT-S1-05": "a version that was bumped",
    "RT-S1-06": "a tool call's entry changed",
    "RT-S1-07": "a chain that does not go on",
    "RT-S1-08": "a secret in a tool's input",
    "RT-S1-11": "a prompt stored",
    "RT-S1-12": "a link out of the project",
    "RT-S1-13": "another agent's log read",
    "RT-S1-14": "a log changed by reading it",
    "RT-S1-16": "odd paths that share a database",
    "RT-S2-01": "one agent's row forged by another",
    "RT-S2-02": "one agent's token for another's row",
    "RT-S2-03": "no token, or none that is one",
    "RT-S2-04": "a revoked token",
    "RT-S2-05": "a token of another project",
    "RT-S2-06": "the right token refused",
    "RT-S3-01": "SQL by way of the provenance",
    "RT-S3-02": "one agent's messages read or acknowledged away by another",
    "RT-S3-03": "a row without a class",
    "RT-S3-04": "a class that there is not",
    "RT-S3-06": "engines that hash differently",
    "RT-S4-01": "fifty that claim at once",
    "RT-S4-02": "a worker that gives no sign of life",
    "RT-S4-03": "a task that fails",
    "RT-S4-04": "a claim across roles or projects",
    "RT-S4-05": "files that two assignments claim",
    "RT-S4-06": "files apart that are refused",
    "RT-S4-07": "files that stay owned after their merge",
    "W-01": "a chain forked by concurrent writers",
    "W-02": "policies that hide rows from the chain's own writer",
    "W-03": "an unkeyed hash in a keyed chain",
    "W-04": "one path, two projects",
    "W-05": "a tail cut off",
    "W-06": "blank hashes passed over",
    "W-07": "one foreign line that hides all others",
    "W-08": "a tail kept in the memory of each process",
    "W-09": "an unkeyed chain with separators",
    "W-10": "columns that no hash covers",
    "W-11": "a key that every agent's process can read",
    "W-15": "a lock that is gone with its statement",
    "W-17": "a ledger that its own writer may update",
    "W-18": "a login that sees past what protects the rows",
    "W-19": "a token that is checked only where it is shown",
    "W-20": "an orchestrator's token for everybody",
    "W-22": "a key in the database that it protects",
    "W-23": "a door without authentication on every address",
    "W-24": "a path that needs no key",
    "W-25": "an address that the caller chooses",
    "W-29": "code that reads keys, the network, other processes, and outlives its run",
    "W-30": "a name that is another address when it is connected to, an address that carries one inside",
    "W-31": "names taken for addresses, and names that are not checked",
    "W-32": "a budget that is read before it is counted, and paid for failures",
    "W-33": "a file of any path, commands without number",
    "W-45": "a lease that nobody takes back, a task that fails for ever",
    "W-46": "one id for tasks of two projects, one name for two workers",
    "W-48": "a role that whoever likes may claim",
    "W-49": "engines that answer differently",
    "W-26": "a worker's MERGE that frees files and passes for trusted",
    "W-28": "ownership by exact words, checked before and not with the insert, on one path alone",
    "W-47": "a door that drops or renames what another takes",
    "W-73": "a baseline that anybody may write",
}


@pytest.fixture(scope="module")
def named() -> set[str]:
    """Return the ids that tests bear."""
    found = set()
    for _, tree in parsed("tests"):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                words = node.name.upper().replace("_", "-") + " " + (ast.get_docstring(node) or "")
                found |= set(re.findall(r"\bRT-S\d-\d\d\b|\bW-\d\d\b", words))
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_known_attack_has_a_test(named: set[str], attack: str) -> None:
    assert attack in named, f"{attack}, {ATTACKS[attack]}, has no test"
