"""DuckDB and Spark write the same files, read the same rows, and hand the gate the same batch."""

import itertools
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.engine_spark import Spark, find_java, local_session
from smartsensor.jobs.engines import Engine, EngineError, spark_sql, sql_type
from smartsensor.quality.verdicts import SqlTable
from smartsensor.source.smartsensor_api import RESOURCES

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed.*socket:ResourceWarning"
)  # pyspark leaves its own to the collector

NAMEPLATE = pa.struct([("voltage_v", pa.float64()), ("speed_rpm", pa.float64())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.string()),
        ("kind", pa.int32()),
        ("revision", pa.int64()),
        ("value", pa.float64()),
        ("acknowledged", pa.bool_()),
        ("nameplate", NAMEPLATE),
        ("measured_at", pa.timestamp("us", "UTC")),
        ("_extra", pa.string()),
    ]
)
HOSTILE = [
    "",
    "NaN",
    "null",
    "it's",
    'say "hi"',
    "back\\slash",
    "%20 and ;--",
    "snow ☃ \U0001f600",
    "line\nbreak",
    "\ufeffbom",
    "x" * 70_000,
]


def row(number: int, text: str | None) -> dict[str, object]:
    return {
        "id": f"m-{number}",
        "index": text,
        "kind": number if number % 3 else None,
        "revision": 2**53 + 1 + number,
        "value": [1.5, None, float("nan"), float("inf"), -0.5][number % 5],
        "acknowledged": [True, False, None][number % 3],
        "nameplate": [{"voltage_v": 400.0, "speed_rpm": None}, None][number % 2],
        "measured_at": datetime(2026, 11, 18 + number % 3, 23, 59, 59, 999_999, tzinfo=UTC),
        "_extra": None if number % 2 else '{"new": 1}',
    }


ROWS = [row(number, text) for number, text in enumerate([*HOSTILE, None])] + [
    {**row(99, "old"), "measured_at": datetime(1823, 5, 4, tzinfo=UTC)}
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    session = local_session(tmp_path_factory.mktemp("spark"), threads=2, memory="1g")
    yield Spark(session, small=5)
    session.stop()


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "spark":
        yield request.getfixturevalue("spark")
    else:
        opened = DuckDB(tmp_path, threads=2, memory_limit="1GB", small=5)
        yield opened
        opened.close()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files below folders that look like partitions, and below one with a space and a quote in its name."""
    folder = tmp_path / "it's a lake" / "run_id=007" / "window=20261120T000000Z_20261121T000000Z"
    folder.mkdir(parents=True)
    for name, rows in (("part-00000", ROWS[:7]), ("part-00001", ROWS[7:])):
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"{name}.parquet")
    return [f"{folder}/part-00000.parquet", f"{folder}/part-00001.parquet"]


def same(rows: list[dict[str, object]]) -> list[str]:
    """Rows in an order and a form that compare, NaN included."""
    return sorted(repr(one) for one in pa.Table.from_pylist(rows, SCHEMA).to_pylist())


def test_every_value_survives_a_view(engine: Engine, files: list[str]) -> None:
    engine.view("raw", files, SCHEMA)
    assert same(engine.rows("SELECT * FROM raw")) == same(ROWS)


@pytest.mark.parametrize("small", [500_000, 0])
def test_nan_breaks_a_bound_that_all_numbers_of_its_file_keep(tmp_path: Path, small: int) -> None:
    schema = pa.schema([("v", pa.float64())])
    pq.write_table(pa.table({"v": [20.0, float("nan"), -9999.0]}), tmp_path / "nan.parquet")
    engine, rule = DuckDB(tmp_path, small=small), "NOT (v >= -50 AND v <= 500)"
    engine.view("raw", [str(tmp_path / "nan.parquet")], schema)
    assert engine.rows(f"SELECT count(*) AS n FROM raw WHERE {rule}") == [{"n": 2}]
    if not small:
        lent = engine.batch("raw").connect()
        assert lent.execute(f"SELECT count(*) FROM raw WHERE {rule}").fetchall() == [(2,)]
    engine.close()


def test_what_is_staged_has_the_declared_types_and_all_rows(engine: Engine, files: list[str], tmp_path: Path) -> None:
    engine.view("raw", files, SCHEMA)
    staged = engine.stage(
        "SELECT *, CAST(measured_at AS DATE) AS measured_date FROM raw", f"{tmp_path}/staged it's", "measured_date"
    )
    assert {one.partition for one in staged} == {"1823-05-04", "2026-11-18", "2026-11-19", "2026-11-20"}
    tables = []
    for one in staged:
        path = tmp_path / "staged it's" / one.name
        assert one.name.startswith(f"measured_date={one.partition}/")
        assert pq.ParquetFile(path).schema_arrow.remove_metadata().equals(SCHEMA), "types or columns differ"
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
        tables.append(pq.ParquetFile(path).read())
        assert (one.rows, one.bytes) == (tables[-1].num_rows, path.stat().st_size)
        assert {str(at.as_py().date()) for at in tables[-1]["measured_at"]} == {one.partition}
    assert same(pa.concat_tables(tables).to_pylist()) == same(ROWS)


@pytest.mark.parametrize("partition", ["day", None])
@pytest.mark.parametrize("name", ["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def test_many_rows_become_several_files_of_the_target_size(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, partition: str | None
) -> None:
    numbers, chance = list(range(600_000)), random.Random(1)
    ids = chance.sample(numbers, len(numbers))
    raw = pa.table({"id": ids, "day": [str(at % 2 + 1) for at in numbers], "value": [chance.random() for _ in numbers]})
    sources = [str(tmp_path / f"raw-{at}.parquet") for at in range(8)]
    for at, source in enumerate(sources):
        pq.write_table(raw.slice(at * 75_000, 75_000), source)
    target = 1_000_000
    session = request.getfixturevalue("spark")._spark if name == "spark" else None
    engine = Spark(session, target_bytes=target) if session else DuckDB(tmp_path, threads=2, target_bytes=target)
    engine.view("raw", sources, raw.schema)
    staged = engine.stage("SELECT * FROM raw", f"{tmp_path}/staged", partition, ["id"])
    engine.close()
    found = [pq.ParquetFile(tmp_path / "staged" / one.name).read()["id"].to_pylist() for one in staged]
    assert len(staged) >= 4
    assert {one.partition for one in staged} == ({"1", "2"} if partition else {None})
    assert max(one.bytes for one in staged) < 2.5 * target, staged
    assert all(ids == sorted(ids) for ids in found), "each is sorted"
    assert sorted(one for ids in found for one in ids) == numbers
    if name == "duckdb":
        spans = sorted((one.partition or "", ids[0], ids[-1]) for one, ids in zip(staged, found, strict=True))
        assert all(one[2] < other[1] for one, other in itertools.pairwise(spans) if one[0] == other[0]), "and apart"


def test_stage_without_a_partition_and_without_rows(engine: Engine, files: list[str], tmp_path: Path) -> None:
    engine.view("raw", files, SCHEMA)
    assert [(one.partition, one.rows) for one in engine.stage("SELECT * FROM raw", f"{tmp_path}/all", None)] == [
        (None, len(ROWS))
    ]
    assert engine.stage("SELECT * FROM raw WHERE id = 'nobody'", f"{tmp_path}/none", None) == []


def test_a_view_over_nothing_and_over_older_files(engine: Engine, files: list[str], tmp_path: Path) -> None:
    engine.view("nothing", [], SCHEMA, "_file")
    assert engine.rows("SELECT * FROM nothing WHERE _file IS NULL AND nameplate.voltage_v > 1") == []
    older = pa.schema([SCHEMA.field("id"), SCHEMA.field("measured_at"), ("gone", pa.int64())])
    pq.write_table(pa.Table.from_pylist([{"id": "old", "gone": 1}], older), tmp_path / "older.parquet")
    engine.view("raw", [f"{tmp_path}/older.parquet", *files], SCHEMA)
    assert engine.rows("SELECT * FROM raw WHERE id = 'old'") == [{**dict.fromkeys(SCHEMA.names), "id": "old"}]
    engine.view("only_older", [f"{tmp_path}/older.parquet"], SCHEMA)
    assert engine.rows("SELECT count(*) AS n, count(nameplate) AS filled FROM only_older") == [{"n": 1, "filled": 0}]


def test_the_origin_of_each_row(engine: Engine, files: list[str]) -> None:
    engine.view("raw", files, SCHEMA, "_file")
    found = engine.rows(
        "SELECT regexp_extract(_file, 'run_id=([^/]+)/window=([^/]+)/', 1) AS run, count(*) AS n FROM raw GROUP BY 1"
    )
    assert found == [{"run": "007", "n": len(ROWS)}]


def test_materialize_replaces(engine: Engine, files: list[str]) -> None:
    engine.view("raw", files, SCHEMA)
    for limit in (3, 2):
        engine.materialize("kept", f"SELECT id FROM raw ORDER BY id LIMIT {limit}")
        assert engine.rows("SELECT count(*) AS n FROM kept") == [{"n": limit}]


def test_the_date_of_an_instant_is_that_of_utc(engine: Engine) -> None:
    assert engine.rows("SELECT CAST(CAST('2026-11-20 23:30:00+00' AS TIMESTAMP) AS DATE) AS day") == [
        {"day": date(2026, 11, 20)}
    ]


def test_columns_of_every_resource_are_plain_names(engine: Engine) -> None:
    """Promotion writes column names without quotes, which the two engines quote differently."""
    for resource in RESOURCES.values():
        engine.view("raw", [], resource.raw_schema)
        columns = ", ".join(f"raw.{name}" for name in resource.raw_schema.names)
        assert engine.rows(f"SELECT {columns}, {', '.join(resource.raw_schema.names)} FROM raw") == []


def test_a_small_batch_is_the_same_table_from_both(engine: Engine, files: list[str]) -> None:
    engine.view("few", files[:1], SCHEMA)
    engine._small, before = 100, engine._small  # type: ignore[attr-defined]
    table = engine.batch("few")
    engine._small = before  # type: ignore[attr-defined]
    assert table.schema.equals(SCHEMA)
    assert same(table.to_pylist()) == same(ROWS[:7])
    engine.view("nothing", [], SCHEMA)
    assert engine.batch("nothing").schema.equals(SCHEMA)


def test_a_large_batch_stays_where_it_is(engine: Engine, files: list[str]) -> None:
    engine.view("many", files, SCHEMA)
    batch = engine.batch("many")
    if isinstance(batch, SqlTable):
        assert batch.connect is not None
        for _ in range(2):  # the second while the first is still open
            cursor = batch.connect()
            output = cursor.execute(
                f"SELECT count(*), count(nameplate), current_setting('TimeZone') FROM {batch.table}"
            ).fetchall()
            assert output == [(13, 6, "UTC")]
    else:
        assert (type(batch).__name__, batch.count()) == ("DataFrame", 13)
    with pytest.raises(EngineError, match="no view"):
        engine.batch("unknown")


def test_duckdb_spills_below_its_limit(tmp_path: Path) -> None:
    engine = DuckDB(tmp_path, threads=2, memory_limit="80MB")
    assert engine.rows("SELECT current_setting('memory_limit') AS it") == [{"it": "76.2 MiB"}]
    sql = "SELECT range AS id, md5(CAST(range AS VARCHAR)) AS text FROM range(1500000) ORDER BY text"
    staged = engine.stage(sql, f"{tmp_path}/sorted", None)
    assert sum(one.rows for one in staged) == 1_500_000
    engine.close()


def test_a_type_that_no_engine_knows_is_refused() -> None:
    for resource in RESOURCES.values():
        for field in resource.raw_schema:
            assert sql_type(field.type, "spark")
    with pytest.raises(EngineError, match="decimal128"):
        sql_type(pa.decimal128(10, 2), "spark")


def test_java_is_found_and_an_older_one_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    (tmp_path / "bin" / "java").chmod(0o755)
    found = find_java({"JAVA_HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    assert found != tmp_path
    assert (found / "bin" / "java").exists()


@pytest.mark.spark
@pytest.mark.slow
def test_a_notebook_in_a_job_takes_the_session_of_the_job(tmp_path: Path) -> None:
    """A kernel that a Spark driver started inherits its gateway; a second context there would be refused."""
    child = tmp_path / "child.py"
    child.write_text(
        "from smartsensor.jobs.engine_spark import Spark\nengine = Spark()\nprint('CHILD', engine._spark.sparkContext.applicationId, engine.rows('SELECT id FROM shared'))\n"
    )
    driver = tmp_path / "driver.py"
    driver.write_text(
        textwrap.dedent(f"""
        import os, subprocess, sys
        from pathlib import Path
        from smartsensor.jobs.engine_spark import local_session
        session = local_session(Path({str(tmp_path)!r}), threads=1, memory="1g")
        session.range(2).createOrReplaceTempView("shared")
        gateway = session.sparkContext._gateway
        env = dict(os.environ, PYSPARK_GATEWAY_PORT=str(gateway.gateway_parameters.port), PYSPARK_GATEWAY_SECRET=gateway.gateway_parameters.auth_token)
        print("DRIVER", session.sparkContext.applicationId)
        sys.stdout.flush()
        subprocess.run([sys.executable, {str(child)!r}], env=env, check=True)
        session.stop()
        """)
    )
    output = subprocess.run(
        [sys.executable, str(driver)], capture_output=True, text=True, timeout=120, check=True
    ).stdout.splitlines()
    ids = {line.split()[0]: line.split(maxsplit=2)[1] for line in output if line.startswith(("CHILD", "DRIVER"))}
    assert ids["CHILD"] == ids["DRIVER"]
    assert any("Row" not in line and "[{'id': 0}, {'id': 1}]" in line for line in output)


def test_spark_gets_names_in_backticks_and_text_as_it_is() -> None:
    for shared, spark in (
        ('SELECT "a", "b c" FROM raw', "SELECT `a`, `b c` FROM raw"),
        ('"a""b" = \'say "hi"\'', '`a"b` = \'say "hi"\''),
        ("\"it's\" IN ('it''s', '\"')", "`it's` IN ('it''s', '\"')"),
        ('"a`b"."c"', "`a``b`.`c`"),
    ):
        assert spark_sql(shared) == spark
