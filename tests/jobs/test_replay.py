"""Recorded runs, replayed without a server; the teaching cases stand in nbs/source/007_cassette.ipynb and nbs/jobs/063_replay.ipynb."""

import contextlib
import io
import itertools
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests
from requests.adapters import BaseAdapter
from typer.testing import CliRunner

from smartsensor.config import ApiSettings, ConfigError, Secret, as_env, load_settings
from smartsensor.jobs import landing as landing_room
from smartsensor.jobs.extract import ExtractionContext, extract
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.landing import load_progress
from smartsensor.jobs.plan import Due
from smartsensor.jobs.replay import replay
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Folder, LakeError, NotFound
from smartsensor.run.cli import app
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source import decode as decode_room
from smartsensor.source import resources as resources_room
from smartsensor.source.cassette import Player, Recorder, replaying
from smartsensor.source.errors import BadRequest, CassetteError
from smartsensor.source.http import Client, send
from smartsensor.source.smartsensor_api import MEASUREMENTS, RESOURCES
from smartsensor.windows import EPOCH, Window, cut

RUN = "20261120T100000Z-test"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
UNLIMITED = Limits(burst=0, sustained=0)
NOTHING = FaultPlan()
FAULTS = FaultPlan(
    (
        Fault("status", at=1, value={"status": 429, "retry_after": 1}),
        Fault("status", at=3, value={"status": 502, "html": True}),
        Fault("reset", at=5),
        Fault("new_field", at=7),
        Fault("number_as_string", at=9),
        Fault("row_on_two_pages", at=11),
        Fault("token_revoked", at=17),
    )
)


@pytest.fixture(scope="module")
def world() -> World:
    return World(Fleet())


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    "Call it, and whatever opens a connection from then on fails."

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a replay must not open a connection")

    def begin() -> None:
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse)
        for name in ("getaddrinfo", "create_connection"):
            monkeypatch.setattr(socket, name, refuse)

    return begin


def client_of(api: Running, record: bool = True, page_limit: int = 300) -> Client:
    settings = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), page_limit=page_limit)
    return Client(settings, sleep=lambda seconds: None, record=record)


def recorded(world: World, root: Path, plan: FaultPlan = NOTHING) -> Lake:
    lake = Lake(str(root))
    due = [Due("measurements", window, None) for window in cut(HOUR, timedelta(minutes=30))]
    due.append(Due("plants", Window(EPOCH, NOW), None))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api:
        extract_all(client_of(api), lake, due, RUN, threads=1)
    return lake


def cassettes(lake: Lake) -> list[str]:
    return lake.list(f"runs/{RUN}/cassettes")


def heads(data: bytes) -> list[dict[str, object]]:
    found, at = [], 0
    while at < len(data):
        magic, size = struct.unpack_from("<II", data, at)
        assert magic == 0x184D2A50
        found.append(json.loads(data[at + 8 : at + 8 + size]))
        at += 8 + size + found[-1].get("packed", 0)
    return found


def test_a_run_with_faults_replays_to_the_same_bytes_with_no_server(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[], None]
) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 900)
    lake, into = recorded(world, tmp_path / "lake", FAULTS), Lake(str(tmp_path / "into"))
    statuses = [head.get("status") for key in cassettes(lake) for head in heads(lake.read(key)) if "request" in head]
    assert {200, 401, 429, 502, None} == set(statuses)  # None: the connection that was reset
    refused()
    windows = replay(lake, RUN, into, threads=2)
    assert [one.differences for one in windows] == [(), (), ()]
    assert sum(one.replies for one in windows) == len(statuses)
    for key in (key for name in ("measurements", "plants") for key in lake.list(f"raw/{name}/_manifests/{RUN}")):
        then = lake.manifest(key)
        assert into.manifest(key) == then  # the very requests, retries and listings
        assert all(into.read(part.key) == lake.read(part.key) for part in then.parts)
    drift = {message for key in lake.list(f"raw/measurements/_manifests/{RUN}") for message in lake.manifest(key).drift}
    assert len(drift) >= 2  # the drifted pages are among what was replayed
    assert (
        max(
            lake.manifest(key).requests - lake.manifest(key).pages
            for key in lake.list(f"raw/measurements/_manifests/{RUN}")
        )
        > 5
    )


def test_nothing_is_recorded_unless_it_is_asked_for(world: World, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as api:
        extract(client_of(api, record=False), lake, MEASUREMENTS, HOUR, RUN)
    assert lake.list("runs") == []
    with pytest.raises(NotFound, match="SMARTSENSOR_RECORD=1"):
        replay(lake, RUN, Lake(str(tmp_path / "into")))


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {
        "SMARTSENSOR_API_URL": "https://api.example.com/v1",
        "SMARTSENSOR_CLIENT_ID": "a",
        "SMARTSENSOR_CLIENT_SECRET": "b",
    }
    assert load_settings(env).record is False
    for text, value in {"1": True, "True": True, "off": False, "0": False}.items():
        settings = load_settings({**env, "SMARTSENSOR_RECORD": text})
        assert settings.record is value
        assert load_settings(as_env(settings)).record is value
    with pytest.raises(ConfigError, match="SMARTSENSOR_RECORD"):
        load_settings({**env, "SMARTSENSOR_RECORD": "maybe"})


KILLED = """
import itertools, os, signal, sys
from smartsensor.jobs import extract as extract_room
from smartsensor.jobs import landing as landing_room
from smartsensor.source.http import Client
from smartsensor.config import ApiSettings; from smartsensor.config import Secret
from smartsensor.lake.store import Folder
from smartsensor.lake.lake import Lake
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window; from smartsensor.windows import instant

root, base_url, client_id, secret, start, end, deadline = sys.argv[1:]
count = itertools.count(1)

def counted(function):
    def wrapper(*args, **more):
        if next(count) == int(deadline):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **more)
    return wrapper

for name in ("create", "put", "upload", "delete"):
    setattr(Folder, name, counted(getattr(Folder, name)))
landing_room.PART_ROWS, landing_room.GROUP_ROWS = 1500, 400
client = Client(ApiSettings(base_url, base_url + "/oauth2/token", client_id, Secret(secret), page_limit=200), record=True)
extract_room.extract(client, Lake(root), MEASUREMENTS, Window(instant(start), instant(end)), "20261120T100000Z-test")
"""


def test_a_window_that_was_killed_at_each_write_replays_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    "One lake, killed later and later, until nothing is left to kill."
    lake, step = Lake(str(tmp_path / "lake")), 0
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as api:
        while True:
            step += 1
            words = [lake.root, api.base_url, api.client_id, api.client_secret, *HOUR.bounds, str(step)]
            code = subprocess.run([sys.executable, "-c", KILLED, *words], check=False).returncode
            assert code in (0, -signal.SIGKILL)
            if code == 0:
                break
    assert step > 3
    assert len(cassettes(lake)) > 1
    monkeypatch.setattr(landing_room, "PART_ROWS", 1500)
    monkeypatch.setattr(landing_room, "GROUP_ROWS", 400)
    (window,) = replay(lake, RUN, Lake(str(tmp_path / "into")))
    assert window.differences == ()
    pages = [head for key in cassettes(lake) for head in heads(lake.read(key)) if "request" in head]
    assert (
        len({head["request"] for head in pages}) == len(pages) == window.replies
    )  # each page once, though it was read again after a kill


class Cut(BaseException):
    """As if the process ended here."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count(1)

    def counted(write: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **more: object) -> object:
            if next(count) == step:
                raise Cut
            return write(*args, **more)

        return wrapper

    for name in ("create", "put", "upload", "delete"):
        monkeypatch.setattr(Folder, name, counted(getattr(Folder, name)))


@pytest.mark.parametrize("step", [2, 3, 5, 6, 7, 9, 11])
def test_a_window_that_was_listed_twice_and_cut_at_any_write_replays_whole(
    world: World, tmp_path: Path, step: int
) -> None:
    plan = FaultPlan((Fault("row_on_two_pages", "/measurements", at=0, times=1),))
    lake = Lake(str(tmp_path / "lake"))
    with (
        serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api,
        pytest.MonkeyPatch.context() as portions,
    ):
        portions.setattr(landing_room, "PART_ROWS", 1500)
        with pytest.MonkeyPatch.context() as cutting:
            cut_at(step, cutting)
            with pytest.raises(Cut):
                extract(client_of(api, page_limit=500), lake, MEASUREMENTS, HOUR, RUN)
        extract(client_of(api, page_limit=500), lake, MEASUREMENTS, HOUR, RUN)
        (window,) = replay(lake, RUN, Lake(str(tmp_path / "into")))
    assert window.differences == ()


def test_a_window_whose_cursor_expired_begins_its_cassette_anew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 900)
    lake, now, count = Lake(str(tmp_path / "lake")), [NOW], itertools.count()
    with serve(world=world, clock=lambda: now[0], limits=UNLIMITED) as api:

        def cut_off(resource: str, rows: int) -> None:
            if next(count) == 9:
                raise Cut

        with pytest.raises(Cut):
            extract(client_of(api), lake, MEASUREMENTS, HOUR, RUN, ExtractionContext(cut_off))
        left = load_progress(lake, MEASUREMENTS, RUN, HOUR)
        assert left.cassette_pieces == len(cassettes(lake)) == 3
        now[0] = NOW + timedelta(hours=30)
        monkeypatch.setattr(landing_room, "PART_ROWS", 2500)  # so that fewer pieces are written than there were
        extract(client_of(api), lake, MEASUREMENTS, HOUR, RUN)
    assert len(cassettes(lake)) == 2
    (window,) = replay(lake, RUN, Lake(str(tmp_path / "into")))
    assert window.differences == ()


@pytest.mark.parametrize(
    ("first", "second", "message"), [(False, True, "there is no cassette"), (True, False, "turned recording off")]
)
def test_a_window_that_was_recorded_in_part_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, second: bool, message: str
) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 900)
    lake, count = recorded(world, tmp_path / "lake"), itertools.count()
    whole = Window(HOUR.start - timedelta(hours=1), HOUR.start)

    def cut_off(resource: str, rows: int) -> None:
        if next(count) == 5:
            raise Cut

    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as api:
        with pytest.raises(Cut):
            extract(client_of(api, record=first), lake, MEASUREMENTS, whole, RUN, ExtractionContext(cut_off))
        extract(client_of(api, record=second), lake, MEASUREMENTS, whole, RUN)
    windows = {one.window: one.differences for one in replay(lake, RUN, Lake(str(tmp_path / "into")))}
    (line,) = windows.pop(whole.key)
    assert message in line
    assert set(windows.values()) == {()}


def test_a_change_of_the_decoding_is_caught_and_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, today = recorded(world, tmp_path / "lake"), decode_room.decode

    def changed(body: bytes, schema: pa.Schema, rows: str, paths: Mapping[str, pa.DataType]) -> decode_room.Decoded:
        found = today(body, schema, rows, paths)
        at = schema.get_field_index("quality_flag")
        if at < 0:
            return found
        swapped = pc.utf8_swapcase(found.batch.column(at))
        return replace(found, batch=found.batch.set_column(at, "quality_flag", swapped))

    monkeypatch.setattr(resources_room, "decode", changed)
    windows = replay(lake, RUN, Lake(str(tmp_path / "into")))
    assert [bool(one.differences) for one in windows] == [False, True, True]
    (line,) = windows[1].differences
    found = re.fullmatch(
        r"part-00000\.parquet: (\d+) rows then, \1 now; the first difference is in column quality_flag, row 0: '(\w+)' then, '(\w+)' now",
        line,
    )
    assert found, line
    assert found[2] == found[3].swapcase()


def test_lost_rows_and_other_columns_are_named(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, today, plants = recorded(world, tmp_path / "lake"), decode_room.decode, RESOURCES["plants"]
    wider = {**RESOURCES, "plants": replace(plants, schema=plants.schema.append(pa.field("owner", pa.string())))}
    other, *_ = replay(lake, RUN, Lake(str(tmp_path / "wider")), resources=wider)
    assert any("the columns are declared otherwise: owner" in line for line in other.differences)
    fewer = {name: one for name, one in RESOURCES.items() if name != "plants"}
    *_, gone = replay(lake, RUN, Lake(str(tmp_path / "fewer")), resources=fewer)
    assert gone.differences == ("ApiError: plants is no longer declared",)
    monkeypatch.setattr(
        resources_room, "decode", lambda *words: replace(found := today(*words), batch=found.batch.slice(1))
    )
    _, lost, _ = replay(lake, RUN, Lake(str(tmp_path / "lost")))
    assert "a window is listed again where the source counts other rows" in lost.differences[0]


def test_lost_rows_are_named_where_the_source_does_not_count(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncounted = {"measurements": replace(MEASUREMENTS, count=None)}
    lake, today = Lake(str(tmp_path / "lake")), decode_room.decode
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as api:
        extract_all(client_of(api), lake, [Due("measurements", HOUR, None)], RUN, 1, resources=uncounted)
    rows = lake.manifest(lake.list("raw/measurements/_manifests")[0]).received
    monkeypatch.setattr(
        resources_room, "decode", lambda *words: replace(found := today(*words), batch=found.batch.slice(1))
    )
    (window,) = replay(lake, RUN, Lake(str(tmp_path / "into")), resources=uncounted)
    assert window.differences[0] == f"received: {rows} then, {rows - (window.replies)} now"
    assert "the first difference is in column measurement_id, row 0: " in window.differences[-1]


def test_code_that_asks_otherwise_is_told_what_was_recorded(world: World, tmp_path: Path) -> None:
    lake = recorded(world, tmp_path / "lake")
    moved = {**RESOURCES, "plants": replace(RESOURCES["plants"], path="/v2/plants")}
    plants, *_ = replay(lake, RUN, Lake(str(tmp_path / "into")), resources=moved)
    (line,) = plants.differences
    assert (
        "GET /v2/plants?limit=300 was never recorded; 2 recorded replies are left, the next to GET /plants?limit=300"
        in line
    )


def test_only_an_empty_lake_takes_a_replay(world: World, tmp_path: Path) -> None:
    "A lake that holds the run would be compared with itself."
    lake, into = recorded(world, tmp_path / "lake"), Lake(str(tmp_path / "into"))
    replay(lake, RUN, into)
    for there in (lake, into):
        with pytest.raises(LakeError, match="already"):
            replay(lake, RUN, there)


def one_cassette(tmp_path: Path, replies: int = 3) -> tuple[bytes, dict[str, object]]:
    message: dict[str, object] = {"run": RUN, "resource": "plants", "window": "w"}
    settings = ApiSettings("http://127.0.0.1:1/v1", "http://127.0.0.1:1/token", "id", Secret("s3cret"))
    recorder = Recorder(tmp_path / "piece", settings, {**message, "piece": 0})
    client = Client(settings, auth=Signed(), transport=Echo(), sleep=lambda seconds: None).with_recorder(recorder)
    for number in range(replies):
        client.get("/plants", {"cursor": str(number)})
    recorder.close(last=True)
    return (tmp_path / "piece").read_bytes(), message


class Signed(requests.auth.AuthBase):
    """Signs with a token that must not be kept."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = "Bearer t0ken/xyz"
        return request


class Echo(BaseAdapter):
    """A server that repeats what it was sent, as proxies' error pages do."""

    def __init__(self, status: int = 200) -> None:
        self.status = status

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        reply = requests.Response()
        reply.status_code, reply.request, reply.url = self.status, request, str(request.url)
        message = {"you": dict(request.headers), "secret": "s3cret", "data": ["a"] * 200}
        reply.headers.update(
            {"Set-Cookie": "session=1", "X-Request-Id": "r-1", "X-Token": "t0ken/xyz", "Date": "s3cret"}
        )
        reply.raw = io.BytesIO(json.dumps(message).encode())
        return reply

    def close(self) -> None: ...


@pytest.mark.parametrize("status", [200, 400])
def test_no_secret_is_kept_even_where_a_server_repeats_it(tmp_path: Path, status: int) -> None:
    settings = ApiSettings("https://u:p4ss@api.example.com/v1", "https://api.example.com/token", "id", Secret("s3cret"))
    recorder = Recorder(tmp_path / "piece", settings, {"run": RUN, "resource": "plants", "window": "w", "piece": 0})
    client = Client(settings, auth=Signed(), transport=Echo(status), sleep=lambda seconds: None).with_recorder(recorder)
    outcome = contextlib.nullcontext() if status == 200 else pytest.raises(BadRequest)
    with outcome:
        client.get("/plants", {"note": "t0ken/xyz"})
    with outcome:
        send(
            client, requests.Request("GET", "https://files.example.com/x?signature=s1gned", auth=client.auth), "GET /x"
        )
    recorder.close(last=True)
    data, bodies = (tmp_path / "piece").read_bytes(), b""
    with (tmp_path / "piece").open("rb") as file:
        player = Player([("piece", file)], {})
        assert player.redacted == player.replies == 2
        bodies = b"".join(player._body(position) for waiting in player._waiting.values() for position in waiting)
    assert b"***" in bodies
    for secret in (b"t0ken", b"s3cret", b"p4ss", b"s1gned", b"session=1", b"Set-Cookie", b"X-Token"):
        assert secret not in data + bodies, secret
    assert b'"you"' in bodies


def played(data: bytes, message: dict[str, object]) -> Player:
    return Player([("cassette", io.BytesIO(data))], message)


def test_every_changed_or_missing_byte_is_refused(tmp_path: Path) -> None:
    data, message = one_cassette(tmp_path)
    assert replaying(played(data, message)).get("/plants", {"cursor": "1"}).status == 200
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 0x10
        with pytest.raises(CassetteError, match="cassette"):
            played(bytes(changed), message)
        with pytest.raises(CassetteError, match="cut off"):
            played(data[:at], message)
    with pytest.raises(CassetteError, match="changed"):
        played(data + b"x", message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1" * 100,
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        b"\x50\x2a\x4d\x18\x02\0\0\0{}",
        b"\x50\x2a\x4d\x18\x04\0\0\0null",
    ],
)
def test_what_is_no_cassette_is_refused(data: bytes) -> None:
    with pytest.raises(CassetteError):
        played(data, {})


def frame(values: object) -> bytes:
    text = json.dumps(values).encode()
    return struct.pack("<II", 0x184D2A50, len(text)) + text


@pytest.mark.parametrize(
    "sizes",
    [
        {"bytes": 1 << 40, "packed": 5},
        {"bytes": 5, "packed": 1 << 40},
        {"bytes": -1, "packed": 5},
        {"bytes": 5, "packed": -9},
    ],
)
def test_a_head_that_asks_for_too_much_memory_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(CassetteError):
        played(frame({"cassette": 1, "piece": 0}) + frame({"request": "GET /x", **sizes}) + b"12345", {})


def test_a_cassette_of_another_window_or_a_missing_piece_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 900)
    lake = recorded(world, tmp_path / "lake")
    measured = [key for key in cassettes(lake) if "/measurements/" in key]
    one, other = sorted({key[: -len("-00000.zst")] for key in measured})
    last = max(key for key in measured if key.startswith(other))
    lake.put(f"{one}-00000.zst", lake.read(f"{other}-00000.zst"))
    lake.delete(last)
    plants, first, second = replay(lake, RUN, Lake(str(tmp_path / "into")))
    assert "is a cassette of another window" in first.differences[0]
    assert "a piece is missing" in second.differences[0]
    assert plants.differences == ()


def test_the_command(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[], None]
) -> None:

    lake = recorded(world, tmp_path / "lake")
    for name in [name for name in os.environ if name.startswith("SMARTSENSOR_")]:
        monkeypatch.delenv(name)  # neither an API nor credentials are needed
    refused()
    done = CliRunner().invoke(app, ["replay", RUN, "--lake", lake.root])
    assert done.exit_code == 0, done.output
    assert "3 of 3 windows are the same to the byte" in done.output
    key = cassettes(lake)[0]
    lake.put(key, lake.read(key)[:-1])
    done = CliRunner().invoke(app, ["replay", RUN, "--lake", lake.root, "--into", str(tmp_path / "into")])
    assert done.exit_code == 5
    assert "2 of 3 windows are the same to the byte" in done.output
    assert "is cut off" in done.output
    assert Lake(str(tmp_path / "into")).list("raw")
