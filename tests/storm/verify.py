"""Judges what is stored after the storm, reading by reading, against what the sources sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.storm.truth import BLOCK, TAGS, Plan, Source, values_at
from wellos.storage.copy import read_readings

if TYPE_CHECKING:
    import psycopg
    from numpy.typing import NDArray

    from tests.storm.faults import Spoiled
    from wellos.readings import Readings

__all__ = ["Verdict", "verify"]

_LATE_US = 3_000_000
"""How far a polled value's moment may lie from the tick it shows, either way: request, answer, a loaded machine."""
_SPACING_US = 2_500_000
_SLACK_US = 2_000_000


@dataclass(slots=True)
class Verdict:
    """What was found of one kind of source."""

    kind: str
    stored: int = 0
    expected: int = 0
    missing: int = 0
    excused: int = 0
    """Missing, and in a frame whose bytes were flipped on disk."""
    wrong: int = 0
    """A value that its moment never had, or a moment that was never sent."""
    holes: int = 0
    """Stretches without readings."""
    unexplained: int = 0
    """Stretches without readings that no gap row covers."""
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing is missing, wrong or unexplained."""
        return not (self.missing or self.wrong or self.unexplained) and self.stored > 0


def verify(conn: psycopg.Connection[Any], plan: Plan, ticks: dict[str, int], spoiled: Spoiled) -> list[Verdict]:
    """Judge every source; `ticks`: how many messages each MQTT source sent."""
    lost = {(tag, moment) for _, moment, tag in spoiled}
    verdicts = {kind: Verdict(kind) for kind in ("mqtt", "modbus", "opcua")}
    for source in plan.sources:
        tags = _tags(conn, source.name)
        verdict = verdicts[source.kind]
        for tag, tag_id in enumerate(tags):
            readings = _readings(conn, tag_id, plan.start_us)
            verdict.stored += len(readings)
            if source.kind == "mqtt":
                _judge_messages(verdict, plan, source, tag, readings, ticks[source.name], lost)
            else:
                _judge_ticks(verdict, plan, source, tag, readings)
                if tag == 0:
                    _judge_holes(verdict, conn, source, tag_id, readings)
    return list(verdicts.values())


def _judge_messages(verdict: Verdict, plan: Plan, source: Source, tag: int, readings: Readings, sent: int,
                    lost: set[tuple[int, int]]) -> None:  # fmt: skip
    expected = np.arange(tag // BLOCK, sent, 2)
    found, odd = np.divmod(readings["time"] - plan.start_us, source.period_us)
    wrong = (odd != 0) | (found % 2 != tag // BLOCK) | (found >= sent)
    wrong |= readings["value"] != values_at(found, tag)
    verdict.wrong += int(wrong.sum())
    verdict.expected += len(expected)
    absent = np.setdiff1d(expected, found)
    tag_id = int(readings["tag_id"][0]) if len(readings) else -1
    excused = sum((tag_id, plan.start_us + tick * source.period_us) in lost for tick in absent.tolist())
    verdict.excused += excused
    verdict.missing += len(absent) - excused
    if len(absent) > excused and len(verdict.notes) < 10:
        verdict.notes.append(f"{source.name} t{tag}: ticks {absent[:5].tolist()} of {sent} are missing")


def _judge_ticks(verdict: Verdict, plan: Plan, source: Source, tag: int, readings: Readings) -> None:
    usable = readings[readings["quality"] == 2]
    shown = readings_tick(usable["value"], tag)
    late = usable["time"] - plan.start_us - shown * 1_000_000
    wrong = np.abs(late) > _LATE_US if source.kind == "modbus" else late != 0
    wrong |= usable["value"] != values_at(shown, tag)
    verdict.wrong += int(wrong.sum())
    if wrong.any() and len(verdict.notes) < 10:
        at = int(np.flatnonzero(wrong)[0])
        verdict.notes.append(f"{source.name} t{tag}: {usable[at]} is {late[at]} us from the moment it shows")


def readings_tick(values: NDArray[np.float64], tag: int) -> NDArray[np.int64]:
    """Return the tick that each value names; the storm is far shorter than the values' wrap."""
    found: NDArray[np.int64] = (values.astype(np.int64) - tag) // 64
    return found


def _judge_holes(
    verdict: Verdict, conn: psycopg.Connection[Any], source: Source, tag_id: int, readings: Readings
) -> None:
    times = readings["time"]
    at = np.flatnonzero(np.diff(times) > _SPACING_US)
    gaps = conn.execute(
        "SELECT (extract(epoch FROM started_at) * 1e6)::bigint, (extract(epoch FROM ended_at) * 1e6)::bigint "
        "FROM ingest_gaps JOIN scada_connections USING (connection_id) "
        "WHERE name = %s AND (tag_id IS NULL OR tag_id = %s) ORDER BY 1",
        (source.name, tag_id),
    ).fetchall()
    for start, end in zip(times[at].tolist(), times[at + 1].tolist(), strict=True):
        verdict.holes += 1
        reached = start + _SLACK_US
        for first, last in gaps:
            if first <= reached:
                reached = max(reached, last + _SLACK_US)
        if reached < end:
            verdict.unexplained += 1
            verdict.notes.append(f"{source.name}: nothing from {start} to {end}, and no gap row beyond {reached}")


def _tags(conn: psycopg.Connection[Any], well: str) -> list[int]:
    rows = conn.execute(
        "SELECT tag_id FROM tags JOIN wells USING (tenant_id, well_id) WHERE wells.name = %s "
        "ORDER BY substr(tags.name, 2)::int",
        (well,),
    ).fetchall()
    if len(rows) != TAGS:
        raise RuntimeError(f"{well} has {len(rows)} tags in the registry")
    return [row[0] for row in rows]


def _readings(conn: psycopg.Connection[Any], tag_id: int, start_us: int) -> Readings:
    found = read_readings(conn, [tag_id], start_us - 3_600_000_000, start_us + 7 * 86_400_000_000)
    return found[np.argsort(found["time"], kind="stable")]
