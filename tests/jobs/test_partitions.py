"""Partitions of qualified: by hour, by day, by month, on both engines; and rows that move from one to another."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import StringType

from smartsensor.jobs.compact import compact
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.engine_spark import Spark, local_session
from smartsensor.jobs.engines import Engine
from smartsensor.jobs.promote import promote
from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import commit, rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest, Part, part_key
from smartsensor.lake.store import LakeError
from smartsensor.lake.tables import Tables, Version, between, files, versions
from smartsensor.quality.verdicts import Finding, Verdict
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

pytestmark = pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning")
Row = dict[str, Any]


class OpenGate:
    """A gate that lets everything pass."""

    def __init__(self, expectations: Path) -> None:
        self.expectations = expectations
        count = {"type": "expect_table_row_count_to_equal", "severity": "critical", "kwargs": {"value": {"$PARAMETER": "expected_rows"}}}  # fmt: skip
        entry = {**count, "meta": {"name": "row-count", "why": "because"}}
        for name in ("measurements.raw", "measurements.qualified"):
            text = json.dumps({"name": name, "expectations": [entry], "meta": {"team": "-", "key": []}})
            (expectations / f"{name}.json").write_text(text)

    def judge(
        self,
        batch: Any,
        resource: str,
        zone: Any,
        parameters: Mapping[str, int],
        about: Mapping[str, str] | None = None,
        further: Sequence[Finding] = (),
        trial: bool = False,
    ) -> Verdict:
        return Verdict(resource, zone, parameters["expected_rows"], (), None, about or {})

    def record(self, verdict: Verdict) -> None:
        pass


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    conf = {"spark.sql.shuffle.partitions": "2"}
    started = local_session(tmp_path_factory.mktemp("spark"), threads=1, memory="1g", conf=conf)
    yield started
    started.stop()


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "spark":
        yield Spark(request.getfixturevalue("session"))
        return
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    yield opened
    opened.close()


def measurement(number: int, at: datetime, revision: int = 1) -> Row:
    row = {
        "measurement_id": f"m-{number}",
        "sensor_id": f"s-{number % 7}",
        "value": float(number),
        "revision": revision,
    }
    return {**row, "measured_at": at, "received_at": at, "updated_at": datetime(2026, 11, 20, revision, tzinfo=UTC)}


class Promoting:
    """A lake; rows land in it and are promoted."""

    def __init__(self, root: Path, resource: Resource, engine: Engine) -> None:
        (root / "suites").mkdir()
        self.lake, self.resource, self.engine, self.gate = Lake(str(root / "lake")), resource, engine, OpenGate(root / "suites")  # fmt: skip
        self.runs = 0

    def promote(self, rows: Sequence[Row]) -> Any:
        self.runs += 1
        run, name = f"20261121T00{self.runs:02}00Z-test", self.resource.name
        window = Window(*(datetime(2026, 11, 20, self.runs + more, tzinfo=UTC) for more in (0, 1)))
        key = part_key(name, run, window, 0)
        path = Path(self.lake.uri(key))
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(list(rows), self.resource.raw_schema), path)
        part = Part(key, len(rows), path.stat().st_size, sha256(path.read_bytes()).hexdigest())
        counts = (len(rows), len(rows), len(rows))
        manifest = Manifest(name, run, window, (part,), *counts, None, None, 1, 1, None)
        self.lake.create(manifest.key, json.dumps(manifest.as_json()).encode())
        self.lake.close(name, run, [manifest.evidence])
        return promote(self.lake, self.resource, self.engine, self.gate, run)

    @property
    def table(self) -> Table:
        found = Tables(self.lake).find(QUALIFIED, self.resource.name)
        assert found is not None
        return found

    def rows(self) -> list[tuple[str, datetime, int]]:
        found = self.table.scan().to_arrow().to_pylist()
        return sorted((row["measurement_id"], row["measured_at"], row["revision"]) for row in found)


def partition_of(at: datetime, by: str) -> str:
    return at.strftime({"hour": "%Y-%m-%d-%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[by])


INSTANTS = [  # ends and beginnings of hours, days, months; hours that a clock in Berlin skips and repeats
    datetime(2026, 10, 31, 23, 59, 59, 999999, UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 59, 59, 999999, UTC),
    datetime(2024, 2, 29, 13, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, tzinfo=UTC),
]


@pytest.mark.parametrize("by", ["hour", "day", "month"])
def test_rows_lie_in_their_partition_and_move_between_them(tmp_path: Path, engine: Engine, by: Any) -> None:
    one = Promoting(tmp_path, replace(MEASUREMENTS, partition_by=by), engine)
    assert one.promote([measurement(number, at) for number, at in enumerate(INSTANTS)]).new == len(INSTANTS)
    moved = {0: INSTANTS[1], 3: datetime(2026, 10, 25, 2, 30, tzinfo=UTC), 5: INSTANTS[6], 7: INSTANTS[5]}
    done = one.promote([measurement(number, at, 2) for number, at in moved.items()] + [measurement(99, INSTANTS[0])])
    assert (done.new, done.updated) == (1, 4)
    now = {f"m-{number}": (moved.get(number, at), 2 if number in moved else 1) for number, at in enumerate(INSTANTS)}
    now["m-99"] = (INSTANTS[0], 1)
    assert one.rows() == sorted((name, *rest) for name, rest in now.items())
    assert {file.partition for file in files(one.table)} == {partition_of(at, by) for at, _ in now.values()}
    for file in files(one.table):
        found = pq.read_table(file.uri)["measured_at"].to_pylist()
        assert {partition_of(at, by) for at in found} == {file.partition}
    span = between("measured_at", "2026-10-25T00:00:00+00:00", "2026-10-25T00:59:59+00:00")
    assert len(files(one.table, where=span)) == 1
    assert one.promote([measurement(number, at, 2) for number, at in moved.items()]).already == 4


# --- buckets of a key -------------------------------------------------------------------------------------------------

BUCKETS = replace(MEASUREMENTS, buckets=4, bucket_by="sensor_id")


def bucket_of(sensor: str | None) -> int | None:
    return BucketTransform[str](4).transform(StringType())(sensor)


def test_a_day_is_cut_into_buckets_of_its_sensors(tmp_path: Path, engine: Engine) -> None:
    one, day = (
        Promoting(tmp_path, BUCKETS, engine),
        [datetime(2026, 11, 20 + at % 2, 12, at, tzinfo=UTC) for at in range(14)],
    )
    assert one.promote([measurement(number, at) for number, at in enumerate(day)]).new == 14
    nameless = measurement(50, day[0]) | {"sensor_id": None}
    done = one.promote([measurement(3, day[0], 2), nameless])  # one moves to another day, one has no sensor
    assert (done.new, done.updated) == (1, 1)
    table, buckets = one.table, set[int | None]()
    assert len(one.rows()) == 15
    for file in files(table):
        (bucket,) = {bucket_of(sensor) for sensor in pq.read_table(file.uri)["sensor_id"].to_pylist()}
        (date,) = {at.strftime("%Y-%m-%d") for at in pq.read_table(file.uri)["measured_at"].to_pylist()}
        assert file.partition == f"{date}/{'null' if bucket is None else bucket}"
        buckets.add(bucket)
    assert buckets == {None, *(bucket_of(f"s-{at}") for at in range(7))}
    found = files(table, where=EqualTo("sensor_id", "s-3"))
    assert {file.partition.split("/")[1] for file in found if file.partition} == {str(bucket_of("s-3"))}
    assert [key for key in one.lake.list("qualified") if "-buckets/" in key] == []
    for round_ in range(5):  # a late row for one sensor: one bucket is written anew or added to
        one.promote([measurement(100 + 7 * round_, day[0])])
    rows = one.rows()
    merged = compact(one.lake, QUALIFIED, BUCKETS, engine, "20261125T000000Z-7f3a")
    assert merged is not None
    assert merged.before >= 6
    assert one.rows() == rows
    rollback(one.table, 1, "a person")
    assert len(one.rows()) == 14


def test_a_file_with_two_buckets_is_refused(tmp_path: Path) -> None:
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    one, day = Promoting(tmp_path, BUCKETS, opened), datetime(2026, 11, 20, tzinfo=UTC)
    one.promote([measurement(0, day)])
    path = Path(one.lake.uri("qualified/measurements/data/mixed.parquet"))
    pq.write_table(pa.Table.from_pylist([measurement(at, day) for at in range(7)], BUCKETS.raw_schema), path)
    with pytest.raises(LakeError, match="has rows of several buckets of sensor_id"):
        commit(one.table, Version(2, run="test", attempt="mixed"), [str(path)])
    opened.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"buckets": 4},
        {"bucket_by": "sensor_id"},
        {"buckets": 1, "bucket_by": "sensor_id"},
        {"buckets": 4, "bucket_by": "value"},
        {"buckets": 4, "bucket_by": "sensor_id", "event_field": None},
    ],
)
def test_buckets_that_can_not_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="buckets are of a column of text or whole numbers"):
        replace(MEASUREMENTS, **wrong)


# --- a declaration that changes ---------------------------------------------------------------------------------------

DAILY = MEASUREMENTS
MONTHLY = replace(MEASUREMENTS, partition_by="month")
HOURLY = replace(MEASUREMENTS, partition_by="hour")


def specs_of(table: Table) -> list[tuple[str, ...]]:
    "The partitioning of each file, by the names of its fields."
    names = {at: tuple(field.name for field in spec.fields) for at, spec in table.specs().items()}
    return sorted(names[file.entry.spec_id] for file in files(table))


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        (DAILY, MONTHLY, ("measured_month",)),
        (MONTHLY, HOURLY, ("measured_hour",)),
        (DAILY, BUCKETS, ("measured_date", "sensor_id_bucket_4")),
        (BUCKETS, MONTHLY, ("measured_month",)),
        (BUCKETS, replace(BUCKETS, buckets=2), ("measured_date", "sensor_id_bucket_2")),
    ],
)
def test_a_changed_declaration_changes_new_files_and_leaves_the_others(
    tmp_path: Path, engine: Engine, before: Resource, after: Resource, fields: tuple[str, ...]
) -> None:
    one, days = (
        Promoting(tmp_path, before, engine),
        [datetime(2026, 11, 18 + at // 6, at, tzinfo=UTC) for at in range(12)],
    )
    one.promote([measurement(number, at) for number, at in enumerate(days)])
    first, old = one.rows(), specs_of(one.table)
    one.resource = after
    done = one.promote([measurement(0, days[0], 2), measurement(5, days[11], 2), measurement(50, days[3])])
    assert (done.new, done.updated) == (1, 2)
    now = [row for row in first if row[0] not in ("m-0", "m-5")]
    now = sorted([*now, ("m-0", days[0], 2), ("m-5", days[11], 2), ("m-50", days[3], 1)])
    assert one.rows() == now
    kept = {file.uri for file in files(one.table)} & {file.uri for file in files(one.table, snapshot_of(one, 1))}
    assert fields in specs_of(one.table)
    assert len([spec for spec in specs_of(one.table) if spec == old[0]]) == len(kept), "only new files have the new one"
    rollback(one.table, 1, "a person")  # brings back files of the former one
    assert one.rows() == first
    assert specs_of(one.table) == old
    assert one.promote([]).new == 1, "what the rollback took is due again"
    assert one.rows() == now


def snapshot_of(one: Promoting, number: int) -> int | None:
    return next(version.snapshot for version in versions(one.table) if version.number == number)


@pytest.mark.parametrize(("before", "after"), [(MONTHLY, HOURLY), (DAILY, BUCKETS), (BUCKETS, DAILY)])
def test_compaction_writes_small_files_of_a_former_partitioning_as_declared_today(
    tmp_path: Path, before: Resource, after: Resource
) -> None:
    engine = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    one, day = Promoting(tmp_path, before, engine), datetime(2026, 11, 20, tzinfo=UTC)
    for round_ in range(5):
        at = [day + timedelta(hours=hour) for hour in range(4)]
        one.promote([measurement(70 * round_ + number, moment) for number, moment in enumerate(at)])
    rows, old = one.rows(), specs_of(one.table)[0]
    merged = compact(one.lake, QUALIFIED, after, engine, "20261125T000000Z-7f3a")
    assert merged is not None
    assert one.rows() == rows
    assert old not in specs_of(one.table)
    for file in files(one.table):
        found = pq.read_table(file.uri)
        hours = {at.strftime("%Y-%m-%d-%H") for at in found["measured_at"].to_pylist()}
        assert len(hours) == 1 or after != HOURLY
    engine.close()
