"""Quality of a reading: three values, whatever the protocol said. The protocol's own code is kept beside it."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Quality"]


class Quality(IntEnum):
    """What the source and the value checks say of a reading; the number is what is stored."""

    BAD = 0
    UNCERTAIN = 1
    GOOD = 2
