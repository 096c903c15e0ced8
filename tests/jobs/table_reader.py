"""What stands in the tables of a lake, read by pyiceberg and not by promotion's own code."""

from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import referenced
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, Version, current, files, versions

Row = dict[str, Any]


def table_of(lake: Lake, resource: str, zone: str = QUALIFIED) -> Table | None:
    return Tables(Lake(lake.root)).find(zone, resource)


def newest(lake: Lake, resource: str, zone: str = QUALIFIED) -> Version:
    table = table_of(lake, resource, zone)
    return current(table) if table else Version(0)


def rows_of(lake: Lake, resource: str, zone: str = QUALIFIED, version: int | None = None) -> list[Row]:
    "All rows of a version, the newest unless one is named; [] before the first."
    table = table_of(lake, resource, zone)
    if table is None:
        return []
    snapshot = {one.number: one.snapshot for one in versions(table)}[version] if version else None
    rows: list[Row] = table.scan(snapshot_id=snapshot).to_arrow().to_pylist()
    return rows


def partitions(lake: Lake, resource: str) -> list[tuple[str | None, int]]:
    "Partition and rows of each file of the newest version."
    table = table_of(lake, resource)
    return [(file.partition, file.rows) for file in files(table)] if table else []


def paths(lake: Lake, resource: str, zone: str = QUALIFIED) -> set[str]:
    "The files of the newest version."
    table = table_of(lake, resource, zone)
    return {file.uri for file in files(table)} if table else set()


def unreferenced(lake: Lake, resource: str, zone: str = QUALIFIED) -> set[str]:
    "Data files that no version needs."
    table = table_of(lake, resource, zone)
    there = {str(path) for path in Path(lake.root, zone, resource, "data").rglob("*.parquet")}
    return there - (referenced(table) if table else set())
