"""The tags of one connection as columns, so that a batch is scaled and labelled by one fancy index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wellos.quality import Quality
from wellos.readings import Readings, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from wellos.registry import Tag

__all__ = ["TagColumns"]


class TagColumns:
    """Number, scale and offset of every tag, by its position in the connection."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        """Keep the columns; positions are those of `tags`."""
        self.tag_id = np.array([tag.tag_id for tag in tags], dtype=np.int32)
        self.scale = np.array([tag.scale for tag in tags], dtype=np.float64)
        self.offset = np.array([tag.offset for tag in tags], dtype=np.float64)

    def readings(
        self,
        positions: ArrayLike,
        time: ArrayLike,
        raw: ArrayLike,
        quality: ArrayLike,
        status: ArrayLike = 0,
        flags: ArrayLike = 0,
    ) -> Readings:
        """Pack raw values of the tags at `positions` in engineering units; where there is no value, quality is BAD."""
        index: NDArray[np.intp] = np.asarray(positions, dtype=np.intp)
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.asarray(raw, dtype=np.float64) * self.scale[index] + self.offset[index]
        readings = pack(time, value, self.tag_id[index], quality, status, flags)
        readings["quality"][np.isnan(readings["value"])] = Quality.BAD
        return readings
