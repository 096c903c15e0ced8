"""Extraction on executors: the same files as on threads, none twice, whichever executor dies; one rate for all of them."""

import hashlib
import heapq
import json
import math
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from spark.cluster import CONF, environment, executors

import smartsensor
from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs import workers as module
from smartsensor.jobs.engine_spark import Spark, bucket_folders, find_java
from smartsensor.jobs.extract import ExtractionContext, extract
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.jobs.workers import balanced
from smartsensor.lake.lake import Lake
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.source.budget import (
    RateBudget,
    RateServerAddress,
    RateShare,
    RemoteRateLimiter,
    serve_rate,
    share_rate,
)
from smartsensor.source.errors import AuthError
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS, RESOURCES
from smartsensor.windows import Window, cut

pytestmark = pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning")
RUN = "20261120T100000Z-test"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = Window(NOW - timedelta(hours=6), NOW - timedelta(hours=1))
DUE = [Due("plants", Window(datetime(1970, 1, 1, tzinfo=UTC), NOW), 4)]
DUE += [Due("measurements", window, None) for window in cut(DAY, timedelta(minutes=30))]


@pytest.fixture(scope="module")
def api() -> Iterator[Running]:
    with serve(Fleet(assets=4, sensors=8), clock=lambda: NOW, limits=Limits(burst=0, sustained=0)) as running:
        yield running


def client_of(api: Running, secret: str = "", rate_per_s: float = 0) -> Client:
    settings = ApiSettings(
        api.base_url, api.token_url, api.client_id, Secret(secret or api.client_secret), max_attempts=2
    )
    return Client(settings, budget=RateBudget(rate_per_s, 1))


def raw(lake: Lake) -> dict[str, str]:
    "What lies in raw: hash of each Parquet file, by name."
    keys = [key for key in lake.list("raw") if key.endswith(".parquet")]
    return {key: hashlib.sha256(lake.read(key)).hexdigest() for key in keys}


def referred(lake: Lake) -> dict[str, str]:
    "What the manifests refer to."
    keys = [key for name in RESOURCES for key in lake.list(f"raw/{name}/_manifests")]
    return {part.key: part.sha256 for key in keys for part in lake.manifest(key).parts}


@pytest.fixture(scope="module")
def on_threads(api: Running, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("threads")))
    extract_all(client_of(api), lake, DUE, RUN, 2)
    return lake


def test_windows_are_dealt_out_evenly_and_none_is_forgotten() -> None:
    windows = cut(Window(NOW - timedelta(hours=100), NOW), timedelta(hours=1))
    due = [Due("measurements", window, rows) for window, rows in zip(windows, [100_000, *[1_000] * 99], strict=True)]
    tasks = balanced(due, 8)
    loads = [sum(one.rows or 0 for one in hand) for hand in tasks]
    assert sorted(one.window for hand in tasks for one in hand) == list(windows)
    assert max(loads) == 100_000
    assert [len(hand) for hand in tasks].count(1) == 1, "the large window has a task of its own"
    assert max(loads[1:]) - min(loads[1:]) <= 1_000
    assert balanced([], 8) == []


def test_two_attempts_at_one_window_leave_one_set_of_files(api: Running, tmp_path: Path) -> None:
    "As when Spark speculates, or takes a living executor for dead: all of them finish, in any order."
    lake, window = Lake(str(tmp_path)), cut(DAY, timedelta(hours=1))[0]
    gate = threading.Barrier(3)

    def attempt(number: int) -> Any:
        gate.wait()
        return extract(
            client_of(api), lake, MEASUREMENTS, window, RUN, ExtractionContext(part_suffix=str(number or ""))
        )

    with ThreadPoolExecutor(3) as pool:
        manifests = list(pool.map(attempt, range(3)))
    assert len({json.dumps(one.as_json()) for one in manifests}) == 1
    assert raw(lake) == referred(lake)
    assert manifests[0].received == sum(part.rows for part in manifests[0].parts) > 0


def task(api: Running, desk: RateServerAddress, lake: Lake) -> module.ExecutorTask:
    settings = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(""), max_attempts=2)
    return module.ExecutorTask(settings, lake, RUN, 2, desk, dict(RESOURCES), 1, False, time.time())


def test_what_an_executor_gets_holds_no_secret_and_works(api: Running, tmp_path: Path, on_threads: Lake) -> None:
    from pyspark import cloudpickle

    client, lake = client_of(api), Lake(str(tmp_path))
    messages: list[int] = []
    functions = {
        **module.serve_signer(client.auth),
        "rows": lambda name, rows: messages.append(rows),
    }
    with closing(serve_rate(client.budget, threading.Event(), functions=functions)) as desk:
        work = task(api, desk.address, lake)
        assert api.client_secret.encode() not in cloudpickle.dumps(work)
        ((landed, failure, log),) = list(work([DUE]))
    assert failure is None
    assert raw(lake) == raw(on_threads)
    assert sum(messages) == sum(one.received for one in landed)
    assert client.auth.fetched == 1, "one token for all"
    assert log.requests == sum(one.requests for one in landed)


def test_a_fault_that_a_retry_can_not_mend_comes_back_as_itself(api: Running, tmp_path: Path) -> None:
    client = client_of(api, secret="wrong")
    stop = threading.Event()
    functions = {
        **module.serve_signer(client.auth),
        "rows": print,
        "fail": stop.set,
    }
    with closing(serve_rate(client.budget, stop, functions=functions)) as desk:
        ((landed, failure, _),) = list(task(api, desk.address, Lake(str(tmp_path)))([DUE[:1]]))
    assert isinstance(failure, AuthError)
    assert "invalid_client" in str(failure)
    assert (landed, stop.is_set()) == ([], True)


class Virtual:
    """A clock that moves on when all workers sleep: what a test finds does not depend on how busy the machine is."""

    def __init__(self, workers: int) -> None:
        self.now, self._awake, self._alarms, self._moved = 0.0, workers, list[float](), threading.Condition()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._moved:
            at = self.now + seconds
            heapq.heappush(self._alarms, at)
            self._rest()
            self._moved.wait_for(lambda: self.now >= at)

    def leave(self) -> None:
        "One worker less."
        with self._moved:
            self._rest()

    def _rest(self) -> None:
        self._awake -= 1
        if not self._awake and self._alarms:
            self.now = self._alarms[0]
            while self._alarms and self._alarms[0] <= self.now:
                heapq.heappop(self._alarms)
                self._awake += 1
            self._moved.notify_all()


def overshoot(sent: Sequence[float], rate_per_s: float) -> float:
    "By how many requests any stretch of time holds more than the rate allows in it: at most the burst, if it is kept."
    most, least = 0.0, math.inf
    for number, at in enumerate(sorted(sent)):
        least = min(least, number - rate_per_s * at)
        most = max(most, number + 1 - rate_per_s * at - least)
    return most


@pytest.mark.parametrize(("burst", "least"), [(1, 0.95), (10, 0.999)])
def test_the_rate_is_kept_by_all_workers_together_and_used(burst: int, least: float) -> None:
    "Eight workers at a desk for ten seconds; one dies half-way. A burst makes up for moments in which nobody had to wait."
    clock, sent = Virtual(8), list[float]()
    with closing(serve_rate(RateBudget(200, burst, clock, clock.sleep), threading.Event())) as desk:

        def work(number: int) -> None:
            lent, random = RemoteRateLimiter(desk.address), Random(number)
            while clock() < 10 and not (number == 0 and clock() > 5):
                lent.acquire()
                sent.append(clock())
                clock.sleep(random.uniform(0.005, 0.055))  # the request
            clock.leave()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    assert overshoot(sent, 200) <= burst + 1e-6
    assert len([at for at in sent if at <= 10]) / 2000 >= least


def sent_by_jobs(jobs: Mapping[str, tuple[float, float, bool]], lake: Lake, rate_per_s: float) -> list[float]:
    "When jobs sent that share a rate, each with eight threads: name to begin, end and whether it takes its note away."
    now, waited, random, shares = [0.0], [0.0], Random(1), dict[str, tuple[RateBudget, RateShare]]()
    sent, due = list[float](), [(begin, "begin", name) for name, (begin, _, _) in jobs.items()]
    heapq.heapify(due)
    while due:
        now[0], what, name = heapq.heappop(due)
        budget, share = shares.get(name, (None, None))
        _, end, leaves = jobs[name]
        if budget is None or share is None:
            budget = RateBudget(rate_per_s, 10, lambda: now[0], lambda seconds: waited.__setitem__(0, seconds))
            shares[name] = budget, share = budget, RateShare(lake, name, budget, rate_per_s, 5.0, lambda: now[0])
            due += [(now[0], "send", name)] * 8 + [(end, "end", name)]
            heapq.heapify(due)
        if what == "send" and now[0] < end:
            waited[0] = 0.0
            budget.acquire()
            sent += [at] if (at := now[0] + waited[0]) < end else []
            heapq.heappush(due, (at + random.uniform(0.02, 0.06), "send", name))
        elif what in ("begin", "renew") and now[0] < end:
            share.renew()
            heapq.heappush(due, (now[0] + 5.0 + random.uniform(0, 0.2), "renew", name))  # the lake takes its time
        elif what == "end" and leaves:
            share.leave()
    return sent


def test_jobs_that_come_go_and_die_use_one_rate_together(tmp_path: Path) -> None:
    sent = sent_by_jobs(
        {"one": (0, 300, True), "two": (61.3, 240, True), "three": (122.2, 180, False)}, Lake(str(tmp_path)), 100
    )
    assert overshoot(sent, 100) <= 10 + 1e-6
    assert len(sent) / 30_000 >= 0.95, "also while one joins, one leaves, and one has died with its share"


def test_jobs_of_one_lake_share_and_give_back(tmp_path: Path) -> None:
    lake, budget, other = Lake(str(tmp_path)), RateBudget(100, 10), RateBudget(100, 10)
    with share_rate(lake, "one", budget, every_s=0.05):
        with share_rate(lake, "two", other, every_s=0.05):
            deadline = time.monotonic() + 10
            while budget.rate_per_s != 50 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert (budget.rate_per_s, other.rate_per_s) == (50, 50)
        deadline = time.monotonic() + 10
        while budget.rate_per_s != 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert budget.rate_per_s == 100
    assert lake.list("state") == []


@pytest.mark.parametrize("data", [None, b"", b"{}", b"[]", b"null", b'{"at": "soon", "refused_until": 0}', b"\xff"])
def test_a_note_that_vanishes_or_is_none_is_no_member(tmp_path: Path, data: bytes | None) -> None:
    class Board(Lake):
        "Another job leaves between the listing of notes and their reading; or something else lies there."

        def list(self, prefix: str) -> list[str]:
            if data is not None:
                self.put("state/budget/other.json", data)
            return ["state/budget/other.json", *super().list(prefix)]

    assert RateShare(Board(str(tmp_path)), "one", RateBudget(100, 10), 100).renew() == 1


# --- executors that are processes of their own --------------------------------------------------------------------


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    "Two executors of one core each; the package comes to them as a zip, as --py-files ships it."
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(find_java(), folder / "cluster").items():
            patch.setenv(name, value)
        conf = {**CONF, "spark.driver.memory": "1g", "spark.local.dir": str(folder / "local")}
        conf |= bucket_folders(folder / "buckets", ["lake-bucket"])
        builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("test_spark_extract")
        for name, value in conf.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        package = shutil.make_archive(
            str(folder / "smartsensor"), "zip", Path(smartsensor.__file__).parent.parent, base_dir="smartsensor"
        )
        session.sparkContext.addPyFile(package)
        yield session
        session.stop()


@pytest.mark.spark
@pytest.mark.slow
def test_executors_land_what_threads_land_also_when_one_is_killed(
    spark: Any, api: Running, tmp_path: Path, on_threads: Lake
) -> None:
    where = spark.sparkContext.parallelize(range(2), 2).map(lambda _: __import__("smartsensor").__file__).collect()
    assert all("smartsensor.zip" in place for place in where), "the executors have the package that was shipped"

    lake = Lake(str(tmp_path / "whole"))
    extraction = extract_all(client_of(api), lake, DUE, RUN, 2, session=spark)
    assert raw(lake) == raw(on_threads)
    assert {one.key for one in extraction.manifests} == {lake.manifest(one.key).key for one in extraction.manifests}
    assert lake.ledger("measurements").watermark == DAY.end

    lake, killed = Lake(str(tmp_path / "killed")), list[int]()

    def kill(name: str, rows: int) -> None:
        if not killed and (alive := executors()):
            alive[0].kill()
            killed.append(alive[0].pid)

    client = client_of(api)
    again = extract_all(client, lake, DUE, RUN, 2, kill, session=spark)
    assert killed
    assert raw(lake) == referred(lake), "no file that no manifest knows"
    assert sorted(raw(lake).values()) == sorted(raw(on_threads).values())
    assert [one.received for one in again.manifests] == [one.received for one in extraction.manifests]
    assert lake.ledger("measurements").watermark == DAY.end
    assert client.log.requests > 0


@pytest.fixture
def bucket(spark: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    "An S3 server over the folder in which Spark finds the bucket."
    place = spark.conf.get("spark.hadoop.fs.viewfs.mounttable.lake-bucket.linkFallback")
    folder = Path(place.removeprefix("file://"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [Path(sys.executable).parent / "localbucket", "--port", str(port), str(folder.parent)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, value in (("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}"), ("AWS_EC2_METADATA_DISABLED", "true"),
                        ("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"), ("AWS_DEFAULT_REGION", "eu-central-1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield folder
    server.terminate()
    server.wait()


@pytest.mark.spark
@pytest.mark.slow
def test_the_same_s3_addresses_work_in_spark_and_in_python(spark: Any, bucket: Path, api: Running) -> None:
    "Python lands in a bucket, Spark reads and stages there, Python reads that."
    lake = Lake("s3://lake-bucket/lake")
    extraction = extract_all(client_of(api), lake, DUE[:3], RUN, 2)
    files = [lake.uri(part.key) for one in extraction.manifests if one.resource == "measurements" for part in one.parts]
    assert all(file.startswith("s3://lake-bucket/lake/raw/") for file in files)
    engine = Spark(spark)
    engine.view("landed", files, MEASUREMENTS.raw_schema)
    count = engine.rows("SELECT count(*) AS n FROM landed")[0]["n"]
    assert count == sum(one.received for one in extraction.manifests if one.resource == "measurements") > 0
    staged = engine.stage("SELECT *, CAST(measured_at AS DATE) AS day FROM landed", lake.uri("staged"), "day")
    assert sum(one.rows for one in staged) == count
    assert {key for key in lake.list("staged") if key.endswith(".parquet")} == {f"staged/{one.name}" for one in staged}
    with pytest.raises(Exception, match=r"nowhere"):
        spark.read.parquet("s3://nowhere-at-all/x").count()


@pytest.mark.spark
@pytest.mark.slow
def test_a_straggler_is_speculated_and_no_row_comes_twice(tmp_path: Path, on_threads: Lake) -> None:
    "The copy of a task that hangs lands what the task would have; its own parts have another name."
    script = Path(__file__).parents[1] / "spark" / "straggler.py"
    ended = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads(ended.stdout) == {"windows": len(DUE), "struck": 1}
    lake = Lake(str(tmp_path / "lake"))
    assert raw(lake) == referred(lake)
    assert sorted(raw(lake).values()) == sorted(raw(on_threads).values())
    copied = [name for name in raw(lake) if name.endswith("-1.parquet")]
    assert copied, "a second attempt has landed, while the first was hanging"
    assert lake.ledger("measurements").watermark == DAY.end
