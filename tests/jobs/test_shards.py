"""Windows that are read in shards: the rows of one listing, whatever is killed, moves, or is called "../../x"."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spark.cluster import executors
from test_spark_extract import spark  # noqa: F401  (a fixture)

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs import landing as landing_room
from smartsensor.jobs import shards as shards_room
from smartsensor.jobs.extract import ExtractionContext, extract
from smartsensor.jobs.extraction import close, extract_all
from smartsensor.jobs.plan import Due
from smartsensor.jobs.shards import land_in_shards
from smartsensor.jobs.verify import verify
from smartsensor.jobs.workers import Landed, balanced, land_windows
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest, manifest_key, part_key
from smartsensor.lake.store import LakeError, NotFound
from smartsensor.lake.vacuum import Retention, plan_vacuum, vacuum
from smartsensor.simulator import fleet as fleet_module
from smartsensor.simulator import reference as reference_room
from smartsensor.simulator import world as world_room
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.errors import ApiError, ContractError
from smartsensor.source.http import Client, Reply
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import MEASUREMENTS, RESOURCES
from smartsensor.windows import Window, cut

pytestmark = pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning")
RUN = "20261120T100000Z-test"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
ROWS = 3450  # about
DUE = [Due("measurements", HOUR, ROWS)]
SPLIT = {**RESOURCES, "measurements": replace(MEASUREMENTS, shard=1000)}
PLANTS = [f"plt-{number:02}" for number in range(1, 5)]


@pytest.fixture(scope="module")
def world() -> World:
    return World(Fleet())


def served(world: World, *faults: Fault) -> Any:
    return serve(world=world, clock=lambda: NOW, limits=Limits(burst=0, sustained=0), plan=FaultPlan(faults))


@pytest.fixture(scope="module")
def api(world: World) -> Iterator[Running]:
    with served(world) as running:
        yield running


Change = Callable[[str, Mapping[str, str], Reply], Reply]


class Watched(Client):
    "Remembers what it was asked; may change what it is sent and what comes back."

    asked: list[tuple[str, dict[str, str]]]
    change: Change = staticmethod(lambda path, params, reply: reply)
    alias: Callable[[str], str] = staticmethod(lambda value: value)

    def get(self, path: str, params: Mapping[str, str] | None = None, signed: bool = True) -> Reply:
        self.asked = [*getattr(self, "asked", []), (path, dict(params or {}))]
        sent = {name: self.alias(value) for name, value in (params or {}).items()}
        return self.change(path, params or {}, super().get(path, sent, signed))

    def listed(self) -> list[str]:
        "Of each page of measurements: its plant, or whole."
        return [
            params.get("plant_id", "whole") for path, params in getattr(self, "asked", []) if path == MEASUREMENTS.path
        ]


def client_of(api: Running, page_limit: int = 20, **changes: Any) -> Watched:
    "Pages of 20 rows: by plant a split pays, by sensor it does not."
    record = changes.pop("record", False)
    settings = ApiSettings(
        api.base_url, api.token_url, api.client_id, Secret(api.client_secret), page_limit=page_limit, **changes
    )
    return Watched(settings, sleep=lambda seconds: None, record=record)


def split(client: Client, lake: Lake, threads: int = 2, due: Sequence[Due] = DUE, **more: Any) -> Manifest:
    return extract_all(client, lake, due, RUN, threads, resources=SPLIT, **more).manifests[0]


def rows_of(lake: Lake, manifest: Manifest) -> list[tuple[Any, ...]]:
    names = ["measurement_id", "revision", "updated_at", "plant_id", "sensor_id", "value"]
    tables = [pq.read_table(lake.open(part.key), columns=names) for part in manifest.parts]
    return sorted(tuple(row.values()) for row in pa.concat_tables(tables).to_pylist())


def raw(lake: Lake) -> dict[str, str]:
    return {key: hashlib.sha256(lake.read(key)).hexdigest() for key in lake.list("raw")}


def only_whole(lake: Lake, manifest: Manifest) -> None:
    "In raw there is one manifest, its parts, and nothing else; the ledger has it."
    assert sorted(raw(lake)) == sorted([manifest.key, *(part.key for part in manifest.parts)])
    assert all(raw(lake)[part.key] == part.sha256 for part in manifest.parts)
    assert lake.ledger("measurements").covered == (manifest.window,)
    assert verify(lake, "measurements") == []


@pytest.fixture(scope="module")
def plain(api: Running, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Manifest]:
    lake = Lake(str(tmp_path_factory.mktemp("plain")))
    return lake, extract_all(client_of(api), lake, DUE, RUN, 2).manifests[0]


# --- what is split, and what comes of it ------------------------------------------------------------------------------


def test_shards_hold_the_rows_of_one_listing(api: Running, tmp_path: Path, plain: tuple[Lake, Manifest]) -> None:
    lakes = {threads: Lake(str(tmp_path / str(threads))) for threads in (1, 4)}
    manifests = {threads: split(client_of(api), lake, threads) for threads, lake in lakes.items()}
    assert raw(lakes[1]) == raw(lakes[4]), "the number of threads changes no byte"
    manifest, lake = manifests[1], lakes[1]
    assert rows_of(lake, manifest) == rows_of(*plain)
    assert len(manifest.parts) == len(PLANTS)
    for part, plant in zip(manifest.parts, PLANTS, strict=True):
        metadata = pq.read_schema(lake.open(part.key)).metadata
        assert json.loads(metadata[b"smartsensor.where"]) == [["plant_id", plant]]
        assert set(pq.read_table(lake.open(part.key), columns=["plant_id"]).column(0).to_pylist()) == {plant}
        assert part.key == part_key("measurements", RUN, HOUR, 0, [("plant_id", plant)])
    listed = plain[1]
    same = ("received", "declared", "distinct", "first", "last", "as_of", "drift", "window", "key")
    assert [getattr(manifest, name) for name in same] == [getattr(listed, name) for name in same]
    assert manifest.pages >= listed.pages
    assert manifest.requests == manifest.pages + len(PLANTS) + 1
    only_whole(lake, manifest)


def test_what_is_small_is_read_as_ever(api: Running, tmp_path: Path) -> None:
    client, lake = client_of(api), Lake(str(tmp_path))
    extraction = extract_all(client, lake, DUE, RUN, 2)
    assert set(client.listed()) == {"whole"}
    assert client.log.requests == extraction.manifests[0].requests
    assert "where" not in lake.json(extraction.manifests[0].key)
    assert "where" not in DUE[0].as_json()


def test_a_shard_survives_json() -> None:
    one = replace(DUE[0], where=(("plant_id", "../../x"), ("sensor_id", "a/b")))
    assert Due.from_json(json.loads(json.dumps(one.as_json()))) == one
    assert Due.from_json(DUE[0].as_json()) == DUE[0]
    shard = Manifest("x", RUN, HOUR, (), 0, 0, 0, None, None, 1, 1, None, where=one.where)
    assert Manifest.from_json(json.loads(json.dumps(shard.as_json()))) == shard
    with pytest.raises(LakeError, match="is a shard of"):
        _ = shard.evidence


@pytest.mark.parametrize(
    "why", ["counting costs too much", "a cassette", "an export", "no more than a fair share", "nothing to split by"]
)
def test_what_is_not_split(api: Running, tmp_path: Path, why: str) -> None:
    client, due, resources = client_of(api), list(DUE), dict(SPLIT)
    if why == "counting costs too much":
        client = client_of(api, page_limit=100)  # 35 pages; four plants are worth 40
    if why == "a cassette":
        client = client_of(api, record=True)
    if why == "an export":
        client = client_of(api, scope="telemetry.read exports.write")
        resources["measurements"] = replace(SPLIT["measurements"], export=1000)
    if why == "no more than a fair share":
        due = [
            replace(DUE[0], window=window) for window in cut(Window(NOW - timedelta(hours=20), NOW), timedelta(hours=1))
        ]
    if why == "nothing to split by":
        del resources["plants"]
    seen = list[Due]()

    def land(*words: Any) -> Landed:
        seen.extend(words[2])
        return [], None

    assert land_in_shards(land, client, Lake(str(tmp_path)), due, RUN, 2, ExtractionContext(), resources) == ([], None)
    assert seen == due
    asked = [path for path, _ in getattr(client, "asked", [])]
    expected = {"counting costs too much": ["/measurements/count", "/plants", "/measurements/count"]}
    expected |= {"nothing to split by": ["/measurements/count", "/measurements/count"]}
    assert asked == expected.get(why, []), "it costs next to nothing to find that out"


class Skewed(fleet_module.Machines):
    "Three quarters of the assets stand in the first plant."

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self.asset_plant = np.where(np.arange(fleet.assets) < fleet.assets * 3 // 4, 0, self.asset_plant)
        self.sensor_plant = self.asset_plant[self.sensor_asset]


def test_a_plant_that_is_more_than_a_share_is_split_by_its_sensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world_room, "Machines", Skewed)
    lake, seen = Lake(str(tmp_path)), list[Due]()

    def land(*words: Any) -> Landed:
        seen.extend(words[2])
        return land_windows(*words)

    with served(World(Fleet())) as api:
        whole = extract_all(client_of(api), Lake(str(tmp_path / "plain")), DUE, RUN, 2).manifests[0]
        (manifest,), failure = land_in_shards(land, client_of(api, 5), lake, DUE, RUN, 4, ExtractionContext(), SPLIT)
    assert failure is None
    assert rows_of(lake, manifest) == rows_of(Lake(str(tmp_path / "plain")), whole)
    by_plant = {plant: [one for one in seen if one.where[0] == ("plant_id", plant)] for plant in PLANTS}
    first = sum(one.rows or 0 for one in by_plant[PLANTS[0]])
    assert first > 0.75 * manifest.received
    assert len(by_plant[PLANTS[0]]) > 30
    assert all([name for name, _ in one.where] == ["plant_id", "sensor_id"] for one in by_plant[PLANTS[0]])
    assert max(one.rows or 0 for one in seen) <= manifest.received * shards_room.MAX_SHARE
    assert [one.rows for one in seen] == sorted((one.rows or 0 for one in seen), reverse=True)
    loads = [sum(one.rows or 0 for one in hand) for hand in balanced(seen, 8)]
    assert max(loads) < 1.1 * manifest.received / 8, "but for the split, one task would have three quarters"


# --- proof that nothing falls between shards --------------------------------------------------------------------------


def test_a_plant_that_the_list_lacks_is_not_lost(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: tuple[Lake, Manifest]
) -> None:
    listing, messages, lake = reference_room.REFERENCES["plants"], list[str](), Lake(str(tmp_path))
    monkeypatch.setitem(reference_room.REFERENCES, "plants", lambda *words: listing(*words)[1:])  # type: ignore[attr-defined]
    with served(world) as api:
        client = client_of(api)
        manifest = split(client, lake, on_rows=lambda name, rows: messages.append(name))
    assert set(client.listed()) == {"whole"}
    assert rows_of(lake, manifest) == rows_of(*plain)
    (output,) = {name for name in messages if " " in name}
    assert "of them by plant_id: not split by it" in output
    assert len([path for path, _ in client.asked if path.endswith("/count")]) == 2 + 3 + 1, (
        "asked once, not three times"
    )
    only_whole(lake, manifest)


def test_a_sensor_that_the_list_lacks_keeps_its_plant_in_one_piece(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: tuple[Lake, Manifest]
) -> None:
    listing, lake = reference_room.REFERENCES["sensors"], Lake(str(tmp_path))
    monkeypatch.setitem(reference_room.REFERENCES, "sensors", lambda *words: listing(*words)[1:])  # type: ignore[attr-defined]
    with served(world) as api:
        manifest = split(client_of(api, 5), lake)
    shards = [json.loads(pq.read_schema(lake.open(p.key)).metadata[b"smartsensor.where"]) for p in manifest.parts]
    assert [shard for shard in shards if len(shard) == 1] == [[["plant_id", PLANTS[0]]]]
    assert rows_of(lake, manifest) == rows_of(*plain)


@pytest.mark.parametrize(("times", "pieces"), [(1, 4), (2, 4), (99, 1)])
def test_rows_that_move_while_they_are_counted(
    api: Running, tmp_path: Path, times: int, pieces: int, plain: tuple[Lake, Manifest]
) -> None:
    client, lake, counts = client_of(api), Lake(str(tmp_path)), list[int]()

    def moving(path: str, params: Mapping[str, str], reply: Reply) -> Reply:
        if path.endswith("/count") and "plant_id" not in params and not client.listed():
            counts.append(reply.json()["count"])
            more = min(len(counts) // 2, times) if len(counts) < 2 * times + 1 else 0
            return replace(reply, body=json.dumps({"count": counts[-1] - more}).encode())
        return reply

    client.change = moving
    manifest = split(client, lake)
    assert len(manifest.parts) == pieces
    assert rows_of(lake, manifest) == rows_of(*plain)
    only_whole(lake, manifest)


def test_a_plant_whose_first_rows_turn_up_after_counting_is_read_too(
    api: Running, tmp_path: Path, plain: tuple[Lake, Manifest]
) -> None:
    client, lake = client_of(api), Lake(str(tmp_path))
    hidden = sum(row[3] == PLANTS[3] for row in rows_of(*plain))

    def late(path: str, params: Mapping[str, str], reply: Reply) -> Reply:
        if path.endswith("/count") and not client.listed() and params.get("plant_id", PLANTS[3]) == PLANTS[3]:
            return replace(reply, body=json.dumps({"count": reply.json()["count"] - hidden}).encode())
        return reply

    client.change = late
    manifest = split(client, lake)
    assert rows_of(lake, manifest) == rows_of(*plain)
    pages = client.listed()
    first = pages.index(PLANTS[3])
    assert set(pages[:first]) == set(PLANTS[:3])
    assert set(pages[first:]) == {PLANTS[3]}, "the others are not read again"
    attempts = [part.key.rsplit("00000", 1)[1] for part in manifest.parts]
    assert attempts == [".parquet"] * 3 + ["-again2.parquet"], "a straggler of the first round can't write over it"
    only_whole(lake, manifest)


def test_a_source_that_miscounts_is_on_record_and_covers_nothing(api: Running, tmp_path: Path) -> None:
    client, lake, counts = client_of(api), Lake(str(tmp_path)), list[int]()

    def lying(path: str, params: Mapping[str, str], reply: Reply) -> Reply:
        "Of the whole window, each third time: it is counted before and after it is split, and when it is joined."
        if path.endswith("/count") and "plant_id" not in params:
            counts.append(reply.json()["count"])
            return replace(reply, body=json.dumps({"count": counts[-1] + 7 * (len(counts) % 3 == 0)}).encode())
        return reply

    client.change = lying
    manifest = split(client, lake, threads=1)
    assert len(counts) == 9
    assert manifest.declared == manifest.received + 7
    assert lake.ledger("measurements").covered == ()
    assert len(lake.ledger("measurements").added) == 1


# --- failures and kills -----------------------------------------------------------------------------------------------


def test_a_failure_leaves_no_window_and_the_next_start_reads_what_is_missing(
    world: World, api: Running, tmp_path: Path, plain: tuple[Lake, Manifest]
) -> None:
    lake, more = Lake(str(tmp_path)), Due("plants", Window(datetime(1970, 1, 1, tzinfo=UTC), NOW), 4)
    with (
        served(world, Fault("cursor_key_missing", "/measurements", at=120, times=0)) as failing,
        pytest.raises(ContractError) as caught,
    ):
        extract_all(client_of(failing), lake, [more, *DUE], RUN, 1, resources=SPLIT)
    assert caught.value.__notes__[0].startswith("1 of 2 windows have landed")
    assert lake.list("raw/measurements/_manifests") == []
    assert lake.ledger("measurements").version == 0
    assert lake.ledger("plants").version == 1
    done = [dict(lake.manifest(key).where)["plant_id"] for key in lake.list(f"raw/measurements/_progress/{RUN}")]
    assert 0 < len(done) < 4
    client = client_of(api)
    manifest = split(client, lake)
    assert set(client.listed()) == set(PLANTS) - set(done)
    assert rows_of(lake, manifest) == rows_of(*plain)
    only_whole_of_measurements = [key for key in lake.list("raw/measurements") if not key.endswith(".parquet")]
    assert only_whole_of_measurements == [manifest.key]


def test_a_shard_that_changed_since_it_landed_is_read_again(
    world: World, api: Running, tmp_path: Path, plain: tuple[Lake, Manifest]
) -> None:
    "A run that goes on finds a record of other rows than are counted now."
    lake = Lake(str(tmp_path))
    shard = extract(client_of(api), lake, MEASUREMENTS.only("plant_id", PLANTS[1]), HOUR, RUN)
    old = replace(shard, received=shard.received - 1, declared=shard.received - 1)
    lake.put(shard.key, json.dumps(old.as_json()).encode())
    client = client_of(api)
    manifest = split(client, lake)
    assert set(client.listed()) == set(PLANTS)
    assert rows_of(lake, manifest) == rows_of(*plain)
    only_whole(lake, manifest)


@pytest.mark.parametrize("begun", ["plainly", "in shards"])
def test_how_a_window_was_begun_is_no_obstacle(
    world: World,
    api: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: tuple[Lake, Manifest],
    begun: str,
) -> None:
    "Begun plainly it goes on plainly, from its cursor; begun in shards it may end plainly."
    monkeypatch.setattr(landing_room, "PART_ROWS", 400)
    lake = Lake(str(tmp_path))
    first, second = (RESOURCES, SPLIT) if begun == "plainly" else (SPLIT, RESOURCES)
    with (
        served(world, Fault("cursor_key_missing", "/measurements", at=60, times=0)) as failing,
        pytest.raises(ApiError),
    ):
        extract_all(client_of(failing), lake, DUE, RUN, 1, resources=first)
    assert lake.list(f"raw/measurements/_progress/{RUN}") != []
    client = client_of(api)
    (manifest,) = extract_all(client, lake, DUE, RUN, 1, resources=second).manifests
    assert set(client.listed()) == {"whole"}
    pages = ROWS // 20
    assert len(client.listed()) < pages if begun == "plainly" else len(client.listed()) >= pages
    assert rows_of(lake, manifest) == rows_of(*plain)
    if begun == "in shards":  # notes and parts of shards stay until somebody looks who knows of shards
        split(client_of(api), lake)
    only_whole(lake, manifest)


KILLS = """
import itertools, json, os, sys
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
from job import counted
from smartsensor.jobs import landing as landing_room
from smartsensor.jobs import extraction as extraction_room
from smartsensor.jobs.plan import Due
from smartsensor.source.http import Client
from smartsensor.config import ApiSettings; from smartsensor.config import Secret
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Folder
from smartsensor.source.smartsensor_api import MEASUREMENTS, RESOURCES
from smartsensor.windows import Window; from smartsensor.windows import instant

root, base_url, client_id, secret, start, end, every = sys.argv[2:]

def run(root, step):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        count = itertools.count(1)
        for name in ("create", "put", "upload", "delete"):
            setattr(Folder, name, counted(count, step, getattr(Folder, name)))
        landing_room.PART_ROWS, landing_room.GROUP_ROWS = 500, 200
        client = Client(ApiSettings(base_url, base_url + "/oauth2/token", client_id, Secret(secret), page_limit=80))
        due = [Due("measurements", Window(instant(start), instant(end)), 3450)]
        small = {**RESOURCES, "measurements": replace(MEASUREMENTS, shard=1000)}
        extraction_room.extract_all(client, Lake(root), due, "20261120T100000Z-test", threads=1, resources=small)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)

codes = []
while not codes or codes[-1] == -9:  # killed later and later, until nothing is left to kill
    step = len(codes) + 1
    if every == "each":  # a lake of its own for each: killed once, and started again
        codes.append(run(f"{root}/{step}", step))
        if codes[-1] == -9:
            assert run(f"{root}/{step}", 0) == 0, step
    else:
        codes.append(run(f"{root}/1", step))
print(json.dumps(codes))
"""


@pytest.mark.parametrize("every", ["each", "again"])
def test_a_kill_at_each_write_ends_with_the_same_bytes(api: Running, tmp_path: Path, every: str) -> None:
    settings = (api.base_url, api.client_id, api.client_secret, *HOUR.bounds)
    kills = str(Path(__file__).parents[1] / "kills")
    command = [sys.executable, "-c", KILLS, kills, str(tmp_path / "killed"), *settings, every]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    codes = json.loads(ended.stdout)
    assert set(codes) == {0, -9}
    lakes = [Lake(str(folder)) for folder in (tmp_path / "killed").iterdir()]
    assert len(lakes) == (len(codes) if every == "each" else 1)
    whole = lakes[-1].manifest(manifest_key("measurements", RUN, HOUR))
    assert len(whole.parts) == 8, "two files of each shard, so that there is progress to kill"
    assert whole.received == whole.declared > 3000
    for lake in lakes:
        only_whole(lake, whole)
        assert lake.manifest(whole.key) == whole


# --- attempts at the same time ----------------------------------------------------------------------------------------


def test_attempts_at_one_shard_leave_one_set_of_files(api: Running, tmp_path: Path) -> None:
    "As when Spark speculates, or takes a living executor for dead: all of them finish, in any order."
    lake, gate, resource = Lake(str(tmp_path)), threading.Barrier(3), MEASUREMENTS.only("plant_id", PLANTS[0])

    def attempt(number: int) -> Manifest:
        gate.wait()
        return extract(client_of(api), lake, resource, HOUR, RUN, ExtractionContext(part_suffix=str(number or "")))

    with ThreadPoolExecutor(3) as pool:
        manifests = list(pool.map(attempt, range(3)))
    assert len({json.dumps(one.as_json()) for one in manifests}) == 1
    assert sorted(raw(lake)) == sorted([manifests[0].key, *(part.key for part in manifests[0].parts)])
    assert manifests[0].received == manifests[0].declared == sum(part.rows for part in manifests[0].parts) > 0


@pytest.mark.parametrize("moment", ["before it creates its record", "after"])
def test_a_straggler_that_ends_after_its_window_was_joined_takes_nothing_away(
    api: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    lake, joined = Lake(str(tmp_path)), list[Manifest]()
    create = Lake.create

    def late(self: Lake, key: str, data: bytes) -> bool:
        "While the straggler writes its record, the driver joins the window; once."
        if key.endswith(".done.json") and not joined:
            joined.append(Manifest("", RUN, HOUR, (), 0, 0, 0, None, None, 0, 0, None))
            made = create(self, key, data) if moment == "after" else True
            joined[0] = split(client_of(api), lake)
            return made if moment == "after" else create(self, key, data)
        return create(self, key, data)

    monkeypatch.setattr(Lake, "create", late)
    extract(
        client_of(api), lake, MEASUREMENTS.only("plant_id", PLANTS[0]), HOUR, RUN, ExtractionContext(part_suffix="1")
    )
    only_whole(lake, joined[0])
    assert split(client_of(api), lake) == joined[0]


# --- names that come from outside -------------------------------------------------------------------------------------

HOSTILE = dict(zip(PLANTS, ["../../x", "a/b", 'ü "ß"\n', "plt-04.parquet\\..\\"], strict=True))


def test_hostile_ids_are_only_data(api: Running, tmp_path: Path, plain: tuple[Lake, Manifest]) -> None:
    client, lake = client_of(api), Lake(str(tmp_path / "lake"))
    real = {hostile: plant for plant, hostile in HOSTILE.items()}

    def renamed(path: str, params: Mapping[str, str], reply: Reply) -> Reply:
        body = reply.body.decode()
        for plant, hostile in HOSTILE.items():
            body = body.replace(f'"{plant}"', json.dumps(hostile))
        return replace(reply, body=body.encode())

    client.change, client.alias = renamed, lambda value: real.get(value, value)
    manifest = split(client, lake)
    assert set(client.listed()) == set(HOSTILE.values())
    assert [row[:3] for row in rows_of(lake, manifest)] == [row[:3] for row in rows_of(*plain)]
    assert {row[3] for row in rows_of(lake, manifest)} == set(HOSTILE.values())
    only_whole(lake, manifest)
    assert all(set(part.key.rsplit("/", 1)[1]) <= set("0123456789abcdefpart-.quet") for part in manifest.parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake"]


def test_a_shard_is_one_value_of_a_name_and_names_are_columns() -> None:
    with pytest.raises(ValueError, match="plant_id is 'a' already"):
        MEASUREMENTS.only("plant_id", "a").only("plant_id", "b")
    with pytest.raises(ValueError, match=r"\['plant'\] is not among its columns"):
        replace(MEASUREMENTS, shard_by=("plant",))
    for changes in ({"shard": 0}, {"shard": 5, "shard_by": ()}):
        with pytest.raises(ValueError, match="shards need"):
            replace(MEASUREMENTS, **changes)  # type: ignore[arg-type]
    named: Callable[[Resource], str] = lambda one: part_key("m", RUN, HOUR, 0, one.where)  # noqa: E731
    one, two = (
        MEASUREMENTS.only("plant_id", "a").only("sensor_id", "b"),
        MEASUREMENTS.only("plant_id", 'a"], ["sensor_id", "b'),
    )
    assert named(one) != named(two)


# --- the vacuum -------------------------------------------------------------------------------------------------------


def test_a_vacuum_keeps_the_shards_of_a_run_that_goes_on(api: Running, tmp_path: Path) -> None:
    lake, later = Lake(str(tmp_path)), datetime.now(UTC) + timedelta(days=40)
    shard = extract(client_of(api), lake, MEASUREMENTS.only("plant_id", PLANTS[0]), HOUR, RUN)
    lake.put(shard.key.replace(".done.json", ".json"), b"{}")
    lake.put(f"runs/{RUN}/check.json", b"{}")
    assert plan_vacuum(lake, Retention(), later).garbage == ()
    lake.put(f"runs/{RUN}/result.json", b"{}")
    assert plan_vacuum(lake, Retention(), datetime.now(UTC)).garbage == (), (
        "it ended a moment ago, and may be started again"
    )
    planned = plan_vacuum(lake, Retention(), later)
    assert planned.totals()["progress"][0] == 2
    vacuum(lake, planned, Retention(), later)
    assert lake.list("raw") == [part.key for part in shard.parts]
    with pytest.raises(NotFound):
        lake.manifest(shard.key)


def test_a_vacuum_removes_the_shards_of_a_window_that_has_landed(api: Running, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    manifest = split(client_of(api), lake)
    shard = replace(manifest, where=(("plant_id", "x"),))
    lake.put(shard.key, json.dumps(shard.as_json()).encode())
    planned = plan_vacuum(lake, Retention(), datetime.now(UTC))
    assert [one.key for one in planned.garbage] == [shard.key]
    vacuum(lake, planned, Retention(), datetime.now(UTC))
    only_whole(lake, manifest)


def test_a_shard_is_read_by_pages_and_is_on_no_cassette(api: Running, tmp_path: Path) -> None:
    "An export and a cassette are of a whole window."
    lake, client = Lake(str(tmp_path)), client_of(api, scope="telemetry.read exports.write")
    resource = MEASUREMENTS.only("plant_id", PLANTS[0])
    context = ExtractionContext(sleep=lambda seconds: pytest.fail("it waits for an export"))
    shard = extract(client, lake, resource, HOUR, RUN, context, expected_rows=10**9)
    assert shard.pages == len(client.listed()) > 1
    extract(client_of(api, record=True), lake, resource, cut(HOUR, timedelta(minutes=30))[0], RUN)
    assert lake.list("runs") == []


def test_a_shard_closes_nothing(api: Running, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    shard = extract(client_of(api), lake, MEASUREMENTS.only("plant_id", PLANTS[0]), HOUR, RUN)
    with pytest.raises(LakeError, match="is a shard of"):
        close(lake, "measurements", RUN, [shard])
    assert lake.ledger("measurements").version == 0
    assert verify(lake, "measurements") == []


# --- on executors -----------------------------------------------------------------------------------------------------


@pytest.mark.spark
@pytest.mark.slow
def test_shards_land_on_executors_also_when_one_is_killed(
    spark: Any,  # noqa: F811
    api: Running,
    tmp_path: Path,
) -> None:
    threads, lake, killed = Lake(str(tmp_path / "threads")), Lake(str(tmp_path / "spark")), list[int]()
    expected = split(client_of(api), threads)
    manifest = split(client_of(api), lake, session=spark)
    assert manifest == expected
    assert raw(lake) == raw(threads)

    def kill(name: str, rows: int) -> None:
        if rows and not killed:
            victim = executors()[0]
            victim.kill()
            killed.append(victim.pid)

    lake = Lake(str(tmp_path / "killed"))
    again = split(client_of(api), lake, session=spark, on_rows=kill)
    assert killed
    assert rows_of(lake, again) == rows_of(threads, expected)
    assert [part.sha256 for part in again.parts] == [part.sha256 for part in expected.parts]
    only_whole(lake, again)
