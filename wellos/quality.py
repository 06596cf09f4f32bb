"""Quality of a reading: three values, whatever the protocol said. The protocol's own code is kept beside it.

The same number means opposite things in different protocols (0 is good in OPC UA and bad in Sparkplug B), so there is
one map a protocol, applied where the reading comes in. All maps take and return whole columns.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MODBUS_NOT_A_NUMBER",
    "MODBUS_NO_REPLY",
    "SPARKPLUG_BAD",
    "SPARKPLUG_GOOD",
    "SPARKPLUG_STALE",
    "SPARKPLUG_UNCERTAIN",
    "Quality",
    "from_modbus",
    "from_opcua",
    "from_sparkplug",
    "opcua_overflow",
]


class Quality(IntEnum):
    """What the source and the value checks say of a reading; the number is what is stored."""

    BAD = 0
    UNCERTAIN = 1
    GOOD = 2


SPARKPLUG_BAD, SPARKPLUG_UNCERTAIN, SPARKPLUG_GOOD, SPARKPLUG_STALE = 0, 64, 192, 500
"""Status codes of everything that comes over MQTT. 64 is not Sparkplug's: plain payloads may say UNCERTAIN."""

MODBUS_NO_REPLY = 0x100
"""Status of a Modbus reading whose request was not answered in time; exception codes are below 256, 0 is success."""

MODBUS_NOT_A_NUMBER = 0x101
"""Status of a Modbus string that was read and is no number."""

_OPCUA_CODE = np.uint32(0xFFFF0000)
_OPCUA_SEVERITY = np.array([Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD], dtype=np.uint8)
# Codes whose severity does not say what the value is worth.
_OPCUA_EXCEPTIONS = (
    (0x0030_0000, Quality.UNCERTAIN),  # GoodClamped
    (0x0096_0000, Quality.UNCERTAIN),  # GoodLocalOverride: forced by hand
    (0x00A5_0000, Quality.BAD),  # GoodNoData: there is no value
    (0x00EB_0000, Quality.UNCERTAIN),  # GoodSubNormal
    (0x408F_0000, Quality.BAD),  # UncertainNoCommunicationLastUsableValue: stale
    (0x4092_0000, Quality.BAD),  # UncertainInitialValue: a default, never measured
    (0x4209_0000, Quality.BAD),  # UncertainSimulatedValue
)
_DATA_VALUE_OVERFLOW = np.uint32(0x0480)  # InfoType DataValue and its Overflow bit


def from_opcua(status: ArrayLike) -> NDArray[np.uint8]:
    """Quality of OPC UA status codes (uint32): by severity, then by the codes whose severity misleads."""
    codes = np.asarray(status, dtype=np.uint32)
    quality: NDArray[np.uint8] = _OPCUA_SEVERITY[codes >> np.uint32(30)]
    unusual = codes & _OPCUA_CODE
    if unusual.any():
        for code, meant in _OPCUA_EXCEPTIONS:
            quality[unusual == code] = meant
    return quality


def opcua_overflow(status: ArrayLike) -> NDArray[np.bool_]:
    """Where the server says that its queue overflowed: readings just before these were lost."""
    overflow: NDArray[np.bool_] = (np.asarray(status, dtype=np.uint32) & _DATA_VALUE_OVERFLOW) == _DATA_VALUE_OVERFLOW
    return overflow


def from_sparkplug(status: ArrayLike) -> NDArray[np.uint8]:
    """Quality of Sparkplug B's quality property: 192 GOOD, 0 and 500 (stale) BAD; any other code is UNCERTAIN."""
    codes = np.asarray(status, dtype=np.uint32)
    quality = np.full(codes.shape, Quality.UNCERTAIN, dtype=np.uint8)
    quality[codes == SPARKPLUG_GOOD] = Quality.GOOD
    quality[(codes == SPARKPLUG_BAD) | (codes == SPARKPLUG_STALE)] = Quality.BAD
    return quality


def from_modbus(status: ArrayLike) -> NDArray[np.uint8]:
    """Quality of Modbus outcomes: 0 (a normal reply) GOOD, every exception code and no reply BAD."""
    return np.where(np.asarray(status, dtype=np.uint32) == 0, Quality.GOOD, Quality.BAD).astype(np.uint8)
