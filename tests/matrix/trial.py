"""One trial: runs against a server that fails, until it is mended; then every row must stand in the table once."""

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import requests
from manners import MANNERS, REPLY_DEADLINE_S, Manner, proxy

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs import extract as extract_room
from smartsensor.jobs import extraction as extraction_room
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.extract import ExtractionContext
from smartsensor.jobs.plan import Due
from smartsensor.jobs.promote import promote
from smartsensor.jobs.verify import verify
from smartsensor.lake.catalogs import QUALIFIED, QUARANTINE
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError
from smartsensor.lake.tables import Tables
from smartsensor.quality.row_rules import row_rules
from smartsensor.quality.verdicts import Finding, Verdict
from smartsensor.run.exit_codes import code_of
from smartsensor.simulator import state as state_room
from smartsensor.simulator.faults import FAULTS, Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import serve
from smartsensor.simulator.state import Buckets, Limits
from smartsensor.simulator.world import World
from smartsensor.source import listing as listing_room
from smartsensor.source.budget import RateBudget
from smartsensor.source.errors import ApiError
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window, cut, subtract

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
WORLD = World(Fleet(sensors=12, revised=0.0))  # no revisions: time passes, and the rows of the hour stay as they are
TRUTH = sorted(WORLD.truth("measurements", NOW, HOUR.start, HOUR.end).column("measurement_id").to_pylist())
PAGE, RUNS_WITH_FAULTS, RUNS_AFTERWARDS = 60, 3, 3
listing_room.MAX_EMPTY_PAGES, extract_room.FIRST_CHECKPOINT = 40, 20  # an endless listing is noticed sooner


@dataclass(frozen=True)
class Plan:
    """What goes wrong in a trial."""

    faults: tuple[Fault, ...] = ()
    manners: tuple[tuple[str, int, int], ...] = ()  # kind, at, times
    export: bool = False  # the windows are read by exports

    def __str__(self) -> str:
        words = [f"{one.kind} on {one.on} at {one.at} x{one.times} {one.value!r}" for one in self.faults]
        return "; ".join([*words, *(f"{kind} at {at} x{times}" for kind, at, times in self.manners)]) or "nothing"


@dataclass
class Outcome:
    """What came of a trial."""

    stops: list[str] = field(default_factory=list)  # the errors that ended runs
    requests: int = 0
    held: int = 0  # windows whose rows wait in raw for a person's decision: the gate says why
    problems: list[str] = field(default_factory=list)  # [] where the client kept its promises


class Time:
    """A clock for server and client that only moves when somebody waits."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def clock(self) -> float:
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds + 1e-6  # as any sleep: never too short


class OpenGate:
    """Holds only what other rooms found: this is about the client, not about the suites."""

    expectations = Path(__file__).parents[2] / "expectations"

    def judge(
        self, batch: Any, resource: str, zone: Any, parameters: Mapping[str, int],
        about: Mapping[str, str] | None = None, further: Sequence[Finding] = (), trial: bool = False,
    ) -> Verdict:  # fmt: skip
        right = batch.num_rows == parameters["expected_rows"]
        findings = [Finding("rows", "quick", None, "critical", right, 0, 0, f"{batch.num_rows} rows", name="row-count")]
        connection = duckdb.connect()
        frame = connection.from_arrow(batch)
        rules = row_rules(self.expectations / f"{resource}.raw.json") if zone == "raw" else []
        for rule in rules:
            bad = len(frame.filter(rule.where))
            findings.append(Finding(rule.name, "quick", None, "warning", True, bad, 0, f"{bad} bad", name=rule.name))
        connection.close()
        return Verdict(resource, zone, batch.num_rows, (*findings, *further), None, about or {})

    def record(self, verdict: Verdict) -> None: ...


def mixture(seed: int) -> Plan:
    "One to four faults, of any kind, anywhere."
    rnd = random.Random(seed)
    export = rnd.random() < 0.25
    faults, manners = list[Fault](), list[tuple[str, int, int]]()
    for _ in range(rnd.randint(1, 4)):
        at, times = rnd.randint(0, 6), rnd.randint(1, 3)
        if not export and rnd.random() < 0.4:
            manners.append((rnd.choice([*MANNERS]), at, times))
            continue
        kind = rnd.choice([name for name in FAULTS if name.startswith("export") == export and name != "slow"])
        faults.append(replace(single(kind), at=0 if export else at, times=times, value=value_of(kind, rnd)))
    return Plan(tuple(faults), tuple(manners), export)


def value_of(kind: str, rnd: random.Random) -> Any:
    if kind == "lying_count":
        return rnd.choice([-5, -1, 1, 7])
    if kind != "status":
        return None
    status = rnd.choice([400, 401, 403, 404, 410, 429, 429, 500, 502, 503, 504])
    form, retry_after = rnd.choice(["seconds", "date"]), rnd.choice([None, 0, 1, 30, 3600])
    return {"status": status, "retry_after": retry_after, "form": form, "html": status in (500, 502, 504)}


def single(kind: str) -> Fault:
    "A fault where it belongs."
    ways = {"lying_count": "/measurements/count", "export_file_missing": "/exports"}
    return Fault(kind, "/exports" if kind.startswith("export") else ways.get(kind, "/measurements"))


def run_trial(plan: Plan, folder: Path) -> Outcome:
    "Run until the server is mended, then promote; what is wrong stands in the outcome."
    outcome, lake, clock = Outcome(), Lake(str(folder)), Time()
    limits = Limits(export_file_rows=150)
    state_room.Buckets = partial(Buckets, timer=clock.clock)  # type: ignore[assignment,misc]  # its limits use our clock
    with serve(world=WORLD, clock=clock.now, limits=limits, plan=FaultPlan(plan.faults)) as api:
        manners = [Manner(*one) for one in plan.manners]
        with proxy(api.base_url, manners) as base_url:
            scope = "telemetry.read exports.write" if plan.export else "telemetry.read"
            settings = ApiSettings(
                base_url, api.token_url, api.client_id, Secret(api.client_secret), scope, page_limit=PAGE
            )
            if any(one.kind == "a reply that drips" for one in manners):
                settings = replace(settings, reply_deadline_s=REPLY_DEADLINE_S)
            budget = RateBudget(settings.rate_per_s, settings.burst, clock.clock, clock.sleep)
            client = Client(settings, budget=budget, sleep=clock.sleep, clock=clock.clock, chance=lambda: 0.5)
            for number in range(RUNS_WITH_FAULTS + RUNS_AFTERWARDS):
                if number == RUNS_WITH_FAULTS:
                    struck = _injected_429s(api.control_url)
                    requests.delete(f"{api.control_url}/faults", timeout=10).raise_for_status()
                    manners.clear()
                if not _run(client, lake, clock, plan, number, outcome):
                    struck = struck if number >= RUNS_WITH_FAULTS else _injected_429s(api.control_url)
                    break
    outcome.requests = client.log.requests
    if client.log.limited > struck:
        outcome.problems.append(f"{client.log.limited - struck} requests more than the API allows")
    outcome.problems += _judge(lake, folder, outcome)
    return outcome


def _injected_429s(control_url: str) -> int:
    faults = requests.get(f"{control_url}/faults", timeout=10).json()["faults"]
    return sum(
        one["struck"] for one in faults if one["kind"] == "status" and isinstance(one["value"], dict) and one["value"]["status"] == 429
    )  # fmt: skip


def _run(client: Client, lake: Lake, clock: Time, plan: Plan, number: int, outcome: Outcome) -> bool:  # False: all read
    "One run: it reads what no run has covered yet."
    covered = lake.ledger("measurements").covered
    due = [
        Due("measurements", window, 10**6 if plan.export else None)
        for window in cut(HOUR, timedelta(minutes=20))
        if subtract(window, covered)
    ]
    if not due:
        return False
    resource = replace(MEASUREMENTS, export=1 if plan.export else None, shard=None)
    run = f"20261120T12000{number}Z-{number:04x}"
    extraction_room.ExtractionContext = lambda on_rows, **more: ExtractionContext(  # type: ignore[assignment,misc]
        on_rows, **{**more, "sleep": clock.sleep, "clock": clock.clock}
    )
    try:
        extraction_room.extract_all(client, lake, due, run, 1, resources={"measurements": resource})
    except Exception as error:
        outcome.stops.append(type(error).__name__)
        if not isinstance(error, ApiError | LakeError) or code_of(error) == 1:
            outcome.problems.append(f"untyped {type(error).__name__}: {error}")
    clock.sleep(3600)  # the next run comes an hour later
    return True


def _judge(lake: Lake, folder: Path, outcome: Outcome) -> list[str]:
    "Compare raw, ledger and tables with what the source has."
    problems = [f"not recovered: {gap}" for gap in subtract(HOUR, lake.ledger("measurements").covered)]
    raw = set[str]()
    for path in (folder / "raw").rglob("part-*.parquet"):
        try:
            frame = pl.read_parquet(path)
            raw.update(frame["measurement_id"].drop_nulls())
            assert len(duckdb.read_parquet(str(path)).fetchall()) == len(frame)
        except Exception as error:
            problems.append(f"unreadable {path.name}: {error}")
    problems += [f"verify: {text}" for text in verify(lake, "measurements")]
    with tempfile.TemporaryDirectory() as scratch:
        engine = DuckDB(Path(scratch), threads=1, memory_limit="500MB")
        done = promote(lake, MEASUREMENTS, engine, OpenGate(), "20261120T180000Z-fade")  # type: ignore[arg-type]
        engine.close()
    outcome.held = len(done.held)
    if done.outcome != "published" and not done.held:
        problems.append(f"promotion: {done.outcome}")
    qualified, quarantined = (_ids(lake, zone) for zone in (QUALIFIED, QUARANTINE))
    lost = set(TRUTH) - set(qualified) - set(quarantined) - (raw if done.held else set())
    foreign = set(qualified) - set(TRUTH)
    problems += [f"{len(lost)} rows lost"] if lost else []
    problems += [f"{len(foreign)} rows that the source does not have"] if foreign else []
    problems += [f"{len(qualified) - len(set(qualified))} rows doubled"] if len(qualified) > len(set(qualified)) else []
    return problems


def _ids(lake: Lake, zone: str) -> list[str]:
    table = Tables(Lake(lake.root)).find(zone, "measurements")
    return table.scan(selected_fields=("measurement_id",)).to_arrow().column(0).to_pylist() if table else []
