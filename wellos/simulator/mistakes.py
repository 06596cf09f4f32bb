"""The mistakes of a person who writes a number down: a decimal slipped, digits swapped, another unit."""

from __future__ import annotations

from itertools import pairwise

__all__ = ["CUBIC_METRES_A_BARREL", "slipped_decimal", "swapped_digits"]

CUBIC_METRES_A_BARREL = 0.158987294928


def slipped_decimal(value: float, *, up: bool) -> float:
    """Return ten times a value, or a tenth of it, to two decimals."""
    return round(value * 10 if up else value / 10, 2)


def swapped_digits(value: float) -> float | None:
    """Return the value with its first two neighbouring digits that differ changed over; None if it has none such."""
    text = f"{value:g}"
    for at, (left, right) in enumerate(pairwise(text)):
        if left.isdigit() and right.isdigit() and left != right:
            return float(text[:at] + right + left + text[at + 2 :])
    return None
