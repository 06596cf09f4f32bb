"""The checks as arrays against the same checks one reading at a time, batches cut anywhere, a restart in between."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.validate import Share, Validator
from tests.reference_checks import Reference
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from streaming.delivery import Episode

TENANT = UUID(int=1)
NOW = 1_700_000_000_000_000
S = 1_000_000
SEEDS = st.integers(0, 2**32 - 1)


def tag(tag_id: int) -> Tag:
    return Tag(
        tag_id,
        TENANT,
        f"W{tag_id}",
        f"t{tag_id}",
        "a",
        unit="psi",
        quantity="pressure",
        low=0.0,
        high=1000.0,
        resolution=0.5,
        interval_s=20.0,
    )


def connections() -> list[Connection]:
    return [Connection(n, TENANT, "acme", f"c{n}", "mqtt", {}, (tag(2 * n), tag(2 * n + 1))) for n in (1, 2)]


@dataclass
class Said:
    """The last word on each episode, as the table will hold it."""

    last: dict[tuple[int | None, str, int], Episode] = field(default_factory=dict)
    open_at_once: int = 0

    def hear(self, episodes: list[Episode]) -> None:
        for item in episodes:
            self.last[item.tag_id, item.check, item.start_us] = item
        open_now = [key[:2] for key, item in self.last.items() if item.end_us is None]
        assert len(open_now) == len(set(open_now)), "two open episodes of one tag and check"


def feed(made: Validator, readings: Readings, cuts: list[int], said: Said) -> None:
    for part in np.split(readings, cuts):
        shares = [Share(n, part[(part["tag_id"] == 2 * n) | (part["tag_id"] == 2 * n + 1)], NOW) for n in (1, 2)]
        for checked in made.check(shares, NOW):
            said.hear(list(checked.episodes))


def history(rng: np.random.Generator) -> Readings:
    """Two days or less of four tags, in order of receipt, with everything that can be wrong with them."""
    parts = []
    for tag_id in (2, 3, 4, 5):
        step = int(rng.choice([20, 60, 300])) * S
        rows = int(rng.integers(200, 500))
        time = NOW - 100 * 3600 * S + np.cumsum(rng.integers(step // 2, step * 3 // 2, rows))
        time[int(rng.integers(0, rows)) :] += int(rng.integers(0, 20)) * 1800 * S
        value = 500 + rng.normal(0, rng.choice([0.3, 3.0]), rows) + 20 * np.sin(np.arange(rows) / 70)
        for _ in range(int(rng.integers(0, 8))):
            at = int(rng.integers(0, rows))
            value[at : at + int(rng.choice([1, 1, 3, 40]))] += rng.normal(0, 150)
        value = np.maximum(value, -14.0)  # less is impossible, which is another check
        value[rng.random(rows) < 0.01] = rng.choice([-12.0, 1300.0, math.nan])
        quality = np.where(rng.random(rows) < 0.02, Quality.UNCERTAIN, Quality.GOOD)
        back = rng.random(rows) < 0.03
        time[back] -= 5 * step
        parts.append(pack(time, value, tag_id, quality))
    mixed = np.concatenate(parts)
    order = np.argsort(np.concatenate([np.arange(len(part)) * (500 / len(part)) for part in parts]), kind="stable")
    return mixed[order]


def references(readings: Readings) -> dict[int, Reference]:
    made = {n: Reference(0.0, 1000.0, 0.5, 300 * S) for n in (2, 3, 4, 5)}
    seen = set()
    for row in readings:
        key = (int(row["tag_id"]), int(row["time"]), repr(float(row["value"])))
        if key in seen:
            continue
        seen.add(key)
        made[key[0]].take(key[1], float(row["value"]), int(row["quality"]))
    return made


CHECKS = ("range", "spike", "rate_of_change", "z_score")


@settings(max_examples=8, derandomize=True)
@given(SEEDS)
def test_episodes_equal_those_of_one_reading_at_a_time(seed: int) -> None:
    """Of about one history in a hundred an episode of z_score ends later than the reference says: see below."""
    episodes_equal_the_reference(seed)


@pytest.mark.xfail(strict=True, reason="open: z_score episodes go on over weaker findings that the reference has not")
@pytest.mark.parametrize("seed", [212, 996])
def test_episodes_of_histories_that_are_known_to_differ(seed: int) -> None:
    episodes_equal_the_reference(seed)


def episodes_equal_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readings, said, made = history(rng), Said(), Validator()
    made.configure(connections())
    cuts = np.sort(rng.integers(0, len(readings), int(rng.integers(0, 30)))).tolist()
    feed(made, readings, cuts, said)
    for tag_id, reference in references(readings).items():
        expected = {(check, start): (end, count, score) for check, start, end, count, score in reference.all()}
        found = {key[1:]: item for key, item in said.last.items() if key[0] == tag_id and key[1] in CHECKS}
        assert found.keys() == expected.keys()
        for key, item in found.items():
            end, count, score = expected[key]
            assert item.end_us == end
            if end is not None:
                assert item.evidence["count"] == count
                assert item.evidence["score"] == pytest.approx(score, rel=1e-3)


@settings(max_examples=8)
@given(SEEDS)
def test_batches_may_be_cut_anywhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readings, one, many = history(rng), Said(), Said()
    for said, cuts in ((one, []), (many, np.sort(rng.integers(0, len(readings), 40)).tolist())):
        made = Validator()
        made.configure(connections())
        feed(made, readings, cuts, said)
    assert one.last.keys() == many.last.keys()
    for key, item in one.last.items():
        assert (item.end_us, item.severity) == (many.last[key].end_us, many.last[key].severity)
        if item.end_us is not None:
            assert item.evidence == many.last[key].evidence


@settings(max_examples=8)
@given(SEEDS)
def test_a_restart_in_between_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readings, whole, broken = history(rng), Said(), Said()
    at = int(rng.integers(0, len(readings)))
    made = Validator()
    made.configure(connections())
    feed(made, readings[:at], [], whole)
    state = made.state()
    feed(made, readings[at:], [], whole)
    first = Validator()
    first.configure(connections())
    feed(first, readings[:at], [], broken)
    again = Validator()
    again.restore(state)
    for connection in connections():
        again.configure([connection])
    feed(again, readings[at:], [], broken)
    assert broken.last == whole.last
