"""The checksum that proves a copy: what it is, and its arithmetic in NumPy and in PostgreSQL.

It uses nothing but whole numbers below 2^62 and steps of binary floating point that are exact, so that every engine
with IEEE 754 doubles comes to the same sums without seeing a value's bits. M = 2^31 - 1; `div` and `mod` are of
non-negative numbers. A reading is eight small numbers:

| name | what | below |
|---|---|---|
| t_lo, t_hi | t mod 2^29, t div 2^29; t = microseconds since 0001-01-01 UTC | 2^29, 2^30 |
| tag | tag_id | 2^31 |
| m_lo, m_hi | m mod 2^26, m div 2^26 | 2^26, 2^27 |
| form | (2 e + s) 2^16 + (status div 2^16) | 2^29 |
| rest | quality 2^16 + (status mod 2^16) | 2^24 |

status counts as unsigned (negative ones in PostgreSQL + 2^32). The value is (-1)^s (m / 2^52) 2^(e - 1100), with m from
2^52 up to 2^53: e from 26 to 2123, subnormals too. The others have no such form: zero of either sign is m = e = s = 0,
infinity is m = 1, e = 0 and its sign, not-a-number m = 2, e = s = 0.

A lane has ten constants c0 ... c9, below 2^30. Its hash of a reading is h:

    p = (c0 + c1 t_lo + c2 t_hi + c3 tag) mod M
    q = (c4 + c5 m_lo + c6 m_hi + c7 form + c8 rest) mod M
    r = p q mod M
    h = r (r div 2^15 + c9) mod M

`a` and `b` are the sums of h over all readings by the constants LANES[0] and LANES[1]; they do not wrap below four
thousand million readings. p q ties what was measured to where it belongs, so that two values exchanged are found; the
last step keeps regular patterns (a run of values moved by as much up as down) from adding up to nothing.
An engine that cannot see bits finds e as floor(ln|v| / ln 2), which may be off by one, and puts it right by m.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wellos.readings import pack
from wellos.storage.cold import Checksum
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from numpy.typing import NDArray
    from psycopg import Connection

    from wellos.readings import Readings

__all__ = ["LANES", "MODULUS", "SELF_TEST", "SELF_TEST_READINGS", "checksum", "pg_checksum"]

MODULUS = (1 << 31) - 1

LANES = (
    (733518357, 878894471, 972825157, 1055419753, 1065592599, 954327055, 1022520843, 1053331245, 916300049, 828169629),
    (545051567, 570833229, 690737195, 821154129, 928688995, 848587757, 607812295, 685938181, 696610863, 810410683),
)
"""c0 ... c9 of each lane."""

_YEAR_1_US = 62_135_596_800_000_000
"""From 0001-01-01 to 1970-01-01."""
_PIECE = 1 << 15
"""Readings at a time, so that what is computed on the way stays in the processor's cache."""


def checksum(readings: Readings) -> Checksum:
    """Return the checksum of readings in any order, of the years 1 to 9999; `flags` do not count."""
    total = Checksum()
    for start in range(0, len(readings), _PIECE):
        total += _piece(readings[start : start + _PIECE])
    return total


def pg_checksum(
    connection: Connection[Any],
    tenant_id: UUID,
    since: datetime,
    until: datetime,
    tag_ids: Sequence[int] | None = None,
) -> Checksum:
    """Have PostgreSQL add up a tenant's readings with since <= time < until, of these tags or of all.

    In the open transaction, so it sees what the transaction sees. The span is at most 60 years.
    """
    span = {"tenant_id": tenant_id, "since": since, "until": until, "tags": None if tag_ids is None else list(tag_ids)}
    row = connection.execute(query("readings_checksum"), span).fetchone()
    return Checksum() if row is None else Checksum(*row)


def _piece(readings: Readings) -> Checksum:
    micros = readings["time"] + _YEAR_1_US
    tag = readings["tag_id"].astype(np.int64)
    mantissa, form = _parts(readings["value"])
    status = readings["status"].astype(np.int64)
    form = (form << 16) + (status >> 16)
    rest = (readings["quality"].astype(np.int64) << 16) + (status & 0xFFFF)
    identity = (micros & ((1 << 29) - 1), micros >> 29, tag)
    content = (mantissa & ((1 << 26) - 1), mantissa >> 26, form, rest)
    sums = []
    for c in LANES:
        r = _mod(_mod(_combine(c[0], c[1:4], identity)) * _mod(_combine(c[4], c[5:9], content)))
        sums.append(int(_mod(r * ((r >> 15) + c[9])).sum()))
    return Checksum(len(readings), sums[0], sums[1])


def _combine(constant: int, factors: Sequence[int], numbers: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    total = factors[0] * numbers[0] + constant
    for factor, number in zip(factors[1:], numbers[1:], strict=True):
        total += factor * number
    return total


def _mod(number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return number mod M, which for M = 2^31 - 1 takes no division: 2^31 counts as one."""
    number = (number & MODULUS) + (number >> 31)
    number = (number & MODULUS) + (number >> 31)
    number[number == MODULUS] = 0
    return number


def _parts(value: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return m and 2 e + s of each value."""
    finite = np.isfinite(value)
    with np.errstate(invalid="ignore"):  # what is not finite is put right below
        fraction, exponent = np.frexp(np.where(finite, np.abs(value), 0.0))
    mantissa = (fraction * 2.0**53).astype(np.int64)
    form = 2 * (exponent.astype(np.int64) + 1099) + (value < 0)
    form[mantissa == 0] = 0
    if not finite.all():
        infinite = np.isinf(value)
        mantissa[infinite], form[infinite] = 1, value[infinite] < 0
        mantissa[np.isnan(value)] = 2
    return mantissa, form


_EDGES = (np.nextafter(8.0, 0), np.nextafter(8.0, 9), np.nan, np.inf, -np.inf)

SELF_TEST_READINGS = pack(
    time=[0, -1, 1_795_000_000_123_456, 1_795_000_000_123_457, 253_402_300_799_999_999, 4, 5, 6, 7, 8, 9, 10, 11],
    value=[0.0, -0.0, 1.0, -0.1, 1e100, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, *_EDGES],
    tag_id=[1, 2, 3, 2**31 - 1, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    quality=[2, 1, 0, 2, 2, 0, 0, 0, 2, 2, 0, 0, 0],
    status=[0, 1, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFF, 65535, 65536, 7, 8, 9, 10, 11, 12],
)
"""A few readings of every kind, for an engine to add up before its sums are believed."""

SELF_TEST = Checksum(13, 13_875_049_049, 15_091_565_517)
"""What they add up to."""
