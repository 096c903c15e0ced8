"""Extraction under kills and a source that misbehaves; the teaching cases stand in nbs/jobs/057_extract.ipynb."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs import extract as extract_room
from smartsensor.jobs import landing as landing_room
from smartsensor.jobs.extract import extract
from smartsensor.jobs.extraction import close, extract_all
from smartsensor.jobs.landing import load_progress
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.errors import ApiError, ContractError
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS, RESOURCES
from smartsensor.windows import EPOCH, Window, cut

RUN = "20261120T100000Z-test"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
UNLIMITED = Limits(burst=0, sustained=0)


@pytest.fixture(scope="module")
def world() -> World:
    return World(Fleet())


@pytest.fixture
def api(world: World) -> Iterator[Running]:
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as running:
        yield running


def client_of(api: Running, **changes: object) -> Client:
    settings = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), **changes)
    return Client(settings, sleep=lambda seconds: None)


def tree(root: Path) -> dict[str, str]:
    files = [path for path in (root / "raw").rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


KILLED = """
import itertools, os, signal, sys
from datetime import timedelta
from smartsensor.jobs import landing as landing_room
from smartsensor.jobs import extract as extract_room
from smartsensor.jobs import extraction as extraction_room
from smartsensor.jobs.plan import Due
from smartsensor.source.http import Client
from smartsensor.config import ApiSettings; from smartsensor.config import Secret
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Folder
from smartsensor.windows import Window; from smartsensor.windows import cut; from smartsensor.windows import instant

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
landing_room.PART_ROWS, landing_room.GROUP_ROWS = 900, 400
client = Client(ApiSettings(base_url, base_url + "/oauth2/token", client_id, Secret(secret), page_limit=200))
whole = Window(instant(start), instant(end))
due = [Due("measurements", window, None) for window in cut(whole, timedelta(minutes=30))]
extraction_room.extract_all(client, Lake(root), due, "20261120T100000Z-test", threads=1)
"""


def killed_at(api: Running, root: Path, step: int) -> int:
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(root),
        api.base_url,
        api.client_id,
        api.client_secret,
        *HOUR.bounds,
        str(step),
    ]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_a_run_that_is_killed_at_each_write_ends_with_the_same_bytes(api: Running, tmp_path: Path) -> None:
    assert killed_at(api, tmp_path / "whole", 0) == 0
    expected = tree(tmp_path / "whole")
    assert sum(name.endswith(".parquet") for name in expected) > 4
    step, root = 0, tmp_path / "killed"
    while True:  # one lake, killed later and later, until nothing is left to kill
        step += 1
        code = killed_at(api, root, step)
        assert code in (0, -9)
        if code == 0:
            break
        finished = Lake(str(root)).ledger("measurements").covered
        assert finished in ((), (HOUR,))
    assert step > 3
    assert tree(root) == expected
    assert Lake(str(root)).ledger("measurements").covered == (HOUR,)


@pytest.mark.parametrize("step", [2, 5, 8])
def test_one_kill_and_a_restart_end_with_the_same_bytes(api: Running, tmp_path: Path, step: int) -> None:
    assert killed_at(api, tmp_path / "whole", 0) == 0
    assert killed_at(api, tmp_path / "killed", step) == -9
    assert killed_at(api, tmp_path / "killed", 0) == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_a_long_window_goes_on_from_its_cursor(api: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 900)
    lake, client = Lake(str(tmp_path)), client_of(api, page_limit=300)
    sent: list[str] = []
    send = client.get

    def breaking(path: str, params: dict[str, str] | None = None, signed: bool = True) -> object:
        sent.append((params or {}).get("cursor", ""))
        if len(sent) == 6:
            raise ApiError("the line is cut")
        return send(path, params, signed)

    monkeypatch.setattr(client, "get", breaking)
    with pytest.raises(ApiError):
        extract(client, lake, MEASUREMENTS, HOUR, RUN)
    left = load_progress(lake, MEASUREMENTS, RUN, HOUR)
    assert len(left.parts) == 1
    assert left.counts.rows == 900
    saved = lake.json(f"raw/measurements/_progress/{RUN}/{HOUR.key}.json")  # keys of lakes that were made before
    assert set(saved) == {"cursor", "parts", "tally", "pages", "requests", "as_of", "drift", "pieces"}
    assert set(saved["tally"]) == {"rows", "first", "last", "ordered", "edge"}
    manifest = extract(client, lake, MEASUREMENTS, HOUR, RUN)
    assert sent[6] == left.cursor  # no page before it was asked for again
    assert manifest.received == manifest.declared == sum(part.rows for part in manifest.parts)
    assert not lake.exists(f"raw/measurements/_progress/{RUN}/{HOUR.key}.json")


def test_a_cursor_that_expired_restarts_its_window_only(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 900)
    now = [NOW]
    with serve(world=world, clock=lambda: now[0], limits=UNLIMITED) as api:
        lake, client = Lake(str(tmp_path)), client_of(api, page_limit=300)
        count = iter(range(100))
        rows = lambda resource, more: (_ for _ in ()).throw(KeyboardInterrupt) if next(count) == 5 else None  # noqa: E731
        with pytest.raises(KeyboardInterrupt):
            extract(client, lake, MEASUREMENTS, HOUR, RUN, extract_room.ExtractionContext(rows))
        assert load_progress(lake, MEASUREMENTS, RUN, HOUR).cursor is not None
        now[0] = NOW + timedelta(hours=30)
        manifest = extract(client_of(api, page_limit=300), lake, MEASUREMENTS, HOUR, RUN)
    assert manifest.received == manifest.declared


def test_a_row_on_two_pages_is_seen_and_the_window_listed_again(world: World, tmp_path: Path) -> None:
    plan = FaultPlan((Fault("row_on_two_pages", "/measurements", at=0, times=1),))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api:
        manifest = extract(client_of(api), Lake(str(tmp_path)), MEASUREMENTS, HOUR, RUN)
    assert manifest.received == manifest.declared == manifest.distinct
    assert manifest.requests > manifest.pages + 1


def test_a_row_that_stays_on_two_pages_is_on_record(world: World, tmp_path: Path) -> None:
    plan = FaultPlan((Fault("row_on_two_pages", "/measurements", at=0, times=0),))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api:
        lake = Lake(str(tmp_path))
        manifest = extract(client_of(api), lake, MEASUREMENTS, HOUR, RUN)
        close(lake, "measurements", RUN, [manifest])
    assert manifest.received > manifest.distinct == manifest.declared
    assert lake.ledger("measurements").watermark is None


def test_the_first_failure_stops_the_others_and_what_landed_stays(world: World, tmp_path: Path) -> None:
    due = [Due("measurements", window, None) for window in cut(HOUR, timedelta(minutes=10))]
    plan = FaultPlan((Fault("cursor_key_missing", "/measurements", at=4, times=0),))
    lake = Lake(str(tmp_path))
    with (
        serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api,
        pytest.raises(ContractError) as caught,
    ):
        extract_all(client_of(api), lake, due, RUN, threads=1)
    landed = lake.ledger("measurements").covered
    assert landed
    assert caught.value.__notes__[0].startswith(f"{len(lake.list(f'raw/measurements/_manifests/{RUN}'))} of 6 windows")
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as api:
        extract_all(client_of(api), lake, due, RUN, threads=2)
    assert lake.ledger("measurements").covered == (HOUR,)


def test_closing_twice_does_not_count_twice(api: Running, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    halves = cut(HOUR, timedelta(minutes=30))
    one, two = (extract(client_of(api), lake, MEASUREMENTS, window, RUN) for window in halves)
    close(lake, "measurements", RUN, [one])
    close(lake, "measurements", RUN, [one, two])
    close(lake, "measurements", RUN, [one, two])
    assert lake.ledger("measurements").version == 2


@pytest.mark.parametrize("name", list(RESOURCES))
def test_each_resource_lands_as_the_truth_has_it(api: Running, world: World, tmp_path: Path, name: str) -> None:
    resource, lake = RESOURCES[name], Lake(str(tmp_path))
    window = Window(EPOCH, NOW) if resource.mode == "snapshot" else Window(NOW - timedelta(days=1), NOW)
    manifest = extract(client_of(api), lake, resource, window, RUN)
    truth = world.truth(name, NOW) if resource.mode == "snapshot" else world.truth(name, NOW, window.start, window.end)
    rows = [row for part in manifest.parts for row in pq.read_table(lake.open(part.key)).to_pylist()]
    assert manifest.drift == ()
    key = lambda row: tuple(str(row[column]) for column in resource.key)  # noqa: E731
    assert sorted(map(key, rows)) == sorted(map(key, truth.to_pylist()))
    assert len(rows) == manifest.declared > 0
    for part in manifest.parts:
        assert pq.read_schema(lake.open(part.key)).remove_metadata().equals(resource.raw_schema)


def test_extraction_does_not_import_pandas(api: Running, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "bench" / "ours.py"),
        api.base_url,
        api.client_id,
        api.client_secret,
        *HOUR.bounds,
        str(tmp_path),
        "2",
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ}).stdout
    assert '"pandas": false' in output
