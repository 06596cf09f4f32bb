"""What waits in a spool folder, and what of it ingest will not find: for the accounting identity, read-only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wellos.spool_format import Damage, Header, SegmentFile, read_cursor, walk

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Pending", "SpoolScan", "pending_of", "scan_spool"]


@dataclass(slots=True)
class SpoolScan:
    """A spool folder at one moment, in the order it was written."""

    cursor: int = 0
    pieces: list[tuple[SegmentFile, Header | Damage | None]] = field(default_factory=list)
    """Whole frames by their headers, and damage; None at the head of each segment."""


@dataclass(slots=True)
class Pending:
    """What the ledger does not have yet."""

    headers: list[Header] = field(default_factory=list)
    damaged: int = 0
    """Damaged places among it, a torn tail not counted."""
    problems: list[str] = field(default_factory=list)


def scan_spool(folder: Path | None) -> SpoolScan:
    """Read the folder; of no folder, or none yet, nothing."""
    if folder is None or not folder.is_dir():
        return SpoolScan()
    _, cursor = read_cursor(folder)
    pieces = [
        (segment, piece if piece is None or isinstance(piece, Damage) else piece.header)
        for segment, piece in walk(folder, cursor)
    ]
    return SpoolScan(cursor, pieces)


def pending_of(scanned: SpoolScan, last: int) -> Pending:
    """Return what lies behind the ledger's `last` sequence and the cursor, which must go on without a hole.

    Goes the way of `streaming.spool.reader`: a frame that was written again in a later segment is no hole, a torn tail
    is none either, and what a segment's name promises in front of it was given out.
    """
    found = Pending()
    expected = max(last, scanned.cursor) + 1
    place = 0  # the last sequence read
    damage: list[tuple[SegmentFile, Damage]] = []
    for segment, piece in scanned.pieces:
        if isinstance(piece, Damage):
            if not piece.torn:
                damage.append((segment, piece))
            continue
        until = segment.first_seq if piece is None else piece.seq
        if expected < until:
            _lose(found, expected, until - 1, segment, damage)
            expected = until
        if piece is None:
            place = max(place, segment.first_seq - 1)
            continue
        damage.clear()
        place = piece.seq
        if expected <= piece.seq:
            found.headers.append(piece)
            expected = piece.seq + 1
    # Damage behind the last frame keeps its sequence, as `Journal` gives out the one behind it.
    behind = [(s, d) for s, d in damage if (d.header.seq if d.header else place + 1) >= expected]
    if behind:
        highest = max(d.header.seq if d.header else expected for _, d in behind)
        _lose(found, expected, highest, behind[-1][0], behind)
    return found


def _lose(
    found: Pending, first: int, last: int, segment: SegmentFile, damage: list[tuple[SegmentFile, Damage]]
) -> None:
    near = [(s, d) for s, d in damage if d.header is None or d.header.seq >= first]
    found.damaged += len(near)
    places = dict.fromkeys(f"{s.path.name}: {d.reason}" for s, d in near)
    where = ", ".join(places) or f"missing in front of {segment.path.name}"
    which, them = (f"sequence {first}", "it") if first == last else (f"sequences {first} to {last}", "them")
    found.problems.append(
        f"pending {which} cannot be read ({where}): ingest will count {them} as corrupt when it drains"
    )
    damage.clear()
