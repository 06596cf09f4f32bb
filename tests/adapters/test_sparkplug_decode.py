from __future__ import annotations

import base64
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters import sparkplug_decode, sparkplug_node
from streaming.adapters.rows import Rows
from streaming.adapters.sparkplug_columns import columns_of
from streaming.adapters.sparkplug_decode import MAX_BYTES, SparkplugDecoder, rebirth_request
from streaming.delivery import Filled, Gap
from wellos.protocols.mqtt import SparkplugAddress
from wellos.protocols.sparkplug_pb import BDSEQ, NODE_REBIRTH, QUALITY_PROPERTY, DataType, Payload
from wellos.readings import Flag

NOW = 1_800_000_000_000_000
TIMED = 1_793_534_400_500
KEY = ("G", "N")
VECTORS = Path(__file__).parents[3] / "shared" / "data" / "protocol_vectors" / "sparkplug_b"
needs_vectors = pytest.mark.skipif(not VECTORS.exists(), reason=f"{VECTORS} is not there")


def decoder(*metrics: str) -> SparkplugDecoder:
    addresses = []
    for metric in metrics or ("oil", "D/gas", "D/water"):
        device, _, name = metric.rpartition("/")
        addresses.append(SparkplugAddress("G", "N", device or None, name))
    return SparkplugDecoder(addresses, [100 + position for position in range(len(addresses))])


def payload(*metrics: dict[str, Any], seq: int | None = None, timestamp: int = TIMED) -> bytes:
    message = Payload(timestamp=timestamp)
    if seq is not None:
        message.seq = seq
    for fields in metrics:
        quality = fields.pop("quality", None)
        metric = message.metrics.add(**fields)
        if quality is not None:
            metric.properties.keys.append(QUALITY_PROPERTY)
            metric.properties.values.add(type=DataType.INT32, int_value=quality)
    return bytes(message.SerializeToString())


def bdseq(number: int) -> dict[str, Any]:
    return {"name": BDSEQ, "datatype": DataType.UINT64, "long_value": number}


def double(value: float, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a metric
    return {"datatype": DataType.DOUBLE, "double_value": value, **fields}


NBIRTH = payload(bdseq(4), double(1.0, name="oil", alias=1), seq=0)
DBIRTH = payload(double(2.0, name="gas", alias=2), double(3.0, name="water", alias=3), seq=1)


def born(*metrics: str) -> SparkplugDecoder:
    host = decoder(*metrics)
    assert host.decode("spBv1.0/G/NBIRTH/N", NBIRTH, NOW, Rows()) is None
    assert host.decode("spBv1.0/G/DBIRTH/N/D", DBIRTH, NOW, Rows()) is None
    return host


def test_births_are_readings_and_teach_aliases() -> None:
    host, rows = decoder(), Rows()
    host.decode("spBv1.0/G/NBIRTH/N", NBIRTH, NOW, rows)
    host.decode("spBv1.0/G/DBIRTH/N/D", DBIRTH, NOW, rows)
    assert (rows.positions, rows.values) == ([0, 1, 2], [1.0, 2.0, 3.0])
    assert rows.times == [TIMED * 1000] * 3
    data = payload(double(5.0, alias=3, timestamp=TIMED + 1), double(6.0, alias=1), seq=2)
    assert host.decode("spBv1.0/G/DDATA/N/D", data, NOW, rows) is None
    assert (rows.positions[3:], rows.values[3:]) == ([2, 0], [5.0, 6.0])
    assert rows.times[3:] == [TIMED * 1000 + 1000, TIMED * 1000]
    assert not rows.rejected
    assert not rows.gaps


def test_data_before_a_birth_is_kept_and_asks_once() -> None:
    host, rows = decoder(), Rows()
    data = payload(double(5.0, alias=1), double(6.0, name="oil"), seq=9)
    assert host.decode("spBv1.0/G/NDATA/N", data, NOW, rows) == KEY
    assert rows.values == [6.0]
    (rejected,) = rows.rejected
    assert (rejected.reason, rejected.original) == ("malformed", data)
    assert host.decode("spBv1.0/G/NDATA/N", payload(seq=10), NOW + 1, rows) is None
    assert host.decode("spBv1.0/G/NDATA/N", payload(seq=11), NOW + 31_000_000, rows) == KEY


def test_a_device_without_its_birth_asks_for_it() -> None:
    host, rows = decoder(), Rows()
    host.decode("spBv1.0/G/NBIRTH/N", NBIRTH, NOW, rows)
    assert host.decode("spBv1.0/G/DDATA/N/D", payload(double(5.0, alias=2), seq=1), NOW, rows) == KEY
    assert host.decode("spBv1.0/G/DBIRTH/N/D", payload(double(2.0, name="gas", alias=2), seq=2), NOW, rows) is None


def test_a_sequence_jump_is_a_gap_and_asks_for_a_rebirth() -> None:
    host, rows = born("oil", "D/gas"), Rows()
    assert host.decode("spBv1.0/G/NDATA/N", payload(double(5.0, alias=1), seq=5), NOW + 7, rows) == KEY
    assert rows.gaps == [Gap(NOW, NOW + 7, "sequence_jump", 100), Gap(NOW, NOW + 7, "sequence_jump", 101)]
    assert rows.values == [5.0]


def test_what_comes_out_of_order_closes_its_gap() -> None:
    host = born("oil")
    found = []
    for at, number in enumerate((2, 5, 3, 4, 6), start=1):
        rows = Rows()
        host.decode("spBv1.0/G/NDATA/N", payload(double(float(number), alias=1), seq=number), NOW + at, rows)
        found.append((rows.gaps, rows.filled, rows.values))
    gap = (NOW + 1, NOW + 2)
    assert [gaps for gaps, _, _ in found] == [[], [Gap(*gap, "sequence_jump", 100)], [], [], []]
    assert [filled for _, filled, _ in found] == [[], [], [], [Filled(*gap, 100)], []]
    assert [values for _, _, values in found] == [[2.0], [5.0], [3.0], [4.0], [6.0]]


def test_a_number_skipped_a_turn_ago_is_not_late() -> None:
    host, rows = born("oil"), Rows()
    for number in (2, 4, *range(5, 256), *range(6)):
        host.decode("spBv1.0/G/NDATA/N", payload(seq=number), NOW, rows)
    assert len(rows.gaps) == 1
    assert not rows.filled
    host.decode("spBv1.0/G/NDATA/N", payload(seq=3), NOW, rows)
    assert len(rows.gaps) == 2, "backwards: the node began anew"


def test_the_sequence_wraps_and_repeats_are_no_jump() -> None:
    host, rows = born(), Rows()
    for number in (*range(2, 256), 0, 0, 1):
        assert host.decode("spBv1.0/G/NDATA/N", payload(seq=number), NOW, rows) is None
    assert host.decode("spBv1.0/G/NDATA/N", payload(seq=200), NOW, rows, repeated=True) is None
    assert host.decode("spBv1.0/G/NDATA/N", payload(seq=2), NOW, rows) is None
    assert not rows.gaps


def test_node_death_makes_every_tag_stale_once() -> None:
    host, rows = born(), Rows()
    host.decode("spBv1.0/G/NDEATH/N", payload(bdseq(3)), NOW, rows)
    assert not rows.values, "the will of an earlier session"
    host.decode("spBv1.0/G/NDEATH/N", payload(bdseq(4)), NOW + 5, rows)
    host.decode("spBv1.0/G/NDEATH/N", payload(bdseq(4)), NOW + 9, rows)
    assert (rows.positions, rows.statuses, rows.times) == ([0, 1, 2], [500] * 3, [NOW + 5] * 3)
    assert all(math.isnan(value) for value in rows.values)
    assert host.decode("spBv1.0/G/NDATA/N", payload(double(5.0, alias=1), seq=2), NOW, rows) == KEY


def test_device_death_makes_the_device_stale() -> None:
    host, rows = born(), Rows()
    host.decode("spBv1.0/G/DDEATH/N/D", payload(seq=2), NOW, rows)
    assert (rows.positions, rows.statuses, rows.times) == ([1, 2], [500, 500], [TIMED * 1000] * 2)
    host.decode("spBv1.0/G/DDEATH/N/D", payload(seq=3), NOW, rows)
    assert len(rows.positions) == 2, "once"
    host.decode("spBv1.0/G/DDATA/N/D", payload(double(1.0, alias=2), seq=4), NOW, rows)
    host.decode("spBv1.0/G/DDEATH/N/D", payload(seq=5), NOW, rows)
    assert rows.statuses[2:] == [192, 500, 500]


def test_a_device_may_be_born_again_with_other_aliases() -> None:
    host, rows = born(), Rows()
    again = payload(double(2.0, name="gas", alias=3), double(3.0, name="water", alias=2), seq=2)
    host.decode("spBv1.0/G/DBIRTH/N/D", again, NOW, Rows())
    host.decode("spBv1.0/G/DDATA/N/D", payload(double(9.0, alias=3), seq=3), NOW, rows)
    assert (rows.positions, rows.values) == ([1], [9.0])


def test_an_alias_given_twice_is_never_guessed() -> None:
    host, rows = decoder("oil", "gas"), Rows()
    host.decode(
        "spBv1.0/G/NBIRTH/N", payload(double(1, name="oil", alias=1), double(2, name="gas", alias=1)), NOW, rows
    )
    assert rows.values == [1.0, 2.0]
    host.decode("spBv1.0/G/NDATA/N", payload(double(3.0, alias=1)), NOW, rows)
    assert len(rows.values) == 2
    assert len(rows.rejected) == 1


def test_null_historical_and_quality() -> None:
    host, rows = born(), Rows()
    data = payload(
        {"alias": 1, "is_null": True},
        double(1.0, alias=2, is_historical=True, quality=192),
        double(2.0, alias=3, quality=500),
        seq=2,
    )
    host.decode("spBv1.0/G/NDATA/N", data, NOW, rows)
    assert math.isnan(rows.values[0])
    assert rows.flags == [0, Flag.HISTORICAL, 0]
    assert rows.statuses == [192, 192, 500]


@pytest.mark.parametrize(
    ("datatype", "fields", "value"),
    [
        (DataType.INT8, {"int_value": 0xFF}, -1.0),
        (DataType.INT8, {"int_value": 0xFFFFFFFF}, -1.0),
        (DataType.INT16, {"int_value": 0x8000}, -32768.0),
        (DataType.INT32, {"int_value": 0xFFFFFFFE}, -2.0),
        (DataType.INT32, {"int_value": 7}, 7.0),
        (DataType.INT64, {"long_value": 2**64 - 5}, -5.0),
        (DataType.UINT8, {"int_value": 255}, 255.0),
        (DataType.UINT32, {"long_value": 2**32 - 1}, 2.0**32 - 1),
        (DataType.UINT64, {"long_value": 2**40}, 2.0**40),
        (DataType.FLOAT, {"float_value": 0.5}, 0.5),
        (DataType.DOUBLE, {"double_value": 0.1}, 0.1),
        (DataType.BOOLEAN, {"boolean_value": True}, 1.0),
        (DataType.DATETIME, {"long_value": TIMED}, float(TIMED)),
    ],
)
def test_data_types(datatype: DataType, fields: dict[str, Any], value: float) -> None:
    host, rows = decoder("oil"), Rows()
    host.decode("spBv1.0/G/NBIRTH/N", payload({"name": "oil", "alias": 1, "datatype": datatype, **fields}), NOW, rows)
    host.decode("spBv1.0/G/NDATA/N", payload({"alias": 1, **fields}), NOW, rows)
    assert rows.values == [value, value], "data may leave the type out: the birth told it"


@pytest.mark.parametrize(
    "fields",
    [
        {"datatype": DataType.STRING, "string_value": "on"},
        {"datatype": DataType.STRING, "is_null": True},
        {"datatype": DataType.TEMPLATE, "template_value": {"version": "1"}},
        {"datatype": DataType.DATASET, "dataset_value": {"num_of_columns": 1}},
        {"datatype": DataType.BYTES, "bytes_value": b"x"},
        {"datatype": 22, "bytes_value": b"x"},
        {"string_value": "on"},
        {"datatype": DataType.DOUBLE, "double_value": 1.0, "timestamp": 2**60},
    ],
)
def test_what_is_not_a_number_is_refused_and_the_rest_used(fields: dict[str, Any]) -> None:
    host, rows = decoder("oil", "gas"), Rows()
    host.decode("spBv1.0/G/NBIRTH/N", payload({"name": "oil", **fields}, double(2.0, name="gas")), NOW, rows)
    assert rows.values == [2.0]
    (rejected,) = rows.rejected
    assert rejected.reason == "malformed"
    assert rejected.detail.startswith("oil: ")


def test_metrics_without_a_tag_are_reported_once_a_birth() -> None:
    host, rows = decoder("oil"), Rows()
    birth = payload(double(1, name="oil", alias=1), double(2, name="rpm", alias=2), {"name": NODE_REBIRTH}, bdseq(1))
    host.decode("spBv1.0/G/NBIRTH/N", birth, NOW, rows)
    host.decode("spBv1.0/G/NDATA/N", payload(double(3, alias=2)), NOW, rows)
    assert [(found.reason, found.detail) for found in rows.rejected] == [
        ("unknown_tag", "rpm: no tag reads this metric")
    ]
    host.decode("spBv1.0/G/NBIRTH/N", birth, NOW, rows)
    assert len(rows.rejected) == 2


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("spBv1.0/G/NDATA/OTHER", "unknown_tag"),
        ("spBv1.0/X/NDATA/N", "unknown_tag"),
        ("spBv1.0/G/NDATA/N/D", "malformed"),
        ("spBv1.0/G/DDATA/N", "malformed"),
        ("spBv1.0/G/NOISE/N", "malformed"),
        ("spBv1.0/G/NDATA/N/D/E", "malformed"),
        ("spAv1.0/G/NDATA/N", "malformed"),
        ("", "malformed"),
    ],
)
def test_topics_that_are_not_ours(topic: str, reason: str) -> None:
    rows = Rows()
    assert decoder().decode(topic, NBIRTH, NOW, rows) is None
    assert [found.reason for found in rows.rejected] == [reason]


@pytest.mark.parametrize("topic", ["spBv1.0/G/NCMD/N", "spBv1.0/G/DCMD/N/D", "spBv1.0/STATE/host"])
def test_commands_of_others_are_ignored(topic: str) -> None:
    rows = Rows()
    assert decoder().decode(topic, b"\xff\xff", NOW, rows) is None
    assert not rows.rejected


def test_garbage_and_oversize_are_kept() -> None:
    rows = Rows()
    decoder().decode("spBv1.0/G/NDATA/N", b"\xff\xff", NOW, rows)
    decoder().decode("spBv1.0/G/NDATA/N", b"\0" * (MAX_BYTES + 1), NOW, rows)
    assert [found.reason for found in rows.rejected] == ["malformed", "too_large"]


def test_no_time_at_all_is_the_time_of_receipt() -> None:
    rows = Rows()
    decoder().decode("spBv1.0/G/NBIRTH/N", payload(double(1.0, name="oil"), timestamp=0), NOW, rows)
    assert (rows.times, rows.flags) == ([NOW], [Flag.ASSUMED_TIME])


def test_every_node_is_asked_once_at_the_start() -> None:
    host = decoder()
    assert host.begin(NOW) == [KEY]
    assert host.decode("spBv1.0/G/NDATA/N", payload(double(5.0, alias=1)), NOW + 1, Rows()) is None
    assert host.decode("spBv1.0/G/NDATA/N", payload(double(5.0, alias=1)), NOW + 31_000_000, Rows()) == KEY


def test_rebirth_request() -> None:
    topic, body = rebirth_request(KEY, NOW)
    assert topic == "spBv1.0/G/NCMD/N"
    (metric,) = Payload.FromString(body).metrics
    assert (metric.name, metric.boolean_value) == (NODE_REBIRTH, True)


def test_what_a_node_can_make_us_remember_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug_decode, "MAX_METRICS", 50)
    monkeypatch.setattr(sparkplug_decode, "_NAMES_REPORTED", 30)
    monkeypatch.setattr(sparkplug_node, "_MOST_METRICS", 100)
    host, rows = decoder("oil"), Rows()
    host.decode("spBv1.0/G/NBIRTH/N", payload(*[double(1, name=f"m{n}") for n in range(51)]), NOW, rows)
    assert rows.rejected[-1].reason == "too_large"
    for device in range(40):
        birth = payload(*[double(1, name=f"m{n}-{device}", alias=n + 50 * device) for n in range(50)])
        host.decode(f"spBv1.0/G/DBIRTH/N/D{device}", birth, NOW, rows)
        host.decode(f"spBv1.0/G/DDEATH/N/X{device}", payload(), NOW, rows)
    node = host._nodes[KEY]
    assert (len(node.types), len(node.aliases), len(host._unknown)) == (100, 100, 30)
    assert "more than are remembered" in rows.rejected[-1].detail
    host.decode("spBv1.0/G/NDATA/N", payload(double(1, name="n" * 5000)), NOW, rows)
    assert len(rows.rejected[-1].detail) < 500


def test_templates_within_templates_end_somewhere() -> None:
    inner = Payload()
    node = inner.metrics.add(name="oil", datatype=DataType.TEMPLATE)
    for _ in range(2000):
        node = node.template_value.metrics.add(name="x", datatype=DataType.TEMPLATE)
    rows = Rows()
    decoder("oil").decode("spBv1.0/G/NBIRTH/N", inner.SerializeToString(), NOW, rows)
    assert [found.reason for found in rows.rejected] == ["malformed"]


METRICS = st.fixed_dictionaries(
    {"alias": st.sampled_from([1, 1, 2, 2, 3, 4, 9]), "timestamp": st.sampled_from([TIMED, TIMED + 1, 0, 2**60])},
    optional={
        "name": st.sampled_from(["oil", "x"]),
        "datatype": st.sampled_from([DataType.DOUBLE, DataType.INT8, DataType.STRING, DataType.DATETIME, 99]),
        "is_null": st.booleans(),
        "is_historical": st.booleans(),
        "quality": st.sampled_from([0, 192, 500]),
    },
)
VALUES = st.sampled_from(
    [{"double_value": 1.5}] * 4 + [{"float_value": 2.5}, {"int_value": 7}, {"string_value": "a"}, {}]
)


@given(
    st.lists(st.tuples(METRICS, VALUES), max_size=5), st.sampled_from([DataType.FLOAT, DataType.INT32, DataType.TEXT])
)
def test_columns_say_what_one_metric_after_the_other_says(
    metrics: list[tuple[dict[str, Any], dict[str, Any]]], kind: DataType
) -> None:
    birth = payload(
        *(double(float(n), name=name, alias=n) for n, name in enumerate(["oil", "gas", "spare"], start=1)),
        {"name": "odd", "alias": 4, "datatype": kind},
        seq=0,
    )
    data = payload(*({**fields, **value} for fields, value in metrics), seq=1)
    found = []
    for columns in (columns_of, lambda *_all: None):
        host, rows = decoder("oil", "gas", "odd"), Rows()
        host.decode("spBv1.0/G/NBIRTH/N", birth, NOW, rows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sparkplug_decode, "columns_of", columns)
            host.decode("spBv1.0/G/NDATA/N", data, NOW, rows)
        found.append(repr(rows))
    assert found[0] == found[1]


KINDS = st.sampled_from(["NBIRTH/N", "NDATA/N", "NDEATH/N", "DBIRTH/N/D", "DDATA/N/D", "DDEATH/N/D"])


@given(st.lists(st.tuples(KINDS, st.binary(max_size=80) | st.sampled_from([NBIRTH, DBIRTH]), st.binary(max_size=4))))
def test_any_messages_raise_nothing(messages: list[tuple[str, bytes, bytes]]) -> None:
    host, rows = decoder(), Rows()
    for kind, body, tail in messages:
        type_, _, rest = kind.partition("/")
        host.decode(f"spBv1.0/G/{type_}/{rest}", body + tail, NOW, rows)
    assert len(rows.positions) == len(rows.times) == len(rows.values) == len(rows.statuses) == len(rows.flags)


@given(st.sampled_from([NBIRTH, DBIRTH]), st.data())
def test_any_flipped_byte_raises_nothing(body: bytes, data: st.DataObject) -> None:
    place, new = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    rows = Rows()
    decoder().decode("spBv1.0/G/NBIRTH/N", body[:place] + bytes([new]) + body[place + 1 :], NOW, rows)


@needs_vectors
def test_published_payloads() -> None:
    vectors = {entry["name"]: entry for entry in json.loads((VECTORS / "static_vectors.json").read_text())}
    bodies = {name: base64.b64decode(entry["base64"]) for name, entry in vectors.items()}
    for name, entry in vectors.items():
        assert len(Payload.FromString(bodies[name]).metrics) == int(entry["metric_count"])
    host, rows = decoder("Temperature"), Rows()
    assert host.decode("spBv1.0/G/NDATA/N", bodies["NDATA_BEFORE_BIRTH"], NOW, rows) == KEY
    host.decode("spBv1.0/G/NBIRTH/N", bodies["NBIRTH_V1"], NOW, rows)
    host.decode("spBv1.0/G/NDATA/N", bodies["NDATA_V1"], NOW, rows)
    assert rows.values == [21.5, 22.5]
    assert host.decode("spBv1.0/G/NDATA/N", bodies["NDATA_GAP"], NOW, rows) == KEY
    assert (len(rows.gaps), rows.values[-1]) == (1, 27.0)
    many = decoder(*(f"Metric_{number}" for number in range(1, 101)))
    rows = Rows()
    many.decode("spBv1.0/G/NBIRTH/N", bodies["NBIRTH_LARGE"], NOW, rows)
    assert rows.values == [1.5 * number for number in range(1, 101)]


@needs_vectors
def test_the_sequence_of_a_real_capture() -> None:
    """Node and device data share one sequence: nothing is reported but the messages that the capture misses."""
    rows = pl.read_parquet(VECTORS / "pcap_patterns.parquet").filter(pl.col("edge_node_id") == "702")
    numbers = rows["seq"].drop_nulls().to_list()
    host = SparkplugDecoder([SparkplugAddress("G", "702", None, "m")], [1])
    jumps = sum((later - earlier) % 256 not in (0, 1) for earlier, later in pairwise(numbers))
    found = Rows()
    for number in numbers:
        host.decode("spBv1.0/G/NDATA/702", payload(seq=number), NOW, found)
    assert 0 < len(found.gaps) == jumps


def test_a_node_that_jumps_with_every_message_makes_no_flood_of_gaps() -> None:
    host = SparkplugDecoder([SparkplugAddress("G", "N", None, f"m{n}") for n in range(10)], list(range(10)))
    host.decode("spBv1.0/G/NBIRTH/N", payload(bdseq(1), seq=0), NOW, Rows())
    rows = Rows()
    for number in range(1, 101):
        host.decode("spBv1.0/G/NDATA/N", payload(double(1.0, name="m0"), seq=2 * number % 256), NOW + number, rows)
    assert len(rows.gaps) == 32 * 10, "the last gap of each tag holds all further jumps"
    assert (min(gap.start_us for gap in rows.gaps), max(gap.end_us for gap in rows.gaps)) == (NOW, NOW + 100)
