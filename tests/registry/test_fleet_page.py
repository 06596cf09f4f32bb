"""docs/fleet.md says what the models say, and its example is a fleet file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wellos.fleet.check import check
from wellos.fleet.page import tables

PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tables())
def test_the_page_holds_the_table(name: str) -> None:
    assert tables()[name] in PAGE, f"put this table into docs/fleet.md:\n{tables()[name]}"


def test_the_example_is_a_fleet() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    checked = check(example.encode(), "docs/fleet.md")
    assert checked.warnings == ()
    assert checked.fleet.counts() == {"tenants": 1, "wells": 2, "connections": 3, "tags": 5}
