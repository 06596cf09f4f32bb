from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.mqtt_payload import MAX_BYTES, MAX_DEPTH, MAX_ROWS, PlainDecoder, quality_code
from streaming.adapters.mqtt_time import epoch_micros
from streaming.adapters.rows import PayloadError, Rows
from streaming.adapters.tags import TagColumns
from tests.fix_adapters import make_tag
from wellos.clock import from_micros
from wellos.protocols.mqtt import MqttConfig
from wellos.quality import Quality
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

RECEIVED_US = 1_800_000_000_000_000
AT = "2026-11-01T12:00:00.5Z"
AT_US = 1793534400500000
ADDRESSES = [
    "w/1#/values/oil",
    "w/1#/values/gas",
    "bare",
    "whole#",
    "deep#/a~1b/0/m~0n",
]


def decoded(topic: str, payload: Any, *, retained: bool = False) -> Rows:  # noqa: ANN401 - JSON or bytes
    return fed(decoder(ADDRESSES), topic, payload, retained=retained)


def decoder(addresses: Sequence[str], **config: Any) -> PlainDecoder:  # noqa: ANN401 - any setting
    tags = [make_tag(number, text) for number, text in enumerate(addresses)]
    return PlainDecoder(MqttConfig.parse({"url": "mqtt://b", **config}), "permian", tags)


def fed(to: PlainDecoder, topic: str, payload: Any, *, retained: bool = False) -> Rows:  # noqa: ANN401
    rows = Rows()
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    to.decode(topic, raw, RECEIVED_US, rows, retained=retained)
    return rows


def test_one_message_carries_many_tags() -> None:
    rows = decoded("w/1", {"time": AT, "values": {"oil": 210.4, "gas": None, "other": 3}, "quality": {"gas": "bad"}})
    readings = rows.readings(TagColumns([make_tag(number, text) for number, text in enumerate(ADDRESSES)]))
    assert readings["tag_id"].tolist() == [0, 1]
    assert readings["time"].tolist() == [AT_US, AT_US]
    assert readings["value"][0] == 210.4
    assert math.isnan(readings["value"][1])
    assert readings["quality"].tolist() == [Quality.GOOD, Quality.BAD]
    assert readings["status"].tolist() == [192, 0]
    assert not rows.rejected


@pytest.mark.parametrize(
    ("topic", "payload", "value"),
    [
        ("bare", b"12.5", 12.5),
        ("bare", b" -1e3\n", -1000.0),
        ("bare", b"true", 1.0),
        ("bare", b'{"value": 3}', 3.0),
        ("whole", b"7", 7.0),
        ("deep", b'{"a/b": [{"m~n": 4.5}]}', 4.5),
    ],
)
def test_bare_values_and_pointers(topic: str, payload: bytes, value: float) -> None:
    rows = decoded(topic, payload)
    assert (rows.values, rows.rejected) == ([value], [])
    assert (rows.times, rows.flags) == ([RECEIVED_US], [Flag.ASSUMED_TIME])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"offline",
        b"12,5",
        b'"12.5"',
        b"[1]",
        b"{}",
        b"\xff\xfe\xfd",
        b"{" * 5000,
        b"[" * 200_000,
        b'{"value": {}}',
        b'{"value": "7"}',
        b'{"value": 1, "time": "yesterday"}',
        b'{"value": 1, "time": "2026-11-01T12:00:00"}',
        b'{"value": 1, "time": "2026-13-01T12:00:00Z"}',
        b'{"value": 1, "time": true}',
        b'{"value": 1, "time": NaN}',
        b'{"value": 1, "time": -1}',
        b'{"value": 1, "time": 1e300}',
        b'{"value": 1, "quality": "FINE"}',
        b'{"value": 1, "quality": 3}',
        b'{"value": 1, "quality": [192]}',
        b'{"value": ' + b"9" * 400 + b"}",
        b'{"value": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_payloads_are_kept_whole(payload: bytes) -> None:
    rows = decoded("bare", payload)
    (rejected,) = rows.rejected
    assert (rejected.reason, rejected.source, rejected.original) == ("malformed", "bare", payload)
    assert not rows.values


def test_one_bad_tag_does_not_take_the_others() -> None:
    rows = decoded("w/1", {"time": AT, "values": {"oil": "n/a", "gas": 5.0}})
    assert (rows.positions, rows.values) == ([1], [5.0])
    assert [found.detail for found in rows.rejected] == ["values/oil: not a number but str"]


def test_unknown_topic_and_too_large() -> None:
    assert [found.reason for found in decoded("w/9", 1).rejected] == ["unknown_tag"]
    (rejected,) = decoded("bare", b" " * (MAX_BYTES + 1)).rejected
    assert rejected.reason == "too_large"
    assert len(rejected.original) < MAX_BYTES


def test_nesting_is_limited() -> None:
    def nested(depth: int) -> dict[str, Any]:
        node: Any = 1
        for _ in range(depth):
            node = [node]
        return {"value": 1, "other": node}

    assert decoded("bare", nested(MAX_DEPTH - 1)).values == [1.0]
    assert decoded("bare", nested(MAX_DEPTH + 5)).rejected
    wide = {"value": 1, "other": [[number] for number in range(1000)]}
    assert decoded("bare", wide).values == [1.0]


def test_a_retained_value_needs_a_time() -> None:
    assert decoded("bare", b"1", retained=True).rejected
    assert decoded("bare", {"value": 1, "time": AT}, retained=True).times == [AT_US]


@pytest.mark.parametrize(
    ("raw", "micros"),
    [
        ("2026-11-01T12:00:00.5Z", AT_US),
        ("2026-11-01t12:00:00.5z", AT_US),
        ("2026-11-01 06:00:00.500000-06:00", AT_US),
        (1793534400.5, AT_US),
        (1793534400, AT_US - 500_000),
        (1793534400500, AT_US),
        (1793534400500.25, AT_US + 250),
        (1793534400500000, AT_US),
        (1793534400500000999, AT_US),
        (0, 0),
        ("1793534400.5", AT_US),
        (" 1793534400500 ", AT_US),
        ("1793534400500000999", AT_US),
    ],
)
def test_time_forms(raw: object, micros: int) -> None:
    assert epoch_micros(raw) == micros


@pytest.mark.parametrize(
    "raw", ["20261101", "20261101120000", "2026-11-01", "12:00:00Z", "1.5", "0x6A", "", "9" * 400, 10**400, -1, 1e23]
)
def test_times_that_might_mean_something_else_are_refused(raw: object) -> None:
    with pytest.raises(PayloadError):
        epoch_micros(raw, ZoneInfo("UTC"))


def test_local_times_need_a_zone_and_an_hour_that_is_there_once() -> None:
    chicago = ZoneInfo("America/Chicago")
    assert epoch_micros("2026-11-01T06:00:00.5", chicago) == AT_US
    assert epoch_micros("2026-11-01T12:00:00.5Z", chicago) == AT_US, "a zone of its own counts"
    for text in ("2026-11-01T01:30:00", "2026-03-08T02:30:00"):
        with pytest.raises(PayloadError, match="twice or never"):
            epoch_micros(text, chicago)


def test_a_date_beside_a_time_of_day() -> None:
    host = decoder(["t"], time_pointer="/at/time", date_pointer="$.at.date", timezone="America/Chicago")
    at = {"date": "2026-11-01", "time": "06:00:00.5"}
    assert fed(host, "t", {"at": at, "value": 1}).times == [AT_US]
    assert fed(host, "t", {"at": at | {"date": 5}, "value": 1}).rejected
    assert fed(host, "t", {"at": {"time": "06:00:00"}, "value": 1}).rejected


ROWS = {"values": [{"id": "tag_0", "v": 1.5, "t": 1793534400500, "q": True}, {"id": "b", "v": 2, "q": False}]}


def test_arrays_of_readings() -> None:
    pointers = {"rows_pointer": "/values", "row_name_pointer": "/id", "row_value_pointer": "/v"}
    host = decoder(["gw", "gw#/b"], time_pointer="/t", quality_pointer="/q", **pointers)
    rows = fed(host, "gw", ROWS | {"t": AT})
    assert (rows.positions, rows.values, rows.times, rows.statuses) == ([0, 1], [1.5, 2.0], [AT_US, AT_US], [192, 0])
    more = {"values": [*ROWS["values"], {"id": "zz", "v": 1}]}
    assert [item.reason for item in fed(host, "gw", more).rejected] == ["unknown_tag"]
    assert not fed(host, "gw", more).rejected, "an unknown name is reported once"
    bad = fed(host, "gw", {"values": [7, {"id": "b"}, {"id": "b", "v": 1, "q": "?"}, {"id": "b", "v": 4}]})
    assert (bad.values, len(bad.rejected), bad.rejected[0].detail.count("reading")) == ([4.0], 1, 3)
    assert fed(host, "gw", {"values": {}}).rejected
    assert fed(host, "gw", {"values": [0] * (MAX_ROWS + 1)}).rejected[0].reason == "too_large"


@given(st.integers(0, 4_000_000_000_000_000))
def test_every_unit_of_an_epoch_gives_the_same_time(micros: int) -> None:
    assert epoch_micros(from_micros(micros).isoformat()) == micros
    if micros >= 10**14:
        assert epoch_micros(micros) == micros
        assert epoch_micros(micros * 1000) == micros
        assert epoch_micros(micros // 1000) == micros // 1000 * 1000


@given(st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - bounds
def test_zones_are_honoured(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=UTC)
    local = (moment + timedelta(minutes=minutes)).isoformat()
    sign, rest = "-" if minutes < 0 else "+", abs(minutes)
    assert epoch_micros(f"{local}{sign}{rest // 60:02d}:{rest % 60:02d}") == epoch_micros(aware.isoformat())


@pytest.mark.parametrize(
    ("raw", "code"),
    [("GOOD", 192), ("bad", 0), ("Uncertain", 64), ("STALE", 500), (0, 0), (192, 192), (500, 500), (2, 192), (1, 64),
     (192.0, 192), (None, 192), ({"oil": "BAD"}, 0), ({"gas": "BAD"}, 192), ({}, 192)],
)  # fmt: skip
def test_quality_forms(raw: object, code: int) -> None:
    assert quality_code(raw, "oil") == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["time", "value", "quality", "a"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([*ADDRESSES, "w/1", "deep", "whole"]), st.booleans())
def test_any_json_is_readings_or_rejected(document: Any, topic: str, retained: bool) -> None:  # noqa: ANN401
    rows = decoded(topic.partition("#")[0], json.dumps(document).encode(), retained=retained)
    assert rows.values or rows.rejected
    assert len(rows.positions) == len(rows.times) == len(rows.values) == len(rows.statuses) == len(rows.flags)
    rows.readings(TagColumns([make_tag(number, text) for number, text in enumerate(ADDRESSES)]))


@given(st.binary(max_size=200))
def test_any_bytes_are_readings_or_rejected(payload: bytes) -> None:
    rows = decoded("bare", payload)
    assert rows.values or rows.rejected


@given(JSON)
def test_time_and_quality_raise_only_the_documented_error(raw: Any) -> None:  # noqa: ANN401
    for parse in (epoch_micros, lambda value: quality_code(value, "a")):
        with suppress(PayloadError):
            parse(raw)
