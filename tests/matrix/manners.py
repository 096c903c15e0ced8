"""A proxy of bad manners: it stands between the client and the simulator, and spoils pages on their way."""

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import requests

PAGES = "/v1/measurements"
REPLY_DEADLINE_S = 1.0  # of the client in a trial with a dripping server


def _first(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda body: body.replace(old, new, 1)


def _outside(body: bytes) -> bytes:
    "Three rows more, of a time that nobody asked for."
    page = json.loads(body)
    page["data"] += [
        row | {"measurement_id": f"uninvited-{row['measurement_id']}", "updated_at": "2025-10-01T00:00:00.000Z"}
        for row in page["data"][:3]
    ]
    return json.dumps(page).encode()


def _endless(rows: int) -> Callable[[bytes], bytes]:
    "Always another cursor: with the rows of this page under new keys and the same times, or without any."
    numbers = itertools.count()

    def spoil(body: bytes) -> bytes:
        page, number = json.loads(body), next(numbers)
        page["data"] = [
            row | {"measurement_id": f"endless-{number}-{at}"} for at, row in enumerate(page["data"][:rows])
        ]
        page["pagination"] = {"next_cursor": f"endless-{number}", "has_more": True}
        return json.dumps(page).encode()

    return spoil


MANNERS: dict[str, Callable[[bytes], bytes]] = {
    "bytes that are not UTF-8": _first(b'"quality_flag":"good"', b'"quality_flag":"go\xff\xfed"'),
    "half a surrogate": _first(b'"quality_flag":"good"', b'"quality_flag":"go\\ud800d"'),
    "an instant in the year 0000": _first(b'"received_at":"2026', b'"received_at":"0000'),
    "NaN": _first(b'"value":', b'"value":NaN,"reading":'),
    "a number of 400 digits": _first(b'"value":', b'"value":%b,"reading":' % (b"9" * 400)),
    "a name twice in one object": _first(b'"revision":', b'"revision":999,"revision":'),
    "rows outside of the window": _outside,
    "an endless listing": _endless(60),
    "an endless listing without rows": _endless(0),
    "a reply that drips": lambda body: body,
    "an array in place of a page": lambda body: b"[]",
    "a body that is no JSON": lambda body: b"<html>gateway</html>",
}  # fmt: skip


@dataclass
class Manner:
    """One thing that goes wrong on its way."""

    kind: str  # a key of MANNERS
    at: int = 0  # how many pages pass before
    times: int = 1  # of how many pages after those; 0: of all
    pages: int = 0  # seen so far

    def hits(self) -> bool:
        "Count one page; whether it is spoilt."
        self.pages += 1
        return self.pages > self.at and (self.times == 0 or self.pages <= self.at + self.times)


@contextlib.contextmanager
def proxy(upstream: str, manners: list[Manner]) -> Iterator[str]:  # its address, as `upstream` with another port
    "Forward each request, and spoil the pages that are to be spoilt."
    session = requests.Session()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: object) -> None: ...

        def forward(self) -> None:
            parts, length = urlsplit(self.path), int(self.headers.get("Content-Length", 0))
            cursor = parse_qs(parts.query).get("cursor", [""])[0]
            path = (
                self.path.replace(f"&cursor={cursor}", "").replace(f"cursor={cursor}", "")
                if cursor.startswith("endless")
                else self.path
            )
            url, headers = upstream.removesuffix("/v1") + path, {**self.headers, "Accept-Encoding": "identity"}
            try:
                reply = session.request(
                    self.command, url, data=self.rfile.read(length), headers=headers, allow_redirects=False, timeout=30
                )
                body = reply.content
            except requests.RequestException:  # the simulator broke the connection on purpose: so do we
                self.close_connection = True
                return
            struck = [one.kind for one in manners if parts.path == PAGES and reply.status_code == 200 and one.hits()]
            for kind in struck:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # another fault made it no page already
                    body = MANNERS[kind](body)
            self.send_response_only(reply.status_code)
            for name, value in reply.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.drip(body) if "a reply that drips" in struck else self.wfile.write(body)

        def drip(self, body: bytes) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                for at in range(len(body)):
                    self.wfile.write(body[at : at + 1])
                    self.wfile.flush()
                    time.sleep(REPLY_DEADLINE_S / 10)

        do_GET = do_POST = do_DELETE = forward

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None: ...  # the client gave up in the middle of a reply, as it should

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        session.close()
