"""The Modbus tags of one interval: their reads, what was learned of refused registers, and one poll of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import structlog

from streaming.adapters.modbus_decode import Block, Layout, plan
from streaming.adapters.modbus_link import Link, Reply
from streaming.adapters.tags import TagColumns
from streaming.delivery import Gap, Rejected
from wellos.protocols.modbus import address_parser
from wellos.quality import MODBUS_NO_REPLY, MODBUS_NOT_A_NUMBER, from_modbus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streaming.adapters.modbus_decode import Text
    from wellos.clock import Clock
    from wellos.protocols.modbus import ModbusConfig
    from wellos.readings import Readings
    from wellos.registry import Connection, Tag

__all__ = ["Group", "Polled", "grouped"]

_log = structlog.get_logger(__name__)
_SPLIT_ON = frozenset({2, 3})
"""Illegal address and value: what one register can bring upon a whole block. The others speak of the device."""
_RELEARN_S = 600.0
_MICROS = 1_000_000
_GAP_EVERY_US = 30 * _MICROS
"""A device too slow for its interval misses polls without end: one gap in this time, not one a poll.

A kill makes the gap after it wider by up to this."""
_TEXT_EVERY_S = 60.0
"""A text that is no number goes to quarantine when it changes, and one tag's at most this often."""
_NAMED = 10
_SILENT = frozenset({MODBUS_NO_REPLY, 10, 11})
"""No answer, and a gateway's word that there was none."""


@dataclass(frozen=True, slots=True)
class Polled:
    """One poll of a group."""

    readings: Readings
    rejected: tuple[Rejected, ...]
    heard: bool
    """Whether any unit answered."""


@dataclass(slots=True)
class Missed:
    """Due times that went by without a poll and are not told in a gap yet."""

    start_us: int = 0
    end_us: int = 0
    reason: str = ""
    told_us: int = 0

    def add(self, start_us: int, end_us: int, reason: str) -> None:
        """Note some more."""
        self.start_us = self.start_us or start_us
        self.end_us = end_us
        self.reason = self.reason or reason


@dataclass(frozen=True, slots=True)
class _Outcome:
    block: Block
    time_us: int
    reply: Reply


@dataclass(slots=True)
class Group:
    """The tags of one interval, in the order of the connection."""

    interval_us: int
    tags: tuple[Tag, ...]
    planned: Layout
    name: str
    last_due_us: int = 0
    reading_us: int = 0
    """How long the last poll took to read."""
    missed: Missed = field(default_factory=Missed)
    _layout: Layout = field(init=False)
    _columns: TagColumns = field(init=False)
    _statuses: NDArray[np.uint32] = field(init=False)
    _relearn_at: float = 0.0
    _turn: int = 0
    _mute: dict[int, int] = field(default_factory=dict)
    """Blocks that were not answered, with the turn in which they were asked last."""
    _texts: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    """Strings that went to quarantine, by position, and when."""

    def __post_init__(self) -> None:
        """Begin with what is planned."""
        self._layout = self.planned
        self._columns = TagColumns(self.tags)
        self._statuses = np.zeros(len(self.tags), dtype=np.uint32)

    def gaps(self, now_us: int, *, whole: bool, at_last: bool = False) -> tuple[Gap, ...]:
        """Return what was missed and not told yet: the first miss at once, then all of half a minute together.

        `whole`: the connection has no other tags. `at_last`: tell everything now.
        """
        missed = self.missed
        if not missed.start_us or not (at_last or now_us - missed.told_us >= _GAP_EVERY_US):
            return ()
        self.missed = Missed(told_us=now_us)
        numbers = [None] if whole else [tag.tag_id for tag in self.tags]
        return tuple(Gap(missed.start_us, missed.end_us, missed.reason, number) for number in numbers)

    async def poll(self, link: Link, clock: Clock) -> Polled:
        """Read every block; one refused for one of its registers is split, and stays so for a while."""
        if self._layout is not self.planned and clock.monotonic() >= self._relearn_at:
            self._lay_out(self.planned)
        blocks = self._layout.blocks
        tries: dict[int, int] = {}
        last: dict[int, int] = {}
        found: list[list[_Outcome]] = [[] for _ in blocks]
        self._turn += 1
        # Unanswered ones last, and among them the one asked longest ago first: none keeps another from being asked.
        order = sorted(range(len(blocks)), key=lambda index: self._mute.get(index, -1)) if self._mute else None
        for index in order or range(len(blocks)):
            found[index] = await self._ask(link, clock, blocks[index], tries, last)
        outcomes = [outcome for some in found for outcome in some]
        if len(outcomes) != len(blocks):
            self._lay_out(Layout([outcome.block for outcome in outcomes]))
            self._relearn_at = clock.monotonic() + _RELEARN_S
        self._remember(outcomes)
        return self._decode(outcomes, clock.monotonic())

    async def _ask(
        self, link: Link, clock: Clock, whole: Block, tries: dict[int, int], last: dict[int, int]
    ) -> list[_Outcome]:
        """Read one block, in halves where it is refused.

        `tries`: what each unit may still leave unanswered in this poll; `last`: what it said last.
        """
        outcomes = []
        waiting = [whole]
        while waiting:
            block = waiting.pop()
            left = tries.setdefault(block.unit, link.tries(block.unit))
            time_us = clock.micros()
            if left <= 0 or link.gone:
                reply = Reply(last.get(block.unit, MODBUS_NO_REPLY))
            else:
                reply = await link.read(block.request, left)
                tries[block.unit], last[block.unit] = left - reply.unanswered, reply.status
            halves = block.split() if reply.status in _SPLIT_ON else ()
            waiting += reversed(halves)
            if not halves:
                outcomes.append(_Outcome(block, time_us, reply))
        return outcomes

    def _lay_out(self, layout: Layout) -> None:
        self._layout = layout
        self._mute.clear()

    def _remember(self, outcomes: Sequence[_Outcome]) -> None:
        for index, outcome in enumerate(outcomes):
            if outcome.reply.status not in _SILENT:
                self._mute.pop(index, None)
            elif outcome.reply.unanswered:
                self._mute[index] = self._turn
            else:
                self._mute.setdefault(index, 0)

    def _decode(self, outcomes: Sequence[_Outcome], now: float) -> Polled:
        layout = self._layout
        image = b"".join(
            [one.reply.data if one.reply.status == 0 else bytes(one.block.request.size) for one in outcomes]
        )
        values, texts = layout.decode(np.frombuffer(image, dtype=np.uint8))
        answers = np.array([outcome.reply.status for outcome in outcomes], dtype=np.uint32)
        status = np.repeat(answers, layout.tags_a_block)
        times = np.repeat(np.array([outcome.time_us for outcome in outcomes], dtype=np.int64), layout.tags_a_block)
        values[status != 0] = np.nan
        rejected = self._rejected(texts, values, status, now) if texts else ()
        self._note(layout.positions, status)
        readings = self._columns.readings(layout.positions, times, values, from_modbus(status), status)
        return Polled(readings, rejected, bool((answers != MODBUS_NO_REPLY).any()))

    def _rejected(
        self, texts: Sequence[Text], values: NDArray[np.float64], status: NDArray[np.uint32], now: float
    ) -> tuple[Rejected, ...]:
        rejected = []
        for text in texts:
            if status[text.row] or not np.isnan(values[text.row]):
                continue
            status[text.row] = MODBUS_NOT_A_NUMBER
            position = int(self._layout.positions[text.row])
            before, told = self._texts.get(position, (b"", -_TEXT_EVERY_S))
            content = text.content.rstrip(b"\0 ")
            if content and content != before and now - told >= _TEXT_EVERY_S:
                self._texts[position] = (content, now)
                tag = self.tags[position]
                shown = content.decode("ascii", "backslashreplace")
                rejected.append(Rejected("not_a_number", f"{tag.name} is the text {shown!r}", tag.address, content))
        return tuple(rejected)

    def _note(self, positions: NDArray[np.intp], status: NDArray[np.uint32]) -> None:
        """Log the first answer of a kind, not every poll of a bad register."""
        before = self._statuses[positions]
        changed = np.flatnonzero(before != status)
        if not len(changed):
            return
        self._statuses[positions] = status
        for code in np.unique(status[changed]).tolist():
            tags = [self.tags[int(positions[row])] for row in changed[status[changed] == code]]
            _log.warning(
                "register refused" if code else "register answers again",
                connection=self.name,
                status=code or int(before[changed[0]]),
                tags=len(tags),
                addresses=[f"{tag.name} {tag.address}" for tag in tags[:_NAMED]],
            )


def grouped(connection: Connection, config: ModbusConfig, old: Sequence[Group] = ()) -> list[Group]:
    """Return the groups of a connection; a group of `old` of which nothing changed is kept as it is.

    ConfigurationError names an address that cannot be read.
    """
    parse = address_parser(config.model_dump())
    tags: dict[int, list[Tag]] = {}
    for tag in connection.tags:
        tags.setdefault(max(1, round(tag.interval_s * _MICROS)), []).append(tag)
    before = {group.interval_us: group for group in old}
    groups = []
    for interval_us, some in sorted(tags.items()):
        kept = before.get(interval_us)
        if kept is not None and kept.tags == tuple(some):
            groups.append(kept)
            continue
        addresses = [parse(tag.address) for tag in some]
        layout = Layout(plan(enumerate(addresses), config.max_registers, config.max_gap))
        group = Group(interval_us, tuple(some), layout, connection.name)
        if kept is not None:
            group.last_due_us, group.missed = kept.last_due_us, kept.missed
        groups.append(group)
    return groups
