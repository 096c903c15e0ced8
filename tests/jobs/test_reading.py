"""Reading: any version, in any tool, by any condition; the same rows whoever reads them."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from pyspark import SparkContext
from spark.iceberg import runtime_jar

import smartsensor
from smartsensor.jobs.engine_spark import SETTINGS, local_session
from smartsensor.jobs.reading import QueryError, diff, may_hold, parquet_sql, read, versions
from smartsensor.jobs.statements import open_session
from smartsensor.lake.catalogs import QUALIFIED, QUARANTINE
from smartsensor.lake.commits import commit, expire
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError, NotFound
from smartsensor.lake.tables import Partitioning, Tables, Version, files
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import CONDITION_INDEXES, EVENTS, MEASUREMENT_TYPES, MEASUREMENTS

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed.*socket:ResourceWarning",  # pyspark leaves its own to the collector
    "ignore:Iceberg scan planning:polars.exceptions.PerformanceWarning",  # Polars has a planner of its own to offer
)

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime(2026, 11, 20, tzinfo=UTC)
BY_DAY = Partitioning("measured_at", "day", "measured_date")
Row = Mapping[str, Any]


def measurement(number: int, value: float | None = 1.0, day: int = 0, **more: Any) -> dict[str, Any]:
    at = DAY + timedelta(days=day, seconds=number)
    sensor = f"sen-{number % 7:05}"
    return {
        "measurement_id": f"m{number:06}",
        "sensor_id": sensor,
        "value": value,
        "measured_at": at,
        "revision": 1,
        **more,
    }


@dataclass
class Publisher:
    """Publishes rows of a resource, as promotion does: files first, then one commit."""

    lake: Lake
    resource: Resource = MEASUREMENTS
    zone: str = QUALIFIED
    partition: Partitioning | None = BY_DAY
    number: int = field(default=0)

    def __call__(
        self, *groups: Sequence[Row], schema: pa.Schema | None = None, replaced: Sequence[Any] = ()
    ) -> Version:
        "A file for each group, of one partition value each."
        self.number += 1
        columns = schema or self.resource.raw_schema
        table = Tables(self.lake).ensure(self.zone, self.resource.name, columns, self.partition)
        addresses = []
        for at, rows in enumerate(groups):
            key = f"{self.zone}/{self.resource.name}/data/{self.number}/{at}.parquet"
            with self.lake.scratch() as folder:
                pq.write_table(pa.Table.from_pylist(list(rows), columns), folder / "part")
                self.lake.upload(folder / "part", key)
            addresses.append(self.lake.uri(key))
        version = Version(self.number, run=f"run-{self.number}", attempt=f"a{self.number}", ledger_version=self.number)
        return commit(table, version, addresses, [file.entry for file in replaced])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def files_of(lake: Lake, resource: str = "measurements") -> list[Any]:
    table = Tables(lake).find(QUALIFIED, resource)
    assert table is not None
    return files(table)


def content(rows: Any) -> list[Row]:
    return sorted(rows.arrow().to_pylist(), key=lambda row: str(row["measurement_id"]))


# --- conversions ------------------------------------------------------------------------------------------------------


def test_every_conversion_gives_the_same_rows(lake: Lake) -> None:
    Publisher(lake)([measurement(1, math.nan), measurement(2, None)], [measurement(3, 3.5, day=1)])
    rows = read("measurements", columns=["measurement_id", "value", "measured_at"], lake=lake)
    arrow = rows.arrow().sort_by("measurement_id")
    assert len(rows) == 3
    assert arrow.schema.field("measured_at").type == pa.timestamp("us", "UTC")
    assert arrow["measured_at"].to_pylist()[2] == DAY + timedelta(days=1, seconds=3)
    assert str(arrow["value"].to_pylist()) == "[nan, None, 3.5]"
    frame = rows.pandas().sort_values("measurement_id")
    assert str(frame["measured_at"].dt.tz) == "UTC"
    assert frame["measured_at"].tolist() == arrow["measured_at"].to_pylist()
    table = rows.polars().sort("measurement_id")
    assert table["measured_at"].dtype == pl.Datetime("us", "UTC")
    assert table["measurement_id"].to_list() == ["m000001", "m000002", "m000003"]
    assert rows.duckdb().filter("value = 3.5").fetchall() == [("m000003", 3.5, DAY + timedelta(days=1, seconds=3))]


def test_a_relation_joins_on_a_connection_of_the_caller(lake: Lake) -> None:
    Publisher(lake)([measurement(1), measurement(2)])
    connection = duckdb.connect()
    connection.execute("CREATE TABLE names AS SELECT 'm000002' AS measurement_id, 'mine' AS name")
    rows = read("measurements", lake=lake).duckdb(connection)
    assert connection.sql("SELECT name, revision FROM rows JOIN names USING (measurement_id)").fetchall() == [
        ("mine", 1)
    ]
    assert rows.columns == MEASUREMENTS.raw_schema.names


def test_a_condition_may_hold_a_comment_and_a_subquery(lake: Lake) -> None:
    Publisher(lake)([measurement(1, 1.0), measurement(2, 2.0)])
    where = "value = (SELECT 2) OR false -- the second only"
    assert [row["measurement_id"] for row in content(read("measurements", where=where, lake=lake))] == ["m000002"]


def test_quarantine_is_read_by_its_resource(lake: Lake) -> None:
    schema = pa.schema([*MEASUREMENTS.raw_schema, pa.field("_reasons", pa.string())])
    Publisher(lake, zone=QUARANTINE, partition=None)([measurement(1, _reasons='["r"]')], schema=schema)
    rows = read("measurements", quarantine=True, columns=["_reasons"], lake=lake)
    assert rows.arrow().to_pylist() == [{"_reasons": '["r"]'}]
    assert versions("measurements", lake, quarantine=True).newest.number == 1


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_is_picked_by_number_time_and_run(lake: Lake) -> None:
    publish = Publisher(lake)
    made = [publish([measurement(number)]) for number in range(3)]
    times = [one.committed_at for one in made]
    assert [len(read("measurements", version=number, lake=lake)) for number in (1, 2, 3)] == [1, 2, 3]
    assert len(read("measurements", run="run-2", lake=lake)) == 2
    assert times[1]
    assert times[2]
    assert len(read("measurements", as_of=times[1], lake=lake)) == 2
    assert len(read("measurements", as_of=times[2] - timedelta(milliseconds=1), lake=lake)) == 2
    assert len(read("measurements", as_of=datetime.now(UTC), lake=lake)) == 3
    assert [one.number for one in versions("measurements", lake)] == [1, 2, 3]


def test_a_version_that_expired_is_told_from_one_that_never_was(lake: Lake) -> None:
    publish = Publisher(lake)
    first, *_ = [publish([measurement(number)]) for number in range(3)]
    table = Tables(lake).find(QUALIFIED, "measurements")
    assert table
    assert first.snapshot
    assert expire(table, {first.snapshot}) == [1]
    for asked in ({"version": 1}, {"run": "run-1"}, {"as_of": first.committed_at}):
        with pytest.raises(NotFound, match=r"Can be read: 2 to 3, since .*Older ones have expired"):
            read("measurements", lake=lake, **asked)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match=r"no version 9\. Can be read: 2 to 3, since [^ ]+$"):
        read("measurements", version=9, lake=lake)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"version": 1, "run": "x"}, "give one of them"),
        ({"as_of": datetime(2026, 11, 20)}, "has no time zone"),
        ({"columns": ["nope"]}, r"has no column nope; it has measurement_id, "),
        ({"where": "nope = 1"}, "nope"),
        ({"where": "value = = 1"}, "syntax error"),
    ],
)
def test_a_question_that_is_wrong_is_answered_at_once(lake: Lake, asked: dict[str, Any], says: str) -> None:
    Publisher(lake)([measurement(1)])
    with pytest.raises(QueryError, match=says):
        read("measurements", lake=lake, **asked)


def test_where_nothing_was_published_no_lake_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no table measurements in qualified; there are: none yet"):
        read("measurements", lake=str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_rows_stay_those_of_their_version_while_others_publish(lake: Lake) -> None:
    publish = Publisher(lake)
    publish([measurement(1, 1.0)])
    rows = read("measurements", lake=lake)
    publish([measurement(1, 2.0)], replaced=files_of(lake))
    assert [row["value"] for row in content(rows)] == [1.0]
    assert [row["value"] for row in content(read("measurements", lake=lake))] == [2.0]


def test_a_file_that_the_vacuum_took_is_named_with_what_to_do(lake: Lake) -> None:
    Publisher(lake)([measurement(1)])
    rows = read("measurements", lake=lake)
    Path(rows.files[0].uri).unlink()
    with pytest.raises(LakeError, match=r"The vacuum may have removed it.*read again"):
        rows.arrow()


def test_files_of_an_older_schema_are_read_as_the_newest_says(lake: Lake) -> None:
    publish, narrow = (
        Publisher(lake),
        pa.schema(
            [("measurement_id", pa.string()), ("revision", pa.int32()), ("measured_at", pa.timestamp("us", "UTC"))]
        ),
    )
    publish([measurement(1)], schema=narrow)
    publish([measurement(2, 2.5)])
    rows = content(read("measurements", columns=["measurement_id", "revision", "value"], lake=lake))
    assert [tuple(row.values()) for row in rows] == [("m000001", 1, None), ("m000002", 1, 2.5)]
    assert read("measurements", lake=lake).arrow().schema.field("revision").type == pa.int64()
    assert read("measurements", version=1, lake=lake).arrow().schema.names == narrow.names


# --- conditions and files ---------------------------------------------------------------------------------------------

LITERALS = {
    "sensor_id": st.sampled_from(["'sen-00001'", "'sen-00004'", "'it''s'", "''", "7"]),
    "MEASURED_AT": st.sampled_from(
        [
            "'2026-11-21'",
            "'2026-11-21 00:00:01'",
            "'2026-11-22T00:00:00Z'",
            "'2026-11-21T02:00:00+02:00'",
            "TIMESTAMPTZ '2026-11-22'",
        ]
    ),
    "value": st.sampled_from(["0", "1.5", "'NaN'", "-1", "1e3"]),
    "revision": st.sampled_from(["1", "2", "1.5", "'2'", "-3"]),
    '"revision"': st.sampled_from(['"value"', "2"]),
}
COMPARISONS = st.sampled_from(sorted(LITERALS)).flatmap(
    lambda name: st.builds(
        "{} {} {}".format, st.just(name), st.sampled_from(["=", "<", "<=", ">", ">=", "<>"]), LITERALS[name]
    )
)
OTHERS = st.sampled_from(
    [
        "value IS NULL",
        "value IS NOT NULL",
        "sensor_id LIKE 'sen-0000%'",
        "revision IN (1, 2)",
        "revision BETWEEN 1 AND 2",
        "isnan(value)",
    ]
)
CONDITIONS = st.recursive(
    COMPARISONS | OTHERS,
    lambda inner: (
        st.builds("({} AND {})".format, inner, inner)
        | st.builds("{} OR {}".format, inner, inner)
        | st.builds("NOT ({})".format, inner)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    "Files whose statistics invite mistakes: NaN, nulls only, texts that look like others."
    lake = Lake(str(tmp_path_factory.mktemp("hostile")))
    Publisher(lake)(
        [measurement(1, math.nan), measurement(2, 1.0, revision=2)],
        [measurement(3, None, day=1, revision=None, sensor_id=None)],
        [measurement(4, -1.0, day=1, sensor_id="it's"), measurement(5, 1.5, day=1, sensor_id="")],
        [measurement(6, math.inf, day=2, sensor_id="sen-00001" * 4), measurement(7, 0.0, day=2, revision=-3)],
    )
    return lake


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=CONDITIONS)
def test_no_condition_loses_a_row(hostile: Lake, where: str) -> None:
    everything = files_of(hostile)
    table = Tables(hostile).find(QUALIFIED, "measurements")
    assert table
    kept = files(table, None, may_hold(where, table.schema()))
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")

    def ids(some: Sequence[Any]) -> list[Any]:
        sql = parquet_sql([file.uri for file in some], MEASUREMENTS.raw_schema)
        return database.execute(f"SELECT measurement_id FROM ({sql}) WHERE {where} ORDER BY 1").fetchall()

    try:
        expected = ids(everything)
    except duckdb.Error:  # a text that is no number: DuckDB refuses it with all files, so nothing is lost
        return
    assert ids(kept) == expected


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("measured_at >= '2026-11-22'", 1),
        ("measured_at < '2026-11-21T00:00:00Z' AND value > 0", 1),
        ("sensor_id = 'sen-00002' AND lower(sensor_id) = 'x'", 4),  # more than comparisons
        ("measured_at < '2026-11-21' OR measured_at >= '2026-11-22 00:00'", 2),
        ("revision = -3", 1),
        ("value > 5", 4),  # NaN is above all numbers in DuckDB, and in no statistics
        ("NOT revision = -3", 4),
        ("measured_at = 'soon'", 4),
        ("a_name_that_is_not_there = 1", 4),
    ],
)
def test_a_plain_condition_leaves_files_out(hostile: Lake, where: str, count: int) -> None:
    table = Tables(hostile).find(QUALIFIED, "measurements")
    assert table
    assert len(files(table, None, may_hold(where, table.schema()))) == count


# --- differences ------------------------------------------------------------------------------------------------------

STATES = st.dictionaries(st.integers(0, 8), st.sampled_from([1.0, 2.0, math.nan, None]), max_size=8)


@settings(max_examples=15, deadline=None)
@given(one=STATES, other=STATES, shared=STATES)
def test_a_difference_is_that_of_the_keys(
    tmp_path_factory: pytest.TempPathFactory, one: dict[int, Any], other: dict[int, Any], shared: dict[int, Any]
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("diff")))
    publish = Publisher(lake)
    publish(
        [measurement(number + 100, value) for number, value in shared.items()] or [measurement(99)],
        [measurement(n, v) for n, v in one.items()] or [measurement(98)],
    )
    gone = [file for file in files_of(lake) if file.uri.endswith("1.parquet")]
    publish([measurement(number, value) for number, value in other.items()] or [measurement(98)], replaced=gone)
    stays = next(file for file in files_of(lake) if file.uri.endswith("1/0.parquet"))
    Path(stays.uri).unlink()  # both versions have it: nobody needs to read it
    before, after = one or {98: 1.0}, other or {98: 1.0}
    differ = {n for n in before.keys() & after.keys() if str(before[n]) != str(after[n])}
    changes = diff("measurements", 1, 2, lake)
    found = (changes.added, changes.changed, changes.removed)
    assert found == (len(after.keys() - before.keys()), len(differ), len(before.keys() - after.keys()))
    assert changes.columns == ({"value": len(differ)} if differ else {})
    assert changes.files == 2
    assert [row["measurement_id"] for row in changes.samples.get("changed", ())] == [f"m{n:06}" for n in sorted(differ)]


def test_a_key_of_two_columns_and_a_first_version(lake: Lake) -> None:
    publish = Publisher(lake, CONDITION_INDEXES, partition=None)
    publish([{"asset_id": "a", "index": "x", "status": "good"}, {"asset_id": "a", "index": "y", "status": "good"}])
    rows = [{"asset_id": "a", "index": "x", "status": "bad"}, {"asset_id": "b", "index": "x", "status": "good"}]
    publish(rows, replaced=files_of(lake, "condition-indexes"))
    changes = diff("condition-indexes", 1, 2, lake)
    assert (changes.added, changes.changed, changes.removed) == (1, 1, 1)
    assert changes.samples["changed"] == ({"asset_id": "a", "index": "x", "status": "good → bad"},)
    assert changes.samples["removed"][0]["index"] == "y"
    with pytest.raises(NotFound, match="no version 7"):
        diff("condition-indexes", 1, 7, lake)


def test_samples_are_few_and_the_counts_are_all(lake: Lake) -> None:
    publish = Publisher(lake)
    publish([measurement(0)])
    publish([measurement(number) for number in range(1, 501)])
    changes = diff("measurements", 1, 2, lake)
    assert changes.added == 500
    assert [row["measurement_id"] for row in changes.samples["added"]] == [f"m{number:06}" for number in range(1, 11)]


# --- a bucket ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    address = "http://{}:{}".format(*server.get_host_and_port())
    output = {
        "ACCESS_KEY_ID": "none",
        "SECRET_ACCESS_KEY": "none",
        "DEFAULT_REGION": "eu-central-1",
        "ENDPOINT_URL": address,
    }
    for name, value in output.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    boto3.client("s3").create_bucket(
        Bucket="the-lake", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    yield Lake("s3://the-lake/some/place")
    server.stop()


def test_a_lake_in_a_bucket_is_read_where_it_lies(bucket: Lake) -> None:
    publish = Publisher(bucket)
    publish([measurement(1)], [measurement(2, day=1)])
    publish([measurement(3, day=2)])
    rows = read("measurements", where="measured_at >= '2026-11-21'", lake=bucket)
    assert [row["measurement_id"] for row in content(rows)] == ["m000002", "m000003"]
    assert diff("measurements", 1, 2, bucket).added == 1
    session = open_session(bucket)
    (answer,) = session.run("SELECT count(*) AS n FROM measurements")
    assert next(answer.batches).to_pylist() == [{"n": 3}]
    stranger = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), stranger)
    bucket.put("secret.parquet", stranger.getvalue().to_pybytes())
    with pytest.raises(QueryError, match="Cannot access file"):
        list(session.run("SELECT * FROM read_parquet('s3://the-lake/some/place/secret.parquet')"))
    session.close()


# --- other engines ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder with a lake as the README has it: `lake`, with two versions of measurements and a file of an older schema."
    folder = tmp_path_factory.mktemp("anywhere")
    publish = Publisher(Lake(str(folder / "lake")))
    good = {"quality_flag": "good", "asset_id": "ast-0001", "measurement_type_id": 1}
    today = datetime.now(UTC).replace(microsecond=123456)
    older = pa.schema([one for one in MEASUREMENTS.raw_schema if one.name != "received_at"])
    publish([measurement(number, number / 7, **good) for number in range(100)], schema=older)
    publish([measurement(200, None, 1, **good), measurement(201, math.nan, 1, asset_id="snow ☃", _extra='{"a": 1}')])
    publish(
        [measurement(300 + one, one / 3, **good) | {"measured_at": today, "received_at": today} for one in range(9)]
    )
    return folder


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    conf = {**SETTINGS, "spark.jars": str(runtime_jar()), "spark.sql.shuffle.partitions": "2"}
    end_jvm()  # one that another module's tests have started has no such jar, and takes none
    session = local_session(tmp_path_factory.mktemp("spark"), memory="1g", conf=conf)
    yield session
    session.stop()
    end_jvm()


def end_jvm() -> None:
    "End the process that pyspark keeps after a session; the next session starts another."
    if SparkContext._gateway is not None:
        SparkContext._gateway.shutdown()
        SparkContext._gateway.proc.stdin.close()  # it lives as long as this is open
        SparkContext._gateway = SparkContext._jvm = None


def load_iceberg(connection: Any) -> Any:
    "DuckDB's extension, from the package index and not from DuckDB's site."
    site = Path(duckdb.__file__).parents[1]
    for name in ("avro", "iceberg"):
        (found,) = site.glob(f"duckdb_extension_{name}/**/*.duckdb_extension")
        connection.execute(f"LOAD '{found}'")
    return connection


def hashed(rows: pa.Table) -> str:
    "Equal for the same rows in any order, whatever engine made them."
    names = sorted(rows.column_names)
    lines = sorted(repr([plain(row[name]) for name in names]) for row in rows.to_pylist())
    return sha256("\n".join(lines).encode()).hexdigest()


def plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def by_spark(spark: Any, address: str, **options: str) -> pa.Table:
    rows = spark.read.format("iceberg").options(**options).load(address).collect()
    at = [
        {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in row.asDict().items()}
        for row in rows
    ]
    return pa.Table.from_pylist(at, MEASUREMENTS.raw_schema)


def test_where_the_runtime_is_missing_the_test_fails_with_the_command_that_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spark.iceberg.find_spec", lambda name: None)
    with pytest.raises(AssertionError, match="pip install --no-deps snowpark-connect-deps-iceberg=="):
        runtime_jar()


@pytest.mark.spark
def test_every_engine_reads_the_same_rows(published: Path, spark: Any) -> None:
    table = Tables(Lake(str(published / "lake"))).find(QUALIFIED, "measurements")
    assert table
    address, first = table.metadata_location, table.metadata.snapshots[0].snapshot_id
    database = load_iceberg(duckdb.connect(config={"allow_unsigned_extensions": "true"}))
    database.execute("SET TimeZone = 'UTC'")
    ours = read("measurements", lake=str(published / "lake"))
    newest = {
        "smartsensor": ours.arrow(),
        "pyiceberg": table.scan().to_arrow(),
        "DuckDB": database.execute(f"SELECT * FROM iceberg_scan('{address}')").to_arrow_table(),
        "Polars": pl.scan_iceberg(table).collect().to_arrow(),
        "Spark": by_spark(spark, address),
    }
    assert {name: rows.num_rows for name, rows in newest.items()} == dict.fromkeys(newest, 111)
    assert len({hashed(rows) for rows in newest.values()}) == 1, {name: hashed(rows) for name, rows in newest.items()}
    narrow = read("measurements", version=1, lake=str(published / "lake")).arrow()
    assert narrow.num_rows == 100
    assert hashed(by_spark(spark, address, **{"snapshot-id": str(first)}).select(narrow.column_names)) == hashed(narrow)


def examples(language: str) -> list[str]:
    section = (ROOT / "README.md").read_text().split("## Read it from anywhere")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.mark.spark
def test_the_examples_of_the_readme_run(
    published: Path, spark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(published)
    space: dict[str, Any] = {}
    opened, *asked = examples("python")
    exec(opened, space)
    assert len(asked) == 4
    installed = load_iceberg(duckdb.connect(config={"allow_unsigned_extensions": "true"}))
    for code in asked:
        if "INSTALL iceberg" in code:  # from DuckDB's site; here from the package index
            code = code.replace('duckdb.sql("INSTALL iceberg; LOAD iceberg")\n', "").replace("import duckdb\n", "")
            space["duckdb"] = installed
        exec(code, space)  # Spark's: the session that runs here has the runtime, and getOrCreate gives it
    output = capsys.readouterr().out
    assert output.count("sen-00003") == 3, output  # DuckDB, Polars, Spark
    assert re.search(r"^count +109\.0", output, re.MULTILINE), output  # pandas: good ones with a value


def test_the_query_for_athena_runs(published: Path) -> None:
    (query,) = examples("sql")
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    rows = read("measurements", lake=str(published / "lake")).duckdb(database)
    database.execute("CREATE SCHEMA smartsensor")
    rows.create("smartsensor.measurements")
    found = database.execute(query).fetchall()
    assert sum(row[3] for row in found) == 9
    assert {len(row) for row in found} == {4}


# --- the public face --------------------------------------------------------------------------------------------------


def test_what_is_read_shows_as_a_card(lake: Lake) -> None:
    from smartsensor.run.displays import CARDS

    publish = Publisher(lake, MEASUREMENT_TYPES, partition=None)
    publish([{"measurement_type_id": 1, "name": "<b>velocity</b>"}])
    publish([{"measurement_type_id": 2, "name": "speed"}])
    rows = smartsensor.read(MEASUREMENT_TYPES, where="name LIKE '<%'", lake=lake)
    html = CARDS[type(rows)](rows)
    assert '<td style="text-align:left">2 of run run-2</td>' in html
    assert "&lt;b&gt;velocity" in html
    shown = CARDS[smartsensor.Versions](smartsensor.versions("measurement-types", lake=lake))
    assert shown.index("run-2") < shown.index("run-1")
    assert "speed" in CARDS[smartsensor.Diff](smartsensor.diff("measurement-types", 1, 2, lake=lake))


def test_the_lake_is_the_one_of_the_environment(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    Publisher(lake, EVENTS, partition=None)([{"event_id": "e"}])
    monkeypatch.setenv("SMARTSENSOR_LAKE", lake.root)
    assert len(smartsensor.read("events")) == 1
