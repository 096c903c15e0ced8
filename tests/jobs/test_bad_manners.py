"""A server of bad manners, over real HTTP: it ignores its filter, lists without end, counts what it likes, names fields twice."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smartsensor.config import ApiSettings
from smartsensor.jobs.extract import ExtractionContext, extract
from smartsensor.jobs.extraction import close
from smartsensor.jobs.landing import OUTSIDE_ROWS, refuse_unreadable
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import outside_key
from smartsensor.lake.store import LakeError
from smartsensor.source.decode import decode
from smartsensor.source.errors import ContractError, TransportFault
from smartsensor.source.filters import CountEndpoint, TimeFilter
from smartsensor.source.http import Client
from smartsensor.source.resources import INSTANT, REAL, TEXT, Resource, columns
from smartsensor.source.sign_in import NoSignIn
from smartsensor.windows import Window, instant, rfc3339

RUN = "20261120T120000Z-manners"
HOUR = Window(instant("2026-11-20T10:00:00Z"), instant("2026-11-20T11:00:00Z"))
READINGS = Resource(
    "readings", "/readings", ("id",), columns(id=TEXT, at=INSTANT, value=(REAL,)), "incremental", incremental_field="at",
    event_field="at", version=(), count=CountEndpoint(),
)  # fmt: skip


def rows(first: int, number: int, start: Any = HOUR.start) -> list[dict[str, Any]]:
    return [{"id": f"r{first + n}", "at": rfc3339(start + timedelta(seconds=n)), "value": 1.5} for n in range(number)]


def page(found: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    return {"data": found, "pagination": {"next_cursor": cursor, "has_more": cursor is not None}}


@contextmanager
def served(answer: Callable[[str, dict[str, str]], Any]) -> Iterator[Client]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one segment: else each reply waits 40 ms

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = json.dumps(answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Client(ApiSettings(f"http://127.0.0.1:{server.server_port}", page_limit=100), NoSignIn())
    finally:
        server.shutdown()
        server.server_close()


def test_rows_outside_of_the_window_are_kept_apart_and_the_window_stays_open(tmp_path: Path) -> None:
    before, after = rows(0, 7, HOUR.start - timedelta(days=400)), rows(100, 5, HOUR.end)

    def ignores_its_filter(path: str, query: dict[str, str]) -> Any:
        return {"count": 15} if path.endswith("/count") else page(before + rows(10, 15) + after, None)

    lake = Lake(str(tmp_path))
    with served(ignores_its_filter) as client:
        manifest = extract(client, lake, READINGS, HOUR, RUN)
    assert (manifest.received, manifest.outside) == (15, 12)
    assert "12 rows outside of the window that was asked for" in manifest.drift
    assert sum(pq.read_metadata(tmp_path / part.key).num_rows for part in manifest.parts) == 15
    kept = pq.read_table(tmp_path / outside_key("readings", RUN, HOUR))
    assert kept.column("id").to_pylist() == [row["id"] for row in before + after]
    close(lake, "readings", RUN, [manifest])
    assert lake.ledger("readings").covered == (), "what ignores its filter reconciles nothing"
    assert lake.manifest(manifest.key) == manifest
    assert lake.ledger("readings").added[0].outside == 12


def test_of_many_rows_outside_only_the_first_are_kept(tmp_path: Path) -> None:
    many = rows(0, OUTSIDE_ROWS + 50, HOUR.end)
    with served(lambda path, query: {"count": 0} if "count" in path else page(many, None)) as client:
        manifest = extract(client, Lake(str(tmp_path)), READINGS, HOUR, RUN)
    assert (manifest.received, manifest.outside, manifest.parts) == (0, len(many), ())
    assert pq.read_metadata(tmp_path / outside_key("readings", RUN, HOUR)).num_rows == OUTSIDE_ROWS


def test_rows_past_a_window_are_cut_where_the_api_takes_no_upper_bound(tmp_path: Path) -> None:
    open_ended = replace(READINGS, filter=TimeFilter("since", None), count=None)
    lake = Lake(str(tmp_path))
    with served(lambda path, query: page(rows(0, 3) + rows(10, 2, HOUR.end), None)) as client:
        manifest = extract(client, lake, open_ended, HOUR, RUN)
    assert (manifest.received, manifest.outside, manifest.cut, manifest.drift) == (3, 0, 2, ())
    assert lake.manifest(manifest.key).cut == 2
    close(lake, "readings", RUN, [manifest])
    assert lake.ledger("readings").covered == (HOUR,)


@pytest.mark.parametrize("size", [0, 100], ids=["without rows", "with new rows"])
def test_a_listing_without_end_is_stopped_by_the_declared_count(tmp_path: Path, size: int) -> None:
    asked = []

    def endless(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/count"):
            return {"count": 19}
        asked.append(path)
        number = int(query.get("cursor", "0"))
        return page(rows(number * 1000, size), str(number + 1))

    with served(endless) as client, pytest.raises(ContractError, match="does not end"):
        extract(client, Lake(str(tmp_path)), READINGS, HOUR, RUN)
    assert len(asked) <= 1_601


def test_a_long_listing_that_is_counted_right_is_read_to_its_end(tmp_path: Path) -> None:
    short = replace(READINGS, limit=1)

    def honest(path: str, query: dict[str, str]) -> Any:
        number = int(query.get("cursor", "0"))
        return {"count": 250} if "count" in path else page(rows(number, 1), str(number + 1) if number < 249 else None)

    with served(honest) as client:
        assert extract(client, Lake(str(tmp_path)), short, HOUR, RUN).received == 250


def test_a_name_that_comes_twice_in_one_object_is_drift_and_loses_nothing() -> None:
    body = b'{"data": [{"id": "r1", "value": 1.0, "value": 2.0, "at": "2026-11-20T10:00:00Z"}]}'
    found = decode(body, READINGS.schema)
    assert "value: sent twice in one object" in found.drift
    (row,) = found.batch.to_pylist()
    assert row["value"] == 2.0
    assert json.loads(row["_extra"]) == {"_twice": {"value": [1.0]}}


@pytest.mark.parametrize("damage", ["cut", "zeroed", "other columns", "fewer rows"])
def test_a_file_that_can_not_be_read_back_never_gets_a_manifest(tmp_path: Path, damage: str) -> None:
    path, table = (
        tmp_path / "part-00000.parquet",
        decode(json.dumps({"data": rows(0, 5_000)}).encode(), READINGS.schema),
    )

    pq.write_table(pa.Table.from_batches([table.batch]), path)
    refuse_unreadable(path, READINGS.raw_schema, 5_000)
    data, schema, count = path.read_bytes(), READINGS.raw_schema, 5_000
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "zeroed":
        path.write_bytes(data[:100] + bytes(2_000) + data[2_100:])
    elif damage == "other columns":
        schema = schema.append(pa.field("more", pa.string()))
    else:
        count = 5_001
    with pytest.raises(LakeError, match="run again"):
        refuse_unreadable(path, schema, count)


def test_a_window_ends_at_its_deadline_and_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    asked, now = list[int](), [0.0]

    def slow(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/count"):
            return {"count": 5}
        number = int(query.get("cursor", "0"))
        asked.append(number)
        now[0] += 10.0
        return page(rows(number, 1), str(number + 1) if number < 4 else None)

    lake, context = Lake(str(tmp_path)), ExtractionContext(clock=lambda: now[0])
    with served(slow) as client:
        client.settings = replace(client.settings, window_deadline_s=25.0)
        with pytest.raises(TransportFault, match=r"SMARTSENSOR_WINDOW_DEADLINE_S.*run again"):
            extract(client, lake, READINGS, HOUR, RUN, context)
        manifest = extract(client, lake, READINGS, HOUR, RUN, context)
    assert asked == [0, 1, 2, 3, 4], "no page is read twice"
    found = [name for part in manifest.parts for name in pq.read_table(tmp_path / part.key).column("id").to_pylist()]
    assert found == ["r0", "r1", "r2", "r3", "r4"]
