"""The ground-truth file: every fault once, by its schema, the same in every run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema

from wellos.simulator.behaviour import DAY_US
from wellos.simulator.field import Field
from wellos.simulator.truth import SCHEMA, ground_truth, write_truth

if TYPE_CHECKING:
    from pathlib import Path

START = 1_793_000_000_000_000


def test_every_line_keeps_the_schema_and_has_its_own_id(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    count = write_truth(path, Field(seed=7), START, START + 40 * DAY_US)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert count == len(lines) > 250
    check = jsonschema.Draft202012Validator(SCHEMA)
    for line in lines:
        check.validate(line)
    assert len({line["id"] for line in lines}) == count
    assert {line["kind"] for line in lines} == set(SCHEMA["properties"]["kind"]["enum"])


def test_writing_again_gives_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    write_truth(path, Field(seed=7), START, START + 5 * DAY_US)
    before = path.read_bytes()
    write_truth(path, Field(seed=7), START, START + 6 * DAY_US)
    write_truth(path, Field(seed=7), START, START + 5 * DAY_US)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tags_are_named_and_times_are_utc() -> None:
    field = Field(seed=7)
    names = {well.name: {tag.name for tag in well.tags} for well in field.wells}
    for line in ground_truth(field, START, START + 10 * DAY_US):
        assert set(line["tags"]) <= names[line["well"]]
        assert line["start"].endswith("Z")
        assert line["start"] <= line["end"]
        assert ("entry_id" in line) == line["kind"].startswith("entry_")
