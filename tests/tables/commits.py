"""Is a commit as fast after a thousand as after ten, with the expiry that each promotion does; and how long does planning take?"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from processes import Scale
from pyiceberg.expressions import And
from synthetic import DAY0, READINGS, reading

from smartsensor.jobs.promote import EXPIRE_AT_ONCE, KEEP_FOR, KEEP_VERSIONS
from smartsensor.lake.catalogs import QUALIFIED, table_key
from smartsensor.lake.commits import commit, expirable, expire, next_version  # fmt: skip
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Partitioning, Tables, Version, between, files

DAYS = Partitioning("measured_at", "day", "measured_date")
GOAL = 2.0


def steps(scale: Scale) -> int:
    "Commits."
    return 20 if scale.short else 10_000 if scale.large else 1000


def committed(tables: Tables, pattern: bytes, number: int) -> float:
    "CPU seconds of a commit and its expiry, from finding the table on: what else the machine does in these minutes does not count."
    lake = tables.lake
    path = Path(lake.uri(f"{table_key(QUALIFIED, 'readings')}/data/{number:05}/part-0.parquet"))
    path.parent.mkdir(parents=True)
    path.write_bytes(pattern)
    began = time.process_time()
    table = tables.find(QUALIFIED, "readings")
    assert table is not None
    commit(table, Version(next_version(table), run="run", attempt=str(number), counts={"new": 1}), [str(path)])
    since = datetime.now(UTC) - KEEP_FOR
    expire(table, expirable(table, KEEP_VERSIONS, since, at_once=EXPIRE_AT_ONCE))
    return time.process_time() - began


def planned(folder: Path, number: int) -> tuple[float, float, int]:
    "Seconds of planning a table of so many files: all, and those of one key's day; how many these are."
    tables = Tables(Lake(str(folder)))
    table = tables.ensure(QUALIFIED, "readings", READINGS.raw_schema, DAYS)
    data = Path(tables.lake.uri(f"{table_key(QUALIFIED, 'readings')}/data"))
    data.mkdir(parents=True)
    paths = []
    for at in range(number):
        if at < 500:
            row = reading(f"r-{at:03}", 1, 1, DAY0 + timedelta(days=at % 50), 1.0)
            pq.write_table(pa.Table.from_pylist([row], READINGS.raw_schema), data / f"{at:05}.parquet")
        else:
            (data / f"{at:05}.parquet").hardlink_to(data / f"{at % 500:05}.parquet")
        paths.append(str(data / f"{at:05}.parquet"))
    commit(table, Version(1, run="run", attempt="1"), paths)
    day = between("measured_at", DAY0.isoformat(), (DAY0 + timedelta(hours=23)).isoformat())
    began = time.perf_counter()
    everything = len(files(table))
    whole = time.perf_counter() - began
    some = len(files(table, where=And(day, between("reading_id", "r-000", "r-000"))))
    assert everything == number
    return whole, time.perf_counter() - began - whole, some


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    tables = Tables(Lake(str(folder / "commits")))
    tables.ensure(QUALIFIED, "readings", READINGS.raw_schema, DAYS)
    row = pa.Table.from_pylist([reading("r-1", 1, 1, DAY0, 1.0)], READINGS.raw_schema)
    pq.write_table(row, folder / "pattern.parquet")
    pattern, seconds = (folder / "pattern.parquet").read_bytes(), list[float]()
    for number in range(steps(scale)):
        seconds.append(committed(tables, pattern, number))
        tick()
    number_of_files = 200 if scale.short else 20_000
    whole, some, count = planned(folder / "files", number_of_files)
    milestones = {at: statistics.median(seconds[at - 10 : at]) for at in (10, 100, 1000, 10_000) if at <= len(seconds)}
    ratio = statistics.median(seconds[-10:]) / milestones[10]
    words = ", ".join(f"{1000 * value:.0f} ms at {at:,}" for at, value in milestones.items())
    line = (
        f"commits: a commit with its expiry takes {words} of CPU (the last ten {ratio:.1f} times the first; goal {GOAL:g}); "
        f"planning {number_of_files:,} files {whole:.1f} s, those of one key ({count:,}) {some:.1f} s"
    )
    return line, [f"commits get slower: {ratio:.1f} times"] if ratio > GOAL and not scale.short else []
