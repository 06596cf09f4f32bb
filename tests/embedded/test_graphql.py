"""A webserver that answers with an error is unwell, not a crash of whoever asks."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from wellos.embedded.graphql import dagster_health


@pytest.mark.parametrize("answer", [{"data": None, "errors": [{"message": "no database"}]}, {"errors": []}])
def test_an_answer_without_data_is_an_error_with_its_reason(answer: dict[str, Any]) -> None:
    class Webserver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Webserver) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        expected = "no database" if "data" in answer else "without data"
        with pytest.raises(httpx.HTTPError, match=expected):
            dagster_health(f"http://127.0.0.1:{server.server_port}")
        thread.join()
