"""What the checks know, as arrays that can be written to a file, and taken back tag by tag as tags are configured.

A tag takes its state back only when its definition means the same. Episodes that were open then are open still; those
of tags that mean something else, or do not come back within a quarter of an hour, are ended. Since the state in the
file is a minute old or less, what was said of episodes after it was written is kept beside it and laid on top.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streaming.validate.episodes import check_number
from streaming.validate.thresholds import CHECKS, MINUTE_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from streaming.delivery import Episode
    from streaming.validate.columns import Columns, Rows
    from streaming.validate.episodes import Episodes
    from streaming.validate.limits import Definitions
    from streaming.validate.sequence import Sequence
    from streaming.validate.statistics import Statistics
    from streaming.validate.stuck import Stuck

__all__ = ["Memory"]

_ORPHAN_US = 15 * MINUTE_US
_CHECKS = frozenset(rule.name for rule in CHECKS)


class Memory:
    """The way of all state arrays to the file and back."""

    def __init__(
        self, known: Definitions, readers: Sequence, statistics: Statistics, stuck: Stuck, episodes: Episodes
    ) -> None:
        """Read and write these."""
        self._known, self._readers, self._stuck, self._episodes = known, readers, stuck, episodes
        self._parts: dict[str, Columns] = {
            "sequence": readers,
            "statistics": statistics,
            "stuck": stuck,
            "episodes": episodes,
        }
        self._saved: Mapping[str, NDArray[np.generic]] = {}
        self._tags: NDArray[np.int64] = np.zeros(0, np.int64)
        self._used: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._said: dict[int, dict[str, tuple[int, Episode]]] = {}
        self.began_us = 0
        """Platform time of the first look at the clock: before it nobody could be heard."""

    def take(self) -> dict[str, NDArray[np.generic]]:
        """Return a copy of everything that is known of tags in use, and of those with open episodes."""
        tags = np.flatnonzero((self._known.connection != 0) | (self._episodes.start != 0).any(axis=1))
        arrays: dict[str, NDArray[np.generic]] = {
            "tag_id": tags,
            "meaning": self._known.meaning[tags],
            "owner": self._known.owner[tags],
        }
        # Of episodes those rows alone that say anything: there are ten checks a tag, and faults are rare.
        told = np.flatnonzero(((self._episodes.start != 0) | (self._episodes.quiet_until != 0)).any(axis=1)[tags])
        arrays["episodes.at"] = told
        for part, columns in self._parts.items():
            rows = tags[told] if columns is self._episodes else tags
            arrays |= {f"{part}.{name}": values for name, values in columns.take(rows).items()}
        return arrays

    def put(
        self, saved: Mapping[str, NDArray[np.generic]], said: Iterable[tuple[int, Episode]]
    ) -> list[tuple[int, Episode]]:
        """Keep what `take` gave until its tags are configured; `said`: (connection, episode) since, in order.

        Returns those of whole connections. LookupError or ValueError when an array is missing or of another form.
        """
        tags = np.asarray(saved["tag_id"], np.int64) if saved else np.zeros(0, np.int64)
        told = np.asarray(saved["episodes.at"], np.intp) if saved else np.zeros(0, np.intp)
        taken: dict[str, NDArray[np.generic]] = {name: saved[name] for name in ("meaning", "owner") if saved}
        for part, columns in self._parts.items() if saved else ():
            length = len(told) if columns is self._episodes else len(tags)
            for name, (dtype, width) in columns.SPEC.items():
                array = saved.get(f"{part}.{name}")
                if array is None or array.dtype != dtype or array.shape != ((length, width) if width else (length,)):
                    raise ValueError(f"{part}.{name} is missing or of another form")
                if columns is self._episodes:
                    full: NDArray[np.generic] = np.zeros((len(tags), width), dtype)
                    full[told] = array
                    array = full
                taken[f"{part}.{name}"] = array
        if (np.diff(tags) <= 0).any() or (tags < 0).any():
            raise ValueError("tag_id is not in order")
        self._saved, self._tags, self._used = taken, tags, np.zeros(len(tags), np.bool_)
        whole = []
        for connection_id, episode in said:
            if episode.tag_id is None:
                whole.append((connection_id, episode))
            elif episode.check in _CHECKS:
                self._said.setdefault(episode.tag_id, {})[episode.check] = connection_id, episode
        return whole

    def recall(self, tags: Rows) -> None:
        """Give these tags, just configured, their state back, once."""
        if not len(self._tags) and not self._said:
            return
        every = tags
        at = np.searchsorted(self._tags, tags)
        there = at < len(self._tags)
        there[there] = (self._tags[at[there]] == tags[there]) & ~self._used[at[there]]
        tags, at = tags[there], at[there]
        if len(tags):
            same = self._saved["meaning"][at] == self._known.meaning[tags]
            for part in self._parts:
                chosen = np.ones(len(tags), np.bool_) if part == "episodes" else same
                self._give_back(part, tags[chosen], at[chosen])
            self._used[at] = True
            self._readers.heard[tags] = 0  # nobody could be heard while we were away
            self._stuck.remember_wells(self._known, tags[same])
        self._lay_over(every)
        self._episodes.recount()
        if len(tags):
            self._episodes.end_all(tags[~same])

    def forget(self, now_us: int) -> None:
        """End the episodes of tags that have not come back in time, and let go of what was read from the file."""
        self.began_us = self.began_us or now_us
        if now_us - self.began_us < _ORPHAN_US or not (len(self._tags) or self._said):
            return
        left = np.flatnonzero(~self._used)
        left = left[(self._saved["episodes.start"][left] != 0).any(axis=1)] if len(left) else left
        tags = np.union1d(self._tags[left], np.array(list(self._said), np.int64)).astype(np.intp)
        if len(tags):
            for columns in (self._known, *self._parts.values()):
                columns.grow(int(tags.max()) + 1)
            self._give_back("episodes", self._tags[left], left)
            self._known.owner[self._tags[left]] = self._saved["owner"][left]
            for tag, said in self._said.items():
                self._known.owner[tag] = next(reversed(said.values()))[0]
            self._lay_over(tags)
            self._episodes.recount()
            self._episodes.end_all(tags)
        self._saved, self._tags, self._used, self._said = {}, self._tags[:0], self._used[:0], {}

    def _give_back(self, part: str, tags: Rows, at: Rows) -> None:
        prefix = f"{part}."
        saved = {key.removeprefix(prefix): array for key, array in self._saved.items() if key.startswith(prefix)}
        self._parts[part].put(tags, saved, at)

    def _lay_over(self, tags: Rows) -> None:
        """Set what was said of these tags' episodes after the file was written."""
        for tag in self._said.keys() & set(tags.tolist()):
            for check, (_, episode) in self._said.pop(tag).items():
                self._lay(tag, check_number(check), episode)

    def _lay(self, tag: int, k: int, episode: Episode) -> None:
        episodes = self._episodes
        evidence = {key: float(item) for key, item in episode.evidence.items() if not isinstance(item, str)}
        if episodes.start[tag, k] != episode.start_us:
            episodes.last[tag, k] = episode.start_us
        episodes.count[tag, k] = int(evidence.get("count", 1))
        episodes.worst[tag, k] = episodes.told[tag, k] = evidence.get("score", 0.0)
        episodes.value[tag, k] = evidence.get("worst", math.nan)
        episodes.limit[tag, k] = evidence.get("limit", math.nan)
        episodes.severity[tag, k] = ("INFO", "WARN", "ERROR").index(episode.severity)
        episodes.start[tag, k] = episode.start_us
        if episode.end_us is not None:
            episodes.start[tag, k] = 0
            episodes.before[tag, k] = episodes.worst[tag, k]
            episodes.quiet_until[tag, k] = episode.end_us + CHECKS[k].quiet_us if CHECKS[k].quiet_us else 0
