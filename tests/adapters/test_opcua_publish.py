from __future__ import annotations

import asyncio
import struct
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from asyncua.ua.uaerrors import UaError, UaStructParsingError
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.adapters.opcua_changes import DataChanges
from streaming.adapters.opcua_decode import Decoded, decode
from streaming.adapters.opcua_publish import data_changes, publish_columns, publish_response
from streaming.adapters.opcua_session import NAMESPACES, UNDECODABLE, Wanted, create_subscription, monitor
from streaming.adapters.tags import TagColumns
from tests.adapters.test_opcua_adapter import OPEN, field
from tests.fix_adapters import make_tag
from wellos.opcua_client import close_session, open_session
from wellos.protocols.opcua import OpcUaConfig
from wellos.readings import Flag

COUNT = 4
TAGS = TagColumns([make_tag(number + 1, f"ns=2;i={number}") for number in range(COUNT)])
NAMES = [f"ns=2;i={number}" for number in range(COUNT)]
RECEIVED_US = 1793534400123456
TICKS = 134_380_080_001_234_567
"""Of a moment in November 2026."""
ENDS = [0, 1, 9, 10, 11, -1, -(2**63), 2**63 - 1]
TRUE = ua.Variant(Value=True)
YEAR_9999 = 2_650_152_384_000_000_000
WIDTHS = {
    "b": "SByte",
    "B": "Byte",
    "h": "Int16",
    "H": "UInt16",
    "i": "Int32",
    "I": "UInt32",
    "q": "Int64",
    "Q": "UInt64",
}


def numbers() -> st.SearchStrategy[ua.Variant]:
    kinds: list[st.SearchStrategy[ua.Variant]] = []
    for code, name in WIDTHS.items():
        bits, kind = 8 * struct.calcsize(code), ua.VariantType[name]
        least, most = (0, 2**bits - 1) if code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        whole = st.integers(least, most) | st.sampled_from([least, most])
        kinds.append(st.builds(ua.Variant, whole, st.just(kind)))
    kinds.append(st.booleans().map(lambda flag: ua.Variant(flag, ua.VariantType.Boolean)))
    kinds.append(st.floats(width=32).map(lambda number: ua.Variant(number, ua.VariantType.Float)))
    kinds.append(st.floats().map(lambda number: ua.Variant(number, ua.VariantType.Double)))
    return st.one_of(kinds)


OTHER = st.one_of(
    st.just(ua.Variant()),
    st.text(max_size=9).map(ua.Variant),
    st.just(ua.Variant(None, ua.VariantType.String)),
    st.binary(max_size=9).map(ua.Variant),
    st.lists(st.floats(), min_size=1, max_size=4).map(ua.Variant),
    st.just(ua.Variant([[1, 2], [3, 4]], ua.VariantType.Int32)),
    st.just(ua.Variant(ua.StatusCode(ua.UInt32(0x80000000)), ua.VariantType.StatusCode)),
    st.just(ua.Variant(ua.Range(0.0, 1.0), ua.VariantType.ExtensionObject)),
    st.just(ua.Variant(ua.LocalizedText("on"), ua.VariantType.LocalizedText)),
)
TIME = st.none() | st.integers(0, 2**62) | st.sampled_from([*ENDS, YEAR_9999 - 1, YEAR_9999, TICKS])
STATUS = st.none() | st.integers(0, 2**32 - 1) | st.sampled_from([0, 0x480, 0x40940000, 0x80310000])
HANDLE = st.integers(0, COUNT + 1) | st.sampled_from([2**31, 2**32 - 1])


def encoded(
    handle: int,
    variant: ua.Variant | None,
    status: int | None = None,
    source: int | None = None,
    server: int | None = None,
    picoseconds: tuple[int | None, int | None] = (None, None),
) -> bytes:
    """Encode one item; times are ticks, which the library would not take as they are."""
    fields = (
        (0x01, None if variant is None else struct_to_binary(ua.DataValue(variant, None))[1:]),
        (0x02, None if status is None else struct.pack("<I", status)),
        (0x04, None if source is None else struct.pack("<q", source)),
        (0x10, None if picoseconds[0] is None else struct.pack("<H", picoseconds[0])),
        (0x08, None if server is None else struct.pack("<q", server)),
        (0x20, None if picoseconds[1] is None else struct.pack("<H", picoseconds[1])),
    )
    mask = sum(bit for bit, content in fields if content is not None)
    return struct.pack("<IB", handle, mask) + b"".join(content for _, content in fields if content is not None)


# The library reads the server's time and the source's picoseconds in the wrong order, so not both at once.
PICOSECONDS = st.tuples(st.none(), st.none() | st.integers(0, 9999))
ITEMS = st.lists(
    st.tuples(
        st.builds(encoded, HANDLE, numbers() | OTHER | st.none(), STATUS, TIME, TIME, PICOSECONDS), st.integers(1, 9)
    ),
    max_size=12,
).map(lambda runs: [item for item, count in runs for _ in range(count)])


def body_of(items: list[bytes]) -> bytes:
    return struct.pack("<i", len(items)) + b"".join(items) + struct.pack("<i", 0)


def response_of(*bodies: bytes) -> bytes:
    """Encode a publish response with data change notifications of these bodies."""
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 7
    response.Parameters.AvailableSequenceNumbers = [3, 4]
    response.Parameters.Results = [ua.StatusCode()]
    response.Parameters.NotificationMessage.SequenceNumber = 4
    kind = ua.FourByteNodeId(ua.Int32(ObjectIds.DataChangeNotification_Encoding_DefaultBinary))
    response.Parameters.NotificationMessage.NotificationData = [
        ua.ExtensionObject(kind, ua.ByteString(body)) for body in bodies
    ]
    return struct_to_binary(response)


def by_the_library(body: bytes) -> DataChanges:
    return DataChanges.of(struct_from_binary(ua.DataChangeNotification, Buffer(body)).MonitoredItems)


def outcome(changes: DataChanges, last_us: np.ndarray | None = None) -> Decoded:
    return decode([changes], TAGS, NAMES, RECEIVED_US, np.zeros(COUNT, np.int64) if last_us is None else last_us)


def assert_same(one: Decoded, other: Decoded) -> None:
    assert one.readings.tobytes() == other.readings.tobytes()
    assert (one.rejected, one.gaps) == (other.rejected, other.gaps)


@given(ITEMS)
def test_same_readings_bit_for_bit_as_by_the_library(items: list[bytes]) -> None:
    body = body_of(items)
    mine, last_us, their_last_us = data_changes(body), np.zeros(COUNT, np.int64), np.zeros(COUNT, np.int64)
    assert len(mine) == len(items)
    assert_same(outcome(mine, last_us), outcome(by_the_library(body), their_last_us))
    assert last_us.tolist() == their_last_us.tolist()


@given(
    ITEMS, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 9)
)
@example([], [(0, 255), (3, 127)], 0)
def test_mutated_bytes_are_what_the_library_makes_of_them_or_its_error(
    items: list[bytes], changed: list[tuple[int, int]], cut: int
) -> None:
    mutated = bytearray(body_of(items))
    for place, octet in changed:
        mutated[place % len(mutated)] = octet
    body = bytes(mutated[: len(mutated) - cut])
    try:
        theirs = by_the_library(body)
    except (UaError, *UNDECODABLE):
        with pytest.raises((UaError, *UNDECODABLE)):
            data_changes(body)
        with pytest.raises(UaStructParsingError):
            publish_response(Buffer(response_of(body)))
        return
    if not any(
        item.Value.ServerTimestamp and item.Value.SourcePicoseconds is not None for item in theirs.others.values()
    ):
        assert_same(outcome(data_changes(body)), outcome(theirs))


def lengths(response: ua.PublishResponse) -> list[Any]:
    """Return how many items each notification has; what has none as it is."""
    found: list[Any] = []
    for one in response.Parameters.NotificationMessage.NotificationData:
        items = one.MonitoredItems if isinstance(one, ua.DataChangeNotification) else one
        found.append(len(items) if isinstance(items, (list, DataChanges)) else items)
    return found


@given(st.lists(ITEMS, max_size=3), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2))
def test_responses_are_read_like_the_library_reads_them(
    messages: list[list[bytes]], changed: list[tuple[int, int]]
) -> None:
    whole = bytearray(response_of(*map(body_of, messages)))
    for place, octet in changed:
        whole[place % len(whole)] = octet
    try:
        theirs = struct_from_binary(ua.PublishResponse, Buffer(bytes(whole)))
    except (UaError, *UNDECODABLE):
        with pytest.raises(UaStructParsingError):
            publish_response(Buffer(bytes(whole)))
        return
    mine = publish_response(Buffer(bytes(whole)))
    assert lengths(mine) == lengths(theirs)
    mine.Parameters.NotificationMessage.NotificationData = theirs.Parameters.NotificationMessage.NotificationData = []
    assert repr(mine) == repr(theirs)


def test_numbers_of_one_form_are_never_objects() -> None:
    items = [encoded(row % COUNT, ua.Variant(float(row)), 0, TICKS + row, TICKS) for row in range(1000)]
    found = data_changes(body_of(items))
    assert not found.others
    assert outcome(found).readings["value"].tolist() == [float(row) for row in range(1000)]


def test_mixed_forms_are_gathered_and_the_rest_stands_between_them() -> None:
    items = [
        encoded(0, ua.Variant(1.5), None, TICKS),
        encoded(1, ua.Variant("running"), None, TICKS),
        encoded(2, ua.Variant(7, ua.VariantType.UInt16), 0x40940000, None, TICKS),
        encoded(3, TRUE),
        encoded(0, None, 0x80310000, TICKS),
    ]
    changes = data_changes(body_of(items))
    assert list(changes.others) == [1]
    found = outcome(changes)
    assert found.readings["tag_id"].tolist() == [1, 3, 4, 1]
    assert found.readings["status"].tolist() == [0, 0x40940000, 0, 0x80310000]
    assert found.readings["flags"].tolist() == [0, Flag.ASSUMED_TIME, Flag.ASSUMED_TIME, 0]
    assert np.array_equal(found.readings["value"], [1.5, 7.0, 1.0, np.nan], equal_nan=True)
    assert [one.original for one in found.rejected] == [b"running"]


def test_picoseconds_of_the_source_stand_before_the_time_of_the_server() -> None:
    (time,) = outcome(data_changes(body_of([encoded(0, ua.Variant(1.5), 0, 0, TICKS, (9999, 1))]))).readings["time"]
    assert time == TICKS // 10 - 11_644_473_600_000_000


def test_a_boolean_is_any_byte_but_zero() -> None:
    item = bytearray(encoded(0, TRUE))
    item[-1] = 7
    assert outcome(data_changes(body_of([bytes(item)]))).readings["value"].tolist() == [1.0]


@pytest.mark.parametrize("count", [2, 1000, 2**31 - 1])
def test_more_items_than_bytes_are_refused_before_room_is_made(count: int) -> None:
    body = bytearray(body_of([encoded(0, ua.Variant(1.5))]))
    body[:4] = struct.pack("<i", count)
    with pytest.raises(UaStructParsingError):
        publish_response(Buffer(response_of(bytes(body))))


def test_rows_of_a_handle_are_left_out() -> None:
    items = [
        encoded(handle, variant) for handle in (0, NAMESPACES, 1) for variant in (ua.Variant(2.5), ua.Variant("x"))
    ]
    whole = data_changes(body_of(items))
    left = whole.without(NAMESPACES)
    assert (len(left), list(left.others)) == (4, [1, 3])
    assert outcome(left).readings["tag_id"].tolist() == [1, 2]
    assert left.without(NAMESPACES) is left


def test_other_notifications_are_the_library_s() -> None:
    response = ua.PublishResponse()
    ended = ua.StatusChangeNotification(Status=ua.StatusCode(ua.UInt32(StatusCodes.BadTimeout)))
    response.Parameters.NotificationMessage.NotificationData = [ended]
    found = publish_response(Buffer(struct_to_binary(response)))
    assert found.Parameters.NotificationMessage.NotificationData == [ended]


async def test_the_library_hands_out_columns() -> None:
    """Readings would arrive without, but slowly: its publish loop has to take our decoder for its own."""
    async with field(["a", "text"]) as server:
        client = await open_session(OpcUaConfig.parse(OPEN | {"url": f"opc.tcp://127.0.0.1:{server.port}/"}))
        try:
            publish_columns(client.uaclient.session)
            results: asyncio.Queue[ua.PublishResult] = asyncio.Queue()
            number = await create_subscription(client, client.config, results.put)
            wanted = [Wanted(at, server.nodes[name].nodeid) for at, name in enumerate(("a", "text"))]
            await monitor(client, number, wanted)
            async with asyncio.timeout(90):
                (changes,) = (await results.get()).NotificationMessage.NotificationData
        finally:
            await close_session(client)
    assert isinstance(changes, DataChanges)
    assert (changes.handle.tolist(), list(changes.others)) == ([0, 1], [1])
