"""One checksum by NumPy and PostgreSQL: equal for any bits, different for any change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.seed import add_tags, at
from wellos.clock import from_micros
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage.cold import Checksum
from wellos.storage.cold.checksum import LANES, MODULUS, SELF_TEST, SELF_TEST_READINGS, checksum, pg_checksum
from wellos.storage.copy import copy_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

DAY_US = 86_400_000_000
SINCE_US = 1_793_491_200_000_000  # 2026-11-01
TAGS = 50

Bits = st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def connection(module_database_url: str) -> Iterator[PgConnection]:
    with connect(load_settings(database_url=module_database_url)) as connection:
        add_tags(connection, TAGS)
        add_tags(connection, 3, slug="other")
        connection.commit()
        yield connection


@pytest.fixture(scope="module")
def tenant(connection: PgConnection) -> UUID:
    row = connection.execute("SELECT tenant_id FROM tenants WHERE slug = 'acme'").fetchone()
    assert row is not None
    tenant: UUID = row[0]
    return tenant


def by_postgres(connection: PgConnection, tenant: UUID, readings: Readings, since_us: int = SINCE_US) -> Checksum:
    """Add up one day in PostgreSQL that holds these readings, and leave nothing behind."""
    try:
        with connection.cursor() as cursor:
            copy_readings(cursor, readings)
        return pg_checksum(connection, tenant, from_micros(since_us), from_micros(since_us + DAY_US))
    finally:
        connection.rollback()


def any_bits(seed: int, rows: int) -> Readings:
    """Any doubles at all, with every power of two and its neighbours among them; BAD where it must be."""
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 2**64, rows, dtype=np.uint64).view(np.float64)
    powers = np.ldexp(1.0, np.arange(-1074, 1024))
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, np.finfo(float).max, np.finfo(float).tiny, 1e-290]
    edges = np.concatenate([powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf), special])
    value[: edges.size] = np.where(rng.random(edges.size) < 0.5, edges, -edges)
    with np.errstate(invalid="ignore"):
        usable = np.abs(value) <= 1e100
    quality = np.where(usable, rng.integers(0, 3, rows), 0)
    time = SINCE_US + np.sort(rng.choice(DAY_US, rows, replace=False))
    return pack(time, value, rng.integers(1, TAGS + 1, rows), quality, rng.integers(0, 2**32, rows))


@pytest.mark.parametrize("seed", range(3))
def test_equal_for_any_bits(connection: PgConnection, tenant: UUID, seed: int) -> None:
    readings = any_bits(seed, 20_000)
    assert by_postgres(connection, tenant, readings) == checksum(readings)


@given(
    bits=st.lists(Bits, min_size=1, max_size=20), offset=st.integers(0, DAY_US - 21), status=st.integers(0, 2**32 - 1)
)
def test_equal_for_each(connection: PgConnection, tenant: UUID, bits: list[int], offset: int, status: int) -> None:
    value = np.array(bits, np.uint64).view(np.float64)
    readings = pack(SINCE_US + offset + np.arange(len(bits)), value, 1 + np.arange(len(bits)) % TAGS, 0, status)
    assert by_postgres(connection, tenant, readings) == checksum(readings)


@pytest.mark.parametrize("year", [1, 1600, 1969, 1970, 2038, 2300, 9999])
def test_equal_in_any_year(connection: PgConnection, tenant: UUID, year: int) -> None:
    start = int((datetime(year, 12, 31, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    rng = np.random.default_rng(year)
    time = start + rng.choice(DAY_US - 1, 2000, replace=False)
    readings = pack(time, rng.normal(size=2000), rng.integers(1, TAGS + 1, 2000), 2)
    with connection.cursor() as cursor:
        copy_readings(cursor, readings)
    until = from_micros(start + DAY_US - 1)
    found = pg_checksum(connection, tenant, from_micros(start), until)
    connection.rollback()
    assert found == checksum(readings)


def test_counts_the_tenant_the_span_and_the_tags_asked_for(connection: PgConnection, tenant: UUID) -> None:
    day = any_bits(7, 10_000)
    beside = pack([SINCE_US - 1, SINCE_US + DAY_US, SINCE_US + 1, SINCE_US + 2], 1.0, [1, 2, TAGS + 1, TAGS + 2], 2)
    with connection.cursor() as cursor:
        copy_readings(cursor, np.concatenate([day, beside]))
    since, until = at("2026-11-01"), at("2026-11-02")
    whole = pg_checksum(connection, tenant, since, until)
    noon = at("2026-11-01 12:00")
    halves = pg_checksum(connection, tenant, since, noon) + pg_checksum(connection, tenant, noon, until)
    few = pg_checksum(connection, tenant, since, until, [3, 4, TAGS + 1])
    none = pg_checksum(connection, tenant, since, until, [])
    connection.rollback()
    assert whole == halves == checksum(day)
    assert few == checksum(day[np.isin(day["tag_id"], [3, 4])])
    assert none == Checksum()


def test_self_test_vector() -> None:
    assert checksum(SELF_TEST_READINGS) == SELF_TEST


def test_definition_word_for_word() -> None:
    """The formula of the module's documentation, a reading at a time, in Python's own whole numbers."""
    readings = any_bits(3, 7000)
    sums = [0, 0]
    for reading in readings:
        for lane, c in enumerate(LANES):
            sums[lane] += _word_for_word(reading, c)
    assert checksum(readings) == Checksum(readings.size, sums[0], sums[1])


def _word_for_word(reading: np.void, c: tuple[int, ...]) -> int:
    t = int(reading["time"]) + 62_135_596_800_000_000
    value, status = float(reading["value"]), int(reading["status"])
    s = 1 if value < 0 else 0
    if np.isnan(value):
        m, e = 2, 0
    elif np.isinf(value):
        m, e = 1, 0
    elif value == 0:
        m = e = 0
    else:
        m, below = abs(value).as_integer_ratio()
        shift = 53 - m.bit_length()
        m = m << shift if shift >= 0 else m >> -shift
        e = 1100 + 52 - shift - (below.bit_length() - 1)
    form, rest = (2 * e + s) * 2**16 + status // 2**16, int(reading["quality"]) * 2**16 + status % 2**16
    big = [
        c[0] + c[1] * (t % 2**29) + c[2] * (t // 2**29) + c[3] * int(reading["tag_id"]),
        c[4] + c[5] * (m % 2**26) + c[6] * (m // 2**26) + c[7] * form + c[8] * rest,
    ]
    big.append((big[0] % MODULUS) * (big[1] % MODULUS))
    r = big[2] % MODULUS
    big.append(r * (r // 2**15 + c[9]))
    assert max(big) < 2**62
    return big[3] % MODULUS


def test_no_step_can_leave_62_bits() -> None:
    for c in LANES:
        assert c[0] + c[1] * (2**29 - 1) + c[2] * (2**30 - 1) + c[3] * (2**31 - 1) < 2**62
        assert c[4] + c[5] * (2**26 - 1) + c[6] * (2**27 - 1) + c[7] * (2**29 - 1) + c[8] * (2**24 - 1) < 2**62
        assert (MODULUS - 1) * (2**16 + c[9]) < 2**62


def _typical(rows: int = 5000) -> Readings:
    """A day of a few tags at fixed intervals with a value of a few steps: the sort that hides mistakes best."""
    time = SINCE_US + np.arange(rows) // 10 * 15_000_000
    value = np.round(100 + 3 * np.sin(np.arange(rows) / 40), 1)
    return pack(time, value, 1 + np.arange(rows) % 10, 2, 0)


def _ulp(readings: Readings, at: int) -> None:
    readings["value"][at] = np.nextafter(readings["value"][at], np.inf)


def _swap(readings: Readings, at: int) -> None:
    other = at + int(np.argmax(readings["value"][at:] != readings["value"][at]))
    readings["value"][[at, other]] = readings["value"][[other, at]]


def _bump(field: str, by: int) -> Callable[[Readings, int], None]:
    def change(readings: Readings, at: int) -> None:
        readings[field][at] += by

    return change


def _put(field: str, value: float) -> Callable[[Readings, int], None]:
    def change(readings: Readings, at: int) -> None:
        readings[field][at] = value

    return change


def _sign(readings: Readings, at: int) -> None:
    readings["value"][at] *= -1


def _double_one_lose_one(readings: Readings, at: int) -> None:
    readings[at] = readings[at + 1]


def _pattern(readings: Readings, at: int) -> None:
    """A B B A becomes B A A B at even distances: sums that are linear in time do not see it."""
    rows = at + 10 * np.arange(8)
    before = np.array([7.5, 9.5, 9.5, 7.5, 9.5, 7.5, 7.5, 9.5])
    readings["value"][rows] = 17.0 - before if readings["value"][rows[0]] == before[0] else before


def _twins(readings: Readings, at: int) -> None:
    """Every value of a tag an ulp up, and every one of another an ulp down."""
    one, two = (readings["tag_id"] == 1 + (at + more) % 10 for more in (0, 1))
    readings["value"][one] = np.nextafter(readings["value"][one], np.inf)
    readings["value"][two] = np.nextafter(readings["value"][two], -np.inf)


MUTATIONS: dict[str, Callable[[Readings, int], None]] = {
    "1 ulp": _ulp,
    "swapped values": _swap,
    "quality": _put("quality", 1),
    "+1 us": _bump("time", 1),
    "-1 us": _bump("time", -1),
    "+M us": _bump("time", MODULUS),
    "a day": _bump("time", DAY_US),
    "tag": _bump("tag_id", 1),
    "sign": _sign,
    "not a number": _put("value", float("nan")),
    "infinite": _put("value", float("inf")),
    "zero": _put("value", 0.0),
    "status": _put("status", 1),
    "high status": _put("status", 2**31),
    "status M": _put("status", MODULUS),
    "duplicate and delete": _double_one_lose_one,
    "regular pattern": _pattern,
    "as much up as down": _twins,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_finds_every_planted_change(mutation: str) -> None:
    for place in range(0, 4900, 97):
        truth = _typical()
        if mutation == "regular pattern":
            _pattern(truth, place)
        copy = truth.copy()
        MUTATIONS[mutation](copy, place)
        assert copy.tobytes() != truth.tobytes()
        found, expected = checksum(copy), checksum(truth)
        assert found.rows == expected.rows
        assert found.a != expected.a
        assert found.b != expected.b


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_postgres_finds_them_too(connection: PgConnection, tenant: UUID, mutation: str) -> None:
    truth = _typical(1500)
    if mutation == "regular pattern":
        _pattern(truth, 700)
    copy = truth.copy()
    MUTATIONS[mutation](copy, 700)
    if mutation in ("not a number", "infinite"):
        copy["quality"][700] = 0
    if mutation in ("duplicate and delete", "tag", "a day"):
        copy = np.unique(copy)  # the database has no room for a second reading of one tag and time
    found = by_postgres(connection, tenant, copy)
    assert found != checksum(truth)


def test_flags_and_zeros_sign_do_not_count_and_parts_add_up() -> None:
    readings = any_bits(5, 100_000)
    other = np.random.default_rng(1).permutation(readings)
    other["flags"] = 1
    other["value"][other["value"] == 0] *= -1
    assert checksum(other) == checksum(readings) == checksum(other[:33_333]) + checksum(other[33_333:])
    assert checksum(readings[:0]) == Checksum()
