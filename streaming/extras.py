"""What a spool frame carries beside readings, written and read back as JSON.

`rejected` [[reason, detail, source, base64]], `gaps` [[start_us, end_us, reason, tag_id]], `filled` [[start_us, end_us,
tag_id]], `episodes` [[check, severity, start_us, tag_id, end_us, evidence]]. A key that is not there is empty.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from streaming.delivery import Episode, Filled, Gap, Rejected

__all__ = ["Extras", "decode_extras", "encode_extras"]


@dataclass(frozen=True, slots=True)
class Extras:
    """Everything in a frame that is no reading."""

    rejected: tuple[Rejected, ...] = ()
    gaps: tuple[Gap, ...] = ()
    filled: tuple[Filled, ...] = ()
    episodes: tuple[Episode, ...] = ()


def encode_extras(extras: Extras) -> bytes:
    """Return the extras of a frame as bytes; nothing for a frame that has none."""
    if not (extras.rejected or extras.gaps or extras.filled or extras.episodes):
        return b""
    content = {
        "rejected": [(i.reason, i.detail, i.source, base64.b64encode(i.original).decode()) for i in extras.rejected],
        "gaps": [(gap.start_us, gap.end_us, gap.reason, gap.tag_id) for gap in extras.gaps],
        "filled": [(item.start_us, item.end_us, item.tag_id) for item in extras.filled],
        "episodes": [(i.check, i.severity, i.start_us, i.tag_id, i.end_us, dict(i.evidence)) for i in extras.episodes],
    }
    return json.dumps({key: items for key, items in content.items() if items}, separators=(",", ":")).encode()


def decode_extras(raw: bytes) -> Extras:
    """Return the extras of a frame."""
    if not raw:
        return Extras()
    content = json.loads(raw)
    return Extras(
        tuple(
            Rejected(reason, detail, source, base64.b64decode(original))
            for reason, detail, source, original in content.get("rejected", ())
        ),
        tuple(Gap(*item) for item in content.get("gaps", ())),
        tuple(Filled(*item) for item in content.get("filled", ())),
        tuple(Episode(*item) for item in content.get("episodes", ())),
    )
