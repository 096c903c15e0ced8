"""The API that this project reads until you name your own: `python tests/fake_api.py COMMAND ...`.

COMMAND runs while the API answers on 127.0.0.1, and finds its address and key in the environment. It serves weather stations
and their readings, in pages by number, behind an API key. Each answer follows from the clock, so tests know what is true.
Standard library only.
"""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "key-of-the-fake-api"
STEP_S = 600  # a reading of each station every ten minutes
STATIONS = [
    {"id": 1, "name": "Harbour", "latitude": 53.54, "longitude": 9.97},
    {"id": 2, "name": "Airport", "latitude": 53.63, "longitude": 9.99},
    {"id": 3, "name": "Forest", "latitude": 53.72, "longitude": 10.12},
]


def readings(start: datetime, end: datetime) -> list[dict[str, Any]]:
    "The rows of [start, end), by time, as the API sends them: `ts` is epoch milliseconds."
    first, last = (-(-int(at.timestamp() * 1000) // (STEP_S * 1000)) for at in (start, end))
    return [reading(station["id"], step * STEP_S) for step in range(first, last) for station in STATIONS]


def reading(station: int, at_s: int) -> dict[str, Any]:
    "A warm afternoon, a cold night."
    hour = at_s % 86_400 / 3600
    temperature = 12 + station + 6 * math.sin((hour - 9) / 24 * math.tau) + at_s // STEP_S % 7 / 10
    return {
        "id": f"{station}-{at_s}",
        "stationId": station,
        "ts": at_s * 1000,
        "temperature": round(temperature, 1),
        "humidity": round(90 - 2 * temperature),
    }


def rows_of(path: str, query: dict[str, str]) -> list[dict[str, Any]] | None:
    "All rows that a request is about; None: there is no such collection. Readings end now: the future sends none."
    if path == "/v1/stations":
        return STATIONS
    if path == "/v1/readings":
        start, end = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
        return readings(start, min(end, datetime.now(UTC)))
    return None


def answer(path: str, query: dict[str, str], key: str | None) -> tuple[int, dict[str, Any]]:
    "Status and body."
    if key != KEY:
        return 401, {"message": "the header X-API-Key holds no key that is known here"}
    rows = rows_of(path, query)
    if rows is None:
        return 404, {"message": f"there is no {path}"}
    page, limit = int(query.get("page", "1")), min(int(query.get("limit", "100")), 1000)
    some = rows[(page - 1) * limit : page * limit]
    return 200, {"meta": {"page": page, "limit": limit, "found": len(rows)}, "results": some}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.send(*answer(url.path, query, self.headers.get("X-API-Key")))

    def send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        "Nothing: the command's own output is what counts."


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    "Serve on a free port; the variables that lead there."
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "SMARTSENSOR_API_URL": f"http://127.0.0.1:{server.server_port}/v1",
            "SMARTSENSOR_CLIENT_SECRET": KEY,
        }
        server.shutdown()


def main(command: list[str]) -> int:
    "Run a command beside the API; its exit code."
    with serve() as variables:
        try:
            return subprocess.run(command, env={**os.environ, **variables}).returncode
        except KeyboardInterrupt:  # the command was interrupted too, and has said so
            return 130


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
