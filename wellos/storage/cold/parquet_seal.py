"""Checks every byte of a Parquet file before Arrow sees it: Arrow ends the whole process over some damaged footers.

Between the pages and the footer, where Parquet lets anything lie, stands a seal, so that the file is still one that
any other program reads:

    CRC-32 of each row group's bytes | how many | CRC-32 of the two before, the footer and what follows it | "wellos01"

Numbers are little-endian, of 4 bytes. The first row group's bytes begin with the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Damage", "Sealed", "seal"]

_MAGIC = b"wellos01"
_END = struct.Struct("<II8s")
_TAIL = struct.Struct("<I4s")


class Damage(Exception):  # noqa: N818 - says what is wrong, on its way to a DamagedCopyError that names the file
    """What cannot be in a file as it was written."""


def seal(path: Path) -> None:
    """Put the seal into a Parquet file that was just written, and see it to the disk."""
    with path.open("r+b") as file:
        footer, start = _footer(file)
        starts = _starts(pq.read_metadata(pa.BufferReader(footer)), start)
        sums = [_sum_of(file, first, end) for first, end in pairwise(starts)]
        head = struct.pack(f"<{len(sums) + 1}I", *sums, len(sums))
        file.seek(start)
        file.write(head + struct.pack("<I", zlib.crc32(head + footer)) + _MAGIC + footer)
        file.flush()
        os.fsync(file.fileno())


class Sealed:
    """The seal of an open file, its footer checked; Damage when either is not as it was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        footer, start = _footer(file)
        count, total, magic = _END.unpack(_bytes(file, start - _END.size, _END.size))
        if magic != _MAGIC:
            raise Damage("its seal is missing")
        data = start - _END.size - 4 * count
        sums = _bytes(file, data, 4 * count)
        if zlib.crc32(sums + struct.pack("<I", count) + footer) != total:
            raise Damage("its footer is not as it was written")
        self.metadata = pq.read_metadata(pa.BufferReader(footer))
        self._sums = struct.unpack(f"<{count}I", sums)
        self._starts = _starts(self.metadata, data)

    def check(self, group: int) -> int:
        """See that the bytes of a row group are as they were written; return how many they are."""
        first, end = self._starts[group], self._starts[group + 1]
        if _sum_of(self._file, first, end) != self._sums[group]:
            raise Damage(f"row group {group} is not as it was written")
        return end - first


def _footer(file: BinaryIO) -> tuple[bytes, int]:
    """Return the footer with what follows it, and where it begins."""
    size = file.seek(0, os.SEEK_END)
    length, magic = _TAIL.unpack(_bytes(file, size - _TAIL.size, _TAIL.size))
    if magic != b"PAR1":
        raise Damage("it has no end")
    start = size - _TAIL.size - length
    return _bytes(file, start, size - start), start


def _starts(metadata: pq.FileMetaData, end: int) -> list[int]:
    """Return where each row group begins, and where the last one ends. A group begins with its first column."""
    columns = (metadata.row_group(group).column(0) for group in range(metadata.num_row_groups))
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    return [0, *starts[1:], end] if starts else [end]


def _bytes(file: BinaryIO, start: int, size: int) -> bytes:
    if start < 0:
        raise Damage("it is too short")
    file.seek(start)
    found = file.read(size)
    if len(found) != size:
        raise Damage("it is too short")
    return found


def _sum_of(file: BinaryIO, first: int, end: int) -> int:
    return zlib.crc32(_bytes(file, first, end - first))
