"""Runs all checks over what came in one commit, each once, in their order: a later one sees only what passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streaming.delivery import Rejected
from streaming.validate.columns import first_of
from streaming.validate.connections import Connections
from streaming.validate.duplicates import Duplicates
from streaming.validate.episodes import Episodes, Findings
from streaming.validate.limits import Definitions
from streaming.validate.memory import Memory
from streaming.validate.sequence import Sequence as Readers
from streaming.validate.statistics import Statistics
from streaming.validate.stuck import Stuck
from streaming.validate.thresholds import MINUTE_US, SECOND_US, Thresholds
from wellos.clock import from_micros
from wellos.quality import Quality
from wellos.readings import READING, Flag, empty

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from streaming.delivery import Episode
    from streaming.validate.columns import Bools, Floats, Ints, Rows
    from wellos.readings import Readings
    from wellos.registry import Connection

__all__ = ["Checked", "Share", "State", "Validator"]

_YEAR_1 = -62_135_596_800_000_000
_LATE_EPISODE_US = 24 * 3600 * SECOND_US
_SILENT_US = 15 * MINUTE_US
_BY_TIME = frozenset({"stuck", "clock_skew"})
"""What no single reading shows: counted is each time it is said to go on."""


@dataclass(frozen=True, slots=True)
class Share:
    """What came over one connection, in the order it was received."""

    connection_id: int
    readings: Readings
    received_us: int


@dataclass(slots=True)
class Checked:
    """What is left of a share, and what was found in it."""

    connection_id: int
    received_us: int
    readings: Readings = field(default_factory=empty)
    rejected: tuple[Rejected, ...] = ()
    duplicates: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    """Check -> how many readings (`stuck`, `clock_skew`: how many words); only those that found something."""
    episodes: tuple[Episode, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What survives a restart."""

    arrays: Mapping[str, NDArray[np.generic]]
    connections: Mapping[str, Any]


@dataclass(slots=True)
class _Batch:
    """The readings of all shares as columns: rows of refused ones are taken out on the way."""

    readings: Readings
    share: Rows
    tag: Rows
    time: Ints
    received: Ints

    def keep(self, mask: Bools) -> None:
        """Leave only the rows of the mask."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[mask])


class Validator:
    """All that is known of every tag and connection, and all checks."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        """Start without tags: `configure` brings them."""
        self._thresholds = given = thresholds or Thresholds()
        self._known = Definitions(given)
        self._duplicates = Duplicates(round(given.duplicate_window_s * SECOND_US))
        self._readers = Readers()
        self._statistics = Statistics(given.z_limit)
        self._stuck = Stuck(given.stuck_after_s)
        self._episodes = Episodes()
        self._connections = Connections(given.skew_warn_s)
        self._memory = Memory(self._known, self._readers, self._statistics, self._stuck, self._episodes)
        self._minute = 0

    def configure(self, connections: Iterable[Connection]) -> None:
        """Take over these connections' tags; what is known of each tag stays unless its readings mean something else.

        Limits are in force at once. The open episodes of a tag that means something else end.
        """
        connections = list(connections)
        # once for all: to grow is to copy
        self._known.grow(max((tag.tag_id + 1 for item in connections for tag in item.tags), default=0))
        for connection in connections:
            self._known.connection[self._known.connection == connection.connection_id] = 0
            if not connection.tags:
                continue
            altered = self._known.add(connection.connection_id, connection.tags)
            for part in (self._duplicates, self._readers, self._statistics, self._stuck, self._episodes):
                part.grow(self._known.rows)
            self._episodes.end_all(altered)
            for part in (self._duplicates, self._readers, self._statistics, self._stuck):
                part.reset(altered)
            self._memory.recall(np.array([tag.tag_id for tag in connection.tags], np.intp))

    def check(self, shares: Sequence[Share], now_us: int) -> list[Checked]:
        """Check what came over these connections, one share each; their readings are not changed.

        Returns one `Checked` a share, in order, then one without readings for each other connection of which an episode
        began or ended. An empty `shares` lets time pass.
        """
        self._tick(now_us)
        checked = [Checked(share.connection_id, share.received_us) for share in shares]
        if any(len(share.readings) for share in shares):
            self._check(shares, checked, now_us)
        return self._with_episodes(checked, now_us)

    def state(self) -> State:
        """Return a copy of all that is worth keeping across a restart."""
        return State(self._memory.take(), self._connections.state())

    def restore(self, state: State, said: Iterable[tuple[int, Episode]] = ()) -> None:
        """Take a state back, before `configure`; each tag gets its own when it is configured.

        `said`: (connection, episode) of what was said after that state was taken, in order. ValueError, KeyError or
        TypeError when the state is not like this: then nothing of it is used.
        """
        connections = Connections(self._thresholds.skew_warn_s)
        connections.restore(state.connections)
        for connection_id, episode in self._memory.put(state.arrays, said):
            connections.replay(connection_id, episode)
        self._connections = connections

    def _check(self, shares: Sequence[Share], checked: list[Checked], now_us: int) -> None:
        batch = _batch(shares)
        connection = np.array([share.connection_id for share in shares])
        self._refuse_unknown(batch, connection, checked)
        future = self._refuse_future(batch, checked, now_us)
        received, refused = np.bincount(batch.share, minlength=len(shares)), np.zeros(len(shares), np.int64)
        if future is not None:
            refused = np.bincount(future.share, minlength=len(shares))
        value = np.ascontiguousarray(batch.readings["value"])
        quality = np.ascontiguousarray(batch.readings["quality"])
        found = self._known.grade(batch.tag, value, quality)
        batch.readings["value"], batch.readings["quality"] = value, quality
        for name, mask in found.items():
            _count(checked, name, batch.share[mask])
        self._readers.heard[batch.tag] = now_us
        historical = (batch.readings["flags"] & Flag.HISTORICAL) != 0
        late = batch.time < batch.received - round(self._thresholds.late_after_s * SECOND_US)
        order = _by_tag(batch.tag)
        repeated = np.zeros(len(order), np.bool_)
        repeated[order] = self._duplicates.find(
            batch.tag[order], batch.time[order], value[order], quality[order], now_us
        )
        again = np.bincount(batch.share[repeated], minlength=len(shares))
        for share, item in enumerate(checked):
            item.duplicates = int(again[share])
            if item.duplicates:
                item.findings["duplicate"] = item.duplicates
            total = int(received[share] + refused[share])
            self._connections.take(item.connection_id, item.received_us, total, item.duplicates)
        self._note_lags(batch, connection, future)
        live = order[~(repeated | historical)[order]]
        for name, tags in self._follow(batch, live, value, quality, found).items():
            self._tally(checked, connection, name, tags)
        if late.any():
            _count(checked, "late", batch.share[late & ~repeated])
            self._find_late(batch, live[late[live]])
        if again.any():
            batch.keep(~repeated)
        _hand_back(batch, checked)

    def _refuse_unknown(self, batch: _Batch, connection: NDArray[np.int64], checked: list[Checked]) -> None:
        known = (batch.tag >= 0) & (batch.tag < self._known.rows)
        if self._known.rows:
            known &= self._known.connection[np.where(known, batch.tag, 0)] == connection[batch.share]
        if not known.all():
            _reject(batch, ~known, checked, "unknown_tag", "no such tag on this connection")
        timeless = batch.time < _YEAR_1
        if timeless.any():
            _reject(batch, timeless, checked, "no_time", "source time before the year 1")

    def _refuse_future(self, batch: _Batch, checked: list[Checked], now_us: int) -> _Batch | None:
        ahead = batch.time > now_us + round(self._thresholds.future_tolerance_s * SECOND_US)
        if not ahead.any():
            return None
        refused = _Batch(*(getattr(batch, name)[ahead] for name in batch.__slots__))
        detail = f"source time is ahead of platform time {from_micros(now_us):%Y-%m-%dT%H:%M:%S.%fZ}"
        _reject(batch, ahead, checked, "future", detail)
        order = _by_tag(refused.tag)
        tag, far = refused.tag[order], (refused.time - refused.received)[order] / SECOND_US
        limit = np.full(len(tag), self._thresholds.future_tolerance_s)
        self._episodes.find(
            "future", Findings(tag, refused.received[order], far, far, limit, np.ones(len(tag), np.bool_))
        )
        return refused

    def _find_late(self, batch: _Batch, rows: Rows) -> None:
        tag, received = batch.tag[rows], batch.received[rows]
        seconds = (received - batch.time[rows]) / SECOND_US
        limit = np.full(len(rows), _LATE_EPISODE_US / SECOND_US)
        self._episodes.find("late", Findings(tag, received, seconds, seconds, limit, seconds > limit))

    def _note_lags(self, batch: _Batch, connection: NDArray[np.int64], future: _Batch | None) -> None:
        for part in (batch, future):
            if part is not None:
                telling = (part.readings["flags"] & (Flag.HISTORICAL | Flag.ASSUMED_TIME)) == 0
                lag = (part.received - part.time)[telling]
                self._connections.note_lags(connection[part.share[telling]], lag)

    def _follow(
        self, batch: _Batch, live: Rows, value: Floats, quality: NDArray[np.uint8], found: dict[str, Bools]
    ) -> dict[str, Rows]:
        """Make episodes of what was found in readings that are in order, and look at the order itself.

        Returns for each check of the order the tag of each finding.
        """
        live = live[self._readers.in_order(batch.tag[live], batch.time[live])]
        if not len(live):
            return {}
        tag, time = batch.tag[live], batch.time[live]
        for name, mask in found.items():
            rows = np.flatnonzero(mask[live])
            if len(rows):
                self._episodes.find(name, self._graded(name, tag[rows], time[rows], value[live[rows]]))
        good = np.where(quality[live] == Quality.GOOD, value[live], np.nan)
        spikes, closings = self._readers.follow(self._known, tag, time, good)
        self._stuck.follow(self._known, tag, time, good)
        order = {"spike": spikes}
        if len(closings.tag):
            order["rate_of_change"] = self._statistics.changes(self._known, closings)
            order["z_score"] = self._statistics.score(self._known, closings)
        for name, findings in order.items():
            self._episodes.find(name, findings)
        if self._episodes.open.any():
            own = tag[first_of(tag)]
            self._episodes.pass_by(own, self._readers.time[own])
        return {name: findings.tag[findings.may_open] for name, findings in order.items()}

    def _tally(self, checked: list[Checked], connection: NDArray[np.int64], name: str, tags: Rows) -> None:
        if len(tags):
            order = np.argsort(connection)
            at = np.searchsorted(connection[order], self._known.connection[tags])
            _count(checked, name, order[at])

    def _graded(self, name: str, tag: Rows, time: Ints, value: Floats) -> Findings:
        everywhere = np.ones(len(tag), np.bool_)
        if name in ("sentinel", "not_finite"):
            return Findings(tag, time, np.ones(len(tag)), value, np.full(len(tag), np.nan), everywhere)
        low, high = self._known.low[tag], self._known.high[tag]
        if name == "physical":
            low, high = self._known.physical_low[tag], self._known.physical_high[tag]
        span = np.where(self._known.span[tag] > 0, self._known.span[tag], 1.0)
        score = np.maximum(np.maximum(low - value, value - high), 0) / span
        return Findings(tag, time, score, value, np.where(value < low, low, high), everywhere)

    def _tick(self, now_us: int) -> None:
        """Once a minute of platform time: what only time can tell."""
        minute = now_us // MINUTE_US
        if minute <= self._minute:
            return
        self._minute = minute
        self._memory.forget(now_us)
        self._connections.expire(now_us)
        heard = np.where(self._readers.heard == 0, self._memory.began_us, self._readers.heard)
        patience = self._known.hold + _SILENT_US
        owner = self._known.owner
        latest = np.zeros(int(owner.max(initial=0)) + 1, np.int64)
        np.maximum.at(latest, owner, heard)
        gone = (now_us - latest[owner] > patience) | (self._known.connection == 0)
        self._stuck.look(self._known, self._episodes, gone)
        self._episodes.expire(now_us, now_us - heard > patience, gone)

    def _with_episodes(self, checked: list[Checked], now_us: int) -> list[Checked]:
        said = [(int(self._known.owner[tag]), episode) for tag, episode in self._episodes.drain()]
        said += self._connections.drain()
        if not said:
            return checked
        by_connection = {item.connection_id: item for item in checked}
        for connection_id, episode in said:
            item = by_connection.get(connection_id)
            if item is None:
                item = by_connection[connection_id] = Checked(connection_id, now_us)
                checked.append(item)
            item.episodes += (episode,)
            if episode.check in _BY_TIME and episode.end_us is None:
                item.findings[episode.check] = item.findings.get(episode.check, 0) + 1
        return checked


def _batch(shares: Sequence[Share]) -> _Batch:
    # As bytes: NumPy compares all fields of each array before it joins two.
    joined = bytearray().join([share.readings.tobytes() for share in shares])
    readings = np.frombuffer(joined, READING)
    lengths = [len(share.readings) for share in shares]
    return _Batch(
        readings,
        np.repeat(np.arange(len(shares)), lengths),
        readings["tag_id"].astype(np.intp),
        readings["time"].astype(np.int64),
        np.repeat(np.array([share.received_us for share in shares], np.int64), lengths),
    )


def _by_tag(tag: Rows) -> Rows:
    if len(tag) and (tag[1:] >= tag[:-1]).all():
        return np.arange(len(tag))
    return np.argsort(tag, kind="stable")


def _count(checked: list[Checked], name: str, share: Rows) -> None:
    for number, count in enumerate(np.bincount(share, minlength=len(checked)).tolist()):
        if count:
            checked[number].findings[name] = count


def _reject(batch: _Batch, refused: Bools, checked: list[Checked], reason: str, detail: str) -> None:
    """Take the refused rows out of the batch, each whole into its share's quarantine."""
    readings, share = batch.readings[refused], batch.share[refused]
    size, raw = readings.dtype.itemsize, readings.tobytes()
    rejected: dict[int, list[Rejected]] = {}
    for at, (number, tag) in enumerate(zip(share.tolist(), readings["tag_id"].tolist(), strict=True)):
        original = raw[at * size : (at + 1) * size]
        rejected.setdefault(number, []).append(Rejected(reason, detail, f"tag {tag}", original))
    for number, items in rejected.items():
        checked[number].rejected += tuple(items)
    _count(checked, reason, share)
    batch.keep(~refused)


def _hand_back(batch: _Batch, checked: list[Checked]) -> None:
    ends = np.cumsum(np.bincount(batch.share, minlength=len(checked))).tolist()
    for item, start, end in zip(checked, [0, *ends[:-1]], ends, strict=True):
        item.readings = batch.readings[start:end]
