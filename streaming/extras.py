"""What a spool frame carries beside readings: originals that were rejected, and gaps; written and read back as JSON."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from streaming.delivery import Gap, Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["decode_extras", "encode_extras"]


def encode_extras(rejected: Sequence[Rejected], gaps: Sequence[Gap]) -> bytes:
    """Return the extras of a frame; nothing for a frame that has none."""
    if not rejected and not gaps:
        return b""
    originals = [(i.reason, i.detail, i.source, base64.b64encode(i.original).decode()) for i in rejected]
    spans = [(gap.start_us, gap.end_us, gap.reason, gap.tag_id) for gap in gaps]
    return json.dumps({"rejected": originals, "gaps": spans}, separators=(",", ":")).encode()


def decode_extras(extras: bytes) -> tuple[tuple[Rejected, ...], tuple[Gap, ...]]:
    """Return the rejected originals and the gaps of a frame."""
    if not extras:
        return (), ()
    content = json.loads(extras)
    rejected = tuple(
        Rejected(reason, detail, source, base64.b64decode(original))
        for reason, detail, source, original in content["rejected"]
    )
    gaps = tuple(Gap(start, end, reason, tag_id) for start, end, reason, tag_id in content["gaps"])
    return rejected, gaps
