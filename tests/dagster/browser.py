"""Debian's headless Chromium, driven over the DevTools protocol: open a page, wait for words, take its picture."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.connection import Connection

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--window-size=1600,1000", "--remote-debugging-port=0"),
)


class Page:
    """One tab."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def open(self, url: str) -> None:
        """Go to a page; it is not waited for."""
        self._call("Page.navigate", url=url)

    def text(self) -> str:
        """The words that the page shows."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever the expression is
        """The value of a JavaScript expression in the page."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def click(self, words: str) -> None:
        """Click on the element that holds just these words."""
        leaves = "[...document.querySelectorAll('*')].filter(e => !e.children.length)"
        found = self.evaluate(
            f"(e => e && (e.click(), true))({leaves}.find(e => e.textContent === {json.dumps(words)}))"
        )
        assert found, f"nothing to click says {words!r} in:\n{self.text()}"

    def wait_for(self, *words: str, seconds: float = 120) -> str:
        """Wait until the page shows all the words; the test fails with what it shows when it does not."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self.text()
            missing = [word for word in words if word not in shown]
            if not missing:
                return shown
            assert time.monotonic() < deadline, f"missing {missing} in:\n{shown}"
            time.sleep(0.25)

    def picture(self, path: Path) -> None:
        """Save a PNG of what is shown."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": arguments}))
        while True:
            answer = json.loads(self._socket.recv(timeout=90))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Start Chromium with a new profile in `folder`, and stop it with all its processes."""
    assert CHROMIUM is not None
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port_file = folder / "profile" / "DevToolsActivePort"
            deadline = time.monotonic() + 90
            while not (port_file.exists() and port_file.read_text().count("\n") >= 1):
                assert process.poll() is None, (folder / "chromium.log").read_text(errors="replace")
                assert time.monotonic() < deadline, "Chromium did not open its port"
                time.sleep(0.1)
            port = port_file.read_text().split()[0]
            tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=60).json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            with connect(address, max_size=None, compression=None) as socket:
                yield Page(socket)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
