"""The power is cut: what was acknowledged is on the disk, a real file system of which only the disk's part is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.appender import frame_of, opened
from tests.disks import cut_power, disk, mounted, strace
from tests.waiting import eventually
from wellos.spool_format import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]


def acknowledged_before_the_cut(tmp_path: Path, stop: str, under: Sequence[str] = ()) -> set[int]:
    """Append on a disk until told to stop, cut its power, and return what was acknowledged; the rest is `after.img`."""
    image, log = tmp_path / "disk.img", tmp_path / "log"
    with disk(image, tmp_path / "disk", 32) as folder:
        command = [*under, sys.executable, "-m", "tests.appender", str(folder / "spool"), "100000", stop]
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out)
        try:
            eventually(lambda: log.read_text().startswith("up"))
            pid = int(log.read_text().split()[1])
            eventually(lambda: stop == "roll" or f"ack {stop}\n" in log.read_text())
            eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] in "Tt")
            cut_power(image, tmp_path / "after.img")
            said = log.read_text().splitlines()
        finally:
            os.kill(pid, signal.SIGKILL)
            process.wait()
    return {int(line.split()[1]) for line in said if line.startswith("ack")}


def left(tmp_path: Path) -> set[int]:
    """Mount what is left and return the frames that the journal gives back, each as it was written."""
    found: set[int] = set()
    with mounted(tmp_path / "after.img", tmp_path / "after") as folder:
        (folder / "spool").mkdir(exist_ok=True)
        journal = opened(folder / "spool")
        while items := journal.read(1000):
            for item in items:
                assert isinstance(item, Frame)
                assert item.readings.tobytes() == frame_of(item.header.seq).tobytes()
                found.add(item.header.seq)
        journal.close()
    return found


@pytest.mark.parametrize("stop", ["1", "37", "roll"])
def test_what_was_acknowledged_is_on_the_disk(tmp_path: Path, stop: str) -> None:
    acknowledged = acknowledged_before_the_cut(tmp_path, stop)
    assert len(acknowledged) >= (4 if stop == "roll" else int(stop))
    assert acknowledged <= left(tmp_path)


def test_a_disk_that_only_says_so_is_found_out(tmp_path: Path) -> None:
    """The same with an fsync that does nothing: were nothing lost here, the test above would prove nothing."""
    lying = strace("-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0")
    acknowledged = acknowledged_before_the_cut(tmp_path, "37", lying)
    assert len(acknowledged) == 37
    assert len(acknowledged - left(tmp_path)) > 30
