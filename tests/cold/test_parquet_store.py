"""The Parquet store: damage anywhere in a file is found, a killed writer leaves the old file, memory is bounded."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl
import pytest

from tests.waiting import eventually
from wellos.errors import ConfigurationError
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage.cold import ColdError, ColdRetryError, DamagedCopyError
from wellos.storage.cold.checksum import checksum
from wellos.storage.cold.opening import open_cold
from wellos.storage.cold.parquet import ParquetStore
from wellos.storage.cold.parquet_file import reading_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.readings import Readings

DAY = date(2026, 11, 1)
DAY_US = 86_400_000_000
START = 1_793_491_200_000_000
ROOT = Path(__file__).parents[2]


def a_day(rows: int = 3000, seed: int = 1) -> Readings:
    rng = np.random.default_rng(seed)
    time = START + np.tile(np.arange(rows // 3) * (DAY_US // rows), 3)
    return pack(time, np.round(rng.normal(100, 5, time.size), 1), np.repeat([1, 2, 3], rows // 3), 2)


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path / "cold")


@pytest.fixture
def file(store: ParquetStore, tmp_path: Path) -> Path:
    """The file of a day that was written."""
    return tmp_path / "cold" / store.write("acme", DAY, [a_day()], "k1").location


def refused(store: ParquetStore) -> str:
    """Return what every way of reading says of the damaged day."""
    says = set()
    for reads in (
        lambda: store.checksum("acme", DAY),
        lambda: store.read("acme", [1, 2, 3], START, START + DAY_US, [DAY]),
        lambda: list(store.read_day("acme", DAY)),
    ):
        with pytest.raises(DamagedCopyError) as damaged:
            reads()
        says.add(str(damaged.value))
    (said,) = says
    return said


def test_layout_and_what_the_copy_says_of_itself(store: ParquetStore, tmp_path: Path) -> None:
    copy = store.write("acme", DAY, [a_day()], "attempt-1")
    assert copy.location == "tenant=acme/day=2026-11-01/part-0.parquet"
    path = tmp_path / "cold" / copy.location
    assert copy.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert copy.bytes == path.stat().st_size
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names alone
    said = pl.read_parquet_metadata(path)
    kept = {name: said[f"wellos.{name}"] for name in ("tenant", "day", "key", "schema", "rows")}
    assert kept == {"tenant": "acme", "day": "2026-11-01", "key": "attempt-1", "schema": "1", "rows": "3000"}


def test_other_programs_read_the_file(file: Path) -> None:
    frame = pl.scan_parquet(file.parents[2] / "**" / "*.parquet", hive_partitioning=True).collect()
    assert frame.height == 3000
    assert frame["tenant"].unique().to_list() == ["acme"]
    assert frame["time"].dtype == pl.Datetime("us", "UTC")
    with duckdb.connect() as connection:
        counted = connection.execute(f"SELECT count(*), sum(tag_id) FROM '{file}' WHERE quality = 2").fetchall()
    assert counted == [(3000, 6000)]


def test_many_row_groups(store: ParquetStore) -> None:
    readings = a_day(300_000)
    store.write("acme", DAY, (readings[at : at + 70_001] for at in range(0, 300_000, 70_001)), "k1")
    assert max(piece.size for piece in store.read_day("acme", DAY)) == 65_536
    assert store.checksum("acme", DAY) == checksum(readings)
    whole = store.read("acme", [1, 2, 3], START, START + DAY_US, [DAY])
    assert whole.readings.tobytes() == readings.tobytes()
    one = store.read("acme", [2], START + 10**9, START + 2 * 10**9, [DAY])
    time = readings["time"]
    assert (
        one.readings.tobytes()
        == readings[(readings["tag_id"] == 2) & (time >= START + 10**9) & (time < START + 2 * 10**9)].tobytes()
    )
    assert 0 < one.bytes_scanned < whole.bytes_scanned / 2


def test_a_flipped_bit_anywhere_is_found(store: ParquetStore, file: Path) -> None:
    good = file.read_bytes()
    rng = np.random.default_rng(1)
    places = {*range(len(good) - 700, len(good), 3), *range(40), *rng.integers(0, len(good), 150).tolist()}
    for place in sorted(places):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        said = refused(store)
        assert str(file) in said
    file.write_bytes(good)
    assert store.checksum("acme", DAY) == checksum(a_day())


def test_a_file_cut_short_is_found(store: ParquetStore, file: Path) -> None:
    good = file.read_bytes()
    for size in (0, 1, 7, 8, 100, len(good) // 2, len(good) - 20, len(good) - 1):
        file.write_bytes(good[:size])
        assert "wellos archive --verify" in refused(store)
    file.write_bytes(good + b"\0")
    refused(store)
    file.write_bytes(good * 2)
    refused(store)


def test_a_missing_file_is_damage_with_its_remedy(store: ParquetStore, file: Path) -> None:
    file.unlink()
    said = refused(store)
    assert f"{file}: the archived day is not there" in said
    assert "from a backup" in said


def test_a_file_of_another_day_or_tenant_is_found(store: ParquetStore, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "cold" / store.write("other", DAY, [a_day()], "k1").location
    other.replace(file)
    assert "its footer says tenant other, not acme" in refused(store)


def test_a_file_of_a_newer_version_is_no_damage(
    store: ParquetStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellos.storage.cold.parquet_file.SCHEMA_VERSION", 0)
    with pytest.raises(ColdError, match="Upgrade") as refusal:
        store.checksum("acme", DAY)
    assert not isinstance(refusal.value, DamagedCopyError)
    assert file.exists()


@pytest.mark.parametrize("mistake", ["order of tags", "order of times", "twice", "across pieces", "other day"])
def test_what_is_not_sorted_or_not_of_the_day_is_refused(store: ParquetStore, file: Path, mistake: str) -> None:
    readings = a_day(seed=2)
    pieces = [readings]
    if mistake == "order of tags":
        pieces = [readings[::-1]]
    elif mistake == "order of times":
        readings[[5, 6]] = readings[[6, 5]]
    elif mistake == "twice":
        readings[6] = readings[5]
    elif mistake == "across pieces":
        pieces = [readings[:100], readings[99:]]
    else:
        readings["time"][-1] = START + DAY_US
    with pytest.raises(ColdError, match="Nothing was replaced"):
        store.write("acme", DAY, pieces, "k2")
    assert store.checksum("acme", DAY) == checksum(a_day())
    assert os.listdir(file.parent) == [file.name]  # noqa: PTH208


@pytest.mark.parametrize("slug", ["", "../acme", "Acme", "a/b", "1a", "a" * 32, "quarantine/x", "acme\n"])
def test_a_tenant_is_never_another_folder(store: ParquetStore, slug: str) -> None:
    for call in (
        lambda: store.write(slug, DAY, [], "k1"),
        lambda: store.checksum(slug, DAY),
        lambda: store.quarantine(slug, DAY),
        lambda: store.inventory(slug),
    ):
        with pytest.raises(ColdError, match="no tenant's slug"):
            call()


WRITER = """
import sys, time
from datetime import date
from pathlib import Path
from tests.cold.test_parquet_store import DAY, a_day
from wellos.storage.cold.parquet import ParquetStore
from wellos.storage.cold.parquet_file import reading_file

def pieces():
    yield a_day(300_000, seed=2)[:200_000]
    print("half", flush=True)
    time.sleep(600)

ParquetStore(Path(sys.argv[1])).write("acme", DAY, pieces(), "k2")
"""


def test_a_writer_killed_on_the_way_leaves_the_old_file(store: ParquetStore, file: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file.parents[2])], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer, writer.stdout:
        try:
            assert writer.stdout.readline() == "half\n"
            assert len(list(file.parent.iterdir())) == 2
            assert store.checksum("acme", DAY) == checksum(a_day())
            with pytest.raises(ColdRetryError, match="another process"):
                store.write("acme", DAY, [a_day()], "k3")
        finally:
            writer.send_signal(signal.SIGKILL)
    assert store.checksum("acme", DAY) == checksum(a_day())
    assert [one.rows for one in store.inventory("acme")] == [3000]
    assert len(list(file.parent.iterdir())) == 2
    store.write("acme", DAY, [a_day(seed=3)], "k3")
    assert list(file.parent.iterdir()) == [file]
    assert store.checksum("acme", DAY) == checksum(a_day(seed=3))


def test_readers_see_the_old_file_or_the_new_one(store: ParquetStore, file: Path) -> None:
    days = {checksum(a_day(seed=seed)) for seed in (1, 2)}
    done = threading.Event()
    seen = []

    def read() -> None:
        while not done.is_set():
            seen.append(store.checksum("acme", DAY))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(30):
            store.write("acme", DAY, [a_day(seed=1 + turn % 2)], f"k{turn}")
        eventually(lambda: len(seen) > 1)
    finally:
        done.set()
        reader.join()
    assert set(seen) <= days
    assert file.exists()


BIG = """
import sys
from datetime import date
from pathlib import Path
import numpy as np
from wellos.readings import pack
from wellos.storage.cold.parquet import ParquetStore
from wellos.storage.cold.parquet_file import reading_file

def pieces():
    rng = np.random.default_rng(1)
    time = 1_793_491_200_000_000 + np.arange(50_000) * 1_000_000
    for tag in range(1, 101):
        yield pack(time, rng.normal(size=50_000), tag, 2)

store = ParquetStore(Path(sys.argv[1]))
day = date(2026, 11, 1)
assert store.write("acme", day, pieces(), "k1").rows == 5_000_000
assert store.checksum("acme", day).rows == 5_000_000
assert sum(piece.size for piece in store.read_day("acme", day)) == 5_000_000
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_is_bounded_whatever_the_day_holds(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # not ru_maxrss, in which this process's own size counts; 5 million readings are 130 MB, and their file is 40 MB
    assert int(run.stdout) * 1024 < 200e6


def test_a_full_disk_leaves_the_old_file(store: ParquetStore, file: Path) -> None:
    rng = np.random.default_rng(1)
    big = a_day(300_000)
    big["value"] = rng.normal(size=300_000)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(ColdError, match=os.strerror(errno.EFBIG)) as refusal:
            store.write("acme", DAY, [big], "k2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(file) in str(refusal.value)
    assert list(file.parent.iterdir()) == [file]
    assert store.checksum("acme", DAY) == checksum(a_day())


def test_quarantine_keeps_each_file(store: ParquetStore, file: Path) -> None:
    folder = file.parents[2]
    content = file.read_bytes()
    aside = store.quarantine("acme", DAY)
    assert aside is not None
    assert aside.startswith("quarantine/acme-2026-11-01-")
    assert (folder / aside).read_bytes() == content
    file.write_bytes(content[:50])
    again = store.quarantine("acme", DAY)
    assert again is not None
    assert again != aside
    assert len(list((folder / "quarantine").iterdir())) == 2


def test_a_damaged_file_is_no_part_of_an_inventory(store: ParquetStore, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DamagedCopyError, match=str(file)):
        store.inventory("acme")


def test_locks_of_others_are_theirs_alone(store: ParquetStore, file: Path) -> None:
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ColdRetryError):
            store.write("acme", DAY, [a_day()], "k2")
        store.write("acme", date(2026, 11, 2), [], "k2")
    finally:
        os.close(descriptor)
    store.write("acme", DAY, [a_day()], "k2")


@pytest.fixture
def in_the_way(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "cold"
    path.write_text("a file")
    yield path
    path.unlink()


def test_open_cold(tmp_path: Path) -> None:
    for settings in (load_settings(data_dir=tmp_path), load_settings(data_dir=tmp_path, cold_dir=tmp_path / "archive")):
        store = open_cold(settings)
        assert store.name == "parquet"
        store.write("acme", DAY, [a_day()], "k1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "cold"]


def test_a_folder_that_cannot_be_is_one_clear_error(in_the_way: Path) -> None:
    for settings, name in (
        (load_settings(data_dir=in_the_way.parent), "WELLOS_DATA_DIR"),
        (load_settings(cold_dir=in_the_way), "WELLOS_COLD_DIR"),
    ):
        with pytest.raises(ConfigurationError, match=f"{name}: the archive's folder cannot be made") as refusal:
            open_cold(settings)
        assert str(in_the_way) in str(refusal.value)


def test_a_disk_that_does_not_answer_is_no_damage(file: Path) -> None:
    about = {"tenant": "acme", "day": DAY.isoformat()}
    for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        with pytest.raises(ColdRetryError, match="cannot be read now"), reading_file(file, about):
            raise OSError(number, os.strerror(number))
    with pytest.raises(DamagedCopyError), reading_file(file, about):
        raise OSError("what Arrow says of what it reads")
    file.unlink()
    file.symlink_to("/proc/self/mem")
    with pytest.raises(ColdRetryError, match="cannot be read now"), reading_file(file, about):
        pass
