"""The HTTP side: routes, uploads, and the faults of requests."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import duckdb

from tests.bigquery_double.catalogue import Catalogue
from tests.bigquery_double.faults import OF_REQUESTS, Faults
from tests.bigquery_double.jobs import Jobs, page
from tests.bigquery_double.refusals import Json, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = r"(?:/bigquery/v2)?/projects/(?P<project>[^/]+)"
DATASET = ROOT + r"/datasets/(?P<dataset>[^/]+)"
TABLE = DATASET + r"/tables/(?P<table>[^/]+)"
JOB = ROOT + r"/jobs/(?P<job>[^/]+)"


@dataclass
class Call:
    """One request, taken apart."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found

    @property
    def most(self) -> int | None:
        return int(self.query["maxResults"]) if "maxResults" in self.query else None

    @property
    def start(self) -> int:
        return int(self.query.get("pageToken", 0))


@dataclass
class Answer:
    """What goes back: a status, headers, a resource."""

    body: Json | None = None
    status: int = 200
    headers: dict[str, str] | None = None


class Service:
    """The endpoints. One request at a time touches the data."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._catalogue = Catalogue()
        self._jobs = Jobs(self._catalogue, self.faults)
        self._uploads: dict[str, tuple[str, Json, bytearray]] = {}
        self._lock = threading.Lock()
        self._routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("POST", ROOT + "/datasets", self._create_dataset),
            ("GET", DATASET, self._get_dataset),
            ("POST", DATASET + "/tables", self._create_table),
            ("GET", TABLE, self._get_table),
            ("PATCH", TABLE, self._patch_table),
            ("DELETE", TABLE, self._delete_table),
            ("GET", TABLE + "/data", self._table_data),
            ("POST", ROOT + "/jobs", self._insert_job),
            ("GET", ROOT + "/jobs", self._list_jobs),
            ("GET", JOB, self._get_job),
            ("POST", JOB + "/cancel", self._cancel_job),
            ("GET", ROOT + "/queries/(?P<job>[^/]+)", self._query_results),
            ("POST", "/upload" + ROOT + "/jobs", self._begin_upload),
            ("PUT", "/upload" + ROOT + "/jobs", self._continue_upload),
        ]

    def answer(self, call: Call) -> Answer:
        if call.path == "/_fault":
            return self._fault(call)
        for method, pattern, handler in self._routes:
            match = re.fullmatch(pattern, call.path)
            if match and method == call.method:
                with self._lock:
                    self._jobs.settle()
                    try:
                        return handler(call, **match.groupdict())
                    except Refusal as refusal:
                        return Answer(refusal.body(), refusal.status)
                    except duckdb.Error as error:
                        # Never a status that the client tries again: it would hide a mistake of the double's.
                        return Answer(Refusal("invalid", f"the double: {error}").body(), 400)
        return Answer(Refusal("invalid", f"not modelled: {call.method} {call.path}").body(), 400)

    def _fault(self, call: Call) -> Answer:
        if call.method == "POST":
            try:
                self.faults.plan(call.json)
            except TypeError as error:
                return Answer(Refusal("invalid", str(error)).body(), 400)
        elif call.method == "DELETE":
            self.faults.clear()
        return Answer({"hits": self.faults.hits()})

    def _create_dataset(self, call: Call, project: str) -> Answer:
        return Answer(self._catalogue.create_dataset(project, call.json))

    def _get_dataset(self, call: Call, project: str, dataset: str) -> Answer:
        del call
        return Answer(self._catalogue.dataset(project, dataset))

    def _create_table(self, call: Call, project: str, dataset: str) -> Answer:
        return Answer(self._catalogue.create_table(project, dataset, call.json))

    def _get_table(self, call: Call, project: str, dataset: str, table: str) -> Answer:
        del call
        return Answer(self._catalogue.describe(project, dataset, table))

    def _patch_table(self, call: Call, project: str, dataset: str, table: str) -> Answer:
        return Answer(self._catalogue.patch_table(project, dataset, table, call.json))

    def _delete_table(self, call: Call, project: str, dataset: str, table: str) -> Answer:
        del call
        self._catalogue.delete_partition(project, dataset, table)
        return Answer(status=204)

    def _table_data(self, call: Call, project: str, dataset: str, table: str) -> Answer:
        found = self._catalogue.table(project, dataset, table)
        rows = self._catalogue.content(found, table.partition("$")[2])
        if "selectedFields" in call.query:
            rows = rows.select(call.query["selectedFields"].split(","))
        return Answer({"totalRows": str(rows.num_rows)} | page(rows, call.most, call.start))

    def _insert_job(self, call: Call, project: str) -> Answer:
        return Answer(self._jobs.insert(project, call.json).describe())

    def _list_jobs(self, call: Call, project: str) -> Answer:
        return Answer({"jobs": self._jobs.listed(project, call.query.get("stateFilter"))})

    def _get_job(self, call: Call, project: str, job: str) -> Answer:
        del call
        return Answer(self._jobs.get(project, job).describe())

    def _cancel_job(self, call: Call, project: str, job: str) -> Answer:
        del call
        return Answer({"job": self._jobs.cancel(project, job).describe()})

    def _query_results(self, call: Call, project: str, job: str) -> Answer:
        return Answer(self._jobs.results(project, job, call.most, call.start))

    def _begin_upload(self, call: Call, project: str) -> Answer:
        if call.query.get("uploadType") != "resumable":
            raise Refusal("invalid", "only resumable uploads are modelled")
        upload = uuid.uuid4().hex
        self._uploads[upload] = (project, call.json, bytearray())
        place = f"http://{call.headers['host']}{call.path}?uploadType=resumable&upload_id={upload}"
        return Answer(headers={"Location": place})

    def _continue_upload(self, call: Call, project: str) -> Answer:
        del project
        found = self._uploads.get(call.query["upload_id"])
        if found is None:
            raise Refusal("notFound", "Not found: upload")
        of_project, resource, media = found
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", call.headers["content-range"])
        if span is None:
            raise Refusal("invalid", "Invalid Content-Range")
        if span[1] is not None:
            if int(span[1]) > len(media):
                raise Refusal("invalid", "a chunk is missing")
            media[int(span[1]) :] = call.body
        if span[3] != "*" and len(media) == int(span[3]):
            return Answer(self._jobs.insert(of_project, json.loads(json.dumps(resource)), bytes(media)).describe())
        return Answer(status=308, headers={"Range": f"bytes=0-{len(media) - 1}"} if media else {})


class Handler(BaseHTTPRequestHandler):
    """Reads a request whole, asks the service, writes the answer at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    service: Service

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, parts.path.replace("%24", "$"), query, headers, body)
        controls = call.path == "/_fault"
        faults = [] if controls else self.service.faults.take(OF_REQUESTS, f"{call.method} {call.path}")
        for fault in faults:
            if fault.kind == "refuse":
                refusal = Refusal(fault.reason, f"planned: {fault.reason}", fault.status)
                self._write(Answer(refusal.body(), refusal.status))
                return
            if fault.kind == "hang":
                time.sleep(fault.seconds)
        answer = self.service.answer(call)
        if any(fault.kind == "lose_reply" for fault in faults):
            self.close_connection = True
            return
        self._write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - the base class looks for these

    def _write(self, answer: Answer) -> None:
        data = b"" if answer.body is None else json.dumps(answer.body).encode()
        try:
            self.send_response(answer.status)
            for name, value in (answer.headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client did not wait

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class names them
        """Say nothing: what happened is in the answers."""


class Double:
    """A running double and its plan of faults, reached over HTTP as the store reaches it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def plan(self, kind: str, path: str = "", **rest: object) -> None:
        """Plan a fault; see `faults.Fault` for what can be said."""
        self._ask("POST", {"kind": kind, "path": path, **rest})

    def clear(self) -> None:
        self._ask("DELETE", {})

    @property
    def hits(self) -> int:
        """How many faults were met since the last `clear`."""
        return int(self._ask("GET", {})["hits"])

    def _ask(self, method: str, body: Json) -> Json:
        request = Request(self.address + "/_fault", json.dumps(body).encode(), method=method)  # noqa: S310 - our own
        with urlopen(request, timeout=10) as reply:  # noqa: S310 - our own
            answer: Json = json.load(reply)
            return answer


@contextmanager
def running_double(port: int = 0) -> Iterator[Double]:
    """Serve on the loopback address until the block is left."""
    handler = type("BoundHandler", (Handler,), {"service": Service()})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield Double(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()
