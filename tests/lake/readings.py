"""A small table for tests of the lake: readings of sensors, one version a commit, and readers of other makers."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table import Table

from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import commit, next_version
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Partitioning, Tables, Version, files

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.float64()), ("at", pa.timestamp("us", "UTC"))])
Reading = tuple[str, float, int]  # id, value, day of November 2026


def stage(lake: Lake, rows: Sequence[Reading], name: str = "") -> list[str]:
    "Parquet files in the table's data folder, one a day, as an engine writes them; not committed."
    staged = []
    for day in sorted({day for *_, day in rows}):
        path = Path(lake.uri(f"qualified/readings/data/{name or uuid4().hex}/{day}.parquet"))
        path.parent.mkdir(parents=True, exist_ok=True)
        values = [
            {"id": one, "value": value, "at": datetime(2026, 11, at, tzinfo=UTC)}
            for one, value, at in rows
            if at == day
        ]
        pq.write_table(pa.Table.from_pylist(values, SCHEMA), path)
        staged.append(str(path))
    return staged


def readings(lake: Lake) -> Table:
    "The table, made when it is not there."
    return Tables(lake).ensure(QUALIFIED, "readings", SCHEMA, Partitioning("at", "day", "at_date"))


def publish(lake: Lake, rows: Sequence[Reading], replace: Sequence[int] = ()) -> Version:
    "Add rows as the next version; the files of some days are replaced."
    table = readings(lake)
    gone = [file.entry for file in files(table) if file.partition in {f"2026-11-{day}" for day in replace}]
    version = Version(next_version(table), run="test", attempt=uuid4().hex, ledger_version=next_version(table))
    return commit(table, version, stage(lake, rows), gone)


def rows_of(table: Table, snapshot: int | None = None) -> list[tuple[str, float]]:
    "What stands in the table, by id."
    found = table.scan(snapshot_id=snapshot).to_arrow().to_pylist()
    return sorted((row["id"], row["value"]) for row in found)


def open_readings(lake: Lake) -> Table:
    "The table, which is there."
    table = Tables(lake).find(QUALIFIED, "readings")
    assert table is not None
    return table


_INSTALLING = threading.Lock()


@cache
def _extensions() -> tuple[str, ...]:
    site = Path(duckdb.__file__).parent.parent
    return tuple(
        str(next((site / f"duckdb_extension_{name}").rglob("*.duckdb_extension"))) for name in ("avro", "iceberg")
    )


def duckdb_reader(folder: Path) -> Any:
    "DuckDB with its own Iceberg reader, from the package index and not from the net."
    reader = duckdb.connect(config={"extension_directory": str(folder), "autoinstall_known_extensions": "false"})
    with _INSTALLING:
        for path in _extensions():
            reader.execute(f"INSTALL '{path}'")
            reader.execute(f"LOAD {Path(path).name.split('.')[0]}")
    return reader
