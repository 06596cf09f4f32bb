"""The files beside the spool: one that cannot be written, as on a full disk, stops nothing and keeps the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streaming.config import keep, load_snapshot, read_heard, read_leases, save_snapshot, write_heard
from wellos.errors import ConfigurationError
from wellos.files import make_folder
from wellos.spool_format import list_segments, read_spool_id

if TYPE_CHECKING:
    from pathlib import Path


def test_what_cannot_be_written_down_stops_nothing(tmp_path: Path) -> None:
    write_heard(tmp_path, {1: 10})
    keep(write_heard, tmp_path, {1: 20})
    assert read_heard(tmp_path) == {1: 20}
    (tmp_path / "heard.json.new").mkdir()  # what a file cannot be written in place of
    (tmp_path / "registry.json.new").mkdir()
    keep(write_heard, tmp_path, {1: 30})
    keep(save_snapshot, tmp_path, [])
    assert read_heard(tmp_path) == {1: 20}
    assert load_snapshot(tmp_path) is None
    with pytest.raises(OSError, match="heard"):
        write_heard(tmp_path, {1: 30})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff\xfe", b'{"1": null}'])
def test_a_file_that_holds_something_else_is_set_aside(tmp_path: Path, content: bytes) -> None:
    for name in ("heard", "leases", "registry"):
        (tmp_path / f"{name}.json").write_bytes(content)
    assert (read_heard(tmp_path), read_leases(tmp_path), load_snapshot(tmp_path) or None) == ({}, {}, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "heard.unreadable",
        "leases.unreadable",
        "registry.unreadable",
    ]
    assert (tmp_path / "heard.unreadable").read_bytes() == content


def test_what_is_no_spool_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "foo.seg").touch()
    (tmp_path / "0000000001-00000000000000000001.seg").touch()
    assert [segment.number for segment in list_segments(tmp_path)] == [1]
    (tmp_path / "id").write_bytes(b"\xffnothing\n")
    with pytest.raises(ConfigurationError, match="id: is no spool's id"):
        read_spool_id(tmp_path)
    with pytest.raises(ConfigurationError, match=r"WELLOS_DATA_DIR: cannot be made"):
        make_folder(tmp_path / "foo.seg" / "data")
