"""Every dependency is locked with hashes and earns its place in a sentence."""

import re
import tomllib
from pathlib import Path

import pytest

from wellos.settings import Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = PROJECT["project"]["dependencies"]
DEV = [item for group in PROJECT["dependency-groups"].values() for item in group if isinstance(item, str)]


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


@pytest.mark.parametrize("name", sorted({name_of(item) for item in RUN + DEV}))
def test_dependency_is_documented(name: str) -> None:
    table = [line.lower() for line in (ROOT / "docs/dependencies.md").read_text().splitlines() if line.startswith("|")]
    rows = [line for line in table if name in re.split(r"[,\s|]+", line.split("|")[1])]
    assert len(rows) == 1, f"docs/dependencies.md needs one row for {name}"
    assert "agpl" not in rows[0]
    assert not re.search(r"(?<!l)gpl", rows[0])


@pytest.mark.parametrize(("lock", "wanted"), [("requirements.lock", RUN), ("requirements-dev.lock", RUN + DEV)])
def test_lock_pins_and_hashes_everything_and_names_no_index(lock: str, wanted: list[str]) -> None:
    text = (ROOT / lock).read_text()
    pins = re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==\S+.*\\$", text, re.MULTILINE | re.IGNORECASE)
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    missing = {name_of(item) for item in wanted} - {pin.lower() for pin in pins}
    assert not missing, "run `make lock`" if lock == "requirements.lock" or missing else ""
    assert "://" not in text
    assert "--index" not in text


def test_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"\bmake ([a-z-]+)", page.read_text())) <= targets


def test_every_page_is_linked_from_the_readme_and_every_link_leads_somewhere() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    linked = set(re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text()))
    assert pages <= linked
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]
        broken = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
        assert not broken, page


def test_every_setting_the_pages_name_exists() -> None:
    of_tests = {"WELLOS_TEST_BIGQUERY_PROJECT", "WELLOS_TEST_DATABASE_URL", "WELLOS_NODE_MODULES"}
    known = {f"WELLOS_{name.upper()}" for name in Settings.model_fields} | of_tests
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        assert set(re.findall(r"\bWELLOS_[A-Z0-9_]+[A-Z0-9]", page.read_text())) <= known, page
