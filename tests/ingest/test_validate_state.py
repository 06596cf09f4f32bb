"""What the checks know across restarts: nothing forgotten, no episode opened twice or left open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pytest

from streaming.validate import Share, StateFile, Validator
from wellos.quality import Quality
from wellos.readings import pack
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from pathlib import Path

    from streaming.delivery import Episode

TENANT = UUID(int=1)
NOW = 1_700_000_000_000_000
S = 1_000_000
MINUTE = 60 * S


def connection(*, unit: str = "psi", high: float = 100.0, tag_id: int = 3) -> Connection:
    tag = Tag(tag_id, TENANT, "W", "p", "a", unit=unit, quantity="pressure", low=0.0, high=high)
    return Connection(7, TENANT, "acme", "c", "mqtt", {}, (tag,))


class Process:
    """A validator with its file, as ingest has them."""

    def __init__(self, folder: Path, *connections: Connection) -> None:
        self.file, self.validator = StateFile(folder), Validator()
        self.file.load(self.validator)
        self.validator.configure(connections)

    def say(self, time: int, value: float) -> list[Episode]:
        return self._note([Share(7, pack([time], [value], [3], [Quality.GOOD]), time)], time)

    def tick(self, time: int) -> list[Episode]:
        return self._note([], time)

    def _note(self, shares: list[Share], now: int) -> list[Episode]:
        said = [
            (item.connection_id, episode) for item in self.validator.check(shares, now) for episode in item.episodes
        ]
        self.file.note(said)
        return [episode for _, episode in said]

    def save(self) -> None:
        generation = self.file.turn()
        self.file.write(self.validator.state(), generation)


def test_an_episode_opened_before_the_save_goes_on_under_its_start(tmp_path: Path) -> None:
    before = Process(tmp_path, connection())
    (opened,) = before.say(NOW, 150.0)
    before.save()
    after = Process(tmp_path, connection())
    assert after.say(NOW + 5 * MINUTE, 150.0) == []
    (closed,) = after.say(NOW + 21 * MINUTE, 50.0)
    assert (closed.start_us, closed.end_us) == (opened.start_us, NOW + 5 * MINUTE)
    assert closed.evidence["count"] == 2


@pytest.mark.parametrize("saved", [False, True])
def test_an_episode_of_the_lost_minute_is_neither_opened_twice_nor_left_open(tmp_path: Path, saved: bool) -> None:
    before = Process(tmp_path, connection())
    before.say(NOW - MINUTE, 50.0)
    if saved:
        before.save()
    (opened,) = before.say(NOW, 150.0)
    after = Process(tmp_path, connection())
    assert after.say(NOW + MINUTE, 150.0) == []
    (closed,) = after.say(NOW + 20 * MINUTE, 50.0)
    assert (closed.start_us, closed.end_us) == (opened.start_us, NOW + MINUTE)


def test_an_episode_that_ended_in_the_lost_minute_has_ended(tmp_path: Path) -> None:
    before = Process(tmp_path, connection())
    before.say(NOW, 150.0)
    before.save()
    assert before.say(NOW + 16 * MINUTE, 50.0)[0].end_us == NOW
    after = Process(tmp_path, connection())
    assert after.say(NOW + 40 * MINUTE, 50.0) == []
    assert after.validator.state().arrays["episodes.start"].any() == np.False_


def test_a_tag_that_means_something_else_starts_afresh(tmp_path: Path) -> None:
    before = Process(tmp_path, connection())
    before.say(NOW, 150.0)
    before.save()
    after = Process(tmp_path, connection(unit="kPa"))
    (closed,) = after.tick(NOW + MINUTE)
    assert closed.end_us == NOW
    assert after.validator.state().arrays["sequence.time"].tolist() == [0]
    same = Process(tmp_path, connection(high=500.0))
    assert same.validator.state().arrays["sequence.time"].tolist() == [NOW]


def test_a_tag_that_does_not_come_back_has_its_episode_ended(tmp_path: Path) -> None:
    before = Process(tmp_path, connection())
    before.say(NOW, 150.0)
    before.save()
    before.say(NOW + MINUTE, 300.0)
    after = Process(tmp_path, connection(tag_id=9))
    assert after.tick(NOW + 2 * MINUTE) == []
    (closed,) = after.tick(NOW + 18 * MINUTE)
    assert (closed.tag_id, closed.start_us, closed.end_us) == (3, NOW, NOW)
    assert after.tick(NOW + 40 * MINUTE) == []


def test_silence_ends_an_episode_but_not_for_the_time_we_were_away(tmp_path: Path) -> None:
    before = Process(tmp_path, connection())
    before.say(NOW, 150.0)
    assert before.tick(NOW + 10 * MINUTE) == []
    before.save()
    late = NOW + 3 * 60 * MINUTE
    after = Process(tmp_path, connection())
    assert after.tick(late) == []
    assert [item.end_us for item in after.tick(late + 30 * MINUTE)] == [NOW]


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "flipped", "other"])
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path, damage: str) -> None:
    before = Process(tmp_path, connection())
    before.say(NOW, 150.0)
    before.save()
    path = tmp_path / "validator-0.npz"
    raw = bytearray(path.read_bytes())
    if damage == "flipped":
        at = raw.index(b"sequence.time.npy") + 200
        raw[at] ^= 0xFF
    texts = {"cut": bytes(raw[: len(raw) // 2]), "noise": b"\x00" * 1000, "empty": b"", "flipped": bytes(raw)}
    if damage == "other":
        np.savez(path, schema=99, generation=1, connections=np.zeros(2, np.uint8))
    else:
        path.write_bytes(texts[damage])
    after = Process(tmp_path, connection())
    assert (tmp_path / "validator-0.aside").exists()
    assert not path.exists()
    assert [item.check for item in after.say(NOW + MINUTE, 150.0)] == ["range"]


def test_a_cut_line_costs_itself_alone(tmp_path: Path) -> None:
    before = Process(tmp_path, connection())
    (opened,) = before.say(NOW, 150.0)
    (lines,) = tmp_path.glob("*.jsonl")
    lines.write_text(lines.read_text() + '[7,{"check":"ran')
    after = Process(tmp_path, connection())
    (closed,) = after.say(NOW + 20 * MINUTE, 50.0)
    assert closed.start_us == opened.start_us


def test_old_lines_go_with_the_state_that_holds_them(tmp_path: Path) -> None:
    process = Process(tmp_path, connection())
    for step in range(5):
        process.say(NOW + step * 20 * MINUTE, 150.0)
        process.save()
    assert not list(tmp_path.glob("*.jsonl"))


def test_limits_of_a_running_tag_change_at_once_and_its_neighbour_is_left_alone(tmp_path: Path) -> None:
    first, second = connection().tags[0], connection(tag_id=4).tags[0]
    process = Process(tmp_path, replace(connection(), tags=(first, second)))
    process.say(NOW, 50.0)
    process.validator.configure([replace(connection(), tags=(replace(first, high=40.0), second))])
    assert [item.check for item in process.say(NOW + S, 50.0)] == ["range"]
    assert process.validator.state().arrays["sequence.time"].tolist() == [NOW + S, 0]
