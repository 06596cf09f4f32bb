from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from asyncua.ua.uaerrors import UaError
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.opcua_changes import DataChanges
from streaming.adapters.opcua_decode import Decoded, decode, missing_sequence
from streaming.adapters.opcua_session import UNDECODABLE
from streaming.adapters.tags import TagColumns
from streaming.delivery import Gap
from tests.fix_adapters import make_tag
from wellos.quality import Quality
from wellos.readings import Flag

TAGS = TagColumns([make_tag(11, "ns=2;s=a"), make_tag(12, "ns=2;s=b", scale=2.0, offset=1.0)])
NAMES = ["ns=2;s=a", "ns=2;s=b"]
AT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
AT_US = 1793534400123456
RECEIVED_US = AT_US + 5_000_000


def item(
    handle: int,
    raw: Any,  # noqa: ANN401 - whatever a server may send
    *,
    status: int = 0,
    source: datetime | None = AT,
    server: datetime | None = None,
) -> ua.MonitoredItemNotification:
    value = ua.DataValue(ua.Variant(raw), ua.StatusCode(ua.UInt32(status)))
    times: Any = {"SourceTimestamp": source, "ServerTimestamp": server}
    value = replace(value, **times)
    return ua.MonitoredItemNotification(ua.IntegerId(handle), value)


def decoded(*items: ua.MonitoredItemNotification, last: np.ndarray | None = None) -> Decoded:
    return decode([DataChanges.of(items)], TAGS, NAMES, RECEIVED_US, np.zeros(2, np.int64) if last is None else last)


def test_value_time_and_status_are_kept() -> None:
    found = decoded(item(0, 12.5), item(1, 3, status=0x40940000))
    assert found.readings["tag_id"].tolist() == [11, 12]
    assert found.readings["value"].tolist() == [12.5, 7.0]
    assert found.readings["time"].tolist() == [AT_US, AT_US]
    assert found.readings["status"].tolist() == [0, 0x40940000]
    assert found.readings["quality"].tolist() == [Quality.GOOD, Quality.UNCERTAIN]
    assert found.readings["flags"].tolist() == [0, 0]


@pytest.mark.parametrize(("raw", "value"), [(True, 1.0), (False, 0.0), (7, 7.0), (-2.5, -2.5), (2**53, 2.0**53)])
def test_numbers_and_booleans_are_values(raw: float, value: float) -> None:
    assert decoded(item(0, raw)).readings["value"].tolist() == [value]


def test_no_value_is_bad_and_nan() -> None:
    found = decoded(item(0, None, status=0x80310000), item(0, None))
    assert np.isnan(found.readings["value"]).all()
    assert found.readings["quality"].tolist() == [Quality.BAD, Quality.BAD]


@pytest.mark.parametrize("raw", ["running", b"\x00\xff", [1.0, 2.0], datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_is_not_a_number_is_rejected_whole(raw: Any) -> None:  # noqa: ANN401 - whatever a server may send
    found = decoded(item(0, raw), item(1, 1.0))
    assert found.readings["tag_id"].tolist() == [12]
    (rejected,) = found.rejected
    assert (rejected.reason, rejected.source) == ("malformed", "ns=2;s=a")
    assert rejected.original == (
        raw if isinstance(raw, bytes) else str(raw).encode() if isinstance(raw, str) else repr(raw).encode()
    )


def test_time_falls_back_to_the_server_then_to_receipt_and_says_so() -> None:
    never = datetime(1601, 1, 1, tzinfo=UTC)
    found = decoded(item(0, 1.0, source=None, server=AT), item(0, 1.0, source=never), item(0, 1.0, source=None))
    assert found.readings["time"].tolist() == [AT_US, RECEIVED_US, RECEIVED_US]
    assert found.readings["flags"].tolist() == [Flag.ASSUMED_TIME] * 3


def test_unknown_handle_is_rejected() -> None:
    assert [found.reason for found in decoded(item(9, 1.0)).rejected] == ["unknown_tag"]


def test_overflow_is_a_gap_since_the_reading_before() -> None:
    last = np.array([AT_US - 9_000_000, 0])
    later = AT.replace(second=4)
    found = decoded(item(0, 1.0, status=0x480), item(0, 2.0, source=later, status=0x480), item(1, 1.0), last=last)
    assert found.gaps == (
        Gap(AT_US - 9_000_000, AT_US, "queue_overflow", 11),
        Gap(AT_US, AT_US + 4_000_000, "queue_overflow", 11),
    )
    assert last.tolist() == [AT_US + 4_000_000, AT_US]


def test_no_items_make_an_empty_batch() -> None:
    assert len(decoded().readings) == 0


@pytest.mark.parametrize(
    ("last", "current", "missing"),
    [
        (None, 5, []),
        (1, 2, []),
        (1, 4, [2, 3]),
        (2**32 - 1, 1, []),
        (2**32 - 2, 2, [2**32 - 1, 1]),
        (5, 1, None),
        (5, 5, []),
    ],
)
def test_sequence_numbers(last: int | None, current: int, missing: list[int] | None) -> None:
    assert missing_sequence(last, current) == missing


@given(st.integers(1, 2**32 - 1), st.integers(1, 100))
def test_every_number_between_is_missing(last: int, ahead: int) -> None:
    numbers = [last]
    for _ in range(ahead):
        numbers.append(1 if numbers[-1] == 2**32 - 1 else numbers[-1] + 1)
    assert missing_sequence(last, numbers[-1]) == numbers[1:-1]


_raw = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.floats(), min_size=1, max_size=4),
    st.datetimes(timezones=st.just(UTC)),
)
_moment = st.none() | st.datetimes(timezones=st.just(UTC))


@given(
    st.lists(st.tuples(st.integers(0, 3), _raw, st.integers(0, 2**32 - 1), _moment, _moment, st.booleans()), max_size=8)
)
def test_whatever_a_server_sends_is_a_reading_or_rejected(sent: list[tuple[Any, ...]]) -> None:
    items = [item(handle, raw, status=status, source=one, server=two) for handle, raw, status, one, two, _ in sent]
    for made, (*_, empty) in zip(items, sent, strict=True):
        if empty:
            made.Value = None
    found = decoded(*items)
    assert len(found.readings) + len(found.rejected) == len(items)
    assert (found.readings["quality"][np.isnan(found.readings["value"])] == Quality.BAD).all()


@given(st.binary(max_size=200))
def test_whatever_bytes_a_server_sends_are_a_value_or_an_error_of_the_library(sent: bytes) -> None:
    """What the library raises for them is what the session turns into its one error."""
    try:
        value = variant_from_binary(Buffer(sent))
    except (UaError, *UNDECODABLE):
        return
    items = [ua.MonitoredItemNotification(ua.IntegerId(0), ua.DataValue(value))]
    found = decode([DataChanges.of(items)], TAGS, NAMES, RECEIVED_US, np.zeros(2, np.int64))
    assert len(found.readings) + len(found.rejected) == 1
