"""The UI as a person sees it: the lineage, a check with what it found, a plot."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.dagster.browser import CHROMIUM, open_browser
from tests.dagster.servers import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.dagster.servers import Webserver

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


def test_the_ui_shows_the_lineage_a_check_and_a_plot(webserver: Webserver, tmp_path: Path) -> None:
    webserver.run("readings_1hour", datetime.now(UTC).date(), check="equals_raw")
    with open_browser(tmp_path) as page:
        page.open(f"{webserver.url}/assets/readings_1day?view=lineage&lineageScope=upstream&lineageDepth=10")
        page.wait_for("registry", "readings_1min", "readings_5min", "readings_1hour", "readings_1day")
        page.picture(tmp_path / "lineage.png")

        page.open(f"{webserver.url}/assets/readings_1hour?view=checks&checkDetail=equals_raw")
        page.wait_for("watermark_lag", "equals a recomputation from raw readings in Polars", "Passed", "raw readings\n")
        page.picture(tmp_path / "check.png")

        page.open(f"{webserver.url}/assets/readings_1hour?view=events")
        page.wait_for("readings_per_hour", "[Show Markdown]")
        page.click("[Show Markdown]")
        width = """(document.querySelector('img[src^="data:image/png"]') || {}).naturalWidth"""
        wait_for(lambda: bool(page.evaluate(width)), 90, page.text)
        page.picture(tmp_path / "plot.png")
