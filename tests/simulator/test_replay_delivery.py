"""A replay reaches independent readers complete, in the order of the files, with its quirks and its times."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import yaml

from tests.fix_field import COLUMNS, FieldReader, Seen, grouped_file, original_file, replaying, rows, until
from wellos.errors import ConfigurationError
from wellos.fleet.check import check
from wellos.simulator.endpoints import Options

if TYPE_CHECKING:
    from wellos.embedded.server import RunningServer
    from wellos.simulator.ready import ReadyFile

ZONE = "America/Sao_Paulo"
REAL = Path(__file__).parents[3] / "shared" / "data" / "petrobras_3w"
ORIGINAL = tuple(name for name in COLUMNS if name != "T-JUS-CKGL")
FAST = 1e9


def expected(folder: Path, instances: str = "*", most: int | None = None) -> Seen:
    """Read the files anew, by other means than the player's: every row and column, in order of start."""
    parts = []
    for path in folder.rglob("*.parquet"):
        frame = pl.read_parquet(path)
        if "instance" not in frame.columns:
            frame = frame.with_columns(pl.lit(path.stem).alias("instance"))
        for (instance,), one in frame.group_by(["instance"], maintain_order=True):
            if Path(str(instance)).match(instances):
                parts.append((str(instance), one))
    seen: Seen = defaultdict(list)
    for instance, whole in sorted(parts, key=lambda part: part[0]):
        frame = whole if most is None else whole.head(most)
        local = frame["timestamp"].cast(pl.Datetime("us"))
        times = (
            local.dt.replace_time_zone(ZONE, ambiguous="earliest").dt.convert_time_zone("UTC").cast(pl.Int64).to_list()
        )
        for name in COLUMNS:
            if name in frame.columns:
                seen[instance[:-15], name] += zip(times, frame[name].to_list(), strict=True)
    return seen


def small_folder(folder: Path) -> Path:
    """Lay out three wells in both schemas: a shared second, a conflict, rows out of order, recordings that join."""
    first = rows("2018-03-01T10:00:00", 40)
    joined = rows("2018-03-01T10:00:39", 30, seed=1)
    grouped_file(
        folder / "0_normal",
        "WELL-00001_2018-03.parquet",
        ("WELL-00001_20180301100000", first),
        ("WELL-00001_20180301100039", joined),
    )
    shuffled = rows("2018-03-02T10:00:00", 20, seed=2)[[0, 2, 1, 3, 3, *range(4, 20)]]
    grouped_file(folder / "8_hydrate", "WELL-00002.parquet", ("WELL-00002_20180302100000", shuffled))
    original_file(folder / "3_slugging", "WELL-00003_20180303100000.parquet", rows("2018-03-03T10:00:00", 25, ORIGINAL))
    return folder


def arrived(reader: FieldReader, wanted: Seen) -> bool:
    """Tell whether the last reading of every tag has come, which is the last to come."""
    found = reader.plain() | reader.sparkplug("DDATA") | reader.seen
    return all(readings[-1] in found.get(tag, ()) for tag, readings in wanted.items())


async def read_all(
    options: Options, mqtt_url: str, tmp_path: Path, reader: FieldReader, wanted: Seen | None = None
) -> ReadyFile:
    """Play everything into a reader on each protocol; return the ready file as it was when all `wanted` had come."""
    async with replaying(options, mqtt_url, tmp_path) as ready:
        client = await reader.opcua(ready.content["opcua"])
        listener = reader.mqtt(mqtt_url, "wellos/petrobras/+", "spBv1.0/petrobras/#")
        try:
            await until(lambda: ready.content["state"] == "finished")
            await until(lambda: arrived(reader, wanted or {}))
        finally:
            listener.loop_stop()
            listener.disconnect()
            await client.disconnect()
    return ready


def without_first(seen: Seen) -> Seen:
    """Leave out what a server showed at once, before the recording began: its first reading, which comes again."""
    return {tag: found[1:] for tag, found in seen.items()}


def no_repeats(found: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """Leave out a reading equal to the one before it in value and time: OPC UA has no change to report."""
    return [one for at, one in enumerate(found) if at == 0 or one != found[at - 1]]


async def test_every_row_of_both_schemas_arrives_in_order(
    own_mqtt_broker: RunningServer, tmp_path: Path, field_reader: FieldReader
) -> None:
    url = own_mqtt_broker.url
    folder = small_folder(tmp_path / "recordings")
    wanted = expected(folder)
    ready = await read_all(Options(replay=folder, speed=FAST), url, tmp_path, field_reader, wanted)
    over = {name: well["over"] for name, well in ready.content["counts"]["wells"].items()}
    assert set(over.values()) == {"opcua", "mqtt", "sparkplug"}
    plain, data = field_reader.plain(), field_reader.sparkplug("DDATA")
    for (well, tag), readings in wanted.items():
        if over[well] == "opcua":
            assert without_first(field_reader.seen)[well, tag] in (no_repeats(readings), no_repeats(readings)[1:])
        else:
            assert (plain if over[well] == "mqtt" else data)[well, tag] == readings
    served = set(field_reader.seen) | set(plain) | set(data)
    assert served == set(wanted)
    assert sum(map(len, wanted.values())) == (40 + 30) * 8 + 21 * 8 + 25 * 7


async def test_a_null_is_bad_and_has_no_value(
    tmp_path: Path, own_mqtt_broker: RunningServer, field_reader: FieldReader
) -> None:
    url = own_mqtt_broker.url
    folder = tmp_path / "recordings"
    for number, count in ((1, 30), (2, 20)):
        recording = (f"WELL-0000{number}_20180301100000", rows("2018-03-01T10:00:00", count))
        grouped_file(folder, f"WELL-0000{number}.parquet", recording)
    await read_all(Options(replay=folder, speed=FAST), url, tmp_path, field_reader, expected(folder))
    (well,) = {well for well, _ in field_reader.seen}
    for tag in COLUMNS:
        pairs = zip(field_reader.status[well, tag], field_reader.seen[well, tag], strict=True)
        assert all((status >> 30 == 2) == (value is None) for status, (_, value) in pairs)
    assert {value for _, value in field_reader.seen[well, "T-JUS-CKGL"]} == {None}
    assert -1.18e42 in [value for _, value in field_reader.seen[well, "P-TPT"]]


async def test_a_reader_that_comes_late_misses_nothing(
    tmp_path: Path, own_mqtt_broker: RunningServer, field_reader: FieldReader
) -> None:
    url = own_mqtt_broker.url
    folder = small_folder(tmp_path / "recordings")
    async with replaying(Options(replay=folder, speed=FAST), url, tmp_path) as ready:
        await asyncio.sleep(2)
        assert all(well["rows_played"] <= 1 for well in ready.content["counts"]["wells"].values())
        listener = field_reader.mqtt(url, "wellos/petrobras/+", "spBv1.0/petrobras/#")
        client = await field_reader.opcua(ready.content["opcua"])
        wanted = expected(folder)
        await until(lambda: ready.content["state"] == "finished" and arrived(field_reader, wanted))
        listener.loop_stop()
        listener.disconnect()
        await client.disconnect()
    found = field_reader.plain() | field_reader.sparkplug("DDATA") | field_reader.seen
    assert {tag: set(found[tag]) for tag in wanted} == {tag: set(readings) for tag, readings in wanted.items()}
    births = Counter(topic.split("/")[2] for topic, _ in field_reader.messages if topic.startswith("spBv1.0"))
    assert births["NBIRTH"] >= 1
    assert births["NDEATH"] == 0


async def test_what_a_reader_had_and_lost_by_dying_comes_again(
    tmp_path: Path, own_mqtt_broker: RunningServer, field_reader: FieldReader
) -> None:
    folder = tmp_path / "recordings"
    for number in (1, 2):
        recording = (f"WELL-0000{number}_20180301100000", rows("2018-03-01T10:00:00", 100, seed=number))
        grouped_file(folder, f"WELL-0000{number}.parquet", recording)
    second = FieldReader()
    async with replaying(Options(replay=folder, speed=40), own_mqtt_broker.url, tmp_path) as ready:
        listener = field_reader.mqtt(own_mqtt_broker.url, "wellos/petrobras/+", "spBv1.0/petrobras/#")
        first = await field_reader.opcua(ready.content["opcua"])
        await until(lambda: sum(map(len, field_reader.seen.values())) > 200)
        first.disconnect_socket()
        client = await second.opcua(ready.content["opcua"])
        await until(lambda: ready.content["state"] == "finished")
        ((well, _), *_) = second.seen
        mine = {tag: readings for tag, readings in expected(folder).items() if tag[0] == well}
        await until(lambda: arrived(second, mine))
        await client.disconnect()
        listener.loop_stop()
        listener.disconnect()
    assert {name for name, _ in second.seen} == {well}
    for (name, tag), readings in expected(folder).items():
        if name == well:
            assert set(second.seen[name, tag]) == set(readings)


async def test_the_fleet_file_reads_every_tag_and_passes_the_check(tmp_path: Path, mqtt_url: str) -> None:
    folder = small_folder(tmp_path / "recordings")
    fleet = tmp_path / "fleet.yaml"
    async with replaying(Options(replay=folder, fleet_out=fleet), mqtt_url, tmp_path) as ready:
        assert ready.content["fleet_file"] == str(fleet)
    checked = check(fleet.read_bytes(), "fleet.yaml")
    assert checked.warnings == ()
    document = yaml.safe_load(fleet.read_text())
    (tenant,) = document["tenants"]
    tags = [(tag["well"], tag["name"]) for one in tenant["connections"] for tag in one["tags"]]
    assert len(tags) == len(set(tags)) == 8 + 8 + 7 + 8
    assert set(expected(folder)) < set(tags)
    assert {well["timezone"] for well in tenant["wells"]} == {ZONE}


async def test_only_chosen_instances_and_rows_are_played(
    tmp_path: Path, own_mqtt_broker: RunningServer, field_reader: FieldReader
) -> None:
    url = own_mqtt_broker.url
    folder = small_folder(tmp_path / "recordings")
    options = Options(replay=folder, speed=FAST, instances="WELL-0000[12]_*", limit_rows=7)
    ready = await read_all(options, url, tmp_path, field_reader)
    played = {name: well["rows_played"] for name, well in ready.content["counts"]["wells"].items()}
    assert played == {"WELL-00001": 7, "WELL-00002": 7}


async def test_speed_one_is_the_recorded_pace(
    tmp_path: Path, own_mqtt_broker: RunningServer, field_reader: FieldReader
) -> None:
    url = own_mqtt_broker.url
    recording = ("WELL-00001_20180301100000", rows("2018-03-01T10:00:00", 30))
    grouped_file(tmp_path / "r", "WELL-00001.parquet", recording)
    async with replaying(Options(replay=tmp_path / "r", speed=1.0), url, tmp_path) as ready:
        began = time.monotonic()
        client = await field_reader.opcua(ready.content["opcua"])
        listener = field_reader.mqtt(url, "wellos/petrobras/+", "spBv1.0/petrobras/#")
        await until(lambda: ready.content["counts"]["wells"]["WELL-00001"]["rows_played"] >= 4)
        lasted = time.monotonic() - began
        listener.loop_stop()
        listener.disconnect()
        await client.disconnect()
    assert lasted > 2.5, "four rows of a second each"


async def test_a_folder_that_holds_something_else_is_refused_by_file(tmp_path: Path, mqtt_url: str) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "one.parquet")
    (tmp_path / "two.parquet").write_text("no parquet")
    with pytest.raises(ConfigurationError) as caught:
        async with replaying(Options(replay=tmp_path), mqtt_url, tmp_path):
            pass
    assert {Path(problem.file or "").name for problem in caught.value.problems} == {"one.parquet", "two.parquet"}


@pytest.mark.skipif(not REAL.is_dir(), reason="no recordings in ../shared/data/petrobras_3w")
async def test_real_recordings_arrive_complete(
    tmp_path: Path, own_mqtt_broker: RunningServer, field_reader: FieldReader
) -> None:
    url = own_mqtt_broker.url
    options = Options(replay=REAL, speed=FAST, instances="WELL-000[01][0-9]_201[478]*", limit_rows=400)
    wanted = {tag: readings[:400] for tag, readings in expected(REAL, options.instances, 400).items()}
    ready = await read_all(options, url, tmp_path, field_reader, wanted)
    wells = ready.content["counts"]["wells"]
    assert {well["rows_played"] for well in wells.values()} == {400}
    found = field_reader.plain() | field_reader.sparkplug("DDATA") | field_reader.seen
    assert len(wells) >= 3
    for (well, tag), readings in wanted.items():
        assert set(found[well, tag]) == set(readings), (well, tag)
