"""A process that appends to a journal and stores from it, with nothing beside: run as a child, on a disk that fails.

`python -m tests.appender FOLDER FRAMES STOP` prints `up PID`, `ack SEQ` when a frame is durable and `stored SEQ` before
the journal is told so. It stops (SIGSTOP) after `ack STOP`, or with STOP `roll` after the first ack in a new segment;
`-` never. Frame SEQ holds `frame_of(SEQ)`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np

from streaming.spool import Entry, Journal
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.spool_format import list_segments

ROWS = 150


def frame_of(seq: int) -> Readings:
    """Return the readings of one frame."""
    ids = np.arange(seq * ROWS, (seq + 1) * ROWS)
    return pack(ids, ids * 0.5, 1 + ids % 5, Quality.GOOD)


def opened(folder: Path) -> Journal:
    """Return the journal with small segments."""
    return Journal(folder, quota_bytes=1 << 24, segment_bytes=1 << 14, now_us=lambda: 1_763_000_000_000_000)


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main(folder: Path, frames: int, stop: str) -> None:
    """Append, sync, and store every tenth time."""
    _say(f"up {os.getpid()}")
    journal = opened(folder)
    first = journal.synced_seq + 1
    for seq in range(first, first + frames):
        assert journal.append(Entry(1, 0, frame_of(seq))) == seq
        journal.sync()
        _say(f"ack {seq}")
        if stop == str(seq) or (stop == "roll" and len(list_segments(folder)) > 1):
            os.kill(os.getpid(), signal.SIGSTOP)
        if stop == "-" and seq % 10 == 0:
            items = journal.read(8 * ROWS)
            for item in items:
                _say(f"stored {item.header.seq}")  # type: ignore[union-attr]
            journal.advance(items)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
