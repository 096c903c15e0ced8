"""Rows made by code, landed as the extraction lands them, and the table that must come of them, in plain Python."""

import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.promote import Promotion, promote
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest, Part, part_key
from smartsensor.quality.row_rules import row_rules
from smartsensor.quality.verdicts import Finding, Verdict
from smartsensor.source.resources import Resource
from smartsensor.windows import Window

Row = dict[str, Any]
DAY0 = datetime(2026, 11, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
READINGS = Resource(
    "readings",
    "/readings",
    ("reading_id",),
    pa.schema(
        [
            ("reading_id", pa.string()),
            ("sensor_id", pa.string()),
            ("value", pa.float64()),
            ("generation", pa.int64()),  # of the publication that brought this revision
            ("revision", pa.int64()),
            ("measured_at", INSTANT),
            ("updated_at", INSTANT),
        ]
    ),
    "incremental",
    incremental_field="updated_at",
    event_field="measured_at",
    version=("revision", "updated_at"),
    sort_by=("sensor_id", "measured_at"),
)
WIDER = replace(READINGS, schema=READINGS.schema.append(pa.field("humidity", pa.float64())))  # the source drifts


def quiet_duckdb(**config: str) -> duckdb.DuckDBPyConnection:
    "DuckDB on one thread, without the progress bar that it draws in a forked process."
    connection = duckdb.connect(config={"threads": "1", **config})
    connection.execute("SET enable_progress_bar = false")
    return connection


class SqlGate:
    """Row count and row rules, by DuckDB: promotion without Great Expectations."""

    def __init__(self, expectations: Path) -> None:
        self.expectations = expectations

    def judge(
        self,
        batch: Any,
        resource: str,
        zone: Any,
        parameters: Mapping[str, int],
        about: Mapping[str, str] | None = None,
        further: Sequence[Finding] = (),
        trial: bool = False,
    ) -> Verdict:
        findings = []
        if zone == "raw":
            with quiet_duckdb() as connection:
                for rule in row_rules(self.expectations / f"{resource}.raw.json"):
                    bad = len(connection.from_arrow(batch).filter(rule.where))
                    findings.append(Finding(rule.name, "row", None, "critical", True, bad, 0, "", name=rule.name))
        return Verdict(resource, zone, parameters["expected_rows"], tuple(findings), None, about or {})

    def record(self, verdict: Verdict) -> None:
        "Verdicts are not what is tested here."


def write_suite(folder: Path, resource: str, rules: bool = True) -> Path:
    "A suite that counts rows and, with rules, sends values below zero to quarantine; returns its folder."
    count = {
        "type": "expect_table_row_count_to_equal",
        "severity": "critical",
        "kwargs": {"value": {"$PARAMETER": "expected_rows"}},
        "meta": {"name": "row-count", "why": "because"},
    }
    positive = {
        "type": "expect_column_values_to_be_between",
        "severity": "critical",
        "kwargs": {"column": "value", "min_value": 0, "max_value": 1e9, "mostly": 0.5},
        "meta": {"name": "positive", "why": "because"},
    }
    entries = [count, positive] if rules else [count]
    folder.mkdir(parents=True, exist_ok=True)
    suite = {"name": f"{resource}.raw", "expectations": entries, "meta": {"team": "-", "key": []}}
    (folder / f"{resource}.raw.json").write_text(json.dumps(suite))
    return folder


def run_id(number: int) -> str:
    return f"{DAY0 + timedelta(minutes=number):%Y%m%dT%H%M%SZ}-tables"


def land_files(
    lake: Lake, resource: Resource, number: int, window: Window, write: Callable[[Path], None], files: int = 1
) -> None:
    "Land a window: `write` makes each of its Parquet files."
    parts = []
    for at in range(files):
        key = part_key(resource.name, run_id(number), window, at)
        path = Path(lake.uri(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        rows = pq.read_metadata(path).num_rows
        parts.append(Part(key, rows, path.stat().st_size, sha256(path.read_bytes()).hexdigest()))
    rows = sum(part.rows for part in parts)
    manifest = Manifest(
        resource.name, run_id(number), window, tuple(parts), rows, rows, rows, None, None, 1, 1, None
    )  # fmt: skip
    lake.create(manifest.key, json.dumps(manifest.as_json()).encode())
    lake.close(resource.name, manifest.run, [manifest.evidence])


def land(lake: Lake, number: int, rows: Sequence[Row], resource: Resource = READINGS) -> None:
    "Land rows as the window of a minute."
    table = pa.Table.from_pylist(list(rows), resource.raw_schema)
    window = Window(DAY0 + timedelta(minutes=number), DAY0 + timedelta(minutes=number + 1))
    land_files(lake, resource, number, window, lambda path: pq.write_table(table, path))


@contextmanager
def engine(threads: int = 1) -> Iterator[DuckDB]:
    with TemporaryDirectory() as folder:
        opened = DuckDB(Path(folder), threads=threads)
        opened._db.execute("SET enable_progress_bar = false")  # a forked process is taken for a terminal
        yield opened
        opened.close()


def promoted(
    lake: Lake,
    opened: DuckDB,
    number: int,
    reached: Callable[[str], None] = lambda step: None,
    resource: Resource = READINGS,
) -> Promotion:
    "Promote what has landed; the suites lie beside the lake."
    return promote(lake, resource, opened, SqlGate(Path(lake.root) / "suites"), run_id(number), reached)


# --- generations -----------------------------------------------------------------------------------------------------

MARKERS, FRESH = 12, 20  # rows that each generation updates; rows that it adds


def reading(name: str, generation: int, revision: int, measured_at: datetime, value: float) -> Row:
    return {
        "reading_id": name,
        "sensor_id": f"s-{sum(name.encode()) % 5}",
        "value": value,
        "generation": generation,
        "revision": revision,
        "measured_at": measured_at,
        "updated_at": DAY0 + timedelta(minutes=generation, seconds=revision % 60),
        "_extra": None,
    }


@dataclass
class Truth:
    """What a table must hold: the greatest revision of each key; and the bad rows that came, each once."""

    good: dict[str, Row]
    bad: dict[str, Row]

    @classmethod
    def empty(cls) -> "Truth":
        return cls({}, {})

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            name = row["reading_id"]
            if row["value"] < 0:
                self.bad[name] = row
            elif name not in self.good or _weight(row) > _weight(self.good[name]):
                self.good[name] = row

    def figures(self) -> tuple[int, int, float]:
        "Rows, the sum of their revisions, the sum of their values (whole numbers, so in any order)."
        rows = self.good.values()
        return len(rows), sum(row["revision"] for row in rows), sum(row["value"] for row in rows)


def _weight(row: Row) -> tuple[Any, ...]:
    return row["revision"], row["updated_at"]


def generation_rows(seed: int, generation: int, known: Mapping[str, Row]) -> list[Row]:
    "Rows of one publication: all markers updated (some to another day), new rows, late revisions, rows read again, a bad row."
    chance = random.Random(seed * 100_003 + generation)
    today = DAY0 + timedelta(days=5 + generation // 50)
    rows = [
        reading(
            f"marker-{at}",
            generation,
            generation,
            DAY0 + timedelta(days=(at + generation * (at % 3 == 0)) % 5),
            float(at),
        )
        for at in range(MARKERS)
    ]
    for at in range(FRESH):
        rows.append(
            reading(f"r-{generation}-{at}", generation, 1, today + timedelta(seconds=at), chance.randrange(1000))
        )
    others = [row for name, row in known.items() if not name.startswith("marker")]
    for old in chance.sample(others, min(3, len(others))):  # late revisions: one keeps its day, two may move
        moved = old["measured_at"] + timedelta(days=chance.randrange(3) - 1)
        new = reading(old["reading_id"], generation, old["revision"] + 1, moved, chance.randrange(1000))
        rows.append(new)
    rows += chance.sample(others, min(3, len(others)))  # read again by the lookback
    rows.append(reading(f"bad-{generation}", generation, 1, today, -1.0))
    return rows


# --- reading without smartsensor -------------------------------------------------------------------------------------


def metadata_of(root: Path, table: str = "readings") -> str | None:
    "The newest metadata of a table, from the catalog; None before there is one."
    if not (root / "catalog.db").exists():
        return None
    with closing(sqlite3.connect(root / "catalog.db", timeout=60)) as catalog:
        try:
            row = catalog.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", [table]
            ).fetchone()
        except sqlite3.OperationalError:  # no table has been made
            return None
    return str(row[0]) if row else None


def rows_by_polars(root: Path, table: str = "readings") -> list[Row]:
    "All rows of a table, by Polars alone."
    import polars

    where = metadata_of(root, table)
    return polars.scan_iceberg(where).collect().to_dicts() if where else []


def difference(found: Sequence[Row], truth: Mapping[str, Row], names: Sequence[str] | None = None) -> str:
    "What is wrong with the rows of a table, in words; '' when nothing is."
    names = names or [*READINGS.schema.names]

    def plain(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in names)

    by_key = {row["reading_id"]: plain(row) for row in found}
    lost, more = set(truth) - set(by_key), set(by_key) - set(truth)
    other = [key for key in set(truth) & set(by_key) if by_key[key] != plain(truth[key])]
    doubled = len(found) - len(by_key)
    wrong = {"lost": len(lost), "invented": len(more), "with other content": len(other), "doubled": doubled}
    return ", ".join(f"{count} rows {what}" for what, count in wrong.items() if count)
