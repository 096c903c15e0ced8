"""Exports under faults and kills; the states are drawn in nbs/source/016_export_jobs.ipynb, the long forms in tests/kills/exports.py."""

import hashlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from typer.testing import CliRunner

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs import extract as extract_room
from smartsensor.jobs import landing as extract_module
from smartsensor.jobs import plan as plan_room
from smartsensor.jobs.extract import ExtractionContext, extract, make_exporter
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest
from smartsensor.run.cli import app
from smartsensor.simulator.faults import FAULTS, Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source import downloads as downloads_room
from smartsensor.source import export_jobs as export_jobs_room
from smartsensor.source import exports as exports_room
from smartsensor.source import formats as module
from smartsensor.source.errors import ApiError, ContractError, Forbidden
from smartsensor.source.export_jobs import (
    ExportBroken,
    ExportCancelled,
    Exporter,
    ExportFailed,
    ExportOverdue,
    ExportRequest,
    PollPolicy,
    load_record,
    open_exports,
    submit,
)
from smartsensor.source.exports import cancel, sweep
from smartsensor.source.formats import read_rows, sort_rows, split_into_pages
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window, cut

RUN = "20261120T100000Z-test"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
TEN_MINUTES = Window(HOUR.start, HOUR.start + timedelta(minutes=10))
LIMITS = Limits(burst=0, sustained=0, export_file_rows=1500)  # the hour has some 3,500 rows: three files
SCOPE = "telemetry.read exports.write"


class Time:
    """A clock for both sides that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def clock(self) -> float:
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


@pytest.fixture(scope="module")
def world() -> World:
    return World(Fleet(revised=0.0))  # time passes in these tests, and the rows of HOUR stay as they are


class Stand:
    """A server, a lake and a client on the same virtual clock."""

    def __init__(self, world: World, root: Path, *faults: Fault, **limits: Any) -> None:
        self.time, self.lake = Time(), Lake(str(root))
        self.messages: list[str] = []
        self._serve = serve(
            world=world, clock=self.time.now, limits=replace(LIMITS, **limits), plan=FaultPlan(tuple(faults))
        )

    def __enter__(self) -> "Stand":
        self.api: Running = self._serve.__enter__()
        self.client = client_of(self.api, self.time)
        return self

    def __exit__(self, *error: object) -> None:
        self._serve.__exit__(None, None, None)

    def callbacks(self, **changes: Any) -> ExtractionContext:
        return ExtractionContext(self._on_rows, sleep=self.time.sleep, clock=self.time.clock, **changes)

    def _on_rows(self, what: str, rows: int) -> None:
        self.messages.append(what)

    def exporter(self, **changes: Any) -> Exporter:
        return make_exporter(self.client, self.lake, self.callbacks(**changes))

    def extract(self, rows: int | None = 10**9, window: Window = HOUR, **changes: Any) -> Manifest:
        return extract(self.client, self.lake, MEASUREMENTS, window, RUN, self.callbacks(**changes), rows)

    def cost(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.api.control_url}/log", timeout=10).json()["exports"])


def client_of(api: Running, time: Time, scope: str = SCOPE, **changes: Any) -> Client:
    settings = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), scope, **changes)
    return Client(settings, sleep=time.sleep, clock=time.clock)


def tree(lake: Lake) -> dict[str, str]:
    keys = [key for key in lake.list("raw") if key.endswith(".parquet")]
    return {key: hashlib.sha256(lake.read(key)).hexdigest() for key in keys}


@pytest.fixture(scope="module")
def by_pages(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Manifest]:
    with Stand(world, tmp_path_factory.mktemp("pages")) as stand:
        manifest = stand.extract(rows=None)
        return tree(stand.lake), manifest


def assert_clean(stand: Stand) -> None:
    assert stand.cost()["left"] == 0
    assert stand.lake.list("state/exports") == []
    assert list((stand.exporter().folder).glob("*")) == []


# Both ways give the same bytes


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("form", ["parquet", "ndjson", "csv"])
def test_an_export_lands_the_same_bytes_as_pages(
    world: World,
    tmp_path: Path,
    by_pages: tuple[dict[str, str], Manifest],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    compression: str,
) -> None:
    monkeypatch.setattr(
        extract_room, "ExportRequest", lambda *fields: ExportRequest(*fields, format=form, compression=compression)
    )
    with Stand(world, tmp_path) as stand:
        manifest = stand.extract()
        assert tree(stand.lake) == by_pages[0]
        ways = [replace(one, requests=0, pages=0) for one in (manifest, by_pages[1])]
        assert replace(ways[0], as_of=None) == replace(ways[1], as_of=None)
        assert manifest.evidence.content == by_pages[1].evidence.content
        assert stand.cost()["created"] == 1
        assert_clean(stand)


def test_several_parts_and_groups_are_cut_where_pages_cut_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "PART_ROWS", 900)
    monkeypatch.setattr(extract_module, "GROUP_ROWS", 400)
    trees = []
    for rows, name in ((None, "pages"), (10**9, "export")):
        with Stand(world, tmp_path / name) as stand:
            stand.client = client_of(stand.api, stand.time, page_limit=300)
            stand.extract(rows)
            trees.append(tree(stand.lake))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 4


def test_drift_is_kept_and_reported_as_with_pages(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [Fault("new_field", "*", times=0), Fault("number_as_string", "*", times=0)]
    faults += [Fault("timestamp_without_zone", "*", times=0, value="received_at")]
    found = {}
    for form in ("pages", "ndjson", "parquet", "csv"):
        monkeypatch.setattr(
            extract_room, "ExportRequest", lambda *fields, form=form: ExportRequest(*fields, format=form)
        )
        with Stand(world, tmp_path / form, *faults) as stand:
            manifest = stand.extract(None if form == "pages" else 10**9, TEN_MINUTES)
            rows = pa.concat_tables(pq.read_table(stand.lake.open(part.key)) for part in manifest.parts)
            found[form] = (rows.to_pylist(), manifest.drift)
    assert found["ndjson"] == found["pages"]
    assert found["parquet"][0] == found["csv"][0] == found["pages"][0]
    assert "unknown field firmware_channel" in found["parquet"][1]
    assert "unknown field firmware_channel" in found["csv"][1]


# What goes wrong


def matrix() -> list[tuple[Fault, int]]:
    """Each fault of an export, and how many jobs it takes."""
    job, file, post = "/exports/*", "/exports/*/files/*", "/exports"
    return [
        (Fault("export_stuck", post), 2),
        (Fault("export_progress_back", post), 1),
        (Fault("export_failed", post), 2),
        (Fault("export_wrong_rows", post), 2),
        (Fault("export_file_missing", post), 2),
        (Fault("export_file_missing", post, value="unlisted"), 2),
        (Fault("export_unordered", post), 1),
        (Fault("export_corrupt", file), 1),
        (Fault("export_corrupt", file, times=3), 1),
        (Fault("export_url_expires", file, times=2), 1),
        (Fault("truncated", file, times=2), 1),
        (Fault("reset", file, times=2), 1),
        (Fault("status", file, value=503), 1),
        (Fault("status", post, value=502), 1),
        (Fault("reset", post), 1),
        (Fault("truncated", post), 1),
        (Fault("error_in_200", post), 1),
        (Fault("status", job, value={"status": 429, "retry_after": 7, "form": "date"}), 1),
        (Fault("reset", job, times=2), 1),
        (Fault("truncated", job), 1),
        (Fault("error_in_200", job), 1),
        (Fault("token_revoked", job), 1),
        (Fault("lying_count", "/measurements/count"), 2),
        (Fault("status", job, at=2, value={"status": 404, "html": False}), 2),
    ]


def test_the_matrix_has_every_fault_of_exports() -> None:
    assert {fault.kind for fault, _ in matrix()} >= {kind for kind in FAULTS if kind.startswith("export_")}


@pytest.mark.parametrize(
    ("fault", "jobs"), matrix(), ids=lambda one: f"{one.kind}-{one.on}" if isinstance(one, Fault) else str(one)
)
def test_each_fault_ends_with_the_same_bytes_and_nothing_left(
    world: World, tmp_path: Path, by_pages: tuple[dict[str, str], Manifest], fault: Fault, jobs: int
) -> None:
    with Stand(world, tmp_path, fault) as stand:
        stand.extract()
        report = requests.get(f"{stand.api.control_url}/faults", timeout=10).json()["faults"]
        assert report[0]["struck"] >= 1
        assert tree(stand.lake) == by_pages[0]
        assert stand.cost()["created"] == jobs
        assert_clean(stand)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("export_failed", "/exports", value=False), ExportFailed, "render_failed"),
        (Fault("export_failed", "/exports", times=0), ExportBroken, "3 exports of measurements"),
        (Fault("export_wrong_rows", "/exports", times=0), ExportBroken, "the job declares"),
        (Fault("export_corrupt", "/exports/*/files/*", times=0), ExportBroken, "size and the hash"),
        (Fault("export_stuck", "/exports", times=0), ExportBroken, "running at 40 %"),
        (Fault("status", "/exports", times=0, value={"status": 403, "html": False}), Forbidden, "403"),
        (Fault("error_in_200", "/exports", times=0), ContractError, "no export job"),
    ],
    ids=lambda one: one.kind if isinstance(one, Fault) else "",
)
def test_a_fault_that_stays_ends_with_an_error_and_no_job(
    world: World, tmp_path: Path, fault: Fault, error: type[ApiError], words: str
) -> None:
    with Stand(world, tmp_path, fault) as stand:
        with pytest.raises(error, match=words):
            stand.extract()
        assert not stand.lake.exists(f"raw/measurements/_manifests/{RUN}/{HOUR.key}.json")
        assert stand.cost()["left"] == 0
        requests.delete(f"{stand.api.control_url}/faults", timeout=10)
        assert stand.extract().received > 0  # the same run goes on once the fault is gone
        assert_clean(stand)


def test_a_job_that_is_never_ready_is_cancelled_at_the_deadline(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path, export_run_s=10 * 3600.0) as stand:
        with pytest.raises(ExportOverdue, match="run again later") as caught:
            stand.extract(poll_policy=PollPolicy(deadline_s=600, stall_s=3600))
        assert caught.value.retryable
        assert stand.time.passed_s < 620
        assert (stand.cost()["created"], stand.cost()["left"]) == (1, 0)


def test_polls_back_off_where_the_server_names_no_time(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path, export_run_s=3600.0) as stand:
        stand.extract()
        assert stand.cost()["polls"] < 3600 / 30 + 10  # up to 60 s apart, never less than half of it
        assert any("export running" in message for message in stand.messages)


# Quota, cancellation, orphans


def test_a_full_quota_is_waited_for_and_pages_of_others_are_not_held_back(world: World, tmp_path: Path) -> None:
    pauses: list[float] = []

    class Watched:
        def acquire(self) -> None: ...

        def pause(self, seconds: float) -> None:
            pauses.append(seconds)

        refused = pause

    with Stand(world, tmp_path, exports=1, export_run_s=300.0) as stand:
        other = make_exporter(stand.client, Lake(str(tmp_path / "other")), stand.callbacks())
        submit(other, ExportRequest("measurements", HOUR, "20261120T090000Z-other"))
        stand.client.budget = Watched()
        manifest = stand.extract()
        assert manifest.received == manifest.declared
        assert pauses == []
        assert stand.time.passed_s > 600
        assert stand.cost()["created"] == 2


def test_windows_at_once_stay_below_the_quota(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path) as stand:
        due = [Due("measurements", window, 10**9) for window in cut(HOUR, timedelta(minutes=10))]
        callbacks = stand.callbacks()
        threads = [
            threading.Thread(
                target=extract, args=(stand.client, stand.lake, MEASUREMENTS, one.window, RUN, callbacks, one.rows)
            )
            for one in due
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = requests.get(f"{stand.api.control_url}/log", timeout=10).json()["requests"]
        assert not [line for line in log if line["status"] == 429]
        assert stand.cost()["created"] == len(due)
        assert_clean(stand)


def test_an_export_that_somebody_cancels_ends_the_run_and_the_next_one_submits_another(
    world: World, tmp_path: Path
) -> None:
    with Stand(world, tmp_path, export_run_s=600.0) as stand:
        elsewhere = stand.exporter()

        def sleep(seconds: float) -> None:
            stand.time.sleep(seconds)
            records = open_exports(stand.lake)
            if stand.time.passed_s > 100 and records and records[0].phase == "submitted":
                cancel(elsewhere, str(records[0].export_id))

        callbacks = ExtractionContext(sleep=sleep, clock=stand.time.clock)
        with pytest.raises(ExportCancelled, match="run again"):
            extract(stand.client, stand.lake, MEASUREMENTS, HOUR, RUN, callbacks, 10**9)
        assert stand.cost()["left"] == 0
        manifest = stand.extract()
        assert manifest.received == manifest.declared
        assert stand.cost()["created"] == 2
        assert_clean(stand)


def test_a_sweep_deletes_exports_of_dead_runs_only(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path, exports=10) as stand:
        exporter = stand.exporter()
        mine, dead, half = (ExportRequest("measurements", HOUR, f"20261120T0{n}0000Z-run") for n in range(3))
        for request in (mine, dead):
            submit(exporter, request)
        load_record(stand.lake, half).write(
            stand.lake, "requested", attempt=1
        )  # killed before it was sent, or before we knew
        for request in (dead, half):
            stand.lake.put(f"runs/{request.run}/result.json", b"{}")
        assert {one.request.run for one in sweep(exporter)} == {dead.run, half.run}
        assert [one.request.run for one in open_exports(stand.lake)] == [mine.run]
        assert stand.cost()["left"] == 1
        assert len(sweep(exporter, now=datetime.now(UTC) + timedelta(hours=25))) == 1
        assert_clean(stand)


def test_extract_all_sweeps_and_chooses_by_estimate_and_scope(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path) as stand:
        request = ExportRequest("measurements", HOUR, "20261119T000000Z-dead")
        submit(stand.exporter(), request)
        stand.lake.put(f"runs/{request.run}/result.json", b"{}")
        extract_all(stand.client, stand.lake, [Due("measurements", HOUR, 3000)], RUN, threads=1)
        assert (stand.cost()["created"], stand.cost()["left"]) == (1, 0)  # swept; 3,000 rows went by pages
        reader = client_of(stand.api, stand.time, "telemetry.read")
        assert not plan_room.by_export(reader, MEASUREMENTS, 10**9)
        assert plan_room.by_export(stand.client, MEASUREMENTS, MEASUREMENTS.export)
        assert not plan_room.by_export(stand.client, MEASUREMENTS, None)


def test_the_command_line_lists_cancels_and_sweeps(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stand(world, tmp_path) as stand:
        values = {
            "API_URL": stand.api.base_url,
            "CLIENT_ID": stand.api.client_id,
            "SCOPE": SCOPE,
            "LAKE": str(tmp_path),
        }
        for name, value in {**values, "CLIENT_SECRET": stand.api.client_secret}.items():
            monkeypatch.setenv(f"SMARTSENSOR_{name}", value)
        cli = lambda *words: CliRunner().invoke(app, ["exports", *words])  # noqa: E731
        assert "there is no lake" in str(cli("list").exception)
        stand.lake.put("runs/20261120T000000Z-run/run.json", b"{}")
        assert cli("list").stdout == "0 exports\n"
        records = [
            submit(stand.exporter(), ExportRequest("measurements", HOUR, f"20261120T0{n}0000Z-run"))[0]
            for n in range(2)
        ]
        assert all(str(record.export_id) in cli("list").stdout for record in records)
        assert cli("cancel", str(records[0].export_id)).exit_code == 0
        assert "closed (attempt 1)" in cli("list").stdout
        assert stand.cost()["left"] == 1
        assert isinstance(cli("cancel", "exp_none").exception, ValueError)
        assert "0 removed" in cli("sweep").stdout
        assert "2 removed" in cli("sweep", "--all").stdout
        assert_clean(stand)


# Files and rows


def test_a_download_continues_at_its_last_byte(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path, Fault("truncated", "/exports/*/files/*", times=3)) as stand:
        exporter = stand.exporter()
        record, wait = submit(exporter, ExportRequest("measurements", HOUR, RUN))
        job = export_jobs_room.watch(exporter, record, wait)
        assert len(downloads_room.download_files(exporter, job)) == 3
        assert exporter.counters["bytes"] == sum(file.bytes for file in job.files)  # no byte twice
        assert stand.cost()["downloads"] == 6


def test_another_version_of_a_file_is_never_mixed_with_what_is_there(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path) as stand:
        exporter = stand.exporter()
        record, wait = submit(exporter, ExportRequest("measurements", HOUR, RUN))
        job = export_jobs_room.watch(exporter, record, wait)
        folder = exporter.folder / job.export_id
        folder.mkdir(parents=True)
        part = folder / f"{job.files[0].name}.part"
        part.write_bytes(b"of another version")
        part.with_suffix(".etag").write_text('"another"')
        paths = downloads_room.download_files(exporter, job)
        assert hashlib.sha256(paths[0].read_bytes()).hexdigest() == job.files[0].sha256


def test_the_token_is_not_sent_with_a_signed_address_and_no_error_shows_one(world: World, tmp_path: Path) -> None:
    sent: list[Any] = []
    real = requests.Session.send

    def spy(self: requests.Session, request: Any, **more: Any) -> Any:
        sent.append(request)
        return real(self, request, **more)

    with (
        pytest.MonkeyPatch.context() as patch,
        Stand(world, tmp_path, Fault("reset", "/exports/*/files/*", times=0)) as stand,
    ):
        patch.setattr(requests.Session, "send", spy)
        with pytest.raises(ExportBroken) as caught:
            stand.extract()
        files = [request for request in sent if "/files/" in request.url]
        assert files
        assert not any("Authorization" in request.headers for request in files)
        assert "signature" not in str(caught.value)
        assert "signature" not in "".join(stand.messages)
        logs = [stand.lake.read(key).decode() for key in stand.lake.list("state/exports")]
        assert logs
        assert not any("signature" in text for text in logs)


@pytest.mark.parametrize(
    "wrong", [{"file_id": "../x"}, {"sha256": "abc"}, {"rows": -1}, {"rows": "many"}, {"url": None, "file_id": None}]
)
def test_a_reply_with_an_invalid_file_is_refused(wrong: dict[str, Any]) -> None:
    file = {"file_id": "f1", "rows": 1, "bytes": 10, "sha256": "0" * 64, "url": "http://127.0.0.1/x", **wrong}
    with pytest.raises(ContractError):
        export_jobs_room.ExportJob.parse({"export_id": "e1", "status": "succeeded", "record_count": 1, "files": [file]})


def _table(rows: int, seed: int) -> pa.Table:
    chance = random.Random(seed)
    batch = [
        {
            "updated_at": datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=chance.randrange(50)),
            "measurement_id": f"m{chance.randrange(10**6):06}",
        }
        for _ in range(rows)
    ]
    return pa.Table.from_pylist(
        batch, pa.schema([(name, MEASUREMENTS.schema.field(name).type) for name in ("measurement_id", "updated_at")])
    )


@pytest.mark.parametrize(
    ("rows", "run_rows", "merge_rows"), [(0, 10, 3), (1, 10, 3), (500, 37, 5), (500, 1000, 64), (300, 40, 1)]
)
def test_sorting_by_runs_is_sorting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, run_rows: int, merge_rows: int
) -> None:
    monkeypatch.setattr(module, "RUN_ROWS", run_rows)
    monkeypatch.setattr(module, "MERGE_ROWS", merge_rows)
    table = _table(rows, rows)
    merged = list(sort_rows(table.to_batches(max_chunksize=7), MEASUREMENTS, tmp_path))
    expected = table.sort_by([("updated_at", "ascending"), ("measurement_id", "ascending")])
    assert pa.Table.from_batches(merged, table.schema).to_pylist() == expected.to_pylist()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [[], [1], [3, 3], [10], [1, 1, 1, 1], [7, 0, 5]])
def test_batches_are_cut_as_pages_are(sizes: list[int]) -> None:
    table, batches, at = _table(sum(sizes), 1), [], 0
    for size in sizes:
        batches += [pa.RecordBatch.from_struct_array(table.slice(at, size).to_struct_array().combine_chunks())]
        at += size
    portions = list(split_into_pages(batches, 3))
    assert [one.num_rows for one in portions] == [3] * (len(table) // 3) + ([len(table) % 3] if len(table) % 3 else [])
    assert pa.Table.from_batches(portions, table.schema).equals(table)


CASES: list[tuple[str, bytes, Callable[[dict[str, Any]], bool]]] = [
    ("csv", b'measurement_id,value,revision\n"a",,1\n', lambda row: row["value"] is None and row["revision"] == 1),
    (
        "csv",
        b'measurement_id,value,quality_flag\n"a",1e3,""\n',
        lambda row: row["value"] == 1000.0 and row["quality_flag"] == "",
    ),
    (
        "csv",
        b'measurement_id,value\n"a","n/a"\n',
        lambda row: row["value"] is None and json.loads(row["_extra"]) == {"value": "n/a"},
    ),
    (
        "csv",
        b'measurement_id,note\n"a","x, ""y""\nz"\n',
        lambda row: json.loads(row["_extra"]) == {"note": 'x, "y"\nz'},
    ),
    ("ndjson", b'{"measurement_id":"a","value":"7"}\n\n', lambda row: row["value"] == 7.0),
    ("ndjson", b'{"measurement_id":"a","revision":2.0}', lambda row: row["revision"] == 2),
]


@pytest.mark.parametrize(("form", "data", "holds"), CASES)
def test_what_does_not_fit_is_repaired_as_on_a_page(
    tmp_path: Path, form: str, data: bytes, holds: Callable[[dict[str, Any]], bool]
) -> None:
    (tmp_path / "file").write_bytes(data)
    request = ExportRequest("measurements", HOUR, RUN, form)
    batches = [batch for batch, _ in read_rows(tmp_path / "file", request, MEASUREMENTS.schema, 100)]
    assert all(batch.schema.equals(MEASUREMENTS.raw_schema) for batch in batches)
    (row,) = [row for batch in batches for row in batch.to_pylist()]
    assert row["measurement_id"] == "a"
    assert holds(row)


def test_parquet_of_other_widths_fits(tmp_path: Path) -> None:
    columns = {
        "measurement_id": pa.array(["a", "b"], pa.large_string()),
        "value": pa.array([1.5, None], pa.float32()),
    }
    columns |= {"revision": pa.array([1, 2], pa.int16()), "measured_at": pa.array([0, 1], pa.timestamp("ms"))}
    pq.write_table(pa.table(columns), tmp_path / "file")
    request = ExportRequest("measurements", HOUR, RUN)
    ((batch, drift),) = read_rows(tmp_path / "file", request, MEASUREMENTS.schema, 100)
    rows = batch.to_pylist()
    assert [row["value"] for row in rows] == [1.5, None]
    assert [row["revision"] for row in rows] == [1, 2]
    assert [row["_extra"] for row in rows] == [None, None]
    assert any("measured_at" in text and "zone" in text for text in drift)


@pytest.mark.parametrize("form", ["parquet", "ndjson", "csv"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_garbage_is_refused(tmp_path: Path, form: str, compression: str) -> None:
    (tmp_path / "file").write_bytes(b"\x00\x01 garbage")
    request = ExportRequest("measurements", HOUR, RUN, form, compression)
    with pytest.raises(ContractError):
        list(read_rows(tmp_path / "file", request, MEASUREMENTS.schema, 100))


def test_an_empty_window_is_a_success(world: World, tmp_path: Path) -> None:
    nothing = Window(datetime(2026, 11, 20, 11, 59, 58, tzinfo=UTC), datetime(2026, 11, 20, 11, 59, 59, tzinfo=UTC))
    small = World(Fleet(sensors=1, interval_s=3600))
    with Stand(small, tmp_path) as stand:
        manifest = extract(stand.client, stand.lake, MEASUREMENTS, nothing, RUN, stand.callbacks(), 10**9)
        assert (manifest.received, manifest.declared, manifest.parts) == (0, 0, ())
        assert_clean(stand)


def test_the_server_keeps_to_its_contract(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path) as stand:
        url = f"{stand.api.base_url}/exports"
        head = {"Authorization": f"Bearer {stand.client.auth.token().value.reveal()}", "Idempotency-Key": "k"}
        body = ExportRequest("measurements", HOUR, RUN).body()
        post = lambda body, **more: requests.post(url, json=body, headers={**head, **more}, timeout=10)  # noqa: E731
        first, same = post(body), post(body)
        assert (first.status_code, first.headers["Retry-After"]) == (202, "5")
        assert first.json()["export_id"] == same.json()["export_id"]
        assert first.headers["Location"] == f"/exports/{first.json()['export_id']}"
        assert post({**body, "format": "csv"}).status_code == 409
        assert post({**body, "format": "xml"}).status_code == 400
        assert (
            requests.post(url, json=body, headers={"Authorization": head["Authorization"]}, timeout=10).status_code
            == 400
        )
        assert [post(body, **{"Idempotency-Key": f"k{n}"}).status_code for n in range(3)] == [202, 202, 429]
        stand.time.sleep(60)
        job = requests.get(f"{url}/{first.json()['export_id']}", headers=head, timeout=10).json()
        file = job["files"][0]
        ranged = requests.get(file["url"], headers={"Range": "bytes=10-19"}, timeout=10)
        assert (ranged.status_code, len(ranged.content)) == (206, 10)
        assert requests.get(file["url"] + "0", timeout=10).status_code == 403
        stand.time.sleep(901)
        assert requests.get(file["url"], timeout=10).status_code == 403
        stand.time.sleep(86_400)
        head["Authorization"] = f"Bearer {stand.client.auth.token().value.reveal()}"
        assert requests.get(f"{url}/{job['export_id']}", headers=head, timeout=10).json()["status"] == "expired"
        assert [
            requests.delete(f"{url}/{job['export_id']}", headers=head, timeout=10).status_code for _ in range(2)
        ] == [204, 204]


def test_rows_of_one_plant(world: World, tmp_path: Path) -> None:
    with Stand(world, tmp_path) as stand:
        exporter = stand.exporter()
        request = ExportRequest("measurements", HOUR, RUN, plants=("plt-01", "plt-03"))
        rows = exports_room.export(
            exporter,
            request,
            lambda fetched: [row for batch in fetched.batches(MEASUREMENTS, set()) for row in batch.to_pylist()],
        )
        assert {row["plant_id"] for row in rows} == {"plt-01", "plt-03"}


# Short form of the long one


def test_a_run_that_is_killed_anywhere_has_one_job_and_leaves_none() -> None:
    script = Path(__file__).parent.parent / "kills" / "exports_kills.py"
    command = [sys.executable, str(script), "--steps", "2", "--bytes", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "0 left; 0 wrong" in ended.stdout
