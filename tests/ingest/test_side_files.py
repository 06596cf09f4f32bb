"""The files beside the spool: one that cannot be written, as on a full disk, stops nothing and keeps the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streaming.config import keep, load_snapshot, read_heard, save_snapshot, write_heard

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
