"""How readings lie in Redis: segments appended to a group's open hour, and one packed block a tag of a closed hour.

A group is 64 tags: tag id // 64. All numbers are little-endian; offsets are microseconds since the hour began.

Segment: form u8, rows u32, then columns: tag u8 (tag id % 64), offset u32, value f8, grade (status u32, quality u8,
flags u8). A bit of the form says that a column is kept shorter:

| bit | meaning |
|---|---|
| 1 | one tag for all rows |
| 2 | one offset for all rows |
| 4 | values are f4: each is one exactly |
| 8 | one grade for all rows |
| 16 | no grade: all are GOOD, status 0, no flags (without bit 8) |

Block: form u8, rows u32, then by zlib: step u32 (differences of the offsets, in ms where the form says so), value u64,
grade. Numbers of 4 and 8 bytes lie by byte: first the lowest byte of each row, and so on.

| bit | meaning |
|---|---|
| 1 | offsets count in milliseconds |
| 8, 16 | grade, as in a segment |
| 32 | which rows have a value is told by a bit each, in front of the values; the others are NaN |
| 64 | value: zigzag differences of value x 10^d, d in the byte after the form; otherwise bits of f8 XOR those before |
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wellos.quality import Quality
from wellos.readings import empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.readings import Readings

__all__ = ["GROUP", "HOUR_US", "decode_block", "decode_segments", "encode_block", "encode_segments", "keep_best"]

HOUR_US = 3_600_000_000
GROUP = 64
"""Tags that share a key."""

_ONE_TAG, _ONE_TIME, _SINGLE, _ONE_GRADE, _NO_GRADE = 1, 2, 4, 8, 16
_MILLIS, _ABSENT, _DECIMAL = 1, 32, 64
_SEGMENT = struct.Struct("<BI")
_BLOCK = struct.Struct("<BBI")
_GRADE = np.dtype([("status", "<u4"), ("quality", "u1"), ("flags", "u1")])
_PLAIN = np.array([(0, Quality.GOOD, 0)], _GRADE)
_MOST_DECIMALS = 6
_EXACT = 2.0**52
_Bytes: TypeAlias = NDArray[np.uint8]


def encode_segments(readings: Readings) -> Iterator[tuple[int, int, bytes]]:
    """Yield (group, hour, segment) of readings that are sorted by tag; rows of a tag keep their order."""
    if not len(readings):
        return
    groups, hours = readings["tag_id"] // GROUP, readings["time"] // HOUR_US
    if hours.min() != hours.max():
        order = np.lexsort((hours, groups))  # stable: rows of a tag keep their order
        readings, groups, hours = readings[order], groups[order], hours[order]
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(groups) != 0) | (np.diff(hours) != 0))))
    tags = (readings["tag_id"] % GROUP).astype(np.uint8)
    offsets = (readings["time"] - hours * HOUR_US).astype("<u4")
    values = np.ascontiguousarray(readings["value"])
    with np.errstate(over="ignore", invalid="ignore"):
        singles = values.astype("<f4")
        exact = singles.astype(np.float64).view(np.uint64) == values.view(np.uint64)
    grades = _grades(readings)
    same = grades.view("V6") == grades[np.repeat(starts, np.diff(starts, append=len(tags)))].view("V6")
    plain = grades[starts].view("V6") == _PLAIN.view("V6")
    one_grade = np.logical_and.reduceat(same, starts)
    forms = np.where(one_grade, np.where(plain, _NO_GRADE, _ONE_GRADE), 0)
    forms |= np.where(_uniform(tags, starts), _ONE_TAG, 0) | np.where(_uniform(offsets, starts), _ONE_TIME, 0)
    forms |= np.where(np.logical_and.reduceat(exact, starts), _SINGLE, 0)
    columns = (tags.tobytes(), offsets.tobytes(), singles.tobytes(), values.tobytes(), grades.tobytes())
    places = zip(starts.tolist(), [*starts[1:].tolist(), len(tags)], strict=True)
    names = zip(groups[starts].tolist(), hours[starts].tolist(), strict=True)
    for (group, hour), (first, end), form in zip(names, places, forms.tolist(), strict=True):
        yield group, hour, _segment(form, first, end, columns)


def _segment(form: int, first: int, end: int, columns: tuple[bytes, ...]) -> bytes:
    tags, offsets, singles, values, grades = columns
    return b"".join(
        (
            _SEGMENT.pack(form, end - first),
            tags[first : first + 1 if form & _ONE_TAG else end],
            offsets[4 * first : 4 * (first + 1 if form & _ONE_TIME else end)],
            singles[4 * first : 4 * end] if form & _SINGLE else values[8 * first : 8 * end],
            b"" if form & _NO_GRADE else grades[6 * first : 6 * (first + 1 if form & _ONE_GRADE else end)],
        )
    )


def decode_segments(group: int, hour: int, raw: bytes) -> Readings:
    """Return the readings of a group's open hour in the order they arrived; a cut-off last segment is left out."""
    found, at = [], 0
    while len(raw) - at >= _SEGMENT.size:
        form, rows = _SEGMENT.unpack_from(raw, at)
        sizes = (
            1 if form & _ONE_TAG else rows,
            4 * (1 if form & _ONE_TIME else rows),
            (4 if form & _SINGLE else 8) * rows,
            0 if form & _NO_GRADE else 6 * (1 if form & _ONE_GRADE else rows),
        )
        places = [at + _SEGMENT.size, *(0 for _ in sizes)]
        for number, size in enumerate(sizes):
            places[number + 1] = places[number] + size
        if not rows or places[-1] > len(raw):
            break
        found.append((form, rows, *places[:4]))
        at = places[-1]
    readings = empty(sum(rows for _, rows, *_ in found))
    first = 0
    for form, rows, tag, offset, value, grade in found:
        part = readings[first : first + rows]
        part["tag_id"] = np.frombuffer(raw, np.uint8, 1 if form & _ONE_TAG else rows, tag)
        part["time"] = np.frombuffer(raw, "<u4", 1 if form & _ONE_TIME else rows, offset)
        part["value"] = np.frombuffer(raw, "<f4" if form & _SINGLE else "<f8", rows, value)
        _set_grades(part, form, raw, grade)
        first += rows
    readings["tag_id"] += group * GROUP
    readings["time"] += hour * HOUR_US
    return readings


def encode_block(hour: int, readings: Readings) -> bytes:
    """Return one tag's readings of one hour, sorted by time, packed as small as they go without losing a bit."""
    offsets = readings["time"] - hour * HOUR_US
    form, decimals = 0, 0
    if not (offsets % 1000).any():
        form, offsets = _MILLIS, offsets // 1000
    steps = np.diff(offsets, prepend=0).astype("<u4")
    values = np.ascontiguousarray(readings["value"])
    absent = np.isnan(values)
    mask = b""
    # Only the usual NaN has bits that this restores.
    if absent.any() and (values[absent].view(np.uint64) == np.array([np.nan]).view(np.uint64)).all():
        form |= _ABSENT
        mask = np.packbits(~absent).tobytes()
        values = values[~absent]
    numbers = None
    for decimals in range(_MOST_DECIMALS + 1):
        numbers = _decimal(values, decimals)
        if numbers is not None:
            form |= _DECIMAL
            break
    if numbers is None:
        bits = values.view(np.uint64)
        numbers = bits ^ np.concatenate((np.zeros(1, np.uint64), bits[:-1])) if len(bits) else bits
    grades = _grades(readings)
    grade = grades.tobytes()
    if (grades.view("V6") == grades[:1].view("V6")).all():
        plain = (grades[:1].view("V6") == _PLAIN.view("V6")).all()
        form |= _NO_GRADE if plain else _ONE_GRADE
        grade = b"" if plain else grade[: _GRADE.itemsize]
    body = b"".join((_by_byte(steps), mask, _by_byte(numbers), grade))
    return _BLOCK.pack(form, decimals, len(readings)) + zlib.compress(body, 1)


def decode_block(tag_id: int, hour: int, raw: bytes) -> Readings:
    """Return the readings of one tag's closed hour, by time. ValueError: not such a block."""
    try:
        form, decimals, rows = _BLOCK.unpack_from(raw)
        body = zlib.decompress(memoryview(raw)[_BLOCK.size :])
        return _decoded(tag_id, hour, form, decimals, rows, body)
    except (struct.error, zlib.error) as error:
        raise ValueError(f"no packed hour of readings: {error}") from error


def _decoded(tag_id: int, hour: int, form: int, decimals: int, rows: int, body: bytes) -> Readings:
    offsets = _from_bytes(body, 0, rows, 4).view("<u4").astype(np.int64).cumsum()
    readings = empty(rows)
    readings["time"] = offsets * (1000 if form & _MILLIS else 1) + hour * HOUR_US
    readings["tag_id"] = tag_id
    at, present = 4 * rows, np.ones(rows, np.bool_)
    if form & _ABSENT:
        packed = np.frombuffer(body, np.uint8, (rows + 7) // 8, at)
        present, at = np.unpackbits(packed, count=rows).astype(np.bool_), at + len(packed)
    held = int(present.sum())
    numbers = _from_bytes(body, at, held, 8).view("<u8")
    if form & _DECIMAL:
        differences = (numbers >> np.uint64(1)).astype(np.int64) ^ -(numbers & np.uint64(1)).astype(np.int64)
        values = differences.cumsum() / 10.0**decimals
    else:
        values = np.bitwise_xor.accumulate(numbers).view("<f8") if held else np.zeros(0)
    readings["value"] = np.nan
    readings["value"][present] = values
    _set_grades(readings, form, body, at + 8 * held)
    return readings


def keep_best(readings: Readings) -> Readings:
    """Return one reading a tag and time, by tag and time: the better quality, then the last received."""
    order = np.lexsort((readings["quality"], readings["time"], readings["tag_id"]))  # stable: the last received is last
    readings = readings[order]
    last = np.ones(len(readings), np.bool_)
    last[:-1] = (np.diff(readings["tag_id"]) != 0) | (np.diff(readings["time"]) != 0)
    return readings[last]


def _grades(readings: Readings) -> NDArray[np.void]:
    grades = np.empty(len(readings), _GRADE)
    for name in ("status", "quality", "flags"):
        grades[name] = readings[name]
    return grades


def _set_grades(readings: Readings, form: int, raw: bytes, at: int) -> None:
    count = 1 if form & _ONE_GRADE else len(readings)
    grades = _PLAIN if form & _NO_GRADE else np.frombuffer(raw, _GRADE, count, at)
    for name in ("status", "quality", "flags"):
        readings[name] = grades[name]


def _uniform(column: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    alike: NDArray[np.bool_] = np.minimum.reduceat(column, starts) == np.maximum.reduceat(column, starts)
    return alike


def _decimal(values: NDArray[np.float64], decimals: int) -> NDArray[np.uint64] | None:
    """Return zigzag differences of the values as whole numbers of 10^-decimals, None where one is not exactly such."""
    scale = 10.0**decimals
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.rint(values * scale)
        if not (np.abs(whole) < _EXACT).all():
            return None
    numbers = whole.astype(np.int64)
    if (values.view(np.uint64) != (numbers / scale).view(np.uint64)).any():  # by bits: -0.0 is not 0
        return None
    numbers[1:] -= numbers[:-1].copy()
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def _by_byte(numbers: NDArray[Any]) -> bytes:
    """Return the bytes of all numbers, lowest first: those that hardly change lie together."""
    return numbers.view(np.uint8).reshape(-1, numbers.dtype.itemsize).T.tobytes()


def _from_bytes(raw: bytes, at: int, count: int, size: int) -> _Bytes:
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8, count * size, at).reshape(size, count).T).reshape(-1)
