"""Compaction: fewer files, the same rows and versions, beside whoever else commits; and partitions by hour and month."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table
from typer.testing import CliRunner

from smartsensor.jobs import compact as room
from smartsensor.jobs.compact import compact, plan_compaction
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.engine_spark import Spark, local_session
from smartsensor.jobs.engines import Engine
from smartsensor.jobs.merge import PromotionError, partitioning, quarantine_schema
from smartsensor.lake.catalogs import QUALIFIED, QUARANTINE
from smartsensor.lake.commits import commit, next_version, referenced, rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, Version, current, files, versions
from smartsensor.run.cli import app
from smartsensor.source.smartsensor_api import MEASUREMENTS

RUN = "20261125T000000Z-7f3a"
DAY = datetime(2026, 11, 20, tzinfo=UTC)
Row = dict[str, Any]


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "spark":
        yield Spark(request.getfixturevalue("session"))
        return
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    started = local_session(tmp_path_factory.mktemp("spark"), threads=1, memory="1g")
    yield started
    started.stop()


@pytest.fixture
def duckdb(tmp_path: Path) -> Iterator[Engine]:
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    yield opened
    opened.close()


def table_of(lake: Lake, zone: str = QUALIFIED) -> Table:
    found = Tables(lake).find(zone, "measurements")
    assert found is not None
    return found


def add(lake: Lake, rows: Sequence[Row], zone: str = QUALIFIED) -> Version:
    "Commit rows as one file a day, as the next version."
    qualified = zone == QUALIFIED
    schema = MEASUREMENTS.raw_schema if qualified else quarantine_schema(MEASUREMENTS)
    table = Tables(lake).ensure(zone, "measurements", schema, partitioning(MEASUREMENTS) if qualified else None)
    uris = []
    for day in sorted({row["measured_at"].date() for row in rows}):
        path = Path(lake.uri(f"{zone}/measurements/data/{uuid4().hex}/{day}.parquet"))
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row for row in rows if row["measured_at"].date() == day], schema), path)
        uris.append(str(path))
    number = next_version(table)
    state = Version(number, run="test", attempt=uuid4().hex, ledger_version=number + 40, newest="2026-11-24T00:00:00Z", held=("m",), counts={"new": 1})  # fmt: skip
    return commit(table, state, uris)


def measurement(number: int, day: int = 0) -> Row:
    at = DAY + timedelta(days=day, minutes=number)
    nothing = None if number % 3 else float(number)
    return {
        "measurement_id": f"m-{number}",
        "sensor_id": f"s-{9 - number % 10}",
        "measured_at": at,
        "updated_at": at,
        "value": nothing,
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    "Seven versions: seven files of the first day, three of the second."
    made = Lake(str(tmp_path / "lake"))
    for number in range(7):
        add(made, [measurement(number), measurement(number + 100), *([measurement(number, 1)] if number < 3 else [])])
    return made


def rows_of(table: Table, snapshot: int | None = None) -> list[Row]:
    found = table.scan(snapshot_id=snapshot).to_arrow().to_pylist()
    return sorted(found, key=lambda row: (row["measured_at"], row["measurement_id"]))


def test_small_files_become_one_and_no_row_changes(lake: Lake, engine: Engine) -> None:
    table = table_of(lake)
    rows, old, state = rows_of(table), [rows_of(table, one.snapshot) for one in versions(table)], current(table)
    done = compact(lake, QUALIFIED, MEASUREMENTS, engine, RUN)
    assert done is not None
    assert (done.before, done.rows, done.version) == (7, 14, 8)
    table.refresh()
    assert rows_of(table) == rows
    assert [rows_of(table, one.snapshot) for one in versions(table)[:7]] == old
    assert [file.partition for file in files(table)] == ["2026-11-20"] * done.after + ["2026-11-21"] * 3
    now = current(table)
    assert (now.ledger_version, now.newest, now.held, now.counts, now.note, now.run) == (
        state.ledger_version,
        state.newest,
        ("m",),
        None,
        "compacted 7 files",
        RUN,
    )
    merged = next(file.uri for file in files(table) if file.partition == "2026-11-20")
    order = pq.read_table(merged).select(MEASUREMENTS.sort_by).to_pylist()
    assert order == sorted(order, key=lambda row: tuple(row[name] for name in MEASUREMENTS.sort_by))
    assert compact(lake, QUALIFIED, MEASUREMENTS, engine, RUN) is None
    assert rollback(table, 7, "a person").number == 9
    assert rows_of(table) == rows


def test_groups_are_filled_up_to_the_target(lake: Lake) -> None:
    found = [file for file in files(table_of(lake)) if file.partition == "2026-11-20"]
    largest = max(file.bytes for file in found)
    groups = plan_compaction(table_of(lake), largest * 2 + 2)
    assert [len(group.files) for group in groups] == [2, 2, 2], "the seventh has nobody to go with"
    assert all(group.bytes <= largest * 2 + 2 for group in groups)
    assert plan_compaction(table_of(lake), largest) == [], "none is below half of it"
    assert [len(group.files) for group in plan_compaction(table_of(lake), 1 << 27)] == [7]


def test_quarantine_is_compacted_too(lake: Lake, duckdb: Engine) -> None:
    more = {"_reasons": "[]", "_run_id": RUN, "_window": "w", "_replayed_by": None, "ingest_date": DAY.date()}
    for number in range(5):
        add(lake, [{**measurement(number), **more}], QUARANTINE)
    rows = rows_of(table_of(lake, QUARANTINE))
    done = compact(lake, QUARANTINE, MEASUREMENTS, duckdb, RUN)
    assert done is not None
    assert (done.before, done.after) == (5, 1)
    assert rows_of(table_of(lake, QUARANTINE)) == rows


def test_rows_that_differ_are_not_committed(lake: Lake, duckdb: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    original = duckdb.stage
    monkeypatch.setattr(duckdb, "stage", lambda sql, *more: original(f"{sql} WHERE measurement_id <> 'm-3'", *more))
    there = lake.list("qualified/measurements/data")
    with pytest.raises(PromotionError, match="14 rows before and 13 after; 1 are missing"):
        compact(lake, QUALIFIED, MEASUREMENTS, duckdb, RUN)
    assert lake.list("qualified/measurements/data") == there
    assert current(table_of(lake)).number == 7


def test_a_commit_beside_it_loses_nothing(lake: Lake, duckdb: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    original, times = room.commit, iter(range(3))

    def slow(*words: Any) -> Version:
        at = next(times, None)
        if at is not None:
            add(lake, [measurement(200 + at)])
        return original(*words)

    monkeypatch.setattr(room, "commit", slow)
    done = compact(lake, QUALIFIED, MEASUREMENTS, duckdb, RUN)
    assert done is not None
    table = table_of(lake)
    assert (current(table).number, current(table).ledger_version) == (11, 50)
    assert len(rows_of(table)) == 17 + 3
    assert len([file for file in files(table) if file.partition == "2026-11-20"]) == 1 + 3


def test_groups_that_another_run_replaced_are_thrown_away(
    lake: Lake, duckdb: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, once = room.commit, iter([1])

    def slow(table: Table, *words: Any) -> Version:
        if next(once, None):
            other = table_of(lake)
            gone = next(file.entry for file in files(other) if file.partition == "2026-11-20")
            commit(other, Version(8, run="other", attempt="x", ledger_version=60), [], [gone])
        return original(table, *words)

    monkeypatch.setattr(room, "commit", slow)
    assert compact(lake, QUALIFIED, MEASUREMENTS, duckdb, RUN) is None
    table = table_of(lake)
    assert (current(table).number, len(rows_of(table))) == (8, 15)
    assert {lake.uri(key) for key in lake.list("qualified/measurements/data")} <= referenced(table)


def test_the_command_plans_and_merges(lake: Lake) -> None:
    lake.put("runs/20261120T120000Z-7f3a/result.json", b"{}")
    call, argv = CliRunner(), ["compact", "measurements", "--lake", lake.root]
    there = lake.list("qualified")
    message = call.invoke(app, [*argv, "--plan"])
    assert message.exit_code == 0, message.exception
    assert "2026-11-20" in message.output
    assert lake.list("qualified") == there
    message = call.invoke(app, argv)
    assert message.exit_code == 0, message.exception
    assert "qualified/measurements" in message.output
    assert current(table_of(lake)).number == 8
    assert "No partition has five small files." in call.invoke(app, argv).output


def test_a_moved_lake_is_compacted(lake: Lake, duckdb: Engine, tmp_path: Path) -> None:
    rows = rows_of(table_of(lake))
    shutil.move(tmp_path / "lake", tmp_path / "moved")
    moved = Lake(str(tmp_path / "moved"))
    assert compact(moved, QUALIFIED, MEASUREMENTS, duckdb, RUN) is not None
    assert rows_of(table_of(moved)) == rows
