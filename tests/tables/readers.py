"""DuckDB, Polars and pyiceberg read a table while it is published again and again and its writer is killed."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from processes import CONTEXT, Child, Scale, started_by_a_living_process
from synthetic import (
    MARKERS,
    Truth,
    difference,
    engine,
    generation_rows,
    land,
    metadata_of,
    promoted,
    quiet_duckdb,
    rows_by_polars,
    write_suite,
)  # fmt: skip

from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, current

SQL = (
    "SELECT count(*), count(DISTINCT reading_id), sum(revision)::BIGINT, sum(value), min(generation) FILTER (reading_id LIKE 'marker-%'), "
    "max(generation) FILTER (reading_id LIKE 'marker-%'), count(*) FILTER (reading_id LIKE 'marker-%') FROM {source}"
)
Seen = tuple[int, int, int, float, int, int, int]  # rows, keys, sum of revisions, sum of values, generations of markers


def duckdb_with_iceberg(folder: Path) -> duckdb.DuckDBPyConnection:
    "DuckDB with the extensions that stand in the environment, so that nothing is downloaded."
    site = Path(duckdb.__file__).parent.parent
    folder.mkdir(parents=True, exist_ok=True)
    connection = quiet_duckdb(extension_directory=str(folder / "extensions"), autoinstall_known_extensions="false")
    for name in ("avro", "iceberg"):
        (file,) = (site / f"duckdb_extension_{name}").rglob("*.duckdb_extension")
        connection.execute(f"INSTALL '{file}'; LOAD {name}")
    return connection


def _by_duckdb(folder: Path) -> Callable[[str], Seen]:
    connection = duckdb_with_iceberg(folder)
    return lambda where: connection.execute(SQL.format(source=f"iceberg_scan('{where}')")).fetchone()  # type: ignore[return-value]


def _by_polars(folder: Path) -> Callable[[str], Seen]:
    import polars

    connection = quiet_duckdb()

    def read(where: str) -> Seen:
        rows = polars.scan_iceberg(where).collect().to_arrow()  # noqa: F841  (DuckDB finds it)
        return connection.execute(SQL.format(source="rows")).fetchone()  # type: ignore[return-value]

    return read


def _by_pyiceberg(folder: Path) -> Callable[[str], Seen]:
    from pyiceberg.table import StaticTable

    connection = quiet_duckdb()

    def read(where: str) -> Seen:
        rows = StaticTable.from_metadata(where).scan().to_arrow()  # noqa: F841  (DuckDB finds it)
        return connection.execute(SQL.format(source="rows")).fetchone()  # type: ignore[return-value]

    return read


def _by_smartsensor(folder: Path) -> Callable[[str], Seen]:
    from smartsensor.jobs.reading import read as read_table

    connection = quiet_duckdb()

    def read(where: str) -> Seen:
        root = Path(where.removeprefix("file://")).parents[3]
        rows = read_table("readings", lake=str(root)).arrow()  # noqa: F841  (DuckDB finds it)
        return connection.execute(SQL.format(source="rows")).fetchone()  # type: ignore[return-value]

    return read


READERS = {"DuckDB": _by_duckdb, "Polars": _by_polars, "pyiceberg": _by_pyiceberg, "smartsensor": _by_smartsensor}


def read_on(name: str, root: Path, folder: Path, stop: Any, report: Callable[[Any], None]) -> None:
    "Read until told to stop; then tell what was seen, and each error."
    os.nice(10)  # the writer comes first
    os.environ["POLARS_ICEBERG_PLANNER"] = "pyiceberg"
    read, seen, errors = READERS[name](folder), list[Seen](), list[str]()
    while not stop.is_set() and started_by_a_living_process():
        where = metadata_of(root)
        if where:
            try:
                seen.append(read(where))
            except Exception as error:
                errors.append(f"{name}: {type(error).__name__}: {error}")
        stop.wait(0.2)
    report((name, seen, errors))


def write_on(root: Path, orders: Any) -> None:
    "Promote each time that a generation is named."
    lake = Lake(str(root))
    with engine() as opened:
        while (generation := orders.recv()) is not None:
            orders.send(promoted(lake, opened, generation).outcome)


class Writer:
    """A process that promotes, and dies when it is told to."""

    def __init__(self, root: Path) -> None:
        self.root, self.kills = root, 0
        self._start()

    def _start(self) -> None:
        self.ours, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=write_on, args=(self.root, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def promote(self, generation: int, killed_after_s: float | None) -> None:
        "Have a generation promoted; with a time, kill the process then, and have another do it again."
        self.ours.send(generation)
        if killed_after_s is not None and not self.ours.poll(killed_after_s):
            self.process.kill()
            self.process.join()
            self.kills += 1
            self._start()
            self.ours.send(generation)
        self.ours.recv()

    def end(self) -> None:
        self.ours.send(None)
        self.process.join()


@dataclass(frozen=True)
class Watched:
    """What the readers saw."""

    publications: int
    kills: int
    reads: dict[str, int]
    problems: list[str]
    seconds: float


def watch(folder: Path, publications: int, kill_each: float, seed: int, tick: Callable[[], None]) -> Watched:
    "Publish so often, killing the writer in a share of cases, while three readers poll."
    root, began = folder / "lake", time.monotonic()
    write_suite(root / "suites", "readings")
    lake, truth, expected = Lake(str(root)), Truth.empty(), dict[int, tuple[int, int, float]]()
    stop, chance = CONTEXT.Event(), random.Random(seed)
    readers = [Child(name, read_on, name, root, folder / name, stop) for name in READERS]
    writer, usual = Writer(root), 1.0
    for generation in range(1, publications + 1):
        rows = generation_rows(seed, generation, truth.good)
        truth.add(rows)
        expected[generation] = truth.figures()
        land(lake, generation, rows)
        at = time.monotonic()
        doomed = chance.random() < kill_each
        writer.promote(generation, chance.uniform(0, usual) if doomed else None)
        for one in readers:
            one.check()
        if not doomed:
            usual = 0.9 * usual + 0.1 * (time.monotonic() - at)
        tick()
    writer.end()
    stop.set()
    found = [one.hear() for one in readers]
    for one in readers:
        one.join()
    problems = [error for _, _, errors in found for error in errors]
    problems += [output for name, seen, _ in found for one in seen if (output := _wrong(name, one, expected))]
    problems += _final(root, truth, publications)
    return Watched(
        publications, writer.kills, {name: len(seen) for name, seen, _ in found}, problems, time.monotonic() - began
    )


def _wrong(name: str, seen: Seen, expected: dict[int, tuple[int, int, float]]) -> str:
    rows, keys, revisions, values, first, last, markers = seen
    if (rows, keys, first, markers) == (0, 0, None, 0):
        return ""  # the table before its first version
    if rows != keys:
        return f"{name}: {rows - keys} keys doubled"
    if first != last or markers != MARKERS:
        return f"{name}: versions mixed: markers of generations {first} to {last}, {markers} of {MARKERS}"
    wanted = expected.get(first)
    return "" if wanted == (rows, revisions, values) else f"{name}: {seen} where {wanted} was published"


def _final(root: Path, truth: Truth, publications: int) -> list[str]:
    table = Tables(Lake(str(root))).find(QUALIFIED, "readings")
    assert table is not None
    newest = current(table)
    problems = [
        difference(rows_by_polars(root), truth.good),
        difference(rows_by_polars(root, "quarantine_readings"), truth.bad),
    ]
    if newest.number != publications:
        problems.append(f"{newest.number} versions of {publications} publications")
    return [one for one in problems if one]


def steps(scale: Scale) -> int:
    "Publications."
    return 12 if scale.short else 500


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    seen = watch(folder, steps(scale), 0.2, 7, tick)
    reads = ", ".join(f"{name} {count:,}" for name, count in seen.reads.items())
    line = (
        f"readers: {seen.publications} publications, writer killed {seen.kills} times, {sum(seen.reads.values()):,} reads ({reads}): "
        f"{len(seen.problems)} errors, doubled keys or mixed versions; {seen.seconds:.0f} s"
    )
    unread = [f"{name} read nothing" for name, count in seen.reads.items() if not count]
    return line, seen.problems + unread + ([] if seen.kills else ["the writer was never killed"])
