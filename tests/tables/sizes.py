"""Time and memory of a promotion without the gate's step, beside bare DuckDB that does the same merge; in turns, each in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
from processes import Scale
from synthetic import DAY0, SqlGate, engine, land_files, run_id, write_suite

from smartsensor.jobs.promote import promote
from smartsensor.lake.lake import Lake
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

GOAL, ROUNDS = 1.3, 3
PART = 500_000  # rows of a file of raw
RAW = """
    SELECT 'm-' || lpad(k::VARCHAR, 10, '0') AS measurement_id, 's-' || (k * 7919 % 2000) AS sensor_id, 'a-' || (k % 500) AS asset_id,
        'p-' || (k % 20) AS plant_id, (k % 9)::BIGINT AS measurement_type_id, round(20 + 5 * sin(k), 3) AS value, 'good' AS quality_flag,
        moment AS measured_at, moment + INTERVAL 2 SECOND AS received_at, moment + to_seconds(2 + r) AS updated_at, r AS revision,
        NULL::VARCHAR AS _extra
    FROM (
        SELECT i - i // 20 AS k, CASE WHEN i % 20 = 19 THEN 2 ELSE 1 END::BIGINT AS r,
            TIMESTAMPTZ '2026-11-01 00:00:00+00' + to_microseconds(((i - i // 20) * 2592000000000::HUGEINT // {rows})::BIGINT) AS moment
        FROM range({begin}, {end}) t(i)
    )
"""  # a twentieth comes twice; thirty days


def sizes(scale: Scale) -> tuple[float, ...]:
    "Million rows."
    return (0.02,) if scale.short else (1, 5, 20) if scale.large else (1, 5)


def rounds(scale: Scale) -> int:
    return 1 if scale.short else ROUNDS


def steps(scale: Scale) -> int:
    "Processes."
    return len(sizes(scale)) * (2 * rounds(scale) + scale.spark)


def land_rows(root: Path, rows: int) -> None:
    "Land so many rows of measurements as one window of thirty days."
    connection, begun = duckdb.connect(config={"threads": "2"}), iter(range(0, rows, PART))
    connection.execute("SET TimeZone = 'UTC'")

    def write(path: Path) -> None:
        begin = next(begun)
        sql = RAW.format(rows=rows, begin=begin, end=min(rows, begin + PART))
        connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)")

    window = Window(DAY0, DAY0 + timedelta(days=31))
    land_files(Lake(str(root)), MEASUREMENTS, 0, window, write, -(-rows // PART))


def ours(root: Path, name: str) -> dict[str, float]:
    "Promote; every copy of the lake has its own tables."
    suites = write_suite(root / "suites", "measurements", rules=False)
    if name == "spark":
        from smartsensor.jobs.engine_spark import Spark

        with tempfile.TemporaryDirectory() as folder:
            opened = Spark(folder=Path(folder))
            began = time.perf_counter()
            done = promote(Lake(str(root)), MEASUREMENTS, opened, SqlGate(suites), run_id(1))
            opened.close()
    else:
        with engine(threads=2) as opened_:
            began = time.perf_counter()
            done = promote(Lake(str(root)), MEASUREMENTS, opened_, SqlGate(suites), run_id(1))
    print({step: round(seconds, 2) for step, seconds in done.stages.items()}, file=sys.stderr)
    return {"seconds": time.perf_counter() - began - done.stages["raw judged"], "rows": done.new}


def bare(root: Path) -> dict[str, float]:
    "The latest revision of each key, sorted, in partitions: one statement."
    began = time.perf_counter()
    with duckdb.connect(
        str(root / "bare.duckdb"), config={"threads": "2", "preserve_insertion_order": "false"}
    ) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(
            f"COPY (SELECT * EXCLUDE (n), CAST(measured_at AS DATE) AS measured_date FROM (SELECT *, row_number() OVER "
            f"(PARTITION BY measurement_id ORDER BY revision DESC, updated_at DESC) AS n FROM read_parquet('{root}/raw/**/*.parquet', "
            f"hive_partitioning = false)) WHERE n = 1 ORDER BY measured_date, sensor_id, measured_at) TO '{root}/bare' "
            "(FORMAT parquet, COMPRESSION zstd, PARTITION_BY (measured_date), OVERWRITE)"
        ).fetchone()
    assert rows is not None
    return {"seconds": time.perf_counter() - began, "rows": rows[0]}


def measured(what: str, root: Path) -> dict[str, float]:
    "One promotion in its own process: seconds without imports, MB at its peak."
    child = subprocess.Popen(
        [sys.executable, __file__, what, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    output, error = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, error
    if os.environ.get("STAGES"):
        print(what, error.strip(), output)
    return {**json.loads(output), "rss": usage.ru_maxrss / 1024}


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    words, problems = list[str](), list[str]()
    for millions in sizes(scale):
        times: dict[str, list[dict[str, float]]] = {"bare": [], "duckdb": [], "spark": []}
        for at in range(rounds(scale)):
            with tempfile.TemporaryDirectory(
                dir=folder
            ) as root:  # a lake for each: a table that is there would be compared with
                land_rows(Path(root), int(millions * 1_000_000))
                order = ("bare", "duckdb") if at % 2 else ("duckdb", "bare")
                for what in order:
                    times[what].append(measured(what, Path(root)))
                    tick()
        if scale.spark:
            with tempfile.TemporaryDirectory(dir=folder) as root:
                land_rows(Path(root), int(millions * 1_000_000))
                times["spark"].append(measured("spark", Path(root)))
                tick()
        seconds, rss = (
            {what: statistics.median(one[unit] for one in runs) for what, runs in times.items() if runs}
            for unit in ("seconds", "rss")
        )
        ratio = statistics.median(
            one["seconds"] / other["seconds"] for one, other in zip(times["duckdb"], times["bare"], strict=True)
        )
        if len({one["rows"] for runs in times.values() for one in runs}) != 1:
            problems.append(f"{millions} million rows: the engines count differently: {times}")
        if ratio > GOAL and not scale.short:
            problems.append(f"{millions} million rows: {ratio:.2f} times bare DuckDB")
        spark = f", on Spark {seconds['spark']:.1f} s" if scale.spark else ""
        words.append(
            f"{millions:g} M rows {seconds['duckdb']:.1f} s and {rss['duckdb']:,.0f} MB, bare DuckDB {seconds['bare']:.1f} s and "
            f"{rss['bare']:,.0f} MB: {ratio:.2f} times{spark}"
        )
    return f"sizes: promotion without the gate: {'; '.join(words)}; goal {GOAL:g} times", problems


if __name__ == "__main__":
    what, root = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(bare(root) if what == "bare" else ours(root, what)))
