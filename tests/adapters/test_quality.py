from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellos.quality import (
    MODBUS_NO_REPLY,
    Quality,
    from_modbus,
    from_opcua,
    from_sparkplug,
    opcua_overflow,
)

GOOD, UNCERTAIN, BAD = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (0x00000000, GOOD),
        (0x000000C0, GOOD),
        (500, GOOD),
        (0x00300000, UNCERTAIN),
        (0x00960000, UNCERTAIN),
        (0x00A50000, BAD),
        (0x00EB0000, UNCERTAIN),
        (0x00DC0000, GOOD),
        (0x40000000, UNCERTAIN),
        (0x408F0000, BAD),
        (0x40900000, UNCERTAIN),
        (0x40910000, UNCERTAIN),
        (0x40920000, BAD),
        (0x40930000, UNCERTAIN),
        (0x40940000, UNCERTAIN),
        (0x42090000, BAD),
        (0x420A0000, UNCERTAIN),
        (0x80000000, BAD),
        (0x808C0000, BAD),
        (0x80AE0000, BAD),
        (0xC0000000, BAD),
        (0xFFFFFFFF, BAD),
        (0x408F0480, BAD),
        (0x00000480, GOOD),
    ],
)
def test_opcua_status_codes(code: int, quality: Quality) -> None:
    assert from_opcua([code]).tolist() == [quality]


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_opcua_low_bits_never_change_the_quality(codes: list[int]) -> None:
    column = np.array(codes, dtype=np.uint32)
    assert from_opcua(column).tolist() == from_opcua(column & np.uint32(0xFFFF0000)).tolist()
    bad = column >= np.uint32(0x80000000)
    assert not from_opcua(column)[bad].any()


def test_opcua_overflow_needs_the_info_type_and_the_bit() -> None:
    assert opcua_overflow([0x480, 0x80, 0x400, 0, 0x80000480]).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(("code", "quality"), [(0, BAD), (192, GOOD), (500, BAD), (64, UNCERTAIN), (7, UNCERTAIN)])
def test_sparkplug_quality_property(code: int, quality: Quality) -> None:
    assert from_sparkplug([code]).tolist() == [quality]


def test_modbus_is_good_only_without_an_exception() -> None:
    assert from_modbus([0, 1, 2, 3, 4, 5, 6, 8, 10, 11, MODBUS_NO_REPLY]).tolist() == [GOOD] + [BAD] * 10
