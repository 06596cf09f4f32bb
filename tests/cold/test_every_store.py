"""What every cold store does: a day is replaced whole, proven as it lies there, and read by tag and time."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from wellos.readings import READING, empty, pack
from wellos.settings import load_settings
from wellos.storage.cold import Checksum, ColdStore, DamagedCopyError, Inventory
from wellos.storage.cold.checksum import checksum
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from wellos.readings import Readings

DAY = date(2026, 11, 1)
DAY_US = 86_400_000_000
START = 1_793_491_200_000_000
END = START + DAY_US
TAGS = (3, 7, 8, 2_147_483_647)

STORES = ["parquet", "bigquery"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ColdStore]:
    settings = load_settings(cold_dir=tmp_path / "cold")
    if request.param == "bigquery":
        settings = request.getfixturevalue("bigquery_settings")
    made = open_cold(settings)
    assert made.name == request.param
    yield made
    made.close()


def day_of(rows: int = 400, seed: int = 1, start: int = START) -> Readings:
    """Readings of some tags, the first and the last microsecond of the day among them, sorted."""
    rng = np.random.default_rng(seed)
    times = [np.unique([0, DAY_US - 1, *rng.integers(0, DAY_US, rows // len(TAGS))]) + start for _ in TAGS]
    tags = np.repeat(TAGS, [part.size for part in times])
    time = np.concatenate(times)
    status = rng.integers(0, 2**32, time.size)
    return pack(time, np.round(rng.normal(100, 5, time.size), 2), tags, rng.integers(0, 3, time.size), status)


def unusual() -> Readings:
    value = [np.nan, np.inf, -np.inf, 1.7976931348623157e308, 5e-324, -2.2e-308, -0.0, 0.0, 1e100, -1e100, np.pi]
    quality = [0, 0, 0, 0, 2, 2, 1, 2, 2, 2, 1]
    status = [0x80000000, 0xFFFFFFFF, 0x7FFFFFFF, 1, 0, 65536, 0x80340000, 2, 3, 4, 5]
    return pack(START + np.arange(11), value, 7, quality, status)


def split(readings: Readings, size: int) -> Iterable[Readings]:
    return (readings[start : start + size] for start in range(0, len(readings), size))


def same(found: Readings, expected: Readings) -> bool:
    """Bit for bit, but for the flags, which are not kept."""
    expected = expected.copy()
    expected["flags"] = 0
    return found.dtype == READING and found.tobytes() == expected.tobytes()


def test_a_day_comes_back_as_it_was_written(store: ColdStore) -> None:
    readings = day_of()
    copy = store.write("acme", DAY, split(readings, 33), "k1")
    assert (copy.rows, len(copy.file_sha256)) == (readings.size, 64)
    assert copy.bytes > 0
    assert store.checksum("acme", DAY) == checksum(readings)
    assert same(np.concatenate(list(store.read_day("acme", DAY))), readings)
    found = store.read("acme", TAGS, START, END, [DAY])
    assert same(found.readings, readings)
    assert found.bytes_scanned > 0


def test_unusual_values_come_back_bit_for_bit(store: ColdStore) -> None:
    store.write("acme", DAY, [unusual()], "k1")
    assert store.checksum("acme", DAY) == checksum(unusual())
    assert same(store.read("acme", [7], START, END, [DAY]).readings, unusual())
    assert same(np.concatenate(list(store.read_day("acme", DAY))), unusual())


def test_writing_again_replaces_and_never_doubles(store: ColdStore) -> None:
    first, second = day_of(seed=1), day_of(200, seed=2)
    store.write("acme", DAY, [first], "k1")
    store.write("acme", DAY, [first], "k1")
    assert store.checksum("acme", DAY) == checksum(first)
    store.write("acme", DAY, split(second, 50), "k2")
    assert store.checksum("acme", DAY) == checksum(second)
    assert [one.rows for one in store.inventory("acme")] == [second.size]
    assert same(store.read("acme", TAGS, START, END, [DAY]).readings, second)


def test_an_empty_day_is_a_copy_and_a_missing_one_is_none(store: ColdStore) -> None:
    with pytest.raises(DamagedCopyError, match="acme"):
        store.checksum("acme", DAY)
    with pytest.raises(DamagedCopyError):
        store.read("acme", TAGS, START, END, [DAY])
    with pytest.raises(DamagedCopyError):
        list(store.read_day("acme", DAY))
    assert store.write("acme", DAY, [], "k1").rows == 0
    assert store.checksum("acme", DAY) == Checksum()
    assert store.read("acme", TAGS, START, END, [DAY]).readings.size == 0
    assert sum(piece.size for piece in store.read_day("acme", DAY)) == 0
    store.write("acme", DAY, [day_of()], "k2")
    store.write("acme", DAY, [empty()], "k3")
    assert store.checksum("acme", DAY) == Checksum()


def test_tags_and_times_have_their_bounds(store: ColdStore) -> None:
    readings = day_of()
    store.write("acme", DAY, [readings], "k1")

    def expected(tags: list[int], since: int, until: int) -> Readings:
        time = readings["time"]
        kept: Readings = readings[np.isin(readings["tag_id"], tags) & (time >= since) & (time < until)]
        return kept

    middle = int(readings["time"][40])
    for tags in ([7], [8, 3, 3], [2_147_483_647], [5], []):
        for since, until in (
            (START, END),
            (middle, middle + 1),
            (middle + 1, END - 1),
            (END, END + 9),
            (middle, middle),
        ):
            assert same(store.read("acme", tags, since, until, [DAY]).readings, expected(tags, since, until))


def test_days_are_joined_by_tag_and_time(store: ColdStore) -> None:
    days = [DAY + timedelta(days=n) for n in range(3)]
    parts = [day_of(seed=n, start=START + n * DAY_US) for n in range(3)]
    for day, part in zip(days, parts, strict=True):
        store.write("acme", day, [part], "k1")
    truth = np.sort(np.concatenate(parts), order=["tag_id", "time"])
    assert same(store.read("acme", TAGS, START, START + 3 * DAY_US, days[::-1]).readings, truth)
    two = truth[truth["time"] < START + 2 * DAY_US]
    assert same(store.read("acme", TAGS, START, START + 3 * DAY_US, days[:2]).readings, two)
    assert store.read("acme", TAGS, START, END, []).readings.size == 0
    with pytest.raises(DamagedCopyError, match="2026-11-04"):
        store.read("acme", TAGS, START, START + 4 * DAY_US, [*days, DAY + timedelta(days=3)])


def test_tenants_are_apart(store: ColdStore) -> None:
    ours, theirs = day_of(seed=1), day_of(seed=2)
    store.write("acme", DAY, [ours], "k1")
    store.write("acme_2", DAY, [theirs], "k1")
    store.quarantine("acme_2", DAY)
    assert store.checksum("acme", DAY) == checksum(ours)
    assert store.inventory("acme_2") == []


def test_inventory_is_by_day(store: ColdStore) -> None:
    assert store.inventory("acme") == []
    store.write("acme", DAY + timedelta(days=1), [day_of(start=END)], "k1")
    copy = store.write("acme", DAY, [], "k1")
    first, second = store.inventory("acme")
    assert first == Inventory("acme", DAY, 0, copy.bytes)
    assert (second.day, second.rows) == (DAY + timedelta(days=1), day_of(start=END).size)


def test_what_is_in_quarantine_is_found_by_no_reader(store: ColdStore) -> None:
    assert store.quarantine("acme", DAY) is None
    places = set()
    for key in ("k1", "k2"):
        store.write("acme", DAY, [day_of()], key)
        places.add(store.quarantine("acme", DAY))
        with pytest.raises(DamagedCopyError):
            store.checksum("acme", DAY)
        assert store.inventory("acme") == []
    assert len(places) == 2
    store.write("acme", DAY, [day_of()], "k3")
    assert store.checksum("acme", DAY) == checksum(day_of())


def test_a_failure_on_the_way_leaves_the_old_copy(store: ColdStore) -> None:
    def breaks_off() -> Iterator[Readings]:
        yield day_of(seed=2)[:100]
        raise RuntimeError("the database went away")

    store.write("acme", DAY, [day_of()], "k1")
    with pytest.raises(RuntimeError):
        store.write("acme", DAY, breaks_off(), "k2")
    assert store.checksum("acme", DAY) == checksum(day_of())
    assert store.write("acme", DAY, [day_of(seed=3)], "k3").rows == day_of(seed=3).size
