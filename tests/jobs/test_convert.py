"""A lake of the former layout becomes Iceberg tables: every row of its newest version, once, whatever is killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from smartsensor.jobs import convert as room
from smartsensor.jobs.convert import convert, former_files, former_version, remove_former
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.engine_spark import Spark, local_session
from smartsensor.jobs.engines import Engine
from smartsensor.jobs.merge import PromotionError
from smartsensor.jobs.promote import promote
from smartsensor.lake.catalogs import QUALIFIED, QUARANTINE
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError
from smartsensor.lake.tables import Tables, current, files
from smartsensor.run.cli import app
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import EVENTS, MEASUREMENTS, PLANTS, RESOURCES

RUN = "20261125T000000Z-7f3a"
Row = dict[str, Any]


def day(number: int) -> datetime:
    return datetime(2026, 11, number, 12, tzinfo=UTC)


def measurement(name: str, on: int, value: float | None = 1.0) -> Row:
    return {"measurement_id": name, "measured_at": day(on), "updated_at": day(on), "value": value, "revision": 1}


def move(lake: Lake, source: str, target: str) -> None:
    "Rename a file, as the former layout did."
    place = Path(lake.uri(target))
    place.parent.mkdir(parents=True, exist_ok=True)
    Path(lake.uri(source)).replace(place)


class FormerLake:
    """Writes what smartsensor wrote before its tables were Iceberg tables: a log of versions, and files that are moved."""

    def __init__(self, root: Path, oldest: bool) -> None:
        self.lake, self.oldest = Lake(str(root)), oldest  # oldest: _staged and _superseded lay below qualified

    def staged(self, resource: str, version: int) -> str:
        within = f"qualified/{resource}/_staged" if self.oldest else f"staged/{resource}"
        return f"{within}/{version:08}/{RUN}-aa"

    def superseded(self, key: str) -> str:
        zone, resource, rest = key.split("/", 2)
        return f"{zone}/{resource}/_superseded/{rest}" if self.oldest else f"superseded/{key}"

    def write(self, key: str, rows: Sequence[Row], schema: pa.Schema) -> None:
        path = Path(self.lake.uri(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema), path)

    def publish(
        self,
        resource: Resource,
        version: int,
        good: Mapping[str | None, Sequence[Row]],  # by partition
        bad: Sequence[Row] = (),
        kept: Sequence[Mapping[str, Any]] = (),  # files of the version before
        base: int | None = None,
        settled: int = 99,  # so many of its moves were made before it was killed
    ) -> list[dict[str, Any]]:
        "One version, as promotion wrote it; its files."
        new, moves, bad_files = [], [], []
        for number, (partition, rows) in enumerate(good.items()):
            within = f"{resource.partition}={partition}/" if partition else ""
            key = f"qualified/{resource.name}/{within}part-{version:08}-{number:05}.parquet"
            source = f"{self.staged(resource.name, version)}/qualified/{within}part-{number}.parquet"
            self.write(source, rows, resource.raw_schema)
            new.append({"key": key, "rows": len(rows), "bytes": 1, "partition": partition})
            moves.append([source, key])
        if bad:
            key = f"quarantine/{resource.name}/ingest_date=2026-11-24/part-{version:08}-00000.parquet"
            source = f"{self.staged(resource.name, version)}/quarantine/ingest_date=2026-11-24/part-0.parquet"
            extra = [pa.field(name, pa.string()) for name in ("_reasons", "_run_id", "_window")]
            self.write(source, bad, pa.schema([*resource.raw_schema, *extra]))
            bad_files.append({"key": key, "rows": len(bad), "bytes": 1, "partition": "2026-11-24"})
            moves.append([source, key])
        document = {
            "schema": 1, "resource": resource.name, "version": version, "base": version - 1 if base is None else base, "run": RUN,
            "attempt": "-", "published_at": "2026-11-24T00:00:00+00:00", "ledger_version": version + 10, "newest": "2026-11-24T00:00:00Z",
            "counts": {}, "files": [*kept, *new], "quarantined": bad_files, "moves": moves,
        }  # fmt: skip
        self.lake.put(f"state/published/{resource.name}/{version:08}.json", json.dumps(document).encode())
        for source, target in moves[:settled]:
            move(self.lake, source, target)
        return new

    def set_aside(self, files: Sequence[Mapping[str, Any]]) -> None:
        for file in files:
            move(self.lake, file["key"], self.superseded(file["key"]))


def bad_row(name: str) -> Row:
    return {**measurement(name, 20, None), "_reasons": '["range"]', "_run_id": RUN, "_window": "w1"}


@pytest.fixture(params=["former", "oldest"])
def former(request: pytest.FixtureRequest, tmp_path: Path) -> FormerLake:
    "Plants at version 1; measurements at version 3, where version 2 replaced a file and put rows aside, and 3 was killed between its moves."
    lake = FormerLake(tmp_path / "lake", request.param == "oldest")
    lake.publish(PLANTS, 1, {None: [{"plant_id": "p1"}, {"plant_id": "p2"}]})
    first = lake.publish(
        MEASUREMENTS, 1, {"2026-11-20": [measurement("a", 20)], "2026-11-21": [measurement("b", 21)]}, [bad_row("x")]
    )
    second = lake.publish(
        MEASUREMENTS, 2, {"2026-11-20": [measurement("a", 20, 9.0)]}, [bad_row("y"), bad_row("y")], kept=first[1:]
    )
    lake.set_aside(first[:1])
    lake.publish(
        MEASUREMENTS,
        3,
        {"2026-11-22": [measurement("c", 22, -0.0)], "2026-11-23": [measurement("d", 23, None)]},
        kept=[*second, *first[1:]],
        settled=1,
    )
    return lake


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    session = local_session(tmp_path_factory.mktemp("spark"), threads=1, memory="1g")
    yield Spark(session)
    session.stop()


def rows(lake: Lake, zone: str, resource: str, key: str) -> list[Row]:
    table = Tables(lake).find(zone, resource)
    assert table is not None
    return sorted(table.scan().to_arrow().to_pylist(), key=lambda row: str(row[key]))


def is_converted_well(lake: Lake) -> None:
    assert [row["plant_id"] for row in rows(lake, QUALIFIED, "plants", "plant_id")] == ["p1", "p2"]
    found = rows(lake, QUALIFIED, "measurements", "measurement_id")
    assert [(row["measurement_id"], row["measured_at"], row["value"]) for row in found] == [
        ("a", day(20), 9.0),
        ("b", day(21), 1.0),
        ("c", day(22), 0.0),
        ("d", day(23), None),
    ]
    bad = rows(lake, QUARANTINE, "measurements", "measurement_id")
    assert [(row["measurement_id"], row["_reasons"], row["_window"], row["_replayed_by"]) for row in bad] == [
        (name, '["range"]', "w1", None) for name in "xyy"
    ]
    assert {str(row["ingest_date"]) for row in bad} == {"2026-11-24"}
    table = Tables(lake).find(QUALIFIED, "measurements")
    assert table is not None
    version = current(table)
    assert (version.number, version.ledger_version, version.newest, version.note, version.held) == (
        1,
        13,
        "2026-11-24T00:00:00Z",
        "converted from version 3",
        (),
    )
    assert [file.partition for file in files(table)] == ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]


def test_each_row_of_the_newest_version_is_there_once(former: FormerLake, engine: Engine) -> None:
    done = [convert(former.lake, one, engine, RUN) for one in (PLANTS, MEASUREMENTS)]
    assert [(one.version, one.rows, one.quarantined, one.done) for one in done] == [(1, 2, 0, True), (3, 4, 3, True)]
    is_converted_well(former.lake)


@pytest.mark.spark
def test_spark_converts_to_the_same(former: FormerLake, spark: Engine) -> None:
    for one in (PLANTS, MEASUREMENTS):
        convert(former.lake, one, spark, RUN)
    is_converted_well(former.lake)


def test_again_does_nothing(former: FormerLake, engine: Engine) -> None:
    for one in (PLANTS, MEASUREMENTS):
        convert(former.lake, one, engine, RUN)
    there = former.lake.list("qualified")
    assert not any(convert(former.lake, one, engine, RUN).done for one in (PLANTS, MEASUREMENTS))
    assert former.lake.list("qualified") == there
    is_converted_well(former.lake)


def test_promotion_refuses_it_until_then(former: FormerLake, engine: Engine) -> None:
    gate: Any = None
    with pytest.raises(LakeError, match="run `smartsensor convert` once"):
        promote(former.lake, MEASUREMENTS, engine, gate, RUN)
    Tables(former.lake).ensure(QUALIFIED, "measurements", MEASUREMENTS.raw_schema, None)  # a conversion was killed here
    with pytest.raises(LakeError, match="run `smartsensor convert` once"):
        promote(former.lake, MEASUREMENTS, engine, gate, RUN)
    with pytest.raises(LakeError, match="measurements, plants: not converted yet"):
        remove_former(former.lake, ["measurements", "plants"])


def test_a_version_that_was_rolled_back_to(tmp_path: Path, engine: Engine) -> None:
    lake = FormerLake(tmp_path / "lake", oldest=False)
    first = lake.publish(PLANTS, 1, {None: [{"plant_id": "p1"}]})
    lake.publish(PLANTS, 2, {None: [{"plant_id": "p2"}]})
    lake.set_aside(first)
    lake.publish(PLANTS, 3, {}, kept=first, base=1)  # its file still lies aside: killed before the move
    assert convert(lake.lake, PLANTS, engine, RUN).rows == 1
    assert [row["plant_id"] for row in rows(lake.lake, QUALIFIED, "plants", "plant_id")] == ["p1"]


def test_a_version_without_rows(tmp_path: Path, engine: Engine) -> None:
    lake = FormerLake(tmp_path / "lake", oldest=False)
    lake.publish(EVENTS, 1, {})
    assert convert(lake.lake, EVENTS, engine, RUN).done
    assert rows(lake.lake, QUALIFIED, "events", "event_id") == []


def test_a_file_that_is_gone_is_named(former: FormerLake, engine: Engine) -> None:
    gone = former_version(former.lake, "measurements").good[1]
    former.lake.delete(gone)
    with pytest.raises(LakeError, match=r"measurements: qualified/measurements/.* is gone"):
        convert(former.lake, MEASUREMENTS, engine, RUN)


@pytest.mark.parametrize("change", ["lost", "doubled", "other"])
def test_rows_that_differ_are_not_committed(
    former: FormerLake, engine: Engine, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    original = room._targets

    def wrong(resource: Resource, found: room.Former) -> Any:
        bad, good = original(resource, found)
        sql = {
            "lost": f"SELECT * FROM ({good.sql}) WHERE measurement_id <> 'b'",
            "doubled": f"{good.sql} UNION ALL SELECT * FROM ({good.sql}) WHERE measurement_id = 'b'",
            "other": good.sql.replace('"value"', 'coalesce("value", 0) AS "value"'),
        }[change]
        return bad, replace(good, sql=sql)

    staged = room._staged
    monkeypatch.setattr(
        room,
        "_staged",
        lambda used, lake, one, target, folder: staged(
            used, lake, one, wrong(one, there)[target.zone == QUALIFIED], folder
        ),
    )
    there = former_version(former.lake, "measurements")
    with pytest.raises(PromotionError, match=r"rows before and \d after"):
        convert(former.lake, MEASUREMENTS, engine, RUN)
    assert former.lake.list("qualified/measurements/data") == []
    monkeypatch.undo()
    convert(former.lake, MEASUREMENTS, engine, RUN)
    convert(former.lake, PLANTS, engine, RUN)
    is_converted_well(former.lake)


KILLED = """
import os, signal, sys
from pathlib import Path
from smartsensor.jobs import convert as room
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.lake import tables
from smartsensor.lake.lake import Lake
from smartsensor.source.smartsensor_api import MEASUREMENTS

left = 0

def dies(act):
    def both(*words, **more):
        step()
        done = act(*words, **more)
        step()
        return done
    return both

def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

room.commit, room._staged, room.prove_equal = dies(room.commit), dies(room._staged), dies(room.prove_equal)
tables.Tables.ensure = dies(tables.Tables.ensure)
for left_at in range(100):
    pid = os.fork()
    if not pid:
        left, folder = left_at, Path(sys.argv[2]) / str(left_at)
        folder.mkdir()
        room.convert(Lake(sys.argv[1]), MEASUREMENTS, DuckDB(folder, threads=1), "20261125T000000Z-7f3a")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(code)
    if code != -signal.SIGKILL:
        break
"""


def test_killed_at_each_step_it_goes_on(former: FormerLake, engine: Engine, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, former.lake.root, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    codes = done.stdout.split()
    assert codes[-1] == "0", done.stderr
    assert len(codes) > 10
    assert set(codes[:-1]) == {str(-signal.SIGKILL)}
    convert(former.lake, PLANTS, engine, RUN)
    is_converted_well(former.lake)


def test_what_is_old_goes_when_it_is_asked_for(former: FormerLake, engine: Engine) -> None:
    lake = former.lake
    convert(lake, PLANTS, engine, RUN)
    with pytest.raises(LakeError, match="measurements: not converted yet"):
        remove_former(lake, ["plants"])
    convert(lake, MEASUREMENTS, engine, RUN)
    old = {one.key for name in ("plants", "measurements") for one in former_files(lake, name)}
    everything = set(lake.list("qualified") + lake.list("quarantine") + lake.list("state/published"))
    new = {key for key in everything if "/data/" in key or "/metadata/" in key}
    assert remove_former(lake, ["plants", "measurements"]) == len(old)
    left = {
        key
        for zone in ("qualified", "quarantine", "state/published", "staged", "superseded")
        for key in lake.list(zone)
    }
    assert left == new
    is_converted_well(lake)
    assert remove_former(lake, ["plants", "measurements"]) == 0


def test_the_command(former: FormerLake) -> None:
    call, argv = CliRunner(), ["convert", "--lake", former.lake.root]
    message = call.invoke(app, argv)
    assert message.exit_code == 0, message.exception
    assert "rows are equal" in message.output
    assert "--remove-old removes them" in message.output
    is_converted_well(former.lake)
    message = call.invoke(app, [*argv, "--remove-old"])
    assert message.exit_code == 0, message.exception
    assert "converted before" in message.output
    assert "files of the former layout were removed" in message.output
    assert "Nothing of the former layout is here." in call.invoke(app, argv).output
    is_converted_well(former.lake)


def test_a_resource_that_nobody_declares_stops_it(former: FormerLake) -> None:
    FormerLake(Path(former.lake.root), oldest=False).publish(
        replace(PLANTS, name="gone"), 1, {None: [{"plant_id": "p"}]}
    )
    assert "gone" not in RESOURCES
    message = CliRunner().invoke(app, ["convert", "--lake", former.lake.root])
    assert "gone: published in this lake, and not declared any more" in str(message.exception)
