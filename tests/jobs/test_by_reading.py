"""A source with nothing that orders revisions: the value that was read later counts, whatever the values are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tables.synthetic import DAY0, SqlGate, engine, land, promoted, run_id, write_suite

from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.quarantine_replay import replay_quarantine
from smartsensor.jobs.reading import read
from smartsensor.lake.lake import Lake
from smartsensor.source.resources import INSTANT, REAL, TEXT, Resource, columns

VALUES = Resource(
    "values", "/values", ("sensor_id", "measured_at"), columns(sensor_id=TEXT, measured_at=INSTANT, value=(REAL,)),
    "incremental", incremental_field="measured_at", event_field="measured_at", version=(),
)  # fmt: skip


def row(value: float, sensor: str = "s-1") -> dict[str, Any]:
    return {"sensor_id": sensor, "measured_at": DAY0, "value": value, "_extra": None}


@pytest.fixture
def opened() -> Iterator[DuckDB]:
    with engine() as one:
        yield one


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    write_suite(tmp_path / "suites", "values")
    return Lake(str(tmp_path))


def published(lake: Lake) -> dict[str, float]:
    return {one["sensor_id"]: one["value"] for one in read(VALUES, lake=lake).arrow().to_pylist()}


@pytest.mark.parametrize("values", [(9.0, 1.0), (1.0, 9.0)])
def test_the_later_reading_replaces_what_is_published(lake: Lake, opened: DuckDB, values: tuple[float, float]) -> None:
    for number, value in enumerate(values, 1):
        land(lake, number, [row(value)], VALUES)
        done = promoted(lake, opened, number, resource=VALUES)
    assert (done.new, done.updated, done.already) == (0, 1, 0)
    assert published(lake) == {"s-1": values[1]}


@pytest.mark.parametrize("values", [(9.0, 1.0), (1.0, 9.0)])
def test_the_later_of_two_readings_that_wait_counts(lake: Lake, opened: DuckDB, values: tuple[float, float]) -> None:
    for number, value in enumerate(values, 1):
        land(lake, number, [row(value), row(5.0, f"s-{number + 1}")], VALUES)
    done = promoted(lake, opened, 2, resource=VALUES)
    assert (done.new, done.updated, done.already) == (3, 0, 1)
    assert published(lake) == {"s-1": values[1], "s-2": 5.0, "s-3": 5.0}


def test_a_row_that_is_read_again_as_it_was_changes_nothing(lake: Lake, opened: DuckDB) -> None:
    for number in (1, 2):
        land(lake, number, [row(9.0)], VALUES)
        done = promoted(lake, opened, number, resource=VALUES)
    assert (done.new, done.updated, done.already) == (0, 0, 1)


def test_a_row_out_of_quarantine_does_not_replace_what_was_read_since(
    lake: Lake, opened: DuckDB, tmp_path: Path
) -> None:
    for number, rows in enumerate(([row(2e9), row(1.0, "s-2")], [row(1.0), row(1.0, "s-2")]), 1):
        land(lake, number, rows, VALUES)
        promoted(lake, opened, number, resource=VALUES)
    write_suite(tmp_path / "suites", "values", rules=False)
    done = replay_quarantine(lake, VALUES, opened, SqlGate(tmp_path / "suites"), run_id(3))
    assert (done.outcome, done.new, done.updated, done.already) == ("replayed", 0, 0, 1)
    assert published(lake) == {"s-1": 1.0, "s-2": 1.0}
