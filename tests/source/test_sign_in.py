"""Each way to sign in, against servers that refuse, expire, rotate and revoke; and no secret is shown anywhere."""

import contextlib
import json
import logging
import pickle
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth

from smartsensor.config import ApiSettings, ConfigError, Credentials, Secret, load_settings
from smartsensor.jobs.sign_in_tokens import LakeTokens
from smartsensor.jobs.workers import _DriverSigner, serve_signer
from smartsensor.lake.lake import Lake
from smartsensor.source.budget import RemoteRateLimiter, serve_rate
from smartsensor.source.cassette import Player, Recorder, replaying
from smartsensor.source.errors import AuthError, TransportFault, redact
from smartsensor.source.http import Client
from smartsensor.source.sign_in import (
    ApiKey,
    AwsSigV4,
    BasicAuth,
    BearerToken,
    CustomAuth,
    KeyExchange,
    NoSignIn,
    OAuthClientCredentials,
    OAuthRefreshToken,
    SignIn,
)

SECRET = "s3cr3t/of+the=client"
ID = "the-client"
KEY_EXCHANGE = KeyExchange(expires="expiresIn")
LOGIN = KeyExchange(
    "/api/auth/login", {"username": "{id}", "password": "{secret}"}, "token", header="X-Authorization"
)  # ThingsBoard's
ALL: list[SignIn] = [
    ApiKey(),
    ApiKey("api_key", place="query"),
    ApiKey("Authorization", prefix="Token "),
    BasicAuth(),
    BasicAuth(user="{secret}", password=""),
    BearerToken(),
    OAuthClientCredentials("/token", "read"),
    OAuthClientCredentials("/token", "read", send="body", audience="https://a.example.com", extra=(("tenant", "7"),)),
    OAuthRefreshToken("/token"),
    KEY_EXCHANGE,
    LOGIN,
]
FETCHING = [one for one in ALL if isinstance(one, OAuthClientCredentials | OAuthRefreshToken | KeyExchange)]
STATIC = [one for one in ALL if one not in FETCHING]


@dataclass
class Api:
    """An API with all ways to sign in; it accepts the current secret and tokens that it gave and has not revoked."""

    url: str = ""
    secret: str = SECRET
    refresh: str = "refresh-token-0"
    lifetime_s: float = 900
    tokens: set[str] = field(default_factory=set)
    given: int = 0
    seen: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)  # path, headers, body
    lock: threading.Lock = field(default_factory=threading.Lock)
    before_answer: Callable[[], None] = lambda: None

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            self.seen.append((path, headers, body))
            if urlsplit(path).path.removeprefix("/v1") in ("/token", "/Auth/Key", "/api/auth/login"):
                status, output = self._give(headers, body)
            elif self._accepts(path, headers):
                status, output = 200, {"data": [1], "you": headers.get("Authorization")}
            else:
                status, output = 401, {"title": "invalid", "detail": f"not with {headers} at {path}"}
        self.before_answer()
        return status, output

    def _give(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        basic = "Basic " + b64encode(f"{ID}:{self.secret}".encode()).decode()
        own = (body.get("client_id", body.get("username")), body.get("client_secret", body.get("password")))
        if headers.get("Authorization") != basic and own != (ID, self.secret) and body.get("apiKey") != self.secret:
            return 401, {"error": "invalid_client", "error_description": f"not with {body} and {headers}"}
        output: dict[str, Any] = {}
        if body.get("grant_type") == "refresh_token":
            if body["refresh_token"] != self.refresh:
                return 400, {"error": "invalid_grant", "error_description": f"not with {body['refresh_token']}"}
            self.refresh = output["refresh_token"] = f"refresh-token-{int(self.refresh.rpartition('-')[2]) + 1}"
        self.given += 1
        token = f"access-token-{self.given}"
        self.tokens.add(token)
        named = {"access_token": token, "authToken": token, "token": token}
        return 200, {**named, **output, "expires_in": self.lifetime_s, "expiresIn": self.lifetime_s}

    def _accepts(self, path: str, headers: dict[str, str]) -> bool:
        basic = (f"{ID}:{self.secret}", f"{self.secret}:")
        good = {self.secret, f"Token {self.secret}", f"Bearer {self.secret}"}
        good |= {f"Basic {b64encode(pair.encode()).decode()}" for pair in basic} | {
            f"Bearer {one}" for one in self.tokens
        }
        carried = (headers.get("Authorization"), headers.get("X-Authorization"), headers.get("X-API-Key"))
        return bool(good & {*carried, *parse_qs(urlsplit(path).query).get("api_key", [])})


@pytest.fixture
def api() -> Iterator[Api]:
    world = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None: ...

        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            body = json.loads(sent) if sent.startswith("{") else {k: v[0] for k, v in parse_qs(sent).items()}
            status, output = world.answer(self.path, dict(self.headers), body)
            data = json.dumps(output).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    world.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield world
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Tokens:
    """A `TokenStore` in memory."""

    def __init__(self) -> None:
        self.kept: dict[int, str] = {}
        self.fault: Exception | None = None

    def load(self) -> tuple[int, str] | None:
        return max(self.kept.items()) if self.kept else None

    def create(self, version: int, token: str) -> bool:
        if self.fault is not None:
            raise self.fault
        return self.kept.setdefault(version, token) is token


def client_of(
    api: Api, sign_in: SignIn | AuthBase, tokens: Any = None, now: list[float] | None = None, **changes: Any
) -> Client:
    values = {"client_id": ID, "client_secret": Secret(SECRET), "refresh_token": Secret("refresh-token-0"), **changes}
    clock = (lambda: now[0]) if now is not None else (lambda: 0.0)
    tokens = tokens or Tokens()
    return Client(ApiSettings(api.url, **values), sign_in, sleep=lambda s: None, clock=clock, tokens=tokens)


def data_requests(api: Api) -> int:
    return sum("/data" in path for path, _, _ in api.seen)


@pytest.mark.parametrize("sign_in", ALL, ids=repr)
def test_all_sign_in_once_and_travel_without_a_secret(api: Api, sign_in: SignIn) -> None:
    assert pickle.loads(pickle.dumps(sign_in)) == sign_in
    client = client_of(api, sign_in)
    assert [client.get("/data", {"limit": "5"}).status for _ in range(3)] == [200] * 3
    assert client.auth.fetched == api.given == (1 if sign_in in FETCHING else 0)
    assert data_requests(api) == 3
    assert all("limit=5" in path for path, _, _ in api.seen if "/data" in path)


def test_fields_of_the_form_and_settings_that_count_more(api: Api) -> None:
    client_of(api, ALL[7]).get("/data")
    form = {"grant_type": "client_credentials", "scope": "read", "audience": "https://a.example.com", "tenant": "7"}
    assert api.seen[0][2] == form | {"client_id": ID, "client_secret": SECRET}
    client = client_of(api, OAuthClientCredentials("/elsewhere", "read"), token_url=f"{api.url}/token", scope="write")
    client.get("/data")
    assert [body["scope"] for path, _, body in api.seen if path.endswith("/token")] == ["read", "write"]
    assert client.settings.scope == "write"


@pytest.mark.parametrize("sign_in", ALL, ids=repr)
def test_a_refusal_ends_the_run_and_shows_no_secret(
    api: Api, sign_in: SignIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.secret = "another-secret"
    client = client_of(api, sign_in)
    recorder = Recorder(tmp_path / "piece", client.settings, {"piece": 0}, client.auth)
    with pytest.raises(AuthError) as caught:
        client.with_recorder(recorder).get("/data", {"limit": "5"})
    recorder.close(last=True)
    assert "CLIENT_SECRET" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value)) + repr(client.auth) + repr(client.settings) + caplog.text
    assert "127.0.0.1" in caplog.text
    hidden = [SECRET, "s3cr3t", "refresh-token-0", b64encode(f"{ID}:{SECRET}".encode()).decode()]
    cassette = (tmp_path / "piece").read_bytes()
    assert [text for text in hidden if text in shown or text.encode() in cassette] == []


@pytest.mark.parametrize("sign_in", ALL, ids=repr)
def test_a_cassette_holds_no_secret_and_replays_without_sign_in(api: Api, sign_in: SignIn, tmp_path: Path) -> None:
    client = client_of(api, sign_in)
    about = {"run": "r", "piece": 0}
    recorder = Recorder(tmp_path / "piece", client.settings, about, client.auth)
    client.with_recorder(recorder).get("/data", {"limit": "5"})
    recorder.close(last=True)
    with (tmp_path / "piece").open("rb") as file:
        player = Player([("piece", file)], {"run": "r"})
        body = replaying(player).get("/data", {"limit": "5"}).body
    shown = (tmp_path / "piece").read_bytes() + body
    for hidden in ("s3cr3t", "access-token", "refresh-token", b64encode(f"{ID}:{SECRET}".encode()).decode()):
        assert hidden.encode() not in shown


def test_a_broken_connection_shows_no_key_of_the_address(api: Api) -> None:
    settings = ApiSettings("http://127.0.0.1:1/v1", client_secret=Secret(SECRET), max_attempts=1)
    client = Client(settings, ApiKey("api_key", place="query"))
    with pytest.raises(TransportFault) as caught:
        client.get("/data")
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    client.session.prepare(requests.Request("GET", settings.base_url, auth=client.auth))
    from smartsensor.source.http import _error_detail

    for at in range(150, 210):  # wherever the message is cut
        url = f"{'x' * at} http://h/?api_key=s3cr3t%2Fof%2Bthe%3Dclient"
        assert "s3c" not in _error_detail(requests.ConnectionError(url))


@pytest.mark.parametrize("sign_in", FETCHING, ids=repr)
def test_a_token_is_replaced_ahead_of_its_end(api: Api, sign_in: SignIn) -> None:
    now = [0.0]
    sign_in = replace(sign_in, lifetime_s=900.0) if isinstance(sign_in, KeyExchange) else sign_in
    client, counts = client_of(api, sign_in, now=now), []
    for now[0] in (0.0, 809.0, 811.0):
        client.get("/data")
        counts.append(api.given)
    assert counts == [1, 1, 2]


@pytest.mark.parametrize("sign_in", FETCHING, ids=repr)
def test_a_token_that_the_api_revokes_is_replaced_once(api: Api, sign_in: SignIn) -> None:
    client = client_of(api, sign_in)
    client.get("/data")
    api.tokens.clear()
    assert client.get("/data").status == 200
    assert (api.given, data_requests(api)) == (2, 3)


@pytest.mark.parametrize("sign_in", FETCHING, ids=repr)
def test_many_threads_fetch_one_token_and_replace_it_once(api: Api, sign_in: SignIn) -> None:
    client, barrier = client_of(api, sign_in), threading.Barrier(6)

    def read(_: int) -> int:
        barrier.wait()
        return client.get("/data").status

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(read, range(6))) == {200}
        assert api.given == 1
        api.tokens.clear()
        assert set(pool.map(read, range(6))) == {200}
    assert api.given == 2


@pytest.mark.parametrize("sign_in", ALL, ids=repr)
def test_a_secret_that_is_rotated_in_its_file_is_taken_without_a_restart(
    api: Api, sign_in: SignIn, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    env = {"API_URL": api.url, "CLIENT_ID": ID, "CLIENT_SECRET_FILE": str(file), "REFRESH_TOKEN": "refresh-token-0"}
    settings = load_settings({f"SMARTSENSOR_{name}": value for name, value in env.items()})
    client = Client(settings.api, sign_in, sleep=lambda s: None, tokens=Tokens())
    client.get("/data")
    api.secret = "the-next-secret"
    api.tokens.clear()
    with pytest.raises(AuthError, match=r"SMARTSENSOR_CLIENT_SECRET_FILE was read again and holds the same secret"):
        client.get("/data")
    file.unlink()
    with pytest.raises(AuthError, match=r"SMARTSENSOR_CLIENT_SECRET_FILE: .* can't be read"):
        client.get("/data")
    file.write_text("the-next-secret")
    assert client.get("/data").status == 200
    assert "the-next-secret" not in redact("it is the-next-secret")


def test_a_secret_that_is_rotated_in_secrets_manager_is_taken_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws(config={"core": {"passthrough": {"urls": ["127.0.0.1"]}}}):
        manager = boto3.client("secretsmanager")
        made = manager.create_secret(Name="api", SecretString=json.dumps({"client_id": ID, "client_secret": SECRET}))
        env = {"SMARTSENSOR_API_URL": api.url, "SMARTSENSOR_API_SECRET": made["ARN"]}
        client = Client(load_settings(env).api, OAuthClientCredentials("/token"), sleep=lambda s: None)
        client.get("/data")
        api.secret = "the-next-secret"
        api.tokens.clear()
        with pytest.raises(AuthError, match="SMARTSENSOR_API_SECRET was read again and holds the same secret"):
            client.get("/data")
        manager.put_secret_value(SecretId="api", SecretString=json.dumps({"client_secret": api.secret}))
        assert client.get("/data").status == 200
        manager.put_secret_value(SecretId="api", SecretString="[]")
        with pytest.raises(ConfigError, match="must be JSON"):
            load_settings(env)


def test_what_a_sign_in_needs_is_said_before_anything_is_sent(api: Api) -> None:
    settings = load_settings({"SMARTSENSOR_API_URL": api.url}).api
    output = r"not set. Set them for your API, in the environment or in the .env of its project \(`smartsensor init` begins one\), or add --simulate to run against the built-in simulator"
    with pytest.raises(ConfigError, match=rf"^SMARTSENSOR_CLIENT_ID, SMARTSENSOR_CLIENT_SECRET: {output}$"):
        Client(settings)
    with pytest.raises(ConfigError, match=rf"^SMARTSENSOR_CLIENT_SECRET: {output}$"):
        Client(settings, ApiKey())
    with pytest.raises(ConfigError, match="give the client `tokens`"):
        Client(replace(settings, client_id=ID), OAuthRefreshToken(send="none"))
    elsewhere = replace(settings, base_url="https://api.example.com", client_id=ID, client_secret=Secret("x"))
    with pytest.raises(ConfigError, match="https:// only"):
        Client(elsewhere, OAuthClientCredentials("http://login.example.com/token"))
    assert Client(settings, NoSignIn()).auth.fetched == 0
    assert api.seen == []


def test_refresh_tokens_go_on_in_the_next_process(api: Api, tmp_path: Path) -> None:
    tokens = LakeTokens(Lake(str(tmp_path)), "demo")
    for number in (1, 2):
        client_of(api, OAuthRefreshToken("/token"), tokens).get("/data")
        assert json.loads(tokens.load()[1])["refresh_token"] == api.refresh == f"refresh-token-{number}"  # type: ignore[index]
    files = sorted((tmp_path / "state/_sign_in/demo").iterdir())
    assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [
        ("00000001.json", 0o600),
        ("00000002.json", 0o600),
    ]


class Killed(BaseException):
    """As if the process ended."""


def test_a_kill_between_answer_and_store_is_said(api: Api) -> None:
    "The API has given a refresh token that nobody has stored: no later process can have it."
    tokens, sign_in = Tokens(), OAuthRefreshToken("/token")
    client_of(api, sign_in, tokens).get("/data")
    tokens.fault = Killed()  # type: ignore[assignment]
    with pytest.raises(Killed):
        client_of(api, sign_in, tokens).get("/data")
    tokens.fault = None
    assert json.loads(tokens.load()[1])["refresh_token"] == "refresh-token-1"  # type: ignore[index]
    assert api.refresh == "refresh-token-2"
    asked = len(api.seen)
    with pytest.raises(AuthError) as caught:
        client_of(api, sign_in, tokens).get("/data")
    assert "refuses refresh token 1, and nobody has stored a newer one" in str(caught.value)
    assert "sign in again and set SMARTSENSOR_REFRESH_TOKEN" in str(caught.value)
    assert "refresh-token-1" not in str(caught.value)
    assert len(api.seen) == asked + 1, "a refused token is not sent again: that may end all tokens of the person"
    api.refresh = "refresh-token-50"  # a person signs in again
    client_of(api, sign_in, tokens, refresh_token=Secret("refresh-token-50")).get("/data")
    client_of(api, sign_in, tokens, refresh_token=Secret("refresh-token-50")).get("/data")
    assert api.refresh == "refresh-token-52"


def test_a_store_that_fails_loses_nothing_while_the_process_lives(api: Api) -> None:
    tokens = Tokens()
    client = client_of(api, OAuthRefreshToken("/token"), tokens, max_attempts=1)
    tokens.fault = OSError("the disk is full")
    with pytest.raises(TransportFault, match=r"can't be stored .OSError: the disk is full.; this process keeps it"):
        client.get("/data")
    tokens.fault = None
    assert client.get("/data").status == 200
    assert api.given == 1
    assert json.loads(tokens.kept[1])["refresh_token"] == "refresh-token-1"


def test_of_two_processes_the_refused_one_takes_what_the_other_stored(api: Api) -> None:
    "The second asks while the first has its answer and has not stored it."
    tokens, sign_in = Tokens(), OAuthRefreshToken("/token")
    first, late = client_of(api, sign_in, tokens), client_of(api, sign_in, tokens)
    create, stored = tokens.create, []

    def create_late(version: int, token: str) -> bool:
        tokens.create = create  # type: ignore[method-assign]
        late.sleep = lambda seconds: stored.append(create(version, token))
        assert late.get("/data").status == 200  # refused; waits, and the first stores meanwhile; then goes on from it
        return stored[0]

    tokens.create = create_late  # type: ignore[method-assign]
    assert first.get("/data").status == 200
    assert [json.loads(text)["refresh_token"] for _, text in sorted(tokens.kept.items())] == [
        "refresh-token-1",
        "refresh-token-2",
    ]


@pytest.mark.parametrize(
    ("says", "life_s"),
    [(60, 60), ("60", 60), (4e9, 4e9), (4e12, 4e9), ("2100-01-01T00:00:00Z", 4102444800)],
)
def test_when_a_token_ends_is_read_in_each_form(api: Api, says: Any, life_s: float) -> None:
    from email.utils import formatdate

    from smartsensor.source.sign_in import _left_s

    reply = requests.Response()
    reply.headers["Date"] = formatdate(1_700_000_000, usegmt=True)
    assert _left_s(says, reply) == (life_s if life_s < 1e9 else life_s - 1_700_000_000)


@pytest.mark.parametrize("says", [None, "soon", [], {}])
def test_an_end_that_can_not_be_read_is_said(api: Api, says: Any) -> None:
    api.lifetime_s = says
    with pytest.raises(AuthError, match="where it should say when the token ends"):
        client_of(api, KEY_EXCHANGE).get("/data")


def test_aws_signs_each_request_and_keeps_its_keys_to_itself(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ACCESS_KEY_ID": "AKIDEXAMPLE",
        "SECRET_ACCESS_KEY": "aws-secret-key",
        "SESSION_TOKEN": "aws-session",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = client_of(api, AwsSigV4("execute-api", "eu-central-1"), max_attempts=1)
    with pytest.raises(AuthError) as caught:
        client.get("/data", {"b": "2 3", "a": "1"})
    assert len(api.seen) == 2
    path, headers, _ = api.seen[0]
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/execute-api/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "aws-session"
    assert "aws-session" not in str(caught.value)
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as AwsCredentials

    class At(SigV4Auth):
        def _modify_request_before_signing(self, request: Any) -> None: ...

    again = AWSRequest(
        "GET",
        api.url.removesuffix("/v1") + path,
        {"X-Amz-Date": headers["X-Amz-Date"], "X-Amz-Security-Token": "aws-session"},
    )
    again.context["timestamp"] = headers["X-Amz-Date"]
    signer = At(AwsCredentials("AKIDEXAMPLE", "aws-secret-key", "aws-session"), "execute-api", "eu-central-1")
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert headers["Authorization"].endswith(f"Signature={signer.signature(text, again)}")


class OwnAuth(AuthBase):
    """Signs as the user likes."""

    def __init__(self, credentials: Credentials) -> None:
        self.secret = credentials.secret()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-API-Key"] = self.secret.reveal()
        return request


def test_an_auth_object_of_the_users(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    client = client_of(api, CustomAuth(OwnAuth, headers=("X-API-Key",)), secret_file=str(file))
    assert client.get("/data").status == 200
    api.secret = "the-next-secret"
    with pytest.raises(AuthError) as caught:
        client.get("/data")
    assert "s3cr3t" not in str(caught.value)
    file.write_text(api.secret)
    assert client.get("/data").status == 200
    ready = OwnAuth(Credentials(ApiSettings(api.url, client_secret=Secret("the-next-secret"))))
    assert client_of(api, ready).get("/data").status == 200
    assert client_of(api, HTTPDigestAuth("a", "b")).auth.each


@pytest.mark.parametrize("sign_in", [*ALL, CustomAuth(OwnAuth, headers=("X-API-Key",))], ids=repr)
def test_executors_sign_through_the_driver_and_hold_no_secret(api: Api, sign_in: SignIn, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    driver = client_of(api, sign_in, secret_file=str(file))
    functions = serve_signer(driver.auth)
    with contextlib.closing(serve_rate(None, threading.Event(), functions=functions)) as server:
        executor = Client(ApiSettings(api.url), _DriverSigner(RemoteRateLimiter(server.address)), sleep=lambda s: None)
        assert [executor.get("/data", {"limit": str(n)}).status for n in range(3)] == [200] * 3
        api.tokens.clear()
        api.secret = "the-next-secret"
        file.write_text(api.secret)
        assert executor.get("/data").status == 200
        api.secret = "the-last-secret"
        api.tokens.clear()
        with pytest.raises(AuthError, match=r"SMARTSENSOR_CLIENT_SECRET_FILE was read again|401") as caught:
            executor.get("/data")
    assert "next-secret" not in "".join(traceback.format_exception(caught.value))


def test_what_needs_no_secret_signs_on_executors_by_itself(api: Api) -> None:
    for sign_in in (NoSignIn(), AwsSigV4("execute-api", "eu-central-1")):
        signer = client_of(api, sign_in).auth
        assert signer.portable is not None
        made = pickle.loads(pickle.dumps(signer.portable))()
        assert (type(made), made.places) == (type(signer), signer.places)
    assert client_of(api, ApiKey()).auth.portable is None


@pytest.mark.parametrize("secret", ["a\nb", "söcret", ""])
def test_a_secret_that_no_header_can_carry_is_not_shown(api: Api, secret: str) -> None:
    settings = ApiSettings(api.url, client_secret=Secret(secret))
    with pytest.raises((AuthError, ConfigError), match="CLIENT_SECRET") as caught:
        Client(settings, ApiKey()).get("/data")
    assert not secret or secret not in "".join(traceback.format_exception(caught.value))
