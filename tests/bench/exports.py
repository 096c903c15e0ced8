"""Land one large window by an export and by pages: rows/s, MB/s, peak memory. It ends in one line of figures.

    .venv/bin/python tests/bench/exports.py [--rows 10000000] [--page-rows 500000] [--format parquet]

The server here has made everything beforehand, in a process of its own: files on disk, pages in memory. So neither way
waits for it, and the first rows of the export are the rows of the pages.
"""

import argparse
import hashlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from smartsensor.source.smartsensor_api import MEASUREMENTS

FILE_ROWS, PAGE_ROWS, BEGIN_MS = 250_000, 1000, 1_763_596_800_000
WINDOW = ("2025-11-20T00:00:00Z", "2025-11-26T00:00:00Z")


def rows_from(first: int, count: int) -> pa.Table:
    "Measurements, numbered, a few of them in each millisecond."
    n = np.arange(first, first + count)
    number = pa.array(n)

    def text(prefix: str, values: Any) -> pa.Array:
        return pa.array([f"{prefix}{value:06}" for value in values.tolist()])

    at = pa.array(BEGIN_MS + n // 40).cast(pa.timestamp("ms", "UTC"))
    columns = {
        "measurement_id": pa.array([f"ms_{value:012x}" for value in n.tolist()]), "sensor_id": text("sen-", n % 600),
        "asset_id": text("ast-", n % 100), "plant_id": text("plt-", n % 4), "measurement_type_id": pa.array(n % 6 + 1),
        "value": pa.array(np.round((n % 9973) * 0.37, 2)), "quality_flag": pa.array(["good"] * count),
        "measured_at": at, "received_at": at, "updated_at": at, "revision": pa.array(np.ones(count, np.int64)),
    }  # fmt: skip
    assert len(number) == count
    return pa.table(columns).select(MEASUREMENTS.schema.names)


def lines_of(table: pa.Table) -> list[bytes]:
    "JSON of each row."
    texts = table.set_column(7, "measured_at", _texts(table, 7)).set_column(8, "received_at", _texts(table, 8))
    texts = texts.set_column(9, "updated_at", _texts(table, 9))
    return [json.dumps(row, separators=(",", ":")).encode() for row in texts.to_pylist()]


def _texts(table: pa.Table, at: int) -> pa.Array:
    values = table.column(at).combine_chunks().cast(pa.timestamp("ms")).to_numpy()
    return pa.array([f"{value}Z" for value in np.datetime_as_string(values).tolist()])


def write_file(path: Path, table: pa.Table, form: str) -> None:
    if form == "parquet":
        pq.write_table(table, path, row_group_size=50_000, compression="zstd")
    elif form == "ndjson":
        path.write_bytes(b"\n".join(lines_of(table)) + b"\n")
    else:
        for at in (7, 8, 9):
            table = table.set_column(at, table.schema.names[at], _texts(table, at))
        pcsv.write_csv(table, path)


class Server(BaseHTTPRequestHandler):
    """Token, count, pages, and one export that is ready at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    files: list[dict[str, Any]]
    pages: list[bytes]
    folder: Path
    rows: int

    def log_message(self, *args: object) -> None: ...

    def _say(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        token = {"access_token": "t", "token_type": "Bearer", "expires_in": 9000}
        self._say(json.dumps(token if self.path.endswith("token") else self._job()).encode())

    def do_DELETE(self) -> None:
        self._say(b"", 204)

    def do_GET(self) -> None:
        if "/files/" in self.path:
            self._say((self.folder / self.path.rsplit("/", 1)[1]).read_bytes())
        elif "/exports/" in self.path:
            self._say(json.dumps(self._job()).encode())
        elif "/count" in self.path:
            self._say(
                json.dumps({"count": self.rows if not Server.pages_asked else len(self.pages) * PAGE_ROWS}).encode()
            )
        else:
            Server.pages_asked = True
            at = int(self.path.split("cursor=")[1].split("&")[0]) if "cursor=" in self.path else 0
            ended = at + 1 == len(self.pages)
            ends = {"next_cursor": None if ended else str(at + 1), "has_more": not ended, "limit": PAGE_ROWS}
            self._say(b'{"data":[%b],"pagination":%b,"meta":{}}' % (self.pages[at], json.dumps(ends).encode()))

    pages_asked = False

    def _job(self) -> dict[str, Any]:
        url = f"http://{self.headers['Host']}/v1/files/"
        files = [{**one, "url": url + one["file_id"]} for one in self.files]
        return {"export_id": "e1", "status": "succeeded", "progress": 100, "record_count": self.rows, "files": files}


def serve(rows: int, page_rows: int, form: str, folder: str) -> None:
    "Make everything, say where it is, and serve until the end of the input."
    Server.rows, Server.folder, Server.files = rows, Path(folder), []
    for number in range(math.ceil(rows / FILE_ROWS)):
        path = Server.folder / f"f{number:04}"
        count = min(FILE_ROWS, rows - number * FILE_ROWS)
        write_file(path, rows_from(number * FILE_ROWS, count), form)
        digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
        Server.files.append({"file_id": path.name, "rows": count, "bytes": size, "sha256": digest})
    Server.pages = [b",".join(lines_of(rows_from(at, PAGE_ROWS))) for at in range(0, page_rows, PAGE_ROWS)]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()


def land(base_url: str, root: str, form: str) -> dict[str, Any]:
    "Land the window in this process; a form of `pages` reads pages."
    from smartsensor.config import ApiSettings, Secret
    from smartsensor.jobs import extract as extract_room
    from smartsensor.lake.lake import Lake
    from smartsensor.source import export_jobs as export_jobs_room
    from smartsensor.source.http import Client
    from smartsensor.windows import Window, instant

    extract_room.ExportRequest = lambda *fields: export_jobs_room.ExportRequest(*fields, format=form)  # type: ignore[assignment,misc]
    scope = "telemetry.read exports.write"
    client = Client(ApiSettings(base_url, base_url + "/oauth2/token", "me", Secret("none"), scope, rate_per_s=0))
    began = time.monotonic()
    window, rows = Window(*map(instant, WINDOW)), None if form == "pages" else 10**12
    manifest = extract_room.extract(
        client, Lake(root), MEASUREMENTS, window, "20261120T000000Z-bench", expected_rows=rows
    )
    ended = time.monotonic()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": manifest.received, "declared": manifest.declared, "seconds": ended - began,
        "mb": sum(part.bytes for part in manifest.parts) / 1e6,
        "rss_mb": usage.ru_maxrss / 1024, "cpu_s": usage.ru_utime + usage.ru_stime, "requests": manifest.requests,
    }  # fmt: skip


def measured(base_url: str, form: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, __file__, "--land", base_url, root, form]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output.strip().splitlines()[-1]))


def rounds(rows: int, page_rows: int, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--serve", str(rows), str(page_rows), form, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            base_url = server.stdout.readline().strip()
            try:
                yield f"export as {form}", measured(base_url, form)
                if page_rows:
                    yield "pages", measured(base_url, "pages")
            finally:
                server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--page-rows", type=int, default=500_000, help="by pages; 0: none")
    parser.add_argument("--format", choices=("parquet", "ndjson", "csv"), default="parquet")
    parser.add_argument("--land", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.land:
        print(json.dumps(land(*options.land)))
    elif options.serve:
        serve(int(options.serve[0]), int(options.serve[1]), *options.serve[2:])
    else:
        print("; ".join(
            f"{name}: {one['rows']:,} rows in {one['seconds']:.1f} s, {one['rows'] / one['seconds'] / 1000:.0f} k rows/s, "
            f"{one['mb'] / one['seconds']:.1f} MB/s of raw, peak {one['rss_mb']:.0f} MB, {one['cpu_s'] / one['rows'] * 1e6:.1f} CPU s/M, "
            f"{one['requests']} requests"
            for name, one in rounds(options.rows, options.page_rows, options.format)
        ))  # fmt: skip


if __name__ == "__main__":
    main()
