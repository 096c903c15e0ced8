"""What the fake APIs of this folder share: a server over real HTTP, its faults, its log and its truth.

The folder holds eight servers, each in the shape of a public API's own documentation, which its docstring names:
`github_like`, `stripe_like`, `openaq_like`, `pi_like`, `insights_like`, `thingsboard_like`, `abb_like`, `cognite_like`.
None imports smartsensor, so a mistake there can't hide here. Each module ends with the traits that a declaration of its
API has to name.

    with GithubLike(faults=Faults(script=["503", None, "cut"])) as api:
        run a pipeline against api.url, from api.start to api.now
        assert the table equals api.truth(api.start, api.now)
        api.advance()   # a day later: new rows, late ones, revised ones
        print(api.log)

Instants are aware datetimes in UTC; the data depend on `seed`, `start`, `days` and how often time was advanced, alone.
`test_servers.py` reads each to its end with plain requests.
"""

import base64
import json
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

Row = dict[str, Any]
START = datetime(2026, 3, 1, tzinfo=UTC)
LATE = timedelta(hours=6)  # rows come late, and are revised, by at most this
FAULTS = ("429 seconds", "429 date", "500", "503", "cut", "short", "401")


class Faults:
    """Which fault each request meets: those of `script` in turn (None: no fault), then one of `kinds` by `chance`.

    429 seconds, 429 date   too many requests, with Retry-After in either form
    500, 503                the server fails
    cut                     the connection is reset in the middle of the body
    short                   the body ends, in good order, before its Content-Length
    401                     the server forgets every token it gave out; by chance only where it gives tokens out
    """

    def __init__(
        self,
        script: Sequence[str | None] = (),
        chance: float = 0.0,
        kinds: Sequence[str] = FAULTS,
        seed: int = 0,
        retry_after_s: int = 1,
    ) -> None:
        unknown = {kind for kind in (*script, *kinds) if kind is not None} - set(FAULTS)
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)}; there are {', '.join(FAULTS)}")
        self.script, self.chance, self.kinds, self.retry_after_s = list(script), chance, tuple(kinds), retry_after_s
        self.random = random.Random(seed)

    def draw(self, gives_tokens: bool, signs_in: bool) -> str | None:
        if self.script:
            return self.script.pop(0)
        if self.random.random() >= self.chance:
            return None
        kinds = [kind for kind in self.kinds if kind != "401" or (gives_tokens and not signs_in)]
        return self.random.choice(kinds) if kinds else None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any  # of email.message: names in any case
    body: bytes

    def one(self, name: str, default: str | None = None) -> str:
        """The parameter `name`; without a default its absence is answered with 400."""
        if name not in self.query and default is None:
            raise ValueError(f"the parameter {name} is required")
        return self.query.get(name, [default or ""])[0]

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = int(self.one(name, str(default)))
        if not least <= value <= most:
            raise ValueError(f"{name} must lie between {least} and {most}, {value} does not")
        return value

    def json(self) -> Any:
        return json.loads(self.body or b"null")

    def bearer(self, header: str = "Authorization") -> str:
        return (self.headers.get(header) or "").removeprefix("Bearer ")

    def basic(self) -> tuple[str, str]:
        kind, _, coded = (self.headers.get("Authorization") or "").partition(" ")
        user, _, password = base64.b64decode(coded if kind == "Basic" else "").decode().partition(":")
        return user, password

    def again(self, **changed: Any) -> str:
        """This request's path and query with some parameters changed: what a next link holds."""
        query = {name: values[0] for name, values in self.query.items()} | changed
        return f"{self.path}?{urlencode(query)}"


@dataclass(frozen=True)
class Reply:
    body: Any = None  # sent as JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    method: str
    path: str
    query: dict[str, list[str]]
    status: int
    fault: str | None


class FakeApi:
    """One fake API. A subclass says how it signs in, answers, and makes its rows: flat, with names of its choice."""

    key: tuple[str, ...]  # the columns that name a row
    instant: str  # the column that the API filters by
    comes_late = True  # some rows of the last LATE before `now` are seen only after `advance()`
    gives_tokens = False  # the server gives tokens out, and they expire
    sign_in_paths: tuple[str, ...] = ()

    def __init__(
        self,
        faults: Faults | None = None,
        start: datetime = START,
        days: int = 2,
        seed: int = 7,
        clock: Callable[[], datetime] | None = None,  # of the header Date; the default stands still at `now`
    ) -> None:
        self.faults, self.start, self.now, self.seed, self.clock = faults or Faults(), start, start, seed, clock
        self.rows: list[Row] = []
        self.withheld: list[Row] = []
        self.tokens: set[str] = set()
        self.given = 0  # tokens so far
        self.log: list[Logged] = []
        self.lock = threading.Lock()
        self._grow(timedelta(days=days))

    # -- what a subclass says
    def make(self, start: datetime, end: datetime) -> list[Row]:
        """All rows with their instant in [start, end)."""
        raise NotImplementedError

    def revise(self, edge: datetime) -> None:
        """Change some rows of the last LATE before `edge`, where the API lets rows change."""

    def signed_in(self, request: Request) -> bool:
        raise NotImplementedError

    def answer(self, request: Request) -> Reply:
        """The answer to a request that is signed in, or signs in; LookupError becomes 404, ValueError 400."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> Any:
        """The body of an error as this API writes it."""
        return {"message": message}

    # -- what a test asks
    def truth(self, start: datetime, end: datetime) -> list[Row]:
        """The rows that a correct pipeline has for [start, end) by now, ordered by key."""
        with self.lock:
            rows = [dict(row) for row in self.rows if start <= row[self.instant] < end]
        return sorted(rows, key=lambda row: [row[name] for name in self.key])

    def advance(self, by: timedelta = timedelta(days=1)) -> None:
        """Let time pass: late rows turn up, new ones are made, some are revised."""
        with self.lock:
            edge = self.now
            self.rows += self.withheld
            self.withheld = []
            self._grow(by)
            self.revise(edge)

    def time(self) -> datetime:
        return self.clock() if self.clock else self.now

    def chance(self, *names: object) -> random.Random:
        """Random numbers that depend on the seed and on what they are for, never on the order of calls."""
        return random.Random("/".join(map(str, (self.seed, *names))))

    def give_token(self) -> str:
        self.given += 1
        token = f"token-{self.seed}-{self.given}"
        self.tokens.add(token)
        return token

    def _grow(self, by: timedelta) -> None:
        start, self.now = self.now, self.now + by
        for position, row in enumerate(self.make(start, self.now)):
            late = self.comes_late and row[self.instant] >= self.now - LATE and position % 4 == 0
            (self.withheld if late else self.rows).append(row)

    # -- HTTP
    def __enter__(self) -> Self:
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def respond(self, request: Request) -> tuple[Reply, str | None]:
        """The reply, and how its body is broken (cut, short) if it is."""
        with self.lock:
            signs_in = request.path in self.sign_in_paths
            fault = self.faults.draw(self.gives_tokens, signs_in)
            reply = self._reply(request, fault, signs_in)
            self.log.append(Logged(request.method, request.path, request.query, reply.status, fault))
        return reply, fault

    def _reply(self, request: Request, fault: str | None, signs_in: bool) -> Reply:
        if fault == "401":
            self.tokens.clear()
            return self.refusal()
        if fault in ("500", "503"):
            return Reply(self.error(int(fault), "the server failed"), int(fault))
        if fault in ("429 seconds", "429 date"):
            wait = self.faults.retry_after_s
            date = format_datetime(self.time() + timedelta(seconds=wait), usegmt=True)
            after = str(wait) if fault == "429 seconds" else date
            return Reply(self.error(429, "too many requests"), 429, {"Retry-After": after})
        try:
            return self.answer(request) if signs_in or self.signed_in(request) else self.refusal()
        except LookupError as missing:
            return Reply(self.error(404, f"not found: {missing}"), 404)
        except ValueError as wrong:
            return Reply(self.error(400, str(wrong)), 400)

    def refusal(self) -> Reply:
        return Reply(self.error(401, "not signed in, or the token has expired"), 401, {"WWW-Authenticate": "Bearer"})


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed resets its connection, which is no fault of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle_request(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = parse_qs(address.query, keep_blank_values=True)
            reply, fault = api.respond(Request(self.command, address.path, query, self.headers, body))
            sent = b"" if reply.status == 304 else json.dumps(reply.body, ensure_ascii=False).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if sent:
                self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            if fault in ("cut", "short"):
                self.wfile.write(sent[: len(sent) // 2])
                self.wfile.flush()
                self.close_connection = True
                if fault == "cut":  # to linger for 0 s is to reset the connection
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                return
            self.wfile.write(sent)

        do_GET = do_POST = handle_request

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(api.time(), usegmt=True)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the requests stand in api.log."""

    return Handler


def instants(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """Every `step` from `start`, before `end`."""
    return [start + step * index for index in range(-((start - end) // step))]


def iso(instant: datetime, spec: str = "seconds") -> str:
    return instant.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def from_iso(text: str) -> datetime:
    """An instant out of ISO 8601; without a zone it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def epoch_ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)
