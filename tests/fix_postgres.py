"""An embedded PostgreSQL of a test's own, to stop, kill, freeze and start again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wellos.embedded.postgres import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[RunningServer]:
    """A PostgreSQL with an empty database."""
    with running_postgres(tmp_path / "postgres") as server:
        yield server
