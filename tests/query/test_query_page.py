"""The examples of docs/query.md run as they stand, one after the other."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tests.querying import insert, wandering
from tests.seed import add_tags
from wellos import query

if TYPE_CHECKING:
    import pytest

    from wellos.storage.warm import PgConnection

PAGE = Path(__file__).parents[2] / "docs" / "query.md"


def test_the_examples_run(
    db: PgConnection,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_tags(db, 1)
    db.execute("UPDATE tags SET name = 'tubing_pressure', interval_s = 600")
    end = datetime(2026, 11, 10, tzinfo=UTC)
    insert(db, wandering([1], end - timedelta(days=2), 288, 600))
    for name, value in (("DATABASE_URL", database_url), ("REDIS_URL", redis_url), ("DATA_DIR", str(tmp_path))):
        monkeypatch.setenv(f"WELLOS_{name}", value)
    monkeypatch.setattr(query, "_reader", None)
    known: dict[str, object] = {"start": end - timedelta(days=1)}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 4
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), known)  # noqa: S102 - our own page
    query.default_reader().close()
    shown = capsys.readouterr().out
    assert "('warm',) readings 2026-11-10 00:00:00+00:00" in shown
    assert "tubing_pressure_median" in shown
