"""A job that takes too long ends with a retryable error; what came is kept, and the next run goes on from there."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest

from smartsensor.config import ApiSettings
from smartsensor.jobs.extract import ExtractionContext, Stopped, extract
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.landing import load_progress
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.run.exit_codes import code_of
from smartsensor.source.errors import TransportFault
from smartsensor.source.filters import CountEndpoint
from smartsensor.source.http import Client
from smartsensor.source.resources import INSTANT, REAL, TEXT, Resource, columns
from smartsensor.source.sign_in import NoSignIn
from smartsensor.windows import Window, instant, rfc3339

RUN = "20261120T120000Z-deadline"
FIRST = Window(instant("2026-11-20T10:00:00Z"), instant("2026-11-20T11:00:00Z"))
SECOND = Window(instant("2026-11-20T11:00:00Z"), instant("2026-11-20T12:00:00Z"))
READINGS = Resource(
    "readings", "/readings", ("id",), columns(id=TEXT, at=INSTANT, value=(REAL,)), "incremental", incremental_field="at",
    event_field="at", version=(), count=CountEndpoint(),
)  # fmt: skip
PAGES, ROWS = 10, 20


class Api:
    """Ten pages of twenty rows in each window; each page takes ten seconds of the clock that it moves."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, list[int]()

    def answer(self, path: str, query: dict[str, str]) -> Any:
        if path.endswith("/count"):
            return {"count": PAGES * ROWS}
        self.now += 10.0
        page, start = int(query.get("cursor", 0)), instant(query["updated_since"])
        self.asked.append(page)
        numbers = range(page * ROWS, (page + 1) * ROWS)
        rows = [
            {"id": f"{start:%H}-{n:04}", "at": rfc3339(start + timedelta(seconds=n)), "value": 1.5} for n in numbers
        ]
        following = str(page + 1) if page + 1 < PAGES else None
        return {"data": rows, "pagination": {"next_cursor": following, "has_more": following is not None}}


@contextmanager
def served(api: Api, **settings: Any) -> Iterator[Client]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = json.dumps(api.answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield Client(ApiSettings(url, page_limit=ROWS, **settings), NoSignIn(), clock=lambda: api.now)
    finally:
        server.shutdown()
        server.server_close()


def landed(lake: Lake, root: Path, keys: list[str]) -> list[str]:
    return [
        one
        for key in keys
        for part in lake.manifest(key).parts
        for one in pq.read_table(root / part.key)["id"].to_pylist()
    ]


def test_a_job_goes_on_with_what_it_had_not_landed_when_its_deadline_passed(tmp_path: Path) -> None:
    api, lake, due = Api(), Lake(str(tmp_path)), [Due("readings", one, None, "new") for one in (FIRST, SECOND)]
    with served(api, job_deadline_s=125.0) as client:
        with pytest.raises(TransportFault, match="SMARTSENSOR_JOB_DEADLINE_S") as got:
            extract_all(client, lake, due, RUN, 1, resources={"readings": READINGS})
        assert (got.value.retryable, code_of(got.value)) == (True, 3)
        assert "1 of 2 windows have landed" in got.value.__notes__[0]
        assert lake.ledger("readings").covered == (FIRST,)
        assert load_progress(lake, READINGS, RUN, SECOND).pages == 2
        extraction = extract_all(client, lake, due, RUN, 1, resources={"readings": READINGS})
    assert lake.ledger("readings").covered == (Window(FIRST.start, SECOND.end),)
    ids = landed(lake, tmp_path, [manifest.key for manifest in extraction.manifests])
    assert ids == [f"{hour}-{n:04}" for hour in (10, 11) for n in range(PAGES * ROWS)], "none lost, none twice"
    assert api.asked == [*range(PAGES), 0, 1, 2, *range(2, PAGES)], (
        "only the page that was asked for ahead is read twice"
    )


def test_the_windows_that_a_deadline_stops_keep_their_pages_too(tmp_path: Path) -> None:
    api, lake, stop = Api(), Lake(str(tmp_path)), threading.Event()

    def stop_at_fourth(resource: str, rows: int) -> None:
        if len(api.asked) == 4:
            stop.set()

    context = ExtractionContext(stop_at_fourth, stop, job_ends=0.0)
    with served(api) as client, pytest.raises(Stopped):
        extract(client, lake, READINGS, FIRST, RUN, context)
    assert load_progress(lake, READINGS, RUN, FIRST).pages == 4
