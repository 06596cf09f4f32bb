"""Real payloads, mutated: whatever comes, decoders make readings or quarantine, raise nothing and remember little."""

from __future__ import annotations

import base64
import gc
import json
import random
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.rows import Rows
from streaming.adapters.tags import TagColumns
from tests.adapters.test_mqtt_payload import AT, RECEIVED_US, decoder
from tests.adapters.test_sparkplug_decode import DBIRTH, NBIRTH, NOW, VECTORS, double, payload
from tests.adapters.test_sparkplug_decode import decoder as sparkplug
from tests.fix_adapters import make_tag
from wellos.protocols.sparkplug_pb import DataType
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from streaming.adapters.mqtt_payload import PlainDecoder

ROWS_CONFIG = {"rows_pointer": "/values", "row_name_pointer": "/id", "row_value_pointer": "/v", "time_pointer": "/t"}
PLAIN: list[tuple[Callable[[], PlainDecoder], bytes]] = [
    (lambda: decoder(["t", "t#/values/a"]), json.dumps({"time": AT, "value": 1.5, "quality": {"a": "BAD"}}).encode()),
    (
        lambda: decoder(["t#/values/a", "t#/values/b"]),
        json.dumps({"time": 1.8e9, "values": {"a": 1, "b": None}}).encode(),
    ),
    (
        lambda: decoder(["t#/tag_0", "t#/b"], **ROWS_CONFIG),
        json.dumps({"t": AT, "values": [{"id": "tag_0", "v": 1.5, "t": 1793534400500}, {"id": "b", "v": 2}]}).encode(),
    ),
    (
        lambda: decoder(["t"], time_pointer="/at/time", date_pointer="/at/date", timezone="America/Chicago"),
        json.dumps({"at": {"date": "2026-11-01", "time": "06:00:00"}, "value": 3}).encode(),
    ),
    (lambda: decoder(["t"]), b"12.5e3"),
]
HISTORY = payload(
    double(1.0, alias=1, is_historical=True, quality=500),
    {"alias": 2, "is_null": True},
    {"alias": 3, "int_value": 7},
    seq=2,
)
ODD = payload(
    {"name": "oil", "datatype": DataType.TEMPLATE, "template_value": {"version": "1", "template_ref": "x"}},
    {"name": "gas", "datatype": DataType.DATASET, "dataset_value": {"num_of_columns": 1, "columns": ["a"]}},
    {"name": "water", "datatype": DataType.DATETIME, "long_value": 1 << 63},
    seq=3,
)
SPARKPLUG = [NBIRTH, DBIRTH, HISTORY, ODD]
if VECTORS.exists():
    SPARKPLUG += [base64.b64decode(one["base64"]) for one in json.loads((VECTORS / "static_vectors.json").read_text())]
KINDS = ["NBIRTH/N", "NDATA/N", "NDEATH/N", "DBIRTH/N/D", "DDATA/N/D", "DDEATH/N/D"]


def mutated(raw: bytes, dice: random.Random) -> bytes:
    """Flip, drop, repeat and insert stretches of bytes."""
    body = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(body) + 1)
        stretch = bytes(body[at : at + dice.choice((1, 1, 2, 8, 40))])
        kind = dice.randrange(5)
        if kind == 0 and at < len(body):
            body[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del body[at : at + len(stretch)]
        elif kind == 2:
            body[at:at] = stretch * dice.choice((1, 3, 50))
        elif kind == 3:
            body[at:at] = dice.choice((b"[", b"{", b'"', b"null", b"1e999", b"-", b"\xff", b"\\u0000", b"9" * 30))
        else:
            body[at:at] = dice.randbytes(dice.randint(1, 9))
    return bytes(body)


def check(rows: Rows, tags: int) -> None:
    columns = (rows.positions, rows.times, rows.values, rows.statuses, rows.flags)
    assert len({len(column) for column in columns}) == 1
    readings = rows.readings(TagColumns([make_tag(number, "") for number in range(tags)]))
    assert (readings["flags"] <= (Flag.HISTORICAL | Flag.ASSUMED_TIME)).all()
    assert (readings["time"] >= 0).all()
    for item in rows.rejected:
        assert "\0" not in item.detail + item.source
        assert len(item.detail) < 5000


@given(st.integers(0, 2**32), st.sampled_from(range(len(PLAIN))), st.booleans())
def test_mutated_json(seed: int, which: int, retained: bool) -> None:
    make, raw = PLAIN[which]
    body, rows = mutated(raw, random.Random(seed)), Rows()
    make().decode("t", body, RECEIVED_US, rows, retained=retained)
    assert rows.values or rows.rejected or which == 2
    assert all(item.original == body for item in rows.rejected)
    check(rows, 2)


@given(st.integers(0, 2**32))
def test_mutated_sparkplug_sessions(seed: int) -> None:
    dice, host = random.Random(seed), sparkplug()
    for _ in range(6):
        kind, body, rows = dice.choice(KINDS), dice.choice(SPARKPLUG), Rows()
        if dice.random() < 0.7:
            body = mutated(body, dice)
        type_, _, rest = kind.partition("/")
        host.decode(f"spBv1.0/G/{type_}/{rest}", body, NOW, rows, repeated=dice.random() < 0.1)
        assert all(item.original == body for item in rows.rejected)
        check(rows, 3)


def invented_json(host: PlainDecoder, number: int) -> None:
    rows = {"values": [{"id": f"name-{number}-{place}", "v": 1} for place in range(5)]}
    host.decode("gw", json.dumps(rows).encode(), RECEIVED_US, Rows())
    host.decode(f"nobody/{number}", b"1", RECEIVED_US, Rows())


def invented_sparkplug(host: Any, number: int) -> None:  # noqa: ANN401 - a decoder
    metrics = [double(1.0, name=f"name-{number}-{place}", alias=5 * number + place) for place in range(5)]
    host.decode(f"spBv1.0/G/DDATA/N/device-{number}", payload(*metrics), NOW, Rows())
    host.decode(f"spBv1.0/G/DDEATH/N/gone-{number}", payload(), NOW, Rows())
    host.decode(f"spBv1.0/X{number}/NBIRTH/N", NBIRTH, NOW, Rows())


@pytest.mark.parametrize(
    ("host", "invent"), [(decoder(["gw"], **ROWS_CONFIG), invented_json), (sparkplug("oil"), invented_sparkplug)]
)
def test_names_that_somebody_invents_are_not_remembered_for_ever(
    host: Any,  # noqa: ANN401 - a decoder
    invent: Callable[[Any, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.adapters.mqtt_payload._NAMES_REPORTED", 500)
    monkeypatch.setattr("streaming.adapters.sparkplug_decode._NAMES_REPORTED", 500)
    monkeypatch.setattr("streaming.adapters.sparkplug_node._MOST_METRICS", 500)
    for number in range(600):
        invent(host, number)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(600, 3000):
            invent(host, number)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
