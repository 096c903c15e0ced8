"""A lake on S3, emulated on 127.0.0.1: the same promises as on a folder, whatever the network and the service do."""

import io
import json
import logging
import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ResponseStreamingError
from botocore.httpsession import URLLib3Session
from botocore.response import StreamingBody
from moto.backends import get_backend
from moto.server import ThreadedMotoServer
from table_reader import partitions, rows_of, table_of
from test_convert import FormerLake, former, is_converted_well  # noqa: F401  (a fixture)
from test_lake import DAY, advance
from test_promote import QuickGate, suite
from urllib3.exceptions import ProtocolError

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs.compact import compact
from smartsensor.jobs.convert import convert, remove_former
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.extract import extract
from smartsensor.jobs.extraction import close
from smartsensor.jobs.merge import partitioning
from smartsensor.jobs.promote import promote
from smartsensor.lake import bucket as module
from smartsensor.lake.bucket import Bucket
from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import commit, expirable, expire, referenced, rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError, NotFound
from smartsensor.lake.tables import Tables, Version, versions
from smartsensor.lake.vacuum import Retention, plan_vacuum, vacuum
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS, PLANTS
from smartsensor.windows import EPOCH, Window, cut

KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What botocore would have waited between attempts."""
    waited: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture(autouse=True)
def _aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    output = {
        "ACCESS_KEY_ID": "none",
        "SECRET_ACCESS_KEY": "none",
        "DEFAULT_REGION": "eu-central-1",
        "EC2_METADATA_DISABLED": "true",
    }
    for name, value in {**output, "ENDPOINT_URL_S3": endpoint, "ENDPOINT_URL_GLUE": endpoint}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("SMARTSENSOR_DATABASE", f"lake_{uuid.uuid4().hex}")  # moto keeps one catalog for all tests


@pytest.fixture
def lake(request: pytest.FixtureRequest) -> Lake:
    bucket = f"lake-{abs(hash(request.node.name)):x}"
    boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return Lake(f"s3://{bucket}/some/place")


@pytest.fixture
def gate(tmp_path: Path) -> QuickGate:
    for name in ("measurements", "plants"):
        for zone in ("raw", "qualified"):
            (tmp_path / f"{name}.{zone}.json").write_text(suite(f"{name}.{zone}"))
    return QuickGate(tmp_path)


class Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class Interposed:
    """Answers the next requests of an operation itself: a status and a code, an exception, or "lost" (done, then no answer)."""

    def __init__(self, lake: Lake, operation: str, *answers: tuple[int, str] | Exception | str | None) -> None:
        self.answers, self.requests = list(answers), list[Any]()
        lake.store.client.meta.events.register(f"before-send.s3.{operation}", self)  # type: ignore[attr-defined]

    def __call__(self, request: Any, **_: Any) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer == "lost":
            URLLib3Session().send(request)
            raise ConnectionClosedError(endpoint_url=request.url)
        if isinstance(answer, tuple):
            body = f"<Error><Code>{answer[1]}</Code><Message>interposed</Message></Error>".encode()
            return AWSResponse(request.url, answer[0], {"content-type": "application/xml"}, Raw(body))
        return None

    def header(self, name: str) -> str:
        value = self.requests[-1].headers.get(name, "")
        return value.decode() if isinstance(value, bytes) else str(value)


# --- create, or say that it is there ----------------------------------------------------------------------------------


def test_the_first_creation_wins_and_the_second_is_told(lake: Lake) -> None:
    assert (lake.create("state/x/00000001.json", b"mine"), lake.create("state/x/00000001.json", b"theirs")) == (
        True,
        False,
    )
    assert lake.read("state/x/00000001.json") == b"mine"


@pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
def test_409_is_no_answer_and_is_asked_again(lake: Lake, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    slept: list[float] = []
    lake.__dict__["store"] = Bucket(lake.store.bucket, lake.store.prefix, sleep=slept.append)  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "LARGE", 5 << 20 if operation != "PutObject" else 64 << 20)
    data = b"x" * (6 << 20)
    asked = Interposed(lake, operation, (409, "ConditionalRequestConflict"), (409, "ConditionalRequestConflict"))
    assert lake.create("state/x/00000001.json", data)
    assert len(asked.requests) == 3
    assert len(slept) == 2
    assert lake.read("state/x/00000001.json") == data
    assert lake.store.unfinished() == []


def test_a_writer_that_never_gets_its_turn_says_so(lake: Lake) -> None:
    lake.__dict__["store"] = Bucket(lake.store.bucket, sleep=lambda seconds: None)  # type: ignore[attr-defined]
    Interposed(lake, "PutObject", *[(409, "ConditionalRequestConflict")] * 10)
    with pytest.raises(LakeError, match="10 times in a row another writer"):
        lake.create("state/x/00000001.json", b"mine")


def test_the_answer_to_a_creation_may_be_lost(lake: Lake, waits: list[float]) -> None:
    Interposed(lake, "PutObject", "lost")
    assert lake.create("state/x/00000001.json", b"mine")  # the retry met 412, and its own bytes
    lake.put("state/x/00000002.json", b"theirs")
    Interposed(lake, "PutObject", ConnectionClosedError(endpoint_url="-"))
    assert not lake.create("state/x/00000002.json", b"mine")
    assert len(waits) == 2


def test_large_objects_are_created_in_parts_or_not_at_all(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 5 << 20)
    first, second = os.urandom(12 << 20), os.urandom(12 << 20)
    completed = Interposed(lake, "CompleteMultipartUpload")
    assert (lake.create("raw/x", first), lake.create("raw/x", second)) == (True, False)
    assert completed.header("If-None-Match") == "*"
    assert lake.read("raw/x") == first
    assert lake.store.unfinished() == []
    Interposed(lake, "UploadPart", None, (403, "AccessDenied"))
    with pytest.raises(LakeError, match="access is denied"):
        lake.create("raw/y", second)
    assert not lake.exists("raw/y")
    assert lake.store.unfinished() == []


def test_processes_that_race_lose_no_window(lake: Lake) -> None:
    windows = list(cut(DAY, timedelta(hours=2)))
    context = multiprocessing.get_context("spawn")
    runners = [context.Process(target=advance, args=(lake.root, f"run-{n}", windows[n::2])) for n in range(2)]
    for one in runners:
        one.start()
    for one in runners:
        one.join()
    assert [one.exitcode for one in runners] == [0, 0]
    assert lake.ledger("x").covered == (DAY,)
    assert lake.log("x").versions() == list(range(1, len(windows) + 1))
    added = [one.window for version in range(1, len(windows) + 1) for one in lake.ledger("x", version).added]
    assert sorted(added) == windows


# --- objects ----------------------------------------------------------------------------------------------------------


def test_objects_come_and_go_as_on_a_folder(lake: Lake, tmp_path: Path) -> None:
    for store in (lake, Lake(str(tmp_path / "folder"))):
        source = tmp_path / "part"
        source.write_bytes(os.urandom(9 << 20))  # boto3 takes several parts for it
        whole = source.read_bytes()
        store.upload(source, "raw/y/part-00000.parquet")
        assert not source.exists()
        assert store.read("raw/y/part-00000.parquet") == whole
        store.put("raw/y/_manifests/r/w.json", b"{}")
        assert store.list("raw") == ["raw/y/_manifests/r/w.json", "raw/y/part-00000.parquet"]
        assert store.store.folders("raw") == ["y"]
        assert [(one.key, one.bytes) for one in store.store.entries("raw")][1] == ("raw/y/part-00000.parquet", 9 << 20)
        with store.open("raw/y/part-00000.parquet") as file:
            assert file.size() == 9 << 20
        assert (store.exists("raw/y/part-00000.parquet"), store.exists("raw/x/part-00000.parquet")) == (True, False)
        store.delete("raw/y/part-00000.parquet")
        store.delete("raw/y/part-00000.parquet")
        assert store.json("raw/y/_manifests/r/w.json") == {}
        for gone in (store.read, store.open, store.json):
            with pytest.raises(NotFound):
                gone("raw/none")


def test_each_zone_may_have_a_bucket_of_its_own(lake: Lake) -> None:
    for zone in ("raw", "qualified", "state", "docs"):
        boto3.client("s3").create_bucket(
            Bucket=f"zone-{zone}", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    zoned = Lake("s3://zone-{zone}/deep")
    for key in ("raw/x", "qualified/x", "quarantine/x", "state/x", "runs/x", "quality/x.html"):
        zoned.put(key, key.encode())
        assert zoned.open(key).read() == key.encode()
    assert (
        boto3.client("s3")
        .head_object(Bucket="zone-docs", Key="deep/quality/x.html")["ContentType"]
        .startswith("text/html")
    )
    assert zoned.list("quarantine") == ["quarantine/x"]
    assert zoned.store.unfinished() == []


def test_every_write_asks_for_the_key(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMARTSENSOR_KMS_KEY", KEY)
    monkeypatch.setattr(module, "LARGE", 5 << 20)
    lake = Lake(lake.root)
    (tmp_path / "part").write_bytes(b"x" * (9 << 20))
    acts: dict[str, Callable[[], object]] = {
        "PutObject": lambda: (lake.put("runs/a", b""), lake.create("runs/b", b"")),
        "CreateMultipartUpload": lambda: (
            lake.create("runs/c", b"x" * (6 << 20)),
            lake.upload(tmp_path / "part", "runs/d"),
        ),
    }
    for operation, act in acts.items():
        asked = Interposed(lake, operation)
        act()
        assert asked.requests, operation
        for request in asked.requests:
            assert {
                request.headers["x-amz-server-side-encryption"],
                request.headers["x-amz-server-side-encryption-aws-kms-key-id"],
            } == {b"aws:kms", KEY.encode()}
    assert lake.store.client.head_object(Bucket=lake.store.bucket, Key="some/place/runs/d")["SSEKMSKeyId"] == KEY  # type: ignore[attr-defined]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_missing_bucket_is_named_by_every_verb(tmp_path: Path) -> None:
    lake = Lake("s3://nobody-made-this/x")
    (tmp_path / "part").write_bytes(b"x")
    acts: list[Callable[[], object]] = [
        lambda: lake.create("state/a", b""), lambda: lake.put("state/a", b""), lambda: lake.read("state/a"), lambda: lake.exists("state/a"),
        lambda: lake.list("state"), lambda: lake.ledger("plants"), lambda: lake.upload(tmp_path / "part", "raw/a"), lambda: lake.store.entries("raw"),
        lambda: lake.store.unfinished(),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(LakeError, match=r"s3://nobody-made-this.*terraform apply") as caught:
            act()
        assert not isinstance(caught.value, NotFound)
    assert (tmp_path / "part").exists()


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("PutObject", lambda lake: lake.create("state/a", b"")),
        ("GetObject", lambda lake: lake.read("state/a")),
        ("HeadObject", lambda lake: lake.exists("state/a")),
        ("ListObjectsV2", lambda lake: lake.list("state")),
        ("DeleteObject", lambda lake: lake.delete("state/a")),
    ],
)
def test_denied_access_says_which_rights_are_needed(lake: Lake, operation: str, act: Callable[[Lake], object]) -> None:
    Interposed(lake, operation, (403, "403" if operation == "HeadObject" else "AccessDenied"))
    with pytest.raises(LakeError, match=r"access is denied: this role needs s3:GetObject.*KMS"):
        act(lake)


def test_an_upload_that_is_denied_says_so(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x")
    Interposed(lake, "PutObject", (403, "AccessDenied"))
    with pytest.raises(LakeError, match="access is denied"):
        lake.upload(tmp_path / "part", "raw/a")


@pytest.mark.parametrize(
    "answer",
    [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable"), ConnectionClosedError(endpoint_url="-")],
)
def test_throttling_5xx_and_lost_connections_are_tried_again(
    lake: Lake, waits: list[float], answer: tuple[int, str] | Exception
) -> None:
    for operation, act in {
        "PutObject": lambda: lake.create("state/a", b"1"),
        "GetObject": lambda: lake.read("state/a") == b"1",
    }.items():
        asked = Interposed(lake, operation, answer, answer, answer)
        assert act()
        assert len(asked.requests) == 4
    assert len(waits) == 6


def test_an_end_of_patience_is_no_stack_trace(lake: Lake, waits: list[float]) -> None:
    asked = Interposed(lake, "PutObject", *[(503, "SlowDown")] * 20)
    with pytest.raises(LakeError, match=r"S3 throttles, or is unwell: run again later"):
        lake.put("state/a", b"")
    assert len(asked.requests) == 8
    Interposed(lake, "GetObject", *[ConnectionClosedError(endpoint_url="-")] * 99)
    with pytest.raises(LakeError, match="state/a: "):
        lake.read("state/a")


def test_a_body_that_breaks_off_is_read_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put("state/a", b"x" * 1000)

    real, broken = StreamingBody.read, [True, True]

    def read(self: StreamingBody, amt: int | None = None) -> bytes:
        if broken:
            broken.pop()
            raise ResponseStreamingError(error=ProtocolError("the line is cut"))
        return real(self, amt)

    monkeypatch.setattr(StreamingBody, "read", read)
    assert lake.read("state/a") == b"x" * 1000
    assert broken == []


def test_no_answer_and_no_credentials_are_said(monkeypatch: pytest.MonkeyPatch, waits: list[float], lake: Lake) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(LakeError, match=r"s3://some-bucket/state/a: .*127\.0\.0\.1:9"):
        Lake("s3://some-bucket").read("state/a")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(LakeError, match="credentials are missing"):
        Lake(lake.root).read("state/a")


# --- many versions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leases", "requests"), [(0, 2), (1200, 6)])
def test_the_newest_of_three_thousand_versions_takes_few_requests(lake: Lake, leases: int, requests: int) -> None:
    bucket, place = lake.root.removeprefix("s3://").split("/", 1)
    backend = get_backend("s3")["123456789012"][
        "aws"
    ]  # the server's own, in this process: by HTTP it would take minutes
    for version in range(1, 3001):
        backend.put_object(bucket, f"{place}/state/x/{version:08}.json", b'{"n": %d}' % version)
    for fence in range(leases):  # as the claims of runs, which lie beside their log
        backend.put_object(bucket, f"{place}/state/x/lease-{fence:08}.json", b"{}")
    listed, got = Interposed(lake, "ListObjectsV2"), Interposed(lake, "GetObject")
    assert lake.log("x").latest() == (3000, {"n": 3000})
    assert (len(listed.requests), len(got.requests)) == (requests, 1)
    assert lake.log("y").latest() == (0, {})
    assert lake.log("x").versions() == list(range(1, 3001))


# --- the pipeline -----------------------------------------------------------------------------------------------------


def table(lake: Lake, resource: str, version: int | None = None) -> pl.DataFrame:
    rows = pl.DataFrame(rows_of(lake, resource, version=version), infer_schema_length=None)
    return rows.sort(rows.columns[0])


def test_extract_promote_read_and_roll_back(lake: Lake, tmp_path: Path, gate: QuickGate) -> None:
    world, local = World(Fleet(sensors=24)), Lake(str(tmp_path / "local"))
    halves = cut(Window(NOW - timedelta(hours=8), NOW - timedelta(hours=2)), timedelta(hours=3))
    engine = DuckDB(tmp_path, threads=2, memory_limit="1GB")
    with serve(world=world, clock=lambda: NOW, limits=Limits(burst=0, sustained=0)) as api:
        client = Client(ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret)))
        for number, window in enumerate(halves, 1):
            run = f"20261121T12000{number}Z-test"
            for one in (lake, local):
                for resource, span in ((MEASUREMENTS, window), (PLANTS, Window(EPOCH, NOW))):
                    manifest = extract(client, one, resource, span, run)
                    close(one, resource.name, run, [manifest])
                    assert promote(one, resource, engine, gate, run).version == number
    engine.close()
    for name in ("measurements", "plants"):
        assert partitions(lake, name) == partitions(local, name)
        assert table(lake, name).equals(table(local, name))
    raw = [key for key in lake.list("raw") if key.endswith(".parquet")]
    assert [lake.read(key) for key in raw] == [local.read(key) for key in raw]
    first = table(lake, "measurements", 1)
    assert first.height < table(lake, "measurements").height
    published = table_of(lake, "measurements")
    assert published is not None
    assert rollback(published, 1, "a person").number == 3
    assert table(lake, "measurements").equals(first)
    assert {lake.uri(key) for key in lake.list("qualified/measurements/data")} <= referenced(published)
    assert not (tmp_path / "near").exists() or len(list((tmp_path / "near").rglob("*.parquet"))) < 20


def test_a_vacuum_ends_uploads_that_a_kill_left(lake: Lake) -> None:
    store = lake.store
    store.client.create_multipart_upload(Bucket=store.bucket, Key="some/place/raw/x/part-00000.parquet")  # type: ignore[attr-defined]
    lake.put("runs/r/cassettes/one.json", b"x")
    lake.put("runs/r/result.json", json.dumps({}).encode())
    assert {one.kind for one in plan_vacuum(lake, Retention(), datetime.now(UTC)).garbage} <= {
        "temporary files"
    }  # moto dates uploads to 2010
    later = datetime.now(UTC) + timedelta(days=40)
    planned = plan_vacuum(lake, Retention(), later)
    assert {kind: count for kind, (count, _) in planned.totals().items()} == {"temporary files": 1, "cassettes": 1}
    vacuum(lake, planned, Retention(), later)
    assert plan_vacuum(lake, Retention(), later).garbage == ()
    assert lake.exists("runs/r/result.json")


def test_a_table_of_another_lake_is_not_taken_for_this_one(lake: Lake, tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string())])
    Tables(lake).ensure(QUALIFIED, "readings", schema, None)
    other = Tables(Lake(f"{lake.root}/deeper"))
    with pytest.raises(LakeError, match=r"is a table of another lake.*SMARTSENSOR_DATABASE"):
        other.find(QUALIFIED, "readings")
    with pytest.raises(LakeError, match="is a table of another lake"):
        other.ensure(QUALIFIED, "readings", schema, None)


# --- the upkeep of tables ---------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDB]:
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    yield opened
    opened.close()


FORMER_ZONES = ("qualified", "quarantine", "staged", "superseded", "state")


def add_row(lake: Lake, number: int) -> None:
    "Commit one row as a file of its own."
    at, written = datetime(2026, 11, 20, number, tzinfo=UTC), io.BytesIO()
    row = {"measurement_id": f"m-{number}", "measured_at": at, "updated_at": at, "value": float(number)}
    pq.write_table(pa.Table.from_pylist([row], MEASUREMENTS.raw_schema), written)
    key = f"qualified/measurements/data/{number}.parquet"
    lake.put(key, written.getvalue())
    table = Tables(lake).ensure(QUALIFIED, "measurements", MEASUREMENTS.raw_schema, partitioning(MEASUREMENTS))
    commit(table, Version(number, run="test", attempt=str(number)), [lake.uri(key)])


def test_small_files_are_merged_and_old_versions_go_with_their_files(lake: Lake, engine: DuckDB) -> None:
    for number in range(1, 7):
        add_row(lake, number)
    rows = table(lake, "measurements")
    merged = compact(lake, QUALIFIED, MEASUREMENTS, engine, "20261125T000000Z-7f3a")
    assert merged is not None
    assert (merged.version, merged.before, merged.after, merged.rows) == (7, 6, 1, 6)
    assert table(lake, "measurements").equals(rows)
    assert table(lake, "measurements", 3).height == 3
    published = table_of(lake, "measurements")
    assert published is not None
    later = datetime.now(UTC) + timedelta(days=8)
    assert expire(published, expirable(published, 1, later)) == [1, 2, 3, 4, 5]
    assert [one.number for one in versions(published.refresh())] == [6, 7]
    keep = Retention(versions=0)
    vacuum(lake, plan_vacuum(lake, keep, later), keep, later)
    published.refresh()
    left = lake.list("qualified/measurements/data")
    assert [one.number for one in versions(published)] == [7]
    assert len(left) == 1
    assert {lake.uri(key) for key in lake.list("qualified/measurements")} == referenced(published)
    assert table(lake, "measurements").equals(rows)


def test_a_lake_of_the_former_layout_is_converted(former: FormerLake, lake: Lake, engine: DuckDB) -> None:  # noqa: F811
    for key in (key for top in FORMER_ZONES for key in former.lake.list(top)):
        lake.put(key, former.lake.read(key))
    for one in (PLANTS, MEASUREMENTS):
        assert convert(lake, one, engine, "20261125T000000Z-7f3a").done
    is_converted_well(lake)
    assert remove_former(lake, ["plants", "measurements"])
    is_converted_well(lake)
