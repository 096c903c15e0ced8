"""The transport against a server that misbehaves on purpose; the teaching cases stand in nbs/source/006_http.ipynb."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from smartsensor.config import ApiSettings, Secret
from smartsensor.source import http as module
from smartsensor.source.budget import RateBudget
from smartsensor.source.errors import (
    ApiError,
    AuthError,
    BadRequest,
    ContractError,
    Forbidden,
    RateLimited,
    ServerFault,
    TransportFault,
)
from smartsensor.source.http import Client

SECRET = "s3cr3t-of-the-client"
TOKEN = (200, {}, b'{"access_token": "token-of-the-day", "token_type": "Bearer", "expires_in": 900}')


class Script:
    """What the server answers, in order: (status, headers, body), or a callable that gets the handler."""

    def __init__(self, *answers: Any, token: Any = TOKEN) -> None:
        self.answers, self.token, self.seen = list(answers), token, []


@contextlib.contextmanager
def served(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None: ...

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.seen.append((self.path, self.headers.get("Authorization")))
            answer = script.token if self.path.endswith("/token") else script.answers.pop(0)
            if callable(answer):
                answer(self)
                return
            status, headers, body = answer
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = len(body) < int(headers.get("Content-Length", 0))

        do_GET = do_POST = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(script: Script, budget: RateBudget | None = None, **changes: Any) -> tuple[Any, list[float]]:
    waits: list[float] = []
    with served(script) as url:
        settings = ApiSettings(url, f"{url}/token", "me", Secret(SECRET), **changes)
        client = Client(settings, budget=budget, sleep=waits.append, chance=lambda: 0.0)
        return client.get("/x"), waits


OK = (200, {}, b'{"ok": true}')
HALF = (200, {"Content-Length": "400"}, b'{"ok": ')


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


@pytest.mark.parametrize(
    "fault", [HALF, reset, (500, {}, b"<html>"), (502, {}, b""), (503, {}, b"{}"), (504, {}, b"x"), (429, {}, b"{}")]
)
def test_a_passing_fault_is_retried(fault: Any) -> None:
    script = Script(fault, fault, OK)
    reply, waits = get(script)
    assert (reply.body, reply.attempts, len(waits)) == (OK[2], 3, 2)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, {}, b'{"title": "window_too_large", "detail": "7 days at most"}'), BadRequest),
        ((403, {}, b'{"title": "insufficient_scope"}'), Forbidden),
        ((404, {}, b""), BadRequest),
        ((501, {}, b""), BadRequest),
        ((302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""), BadRequest),
    ],
)
def test_a_refusal_is_not_retried(answer: Any, kind: type[ApiError]) -> None:
    script = Script(answer)
    with pytest.raises(kind):
        get(script)
    assert [path for path, _ in script.seen] == ["/v1/token", "/v1/x"]


@pytest.mark.parametrize(
    ("fault", "kind"), [(HALF, TransportFault), ((500, {}, b""), ServerFault), ((429, {}, b""), RateLimited)]
)
def test_attempts_are_bounded(fault: Any, kind: type[ApiError]) -> None:
    script = Script(*[fault] * 9)
    with pytest.raises(kind) as caught:
        get(script, max_attempts=4)
    assert caught.value.retryable
    assert len(script.answers) == 5


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("soon", 0.0),
        ("-1", 0.0),
        ("inf", 0.0),
        ("nan", 0.0),
        ("9" * 400, None),
        ("Fri, 20 Nov 2026 10:00:07 GMT", 7.0),
        ("Fri, 99 Nov 2026", 0.0),
    ],
)
def test_retry_after_is_the_least_wait_and_garbage_counts_as_0(header: str, wait: float | None) -> None:
    script = Script((429, {"Retry-After": header, "Date": "Fri, 20 Nov 2026 10:00:00 GMT"}, b"{}"), OK)
    if wait is None:
        with pytest.raises(RateLimited, match="retry budget"):
            get(script)
        return
    _, waits = get(script)
    assert waits == [wait]


def test_a_429_pauses_every_thread() -> None:
    waits: list[float] = []
    budget = RateBudget(0, 1, clock=lambda: 0.0, sleep=waits.append)
    get(Script((429, {"Retry-After": "5"}, b"{}"), OK), budget)
    assert waits == [5.0]


def test_a_refused_token_is_replaced_once() -> None:
    refused = (401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, b"{}")
    script = Script(refused, OK)
    reply, waits = get(script)
    assert reply.status == 200
    assert waits == []
    assert [path for path, _ in script.seen] == ["/v1/token", "/v1/x", "/v1/token", "/v1/x"]
    script = Script(refused, refused, OK)
    with pytest.raises(AuthError):
        get(script)
    assert len(script.answers) == 1


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ((401, {}, b'{"error": "invalid_client"}'), AuthError),
        ((200, {}, b'{"token_type": "Bearer"}'), AuthError),
        ((200, {}, b'{"access_token": null}'), AuthError),
        ((200, {}, b'{"access_token": "a\\nb"}'), AuthError),
        ((200, {}, b'{"access_token": "a", "token_type": "mac"}'), AuthError),
        ((200, {}, b"<html>"), AuthError),
        ((200, {}, b"[]"), AuthError),
        ((503, {}, b""), TransportFault),
    ],
)
def test_without_a_token_no_request_is_sent(token: Any, kind: type[ApiError]) -> None:
    script = Script(OK, token=token)
    with pytest.raises(kind):
        get(script, max_attempts=2)
    assert all(path == "/v1/token" for path, _ in script.seen)
    assert len(script.seen) == (2 if kind is TransportFault else 1)


def test_no_message_has_a_secret() -> None:
    echo = json.dumps(
        {"title": "bad", "detail": f"client_secret={SECRET} Authorization: Bearer token-of-the-day"}
    ).encode()
    for script in (
        Script((400, {}, echo)),
        Script((500, {}, echo), (500, {}, echo)),
        Script(OK, token=(401, {}, echo)),
    ):
        with pytest.raises(ApiError) as caught:
            get(script, max_attempts=2)
        text = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__context__}"
        assert SECRET not in text
        assert "token-of-the-day" not in text


def test_a_reply_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1000)
    with pytest.raises(ContractError, match="fewer rows a page"):
        get(Script((200, {}, b"x" * 5000)))


@pytest.mark.parametrize("count", ["-1", "1.5", '"7"', "null", "true", "[]"])
def test_an_invalid_count_is_refused(count: str) -> None:
    from smartsensor.source.smartsensor_api import RESOURCES
    from smartsensor.windows import EPOCH, Window, instant

    script = Script((200, {}, b'{"count": %s}' % count.encode()))
    with served(script) as url:
        client = Client(ApiSettings(url, f"{url}/token", "me", Secret(SECRET)), sleep=lambda seconds: None)
        with pytest.raises(ContractError, match="is no count"):
            client.count(RESOURCES["plants"], Window(EPOCH, instant("2026-11-20T00:00:00Z")))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/v1", "Connection refused"),
        ("http://nowhere.invalid/v1", "Failed to resolve 'nowhere.invalid'"),
    ],
)
def test_an_unreachable_api_gives_a_short_message(url: str, reason: str) -> None:
    settings = ApiSettings(url, url, "me", Secret("none"), max_attempts=1)
    with pytest.raises(TransportFault) as caught:
        Client(settings).get("/plants", signed=False)
    assert str(caught.value) == f"GET /plants: no connection ({reason})"


def drip(text: bytes, every_s: float = 0.05) -> Any:
    "Sends a reply byte by byte: no read waits long, and the whole takes minutes."

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            for byte in text:
                handler.wfile.write(bytes([byte]))
                time.sleep(every_s)

    return answer


BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"


@pytest.mark.parametrize(
    "text",
    [b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 4000, BODY + b"{" * 4000, BODY.replace(b"Content-Length: 4000", b"Transfer-Encoding: chunked") + b"fff\r\n" + b"{" * 4000],
    ids=["headers", "body", "chunks"],
)  # fmt: skip
def test_a_reply_that_drips_ends_at_its_deadline(text: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(TransportFault, match=r"no whole reply within 1 s: .* SMARTSENSOR_REPLY_DEADLINE_S"):
        get(Script(drip(text, 0.02)), reply_deadline_s=1.0, max_attempts=1, read_timeout_s=10.0)
    assert time.monotonic() - began < 5


def test_replies_that_come_byte_by_byte_are_read_whole() -> None:
    token, rows = b'{"access_token":"t","token_type":"Bearer","expires_in":3600}', b'{"data":["' + b"x" * 3000 + b'"]}'
    whole = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) for body in (token, rows)]
    with served(Script(drip(whole[1], 0.0), token=drip(whole[0], 0.0))) as url:
        client = Client(ApiSettings(url, f"{url}/token", "me", Secret(SECRET)))
        assert client.get("/x").body == rows


def test_a_deadline_is_for_each_reply_and_not_for_the_connection() -> None:
    with served(Script(*[(200, {}, b"{}")] * 4)) as url:
        client = Client(ApiSettings(url, f"{url}/token", "me", Secret(SECRET), reply_deadline_s=0.3))
        for _ in range(4):
            assert client.get("/x").json() == {}
            time.sleep(0.12)


def test_a_token_that_drips_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartsensor.source.auth.TOKEN_DEADLINE_S", 0.5)
    with pytest.raises(TransportFault, match="can't be reached"):
        get(Script(token=drip(BODY + b"{" * 4000, 0.02)), max_attempts=1)


def test_a_silent_server_still_ends_at_the_read_timeout() -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        time.sleep(1.0)

    with pytest.raises(TransportFault, match="no answer in time"):
        get(Script(silent), max_attempts=1, read_timeout_s=0.2)
