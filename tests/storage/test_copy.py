"""The binary COPY stream, read back field by field as PostgreSQL reads it."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from wellos.readings import empty, pack
from wellos.storage.copy import encode


def decode(stream: bytes) -> list[tuple[int, int, float, int, int]]:
    assert stream[:11] == b"PGCOPY\n\xff\r\n\0"
    assert struct.unpack_from("!ii", stream, 11) == (0, 0)
    at, rows = 19, []
    while (fields := struct.unpack_from("!h", stream, at)[0]) != -1:
        assert fields == 5
        at += 2
        row = []
        for kind in "qidhi":
            (size,) = struct.unpack_from("!i", stream, at)
            assert size == struct.calcsize("!" + kind)
            row.append(struct.unpack_from("!" + kind, stream, at + 4)[0])
            at += 4 + size
        rows.append(tuple(row))
    assert at + 2 == len(stream)
    return rows


def test_every_field_arrives_in_postgres_form() -> None:
    readings = pack([946_684_800_000_001, 0], [1.5, -2.0], [7, 8], [2, 0], [0, 0x808C0000])
    assert decode(bytes(encode(readings))) == [
        (1, 7, 1.5, 2, 0),
        (-946_684_800_000_000, 8, -2.0, 0, 0x808C0000 - (1 << 32)),
    ]


def test_no_readings_is_a_complete_stream() -> None:
    assert decode(bytes(encode(empty()))) == []


def test_nan_stays_nan() -> None:
    (row,) = decode(bytes(encode(pack([0], [np.nan], [1], [0]))))
    assert np.isnan(row[2])


@pytest.mark.parametrize("rows", [1, 1000])
def test_a_row_takes_48_bytes(rows: int) -> None:
    assert len(encode(empty(rows))) == 19 + 48 * rows + 2
