"""The checks on a simulated field: silent while it is well, and none of the faults planted in it is missed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pytest

from streaming.validate import Share, Validator
from wellos.quality import Quality
from wellos.readings import Flag, Readings, pack
from wellos.registry import Connection, Tag
from wellos.simulator.field import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streaming.delivery import Episode

TENANT = UUID(int=1)
S = 1_000_000
MINUTE, HOUR = 60 * S, 3600 * S
START = 1_750_000_000 * S // HOUR * HOUR
HOURS = 14


@cache
def field() -> tuple[tuple[Connection, ...], Readings]:
    """Six wells without a fault: their connections, and half a day of readings in order of time, quality GOOD."""
    simulated = Field(seed=5, wells=6, start_us=START - HOUR, faults=False)
    connections, parts, first = [], [], 1
    for number, well in enumerate(simulated.wells):
        tags = tuple(
            Tag(
                first + n,
                TENANT,
                well.name,
                item.name,
                "a",
                unit=item.unit,
                quantity=item.quantity,
                deadband=item.deadband,
                low=item.low,
                high=item.high,
                interval_s=item.interval_s,
                mode=item.mode,
                resolution=item.resolution,
            )
            for n, item in enumerate(well.tags)
        )
        connections.append(Connection(number + 1, TENANT, "acme", well.name, "mqtt", {}, tags))
        sent = simulated.samples(number, START, START + HOURS * HOUR, every_s=15).copy()
        sent["tag_id"] += first
        sent["quality"], sent["status"] = Quality.GOOD, 0
        parts.append(sent)
        first += len(tags)
    every = np.concatenate(parts)
    return tuple(connections), every[np.argsort(every["time"], kind="stable")]


def run(readings: Readings, *, delay_us: int = 300_000) -> dict[tuple[int | None, str, int], Episode]:
    """Feed them minute by minute; return the last word on each episode."""
    connections, _ = field()
    made = Validator()
    made.configure(connections)
    said: dict[tuple[int | None, str, int], Episode] = {}
    owner = np.zeros(1000, np.int64)
    for connection in connections:
        for tag in connection.tags:
            owner[tag.tag_id] = connection.connection_id
    ends = np.arange(START + MINUTE, START + (HOURS + 1) * HOUR, MINUTE)
    cuts = np.searchsorted(np.maximum.accumulate(readings["time"]), ends)
    for end, part in zip(ends.tolist(), np.split(readings, cuts), strict=False):
        of = owner[part["tag_id"]]
        shares = [Share(n, part[of == n], end + delay_us) for n in range(1, len(connections) + 1)]
        for checked in made.check(shares, end + delay_us):
            for episode in checked.episodes:
                key = checked.connection_id if episode.tag_id is None else episode.tag_id
                said[key, episode.check, episode.start_us] = episode
    return said


def checks(said: Iterable[tuple[int | None, str, int]], tag_id: int) -> set[str]:
    return {check for number, check, _ in said if number == tag_id}


def test_a_field_that_is_well_makes_no_data_quality_episode() -> None:
    connections, readings = field()
    said = run(readings)
    # A well that stops and starts is unusual: the z-score says so, and it alone.
    assert {check for _, check, _ in said} <= {"z_score"}
    tags = sum(len(connection.tags) for connection in connections)
    assert len(said) / (tags * HOURS / 24) < 0.5


def usable(quantities: set[str]) -> list[Tag]:
    connections, readings = field()
    counts = np.bincount(readings["tag_id"], minlength=1000)
    tags = [tag for connection in connections for tag in connection.tags]
    return [tag for tag in tags if tag.quantity in quantities and counts[tag.tag_id] > HOURS * 60]


def test_planted_spikes_are_found() -> None:
    _, clean = field()
    readings, rng = clean.copy(), np.random.default_rng(1)
    planted = []
    for tag in usable({"pressure", "temperature"}):
        assert tag.high is not None
        rows = np.flatnonzero((readings["tag_id"] == tag.tag_id) & (readings["time"] > START + 3 * HOUR))
        for row in rng.choice(rows[5:-5:40], 8, replace=False):
            level = readings["value"][row]
            size = tag.high * rng.uniform(0.15, 0.3)
            readings["value"][row] = level + size if level + size < tag.high else level - size
            planted.append((tag.tag_id, int(readings["time"][row])))
    said = run(readings)
    spans = [(n, e.start_us, e.end_us or e.start_us) for (n, check, _), e in said.items()]
    # As a spike; as impossible, where it goes beyond 350 degF.
    found = [any(n == tag and a <= time <= b for n, a, b in spans) for tag, time in planted]
    assert len(planted) >= 100
    assert np.mean(found) >= 0.99
    assert 80 <= sum(check == "spike" for _, check, _ in said) <= len(planted)


def test_planted_steps_are_found() -> None:
    _, clean = field()
    readings, rng = clean.copy(), np.random.default_rng(2)
    tags = usable({"pressure"})
    for tag in tags:
        at = START + int(rng.uniform(4, 11) * HOUR)
        rows = (readings["tag_id"] == tag.tag_id) & (readings["time"] > at)
        readings["value"][rows] = 0.5 * readings["value"][rows] + 0.45 * (tag.high or 0)
    said = run(readings)
    found = [bool(checks(said, tag.tag_id) & {"rate_of_change", "z_score"}) for tag in tags]
    assert len(tags) >= 10
    assert np.mean(found) >= 0.99


def test_planted_standstills_are_found() -> None:
    _, clean = field()
    readings = clean.copy()
    tags = [tag for tag in usable({"pressure"}) if tag.mode == "poll"]
    chosen = {tag.well: tag for tag in tags}.values()  # one a well, so that the others move
    for tag in chosen:
        rows = np.flatnonzero((readings["tag_id"] == tag.tag_id) & (readings["time"] > START + 6 * HOUR))
        readings["value"][rows] = readings["value"][rows[0]]
    said = run(readings)
    assert len(chosen) >= 1
    for tag in chosen:
        (episode,) = [e for (n, check, _), e in said.items() if n == tag.tag_id and check == "stuck"]
        assert abs(episode.start_us - START - 6 * HOUR) < 2 * HOUR
        assert episode.severity == "WARN"


def test_history_raises_no_live_episode() -> None:
    _, clean = field()
    readings = clean.copy()
    readings["value"] *= 1e6
    readings["flags"] |= np.uint8(Flag.HISTORICAL)
    assert run(readings) == {}


def test_readings_that_come_again_or_late_raise_none_either() -> None:
    _, clean = field()
    wrong = clean[: len(clean) // 2].copy()
    wrong["value"] *= 1e6
    connections, _ = field()
    made = Validator()
    made.configure(connections)
    now = START + (HOURS + 1) * HOUR
    for connection in connections:
        ids = [tag.tag_id for tag in connection.tags]
        newest = pack(START + HOURS * HOUR, 1.0, ids, Quality.GOOD)
        made.check([Share(connection.connection_id, newest, now)], now)
        old = wrong[np.isin(wrong["tag_id"], ids)]
        (checked,) = made.check([Share(connection.connection_id, old, now)], now)
        assert checked.findings["late"] > 100
        assert checked.episodes == ()


@pytest.mark.parametrize(
    ("skew_s", "severity", "hours"),
    [(-20, None, None), (200, "WARN", None), (-55, None, None), (400, "ERROR", None), (3 * 3600 - 20, "ERROR", 3)],
)
def test_a_wrong_clock_is_named(skew_s: int, severity: str | None, hours: int | None) -> None:
    _, readings = field()
    few = readings[: len(readings) // 12]
    said = {key: e for key, e in run(few, delay_us=skew_s * S).items() if key[1] == "clock_skew"}
    assert bool(said) == (severity is not None)
    for episode in said.values():
        assert episode.severity == severity
        assert episode.evidence.get("hours") == hours
        assert abs(float(episode.evidence["median_s"]) - skew_s) < 61


def test_a_clock_ahead_is_known_by_what_was_refused() -> None:
    connections, _ = field()
    made, said = Validator(), []
    made.configure(connections)
    tag_id = connections[0].tags[0].tag_id
    for step in range(200):
        now = START + step * 15 * S
        (checked,) = made.check([Share(1, pack([now + HOUR], [1.0], [tag_id], Quality.GOOD), now)], now)
        assert len(checked.readings) == 0
        said += [(episode.check, episode.severity) for episode in checked.episodes]
    assert ("clock_skew", "ERROR") in said
    assert said.count(("future", "ERROR")) == 1


def test_a_backlog_is_no_wrong_clock() -> None:
    _, readings = field()
    connections, _ = field()
    made = Validator()
    made.configure(connections)
    ids = [tag.tag_id for tag in connections[0].tags]
    backlog = readings[np.isin(readings["tag_id"], ids)]
    now = START + HOURS * HOUR
    for at in range(40):
        for checked in made.check([Share(1, backlog[at::40], now + at * MINUTE)], now + at * MINUTE):
            assert not {"clock_skew", "late"} & {episode.check for episode in checked.episodes}


def test_many_repeats_are_an_episode_of_the_connection() -> None:
    connections, readings = field()
    ids = [tag.tag_id for tag in connections[0].tags]
    own = readings[np.isin(readings["tag_id"], ids)][:2000]
    twice = np.repeat(own, 2)
    made = Validator()
    made.configure(connections)
    now = int(own["time"][-1]) + S
    made.check([Share(1, twice, now)], now)
    (checked,) = made.check([], now + 20 * MINUTE)
    (episode,) = checked.episodes
    assert (checked.connection_id, episode.check, episode.severity) == (1, "duplicates", "WARN")
    assert (episode.evidence["share"], episode.evidence["count"]) == (0.5, 2000)


def test_a_storm_writes_once_when_it_begins_and_once_when_it_ends() -> None:
    connections, readings = field()
    ids = [tag.tag_id for tag in connections[0].tags if tag.quantity == "pressure"]
    made, words = Validator(), 0
    made.configure(connections)
    for step in range(300):
        now = START + step * 15 * S
        values = 1e9 if step < 200 else 50.0
        for checked in made.check([Share(1, pack(now, values, ids, Quality.GOOD), now)], now):
            words += sum(episode.check == "range" for episode in checked.episodes)
    assert words == 2 * len(ids)
    assert len(readings)


def test_a_tag_by_exception_is_stuck_by_its_own_measure() -> None:
    rbe = {n: Tag(n, TENANT, "W", f"t{n}", "a", mode="rbe", interval_s=1e6) for n in (1, 2, 3)}
    made, said = Validator(), []
    made.configure([Connection(1, TENANT, "acme", "c", "mqtt", {}, tuple(rbe.values()))])
    for minute in range(3000):
        now = START + minute * MINUTE
        # One tag changes every minute, one every 20; both stop after 40 hours, when the third goes on.
        ids = [n for n, every in ((1, 1), (2, 20), (3, 1)) if minute % every == 0 and (n == 3 or minute < 2400)]
        readings = pack(now, float(minute), ids, Quality.GOOD)
        for checked in made.check([Share(1, readings, now)], now):
            said += [(e.tag_id, (e.start_us - START) // MINUTE, now) for e in checked.episodes if e.check == "stuck"]
    assert sorted(item[:2] for item in said) == [(1, 2399), (2, 2380)]
    (first,), (second,) = ([now - START for n, _, now in said if n == tag_id] for tag_id in (1, 2))
    assert abs(first - (2399 + 61) * MINUTE) <= 2 * MINUTE
    assert 3 * 20 * MINUTE < second - 2380 * MINUTE < 3 * 30 * MINUTE


def test_a_standstill_that_lasts_a_day_becomes_an_error_and_ends_with_the_next_change() -> None:
    tags = [Tag(n, TENANT, "W", f"t{n}", "a", interval_s=60.0) for n in (1, 2)]
    made, said = Validator(), []
    made.configure([Connection(1, TENANT, "acme", "c", "mqtt", {}, tuple(tags))])
    for minute in range(1700):
        now = START + minute * MINUTE
        still = 5.0 if 100 <= minute < 1600 else float(minute)
        readings = pack(now, [still, float(minute)], [1, 2], Quality.GOOD)
        for checked in made.check([Share(1, readings, now)], now):
            words = [e for e in checked.episodes if e.check == "stuck"]
            said += [(e.severity, e.start_us - START, e.end_us and e.end_us - START) for e in words]
    start = 100 * MINUTE
    assert said == [("WARN", start, None), ("ERROR", start, None), ("ERROR", start, 1600 * MINUTE)]


def test_a_standstill_ends_when_its_connection_falls_silent_and_goes_on_with_it() -> None:
    tags = [Tag(n, TENANT, "W", f"t{n}", "a", interval_s=60.0) for n in (1, 2)]
    made, said = Validator(), []
    made.configure([Connection(1, TENANT, "acme", "c", "mqtt", {}, tuple(tags))])
    for minute in range(400):
        now = START + minute * MINUTE
        rows = 0 if 100 <= minute < 250 else 2
        readings = pack(now, [5.0, float(minute)][:rows], [1, 2][:rows], Quality.GOOD)
        for checked in made.check([Share(1, readings, now)], now):
            words = [e for e in checked.episodes if e.check == "stuck"]
            said += [(e.start_us - START, e.end_us and e.end_us - START) for e in words]
    assert said == [(0, None), (0, 99 * MINUTE), (0, None)]
