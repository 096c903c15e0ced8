"""A lake on a file system that is mounted read-only: who reads it reads all of it, who writes is told."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from readings import open_readings, publish, rows_of

from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import commit, rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError
from smartsensor.lake.tables import Tables, Version, versions
from smartsensor.run.cli import run_command
from smartsensor.source.smartsensor_api import MEASUREMENTS

FIRST = [("a", 1.0), ("b", 2.0)]
SECOND = [("a", 9.0), ("b", 2.0)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    one = Lake(str(tmp_path / "lake"))
    publish(one, [("a", 1.0, 20), ("b", 2.0, 21)])
    publish(one, [("a", 9.0, 20)], replace=[20])
    return one


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Lake]]:
    "Mounts the lake read-only, where it is or elsewhere."
    mounts: list[Path] = []

    def mount(at: str = "lake") -> Lake:
        place = tmp_path / at
        place.mkdir(exist_ok=True)
        if os.geteuid() or subprocess.run(["mount", "--bind", tmp_path / "lake", place], check=False).returncode:
            pytest.skip("only root may mount")
        mounts.append(place)
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        return Lake(str(place))

    yield mount
    for place in mounts:
        subprocess.run(["umount", "-l", place], check=True)


def has_both(lake: Lake) -> None:
    table = open_readings(lake)
    assert [rows_of(table, version.snapshot) for version in versions(table)] == [FIRST, SECOND]


def test_all_versions_are_read_and_nothing_is_written(lake: Lake, mounted: Callable[..., Lake]) -> None:
    there = mounted()
    has_both(there)
    has_both(there)
    with pytest.raises(LakeError, match="the lake is read-only"):
        rollback(open_readings(there), 1, "by-hand")
    with pytest.raises(LakeError, match="the lake is read-only"):
        rollback(open_readings(there), 1, "again")
    has_both(there)


def test_mounted_elsewhere_its_paths_are_read_from_there(
    lake: Lake, mounted: Callable[..., Lake], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    there = mounted("elsewhere")
    shutil.move(lake.root, tmp_path / "away")  # the mount holds what was there
    has_both(there)
    table = open_readings(there)
    assert all(task.file.file_path.startswith(f"file://{there.root}/") for task in table.scan().plan_files())
    scratch = Path(table.metadata_location.removeprefix("file://")).parent
    assert not scratch.is_relative_to(tmp_path)
    del table
    assert not scratch.exists()
    shutil.move(tmp_path / "away", lake.root)
    assert sorted(path for path in tmp_path.rglob("*") if "elsewhere" not in path.parts) == before


def test_a_lost_catalog_is_made_anew_for_the_reader_alone(lake: Lake, mounted: Callable[..., Lake]) -> None:
    for path in Path(lake.root).glob("catalog.db*"):
        path.unlink()
    has_both(mounted())
    assert not list(Path(lake.root).glob("catalog.db*"))


def test_what_a_living_writer_commits_is_seen(lake: Lake, mounted: Callable[..., Lake]) -> None:
    there = mounted("elsewhere")
    writer = Tables(lake).find(QUALIFIED, "readings")  # its catalog stays open: what it commits stays in SQLite's log
    has_both(there)
    third = publish(lake, [("c", 3.0, 22)])
    assert Path(lake.uri("catalog.db-wal")).stat().st_size
    assert [one.number for one in versions(open_readings(there))] == [1, 2, third.number]
    assert writer is not None


@pytest.mark.parametrize("copied", ["catalog.db-shm", "nothing"])
def test_what_a_killed_writer_left_in_the_log_is_seen(
    lake: Lake, mounted: Callable[..., Lake], tmp_path: Path, copied: str
) -> None:
    with closing(sqlite3.connect(lake.uri("catalog.db"))) as reader:
        reader.execute("SELECT count(*) FROM iceberg_tables").fetchone()  # keeps the log when the writer has gone
        publish(lake, [("c", 3.0, 22)])
        shutil.copytree(lake.root, tmp_path / "copy")
    shutil.rmtree(lake.root)
    (tmp_path / "copy").rename(lake.root)
    if copied == "nothing":
        Path(lake.uri("catalog.db-shm")).unlink()
    assert Path(lake.uri("catalog.db-wal")).stat().st_size
    assert [one.number for one in versions(open_readings(mounted()))] == [1, 2, 3]


@pytest.fixture
def measurements(tmp_path: Path) -> Lake:
    "Five versions of measurements, as the commands know them."
    lake, at = Lake(str(tmp_path / "lake")), datetime(2026, 11, 20, tzinfo=UTC)
    lake.create("state/measurements/_", b"")
    table = Tables(lake).ensure(QUALIFIED, "measurements", MEASUREMENTS.raw_schema, None)
    for number in range(1, 6):
        row = {"measurement_id": f"m{number}", "measured_at": at, "updated_at": at + timedelta(hours=number)}
        path = Path(lake.uri(f"qualified/measurements/data/{number}.parquet"))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row], MEASUREMENTS.raw_schema), path)
        commit(table.refresh(), Version(number, run="test", attempt=uuid4().hex), [str(path)])
    return lake


READING = (
    ("versions", "measurements"),
    ("sql", "SELECT measurement_id FROM measurements"),
    ("diff", "measurements", "1", "2"),
    ("gate", "list"),
    ("quarantine", "list"),
    ("ledger", "show"),
    ("compact", "measurements", "--plan"),
    ("vacuum",),
    ("rollback", "measurements", "1"),
)
WRITING = (
    ("rollback", "measurements", "1", "--yes"),
    ("compact", "measurements"),
)


def test_commands_read_and_commands_that_write_say_why_not(
    measurements: Lake, mounted: Callable[..., Lake], capfd: pytest.CaptureFixture[str]
) -> None:
    there = mounted()
    for words in READING:
        code = run_command([*words, "--lake", there.root])
        out, err = capfd.readouterr()
        assert code == 0, f"{words}: {out}{err}"
    for words in WRITING:
        code = run_command([*words, "--lake", there.root])
        out, err = capfd.readouterr()
        assert (code, "the lake is read-only" in err) == (8, True), f"{words}: {code} {out}{err}"
