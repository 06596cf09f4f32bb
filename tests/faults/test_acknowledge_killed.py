"""Killed at each system call of appending, acknowledging and removing: the spool opens again and has all of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.appender import frame_of, opened
from tests.disks import strace
from wellos.spool_format import Frame

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("call", "moments"),
    [
        ("pwrite64", (1, 2, 6, 14, 15, 30)),
        ("fdatasync", (1, 10, 11, 12, 21)),
        ("fsync", (1, 2, 3, 5, 7, 9)),
        ("unlink", (1, 2)),
        ("rename", (1,)),
    ],
)
def test_the_spool_opens_again_and_has_what_was_acknowledged(
    tmp_path: Path, call: str, moments: tuple[int, ...]
) -> None:
    killed = 0
    acknowledged: set[int] = set()
    stored: set[int] = set()
    for moment in moments:
        inject = strace("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={moment}")
        command = [*inject, sys.executable, "-m", "tests.appender", str(tmp_path), "40", "-"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        killed += done.returncode == -signal.SIGKILL
        for line in done.stdout.splitlines():
            word, _, number = line.partition(" ")
            if word == "ack":
                assert int(number) not in acknowledged
                acknowledged.add(int(number))
            elif word == "stored":
                stored.add(int(number))
    assert killed == len(moments)
    journal = opened(tmp_path)
    pending: set[int] = set()
    while items := journal.read(1000):
        for item in items:
            assert isinstance(item, Frame)
            assert item.readings.tobytes() == frame_of(item.header.seq).tobytes()
            pending.add(item.header.seq)
        journal.advance(items)
    assert acknowledged <= stored | pending
    assert sorted(stored | pending) == list(range(1, len(stored | pending) + 1))
    assert journal.pending_rows == 0
    journal.close()
