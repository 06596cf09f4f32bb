"""Decodes publish responses: runs of numbers as columns, all else by the client library, which takes item after item.

Layout: OPC 10000-6, 5.2.2.17 (DataValue). A DataValue whose mask and variant's type are those of the one before has its
size too, if its value is a number: such a run is one array.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import (
    Primitives,
    extensionobject_from_binary,
    from_binary,
    nodeid_from_binary,
    struct_from_binary,
)
from asyncua.ua.uaerrors import UaError, UaStructParsingError

from streaming.adapters.opcua_changes import DataChanges
from streaming.adapters.opcua_session import UNDECODABLE

if TYPE_CHECKING:
    from asyncua.client.ua_session import UaSession
    from numpy.typing import NDArray

__all__ = ["data_changes", "publish_columns", "publish_response"]

_VALUE = 0x01
_MASK = 0x3F
# What follows a value, in the order of the encoding, which is not that of the mask's bits.
_PARTS = (
    (0x02, "status", "<u4"),
    (0x04, "source", "<i8"),
    (0x10, "source_picoseconds", "<u2"),
    (0x08, "server", "<i8"),
    (0x20, "server_picoseconds", "<u2"),
)
# By the type's number: a Boolean is any byte but 0.
_NUMBERS = {1: "u1", 2: "i1", 3: "u1", 4: "<i2", 5: "<u2", 6: "<i4", 7: "<u4", 8: "<i8", 9: "<u8", 10: "<f4", 11: "<f8"}
_BOOLEAN = 1
_NULL = 0
_MASK_AT, _ENCODING_AT = 4, 5
_SMALLEST_ITEM = 5
_COUNT_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """Layout of an item, whose value may be a Boolean's byte."""

    layout: np.dtype[np.void]
    size: int
    boolean: bool


def publish_columns(session: UaSession) -> None:
    """Have the publish loop of a session decode with `publish_response`."""

    async def publish(acks: list[ua.SubscriptionAcknowledgement]) -> ua.PublishResponse:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acks
        answer = await session._send_request(request, timeout=0)  # noqa: SLF001 - as the library's own does
        return publish_response(answer)

    session.publish = publish  # type: ignore[method-assign]


def publish_response(data: Buffer) -> ua.PublishResponse:
    """Decode a publish response as the library does, but data change notifications as `DataChanges`.

    UaStructParsingError: cannot be decoded.
    """
    try:
        response = ua.PublishResponse(nodeid_from_binary(data), struct_from_binary(ua.ResponseHeader, data))
        result, message = response.Parameters, response.Parameters.NotificationMessage
        result.SubscriptionId = Primitives.UInt32.unpack(data)
        result.AvailableSequenceNumbers = from_binary("list[ua.Counter]", data)
        result.MoreNotifications = Primitives.Boolean.unpack(data)
        message.SequenceNumber = Primitives.UInt32.unpack(data)
        message.PublishTime = Primitives.DateTime.unpack(data)
        count = Primitives.Int32.unpack(data)
        message.NotificationData = [_notification(data) for _ in range(count)]
        result.Results = from_binary("list[ua.StatusCode]", data)
        result.DiagnosticInfos = from_binary("list[ua.DiagnosticInfo]", data)
    except (UaError, *UNDECODABLE) as error:
        raise UaStructParsingError from error
    return response


def _notification(data: Buffer) -> Any:  # noqa: ANN401 - whatever the library makes of it
    ahead = data.copy()
    kind, with_body = nodeid_from_binary(ahead), ahead.read(1)[0] & 1
    if with_body and ua.extension_objects_by_typeid.get(kind) is ua.DataChangeNotification:
        length = Primitives.Int32.unpack(ahead)
        if length > 0:
            body = ahead.read(length)
            data.skip(len(data) - len(ahead))
            return data_changes(body)
    return extensionobject_from_binary(data)


def data_changes(body: bytes) -> DataChanges:
    """Decode the body of a data change notification; UaError or one of UNDECODABLE when it is malformed."""
    count = max(0, Primitives.Int32.unpack(Buffer(body)))
    if count > (len(body) - _COUNT_BYTES) // _SMALLEST_ITEM:
        raise NotEnoughData(f"{count} items in {len(body)} bytes")
    runs: dict[_Form, list[tuple[int, int, int]]] = {}
    others: dict[int, Any] = {}
    octets = np.frombuffer(body, np.uint8)
    row, at, window = 0, _COUNT_BYTES, 1
    before: _Form | None = None
    while row < count:
        mask = body[at + _MASK_AT]
        form = _form(mask & _MASK, body[at + _ENCODING_AT] if mask & _VALUE else _NULL)
        if form is None:
            rest = Buffer(body, at)
            others[row] = struct_from_binary(ua.MonitoredItemNotification, rest)
            row, at = row + 1, rest.cur_pos
        else:
            window = 2 * window if form is before else 1
            run = _run(octets, at, form.size, min(window, count - row))
            runs.setdefault(form, []).append((row, at, run))
            row, at = row + run, at + run * form.size
        before = form
    from_binary("list[ua.DiagnosticInfo]", Buffer(body, at))
    return _columns(body, count, runs, others)


@cache
def _form(mask: int, encoding: int) -> _Form | None:
    """Return the layout of an item; None: the library's matter. `encoding` is NULL where the mask says no value."""
    fields = [("handle", "<u4"), ("mask", "u1")]
    if mask & _VALUE:
        fields.append(("encoding", "u1"))
        if encoding != _NULL:
            if encoding not in _NUMBERS:
                return None
            fields.append(("value", _NUMBERS[encoding]))
    fields += [(name, kind) for bit, name, kind in _PARTS if mask & bit]
    layout = np.dtype(fields)
    return _Form(layout, layout.itemsize, encoding == _BOOLEAN)


def _run(octets: NDArray[np.uint8], at: int, size: int, most: int) -> int:
    """Return how many items, the first of which begins at `at`, have its form; NotEnoughData when not even that one."""
    whole = min(most, (len(octets) - at) // size)
    if whole < 1:
        raise NotEnoughData(f"an item of {size} bytes at {at} of {len(octets)}")
    if whole == 1:
        return 1
    items = octets[at : at + whole * size].reshape(whole, size)
    same = items[:, _MASK_AT] == items[0, _MASK_AT]
    if items[0, _MASK_AT] & _VALUE:
        same &= items[:, _ENCODING_AT] == items[0, _ENCODING_AT]
    return whole if same.all() else int(same.argmin())


def _columns(
    body: bytes, count: int, runs: dict[_Form, list[tuple[int, int, int]]], others: dict[int, Any]
) -> DataChanges:
    """Gather runs (first row, where it begins, how many items), all those of one form at once."""
    made = replace(DataChanges.empty(count), others=others, body=body)
    for form, found in runs.items():
        first, begins, many = np.array(found, dtype=np.int64).T
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        rows, offset = np.repeat(first, many) + within, np.repeat(begins, many) + within * form.size
        # Every place of the body seen as if an item began there: the items are picked from these.
        items = np.ndarray((len(body) - form.size + 1,), form.layout, body, strides=(1,))[offset]
        made.offset[rows], made.handle[rows] = offset, items["handle"]
        names = form.layout.names or ()
        if "value" in names:
            with np.errstate(invalid="ignore"):  # A signalling NaN becomes a quiet one.
                made.value[rows] = items["value"] != 0 if form.boolean else items["value"]
        for name in ("status", "source", "server"):
            if name in names:
                getattr(made, name)[rows] = items[name]
    for row, item in others.items():
        made.handle[row] = item.ClientHandle
    return made
