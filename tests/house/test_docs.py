"""The documents say what the code does: generated pages are current, every setting and operation is described."""

import re
from pathlib import Path

from docs.generate import pages

from securecontext.settings import VARIABLES

ROOT = Path(__file__).resolve().parents[2]


def test_generated_pages_are_current() -> None:
    for name, text in pages().items():
        file = ROOT / "docs" / name
        assert file.exists() and file.read_text(encoding="utf-8") == text, (
            f"run `make docs`: docs/{name} is not current"
        )


def test_every_setting_that_the_code_reads_is_documented() -> None:
    read = set()
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "plugin").rglob("*.py")]:
        read |= set(re.findall(r"\bZC_[A-Z]+(?:_[A-Z]+)*\b(?!_)", file.read_text(encoding="utf-8")))
    read -= {"ZC_AGENT", "ZC_PROJECT"}  # prefixes of names that are documented
    assert read <= set(VARIABLES), f"not in settings.VARIABLES: {sorted(read - set(VARIABLES))}"


def test_links_between_documents_lead_somewhere() -> None:
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{file.name} links to {target}, which does not exist"


def test_every_claim_of_the_threat_model_has_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    claimed = [re.findall(r"`(test_\w+)`", row) for row in rows]
    assert len(rows) > 20 and all(claimed), "a row without a test"
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    missing = {name for names in claimed for name in names if f"def {name}(" not in source}
    assert not missing, f"no such test: {sorted(missing)}"


def test_every_module_that_the_security_flow_names_exists() -> None:
    text = (ROOT / "docs" / "security-flow.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / "src" / "securecontext" / name).exists()] == []
