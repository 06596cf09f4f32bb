"""Segments and packed hours: what goes in comes out bit for bit, and nothing else than ValueError for other bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wellos.quality import Quality
from wellos.readings import READING, Readings, pack
from wellos.storage.hot_message import decode_message, encode_message
from wellos.storage.hot_records import (
    GROUP,
    HOUR_US,
    decode_block,
    decode_segments,
    encode_block,
    encode_segments,
    keep_best,
)

HOUR = 490_000
_VALUES = st.one_of(
    st.floats(width=64),
    st.floats(width=32),
    st.integers(-100_000, 100_000).map(lambda n: n / 100),
    st.sampled_from([math.nan, -0.0, 0.0, math.inf, -math.inf, 1e300, 5e-324, 2.0**53]),
)
_GRADES = st.sampled_from([(2, 0, 0), (2, 0, 0), (0, 0x8000_0000, 1), (1, 0xFFFF_FFFF, 2), (2, 192, 0)])


@st.composite
def batches(draw: st.DrawFn, tags: int = 200, hours: int = 2) -> Readings:
    rows = draw(
        st.lists(
            st.tuples(st.integers(1, tags), st.integers(0, hours * HOUR_US - 1), _VALUES, _GRADES),
            max_size=40,
        )
    )
    if draw(st.booleans()):  # as a poll gives them: one time, one grade
        rows = [(tag, 5_000_000, value, (2, 0, 0)) for tag, _, value, _ in rows]
    columns = [(HOUR * HOUR_US + time, value, tag, *grade) for tag, time, value, grade in rows]
    batch = np.zeros(len(columns), READING)
    for at, (time, value, tag, quality, status, flags) in enumerate(columns):
        batch[at] = (time, value, tag, status, quality, flags)
    return batch


@given(batches())
def test_segments_give_back_each_reading_in_order(batch: Readings) -> None:
    ordered = batch[np.argsort(batch["tag_id"], kind="stable")]
    seen = 0
    for group, hour, segment in encode_segments(ordered):
        chosen = ordered[(ordered["tag_id"] // GROUP == group) & (ordered["time"] // HOUR_US == hour)]
        assert decode_segments(group, hour, segment).tobytes() == chosen.tobytes()
        seen += len(chosen)
    assert seen == len(batch)


@given(st.lists(batches(tags=GROUP - 1, hours=1), max_size=4), st.integers(0, 60))
def test_segments_appended_to_one_key_are_read_up_to_a_cut(parts: list[Readings], cut: int) -> None:
    ordered = [part[np.argsort(part["tag_id"], kind="stable")] for part in parts]
    raw = [segment for part in ordered for _, _, segment in encode_segments(part)]
    whole = b"".join(raw)
    assert decode_segments(0, HOUR, whole).tobytes() == b"".join(part.tobytes() for part in ordered)
    left = decode_segments(0, HOUR, whole[: max(0, len(whole) - cut)])
    assert b"".join(part.tobytes() for part in ordered).startswith(left.tobytes())


@given(batches(tags=1, hours=1))
def test_a_packed_hour_gives_back_each_reading(batch: Readings) -> None:
    best = keep_best(batch)
    assert decode_block(1, HOUR, encode_block(HOUR, best)).tobytes() == best.tobytes()


@given(st.binary(max_size=200))
def test_other_bytes_are_no_packed_hour(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"no packed hour|buffer|cast|reshape"):
        decode_block(1, HOUR, raw)


def test_one_of_each_time_stays_the_better_and_then_the_last() -> None:
    rows = pack([7, 7, 7, 3, 3], [1, 2, 3, 4, 5], 1, [2, 0, 2, 0, 0])
    assert keep_best(rows)["value"].tolist() == [5, 3]


@given(batches(), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_message_is_what_was_published(batch: Readings, publisher: int, sequence: int) -> None:
    message = decode_message(encode_message(publisher, sequence, batch))
    assert (message.publisher, message.sequence) == (publisher, sequence)
    assert message.readings.tobytes() == batch.tobytes()


@given(st.binary(max_size=100))
def test_any_other_message_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="readings"):
        decode_message(raw)


@given(arrays.arrays(np.uint8, 28 + 2 * READING.itemsize), st.integers(0, 27), st.binary(min_size=1, max_size=3))
def test_an_altered_message_is_read_or_a_value_error(
    noise: np.ndarray[tuple[int], np.dtype[np.uint8]], at: int, other: bytes
) -> None:
    raw = bytearray(encode_message(1, 2, noise[28:].view(READING)))
    raw[at : at + len(other)] = other
    try:
        decode_message(bytes(raw))
    except ValueError as error:
        assert "readings" in str(error)  # noqa: PT017 - either is right


def test_a_longer_message_of_a_later_version_is_understood() -> None:
    batch = pack([1, 2, 3], [1.5, 2.5, math.nan], [7, 8, 9], [Quality.GOOD, Quality.GOOD, Quality.BAD])
    raw = encode_message(5, 6, batch)
    header = bytearray(raw[:28])
    header[2], header[3], header[4] = 3, 28 + 4, READING.itemsize + 2
    rows = b"".join(raw[28 + 26 * n : 28 + 26 * (n + 1)] + b"??" for n in range(3))
    message = decode_message(bytes(header) + b"more" + rows)
    assert message.sequence == 6
    assert message.readings.tobytes() == batch.tobytes()


def test_at_15_s_a_tag_takes_few_bytes() -> None:
    rng = np.random.default_rng(1)
    times = HOUR * HOUR_US + np.arange(240) * 15_000_000
    tags = np.repeat(np.arange(1, 51), 240)
    batch = pack(np.tile(times + rng.integers(0, 90, 240) * 1000, 50), rng.normal(1000, 50, 12_000).round(2), tags, 2)
    arrived = [batch[batch["time"] // 15_000_000 == poll // 15_000_000] for poll in times.tolist()]
    open_bytes = sum(len(segment) for part in arrived for *_, segment in encode_segments(part))
    packed_bytes = sum(len(encode_block(HOUR, batch[batch["tag_id"] == tag])) for tag in range(1, 51))
    assert open_bytes / 50 * 24 < 60_000
    assert packed_bytes / 50 * 24 < 25_000
