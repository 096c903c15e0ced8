"""Servers that nobody here wrote, from the package registries, each on 127.0.0.1: an OAuth 2 provider (Authlib), AWS IoT (moto), Jupyter."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
import requests
from flask import Flask, jsonify
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server

from smartsensor.config import ApiSettings, Secret, Settings
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.source.errors import AuthError, Forbidden
from smartsensor.source.http import Client, Probes
from smartsensor.source.paging import CursorPaging
from smartsensor.source.resources import INSTANT, REAL, TEXT, WHOLE, Parents, Resource, columns
from smartsensor.source.shapes import Sent
from smartsensor.source.sign_in import ApiKey, AwsSigV4, OAuthClientCredentials
from smartsensor.source.sources import Source, connect
from smartsensor.windows import Window, instant

RUN = "20261120T120000Z-real"
DAY = Window(instant("2026-11-20T00:00:00Z"), instant("2026-11-21T00:00:00Z"))
SECRET = "s3cr3t-of-the-client"
NO_PROBES = Probes(None, None)
ONE_PAGE = CursorPaging("next", None, limit_param=None, ends_on=("absent",))


def client_of(source: Source, url: str, **settings: Any) -> Client:
    api = ApiSettings(url, client_id="pump", client_secret=Secret(SECRET), rate_per_s=0.0, max_attempts=1, **settings)
    return connect(Settings(api), source)


def land(client: Client, source: Source, root: Path, name: str) -> list[dict[str, Any]]:
    "The rows of one resource, as they stand in the files of a lake."
    due = [Due(name, DAY, None)]
    (manifest,) = extract_all(client, Lake(str(root)), due, RUN, 2, resources=source.resources).manifests
    assert manifest.drift == ()
    return [row for part in manifest.parts for row in pq.read_table(root / part.key).drop(["_extra"]).to_pylist()]


# --- AWS IoT of moto: a cursor in the reply, each request signed ---------------------------------------------------------
THINGS = Resource(
    "things", "/things", ("thing_name",),
    columns(thing_name=TEXT, thing_arn=TEXT, version=WHOLE, plant=TEXT, kind=(TEXT,)), "snapshot", version=(),
    rows="things", limit=50, drop=("attributes", "thingTypeName"),
    paging=CursorPaging("nextToken", None, "nextToken", "maxResults", ends_on=("null", "absent")),
    sent={
        "thing_name": Sent("thingName"), "thing_arn": Sent("thingArn"), "plant": Sent("attributes.plant"),
        "kind": Sent("thingTypeName"),
    },
)  # fmt: skip
IOT = Source("iot", (THINGS,), sign_in=AwsSigV4("iot", "eu-central-1"), probes=NO_PROBES)


def test_the_things_of_aws_iot_land_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing-credentials")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        iot = boto3.client("iot", region_name="eu-central-1", endpoint_url=url)
        iot.create_thing_type(thingTypeName="pump")
        truth = []
        for n in range(123):
            name, plant, kind = f"sensor-{n:03}", f"plant-{n % 3}", "pump" if n % 5 else None
            typed = {"thingTypeName": kind} if kind else {}
            made = iot.create_thing(thingName=name, attributePayload={"attributes": {"plant": plant}}, **typed)
            truth.append(
                {"thing_name": name, "thing_arn": made["thingArn"], "version": 1, "plant": plant, "kind": kind}
            )
        client = client_of(IOT, url)
        assert land(client, IOT, tmp_path, "things") == truth
        assert client.log.requests == 3, "pages of 50"
    finally:
        server.stop()


# --- Jupyter's contents: a token, a listing for each folder --------------------------------------------------------------
LISTED = {
    "rows": "content", "paging": ONE_PAGE, "params": (("content", "1"),),
    "drop": ("content", "created", "format", "hash", "hash_algorithm", "last_modified", "mimetype", "name", "size", "type", "writable"),
}  # fmt: skip
FOLDERS = Resource("folders", "/api/contents", ("path",), columns(path=TEXT), "snapshot", version=(), **LISTED)
FILES = Resource(
    "files", "/api/contents/{path}", ("file",), columns(file=TEXT, name=TEXT, changed_at=INSTANT, size=WHOLE), "snapshot", version=(),
    parents=Parents(FOLDERS, "path"),
    **{**LISTED, "drop": (*LISTED["drop"], "path")},
    sent={"file": Sent("path"), "changed_at": Sent("last_modified")},
)  # fmt: skip
JUPYTER = Source("jupyter", (FILES,), sign_in=ApiKey("Authorization", prefix="token "), probes=NO_PROBES)


@contextmanager
def jupyter(root: Path, home: Path) -> Iterator[str]:
    "A Jupyter server on a free port; its own file says which."
    runtime = home / "runtime"
    env = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
    }
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={root}", "--allow-root"]
    command = [sys.executable, "-m", "jupyter_server", *options, f"--IdentityProvider.token={SECRET}"]
    with (home / "log").open("w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as process:
        try:
            yield _address(process, runtime, home / "log")
        finally:
            process.terminate()


def _address(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        for found in runtime.glob("jpserver-*.json"):
            try:
                url = str(json.loads(found.read_text())["url"]).rstrip("/")
                if requests.get(url + "/api", timeout=5).ok:
                    return url
            except (ValueError, requests.RequestException):
                pass  # it is being written, or does not answer yet
        time.sleep(0.05)
    raise AssertionError(f"Jupyter did not start: {log.read_text()}")


def test_the_files_of_a_jupyter_server_land_folder_by_folder(tmp_path: Path) -> None:
    root, home, lake = (tmp_path / name for name in ("root", "home", "lake"))
    home.mkdir()
    truth = []
    for number, (folder, name) in enumerate(
        (f, n) for f in ("pumps", "Öfen & Co") for n in ("a.csv", "b c.txt", "ü%.json")
    ):
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * number)
        at = 1_790_000_000 + number
        os.utime(path, (at, at))
        changed = datetime.fromtimestamp(at, UTC)
        truth.append({"file": f"{folder}/{name}", "name": name, "changed_at": changed, "size": number})
    with jupyter(root, home) as url:
        found = land(client_of(JUPYTER, url), JUPYTER, lake, "files")
        assert sorted(found, key=lambda row: row["size"]) == truth
        wrong = ApiSettings(url, client_secret=Secret("another-secret"), max_attempts=1)
        with pytest.raises(Forbidden):  # Jupyter answers a wrong token with 403
            connect(Settings(wrong), JUPYTER).get("/api/contents")


# --- Authlib's provider: tokens by the client-credentials grant, checked by its own validator ----------------------------
READINGS = Resource(
    "readings", "/readings", ("id",), columns(id=TEXT, value=REAL), "snapshot", version=(), paging=ONE_PAGE,
)  # fmt: skip
TRUTH = [{"id": f"r{n}", "value": n / 8} for n in range(40)]


class Provider:
    """An OAuth 2 provider, and a collection that its tokens open; the protocol is Authlib's."""

    def __init__(self, method: str) -> None:
        self.given: list[dict[str, Any]] = []
        self.method, self.revoked, self.app = method, set[str](), Flask("provider")
        from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
        from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
        from authlib.oauth2.rfc6750 import BearerTokenValidator

        class Grant(ClientCredentialsGrant):  # type: ignore[misc]
            TOKEN_ENDPOINT_AUTH_METHODS = (method,)

        class Validator(BearerTokenValidator):  # type: ignore[misc]
            def authenticate_token(_, text: str) -> Any:
                return next((_Token(one, self.revoked) for one in self.given if one["access_token"] == text), None)

        server = AuthorizationServer(
            self.app, query_client=self.client, save_token=lambda token, request: self.given.append(dict(token))
        )
        server.register_grant(Grant)
        protect = ResourceProtector()
        protect.register_token_validator(Validator())
        self.app.add_url_rule("/token", view_func=server.create_token_response, methods=["POST"])
        self.app.add_url_rule("/readings", view_func=protect("read")(lambda: jsonify(data=TRUTH)))

    def client(self, client_id: str) -> Any:
        if client_id != "pump":
            return None
        return SimpleNamespace(
            client_id="pump",
            check_client_secret=lambda text: text == SECRET,
            check_endpoint_auth_method=lambda method, endpoint: method == self.method,
            check_grant_type=lambda grant: grant == "client_credentials",
            get_allowed_scope=lambda scope: scope if scope == "read" else "",
        )


class _Token:
    def __init__(self, token: dict[str, Any], revoked: set[str]) -> None:
        self.token, self.revoked = token, revoked

    def get_scope(self) -> str:
        return str(self.token.get("scope", ""))

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return self.token["access_token"] in self.revoked


@contextmanager
def provided(method: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Provider, str]]:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # it takes https only, or this switch
    provider = Provider(method)
    server = make_server("127.0.0.1", 0, provider.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider, f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("send", "method"), [("basic", "client_secret_basic"), ("body", "client_secret_post")])
def test_authlib_gives_a_token_and_a_new_one_when_it_was_revoked(
    send: Any, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("oauth", (READINGS,), sign_in=OAuthClientCredentials("/token", "read", send), probes=NO_PROBES)
    with provided(method, monkeypatch) as (provider, url):
        client = client_of(source, url)
        assert land(client, source, tmp_path / "first", "readings") == TRUTH
        assert len(provider.given) == 1
        provider.revoked.add(provider.given[0]["access_token"])
        assert land(client, source, tmp_path / "second", "readings") == TRUTH
        assert len(provider.given) == 2


def test_authlib_refuses_a_wrong_secret_and_a_missing_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    with provided("client_secret_basic", monkeypatch) as (_, url):
        refusals = (
            ("read", "another-secret", AuthError, "invalid_client"),
            ("write", SECRET, Forbidden, "insufficient_scope"),
        )
        for scope, secret, kind, says in refusals:
            source = Source("oauth", (READINGS,), sign_in=OAuthClientCredentials("/token", scope), probes=NO_PROBES)
            api = ApiSettings(url, client_id="pump", client_secret=Secret(secret), max_attempts=1)
            with pytest.raises(kind, match=says) as got:
                connect(Settings(api), source).get("/readings")
            assert secret not in str(got.value)
