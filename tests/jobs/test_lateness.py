"""Late rows: measured, found again by counting, predicted; and what the API does not keep any more."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from late.thirty_days import simulate

from smartsensor.config import ApiSettings, Secret, Settings, as_env
from smartsensor.jobs.check import check
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.lateness import (
    CAUGHT_SHARE,
    LATE_NEEDED,
    ROWS_NEEDED,
    TIME_NEEDED,
    Lateness,
    describe_lateness,
    measure_lateness,
    poisson_upper,
    text_histogram,
)
from smartsensor.jobs.plan import COUNTS, RETENTION_MARGIN, Due, due_windows, late_windows, newest_readings
from smartsensor.lake.lake import Lake
from smartsensor.lake.ledger import plan_windows
from smartsensor.run.plots import plot_lateness
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.errors import ApiError
from smartsensor.source.http import Client, Reply
from smartsensor.source.smartsensor_api import MEASUREMENTS, RESOURCES
from smartsensor.windows import Window

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTLING = timedelta(minutes=1)
LIMITS = Limits(burst=0, sustained=0, token_lifetime_s=1 << 30)
LAGGING = Fleet(assets=2, sensors=3, unindexed=0.05)
VERSION = ["measurement_id", "updated_at"]


class Shared:
    """A clock that can be moved, a server, a client and a lake."""

    def __init__(self, world: World, api: Running, now: list[datetime], root: Path) -> None:
        self.world, self.api, self.now, self.lake = world, api, now, Lake(str(root))
        self.client = Client(settings_of(api).api, sleep=lambda seconds: None)

    def run(self, hours: float, reopen: timedelta = timedelta(days=2)) -> list[Due]:
        "Move the clock on and read what is due then."
        self.now[0] += hours * HOUR
        due = due_windows(self.client, self.lake, MEASUREMENTS, self.now[0] - SETTLING, BEGIN, reopen=reopen)
        extract_all(self.client, self.lake, due, f"{self.now[0]:%Y%m%dT%H%M%SZ}-test", 1)
        return due

    def missing(self, before: datetime) -> set[str]:
        "Ids of rows that exist and were not read."
        truth = self.world.truth("measurements", self.now[0], BEGIN, before).select(VERSION)
        names = [key for key in self.lake.list("raw/measurements") if key.endswith(".parquet")]
        raw = pa.concat_tables(pq.read_table(self.lake.open(name), columns=VERSION) for name in names)
        return set(truth.join(raw, keys=VERSION, join_type="left anti").column("measurement_id").to_pylist())


def settings_of(api: Running, lake: str = "lake") -> Settings:
    secret = Secret(api.client_secret)
    credentials = ApiSettings(api.base_url, api.token_url, api.client_id, secret, rate_per_s=0, max_attempts=2)
    return Settings(credentials, lake=lake, expectations=ROOT / "expectations")


@pytest.fixture(scope="module")
def lagging() -> World:
    return World(LAGGING)


@pytest.fixture
def shared(lagging: World, tmp_path: Path) -> Iterator[Shared]:
    now = [BEGIN]
    with serve(world=lagging, clock=lambda: now[0], limits=LIMITS) as api:
        yield Shared(lagging, api, now, tmp_path)


# Found again


def test_rows_beyond_the_lookback_are_lost_without_counting_and_found_with_it(shared: Shared) -> None:
    for _ in range(4):
        shared.run(3, reopen=timedelta(0))
    shared.run(24, reopen=timedelta(0))  # all of the first half day is indexed by now
    lost = shared.missing(BEGIN + 12 * HOUR)
    assert len(lost) > 10
    before = shared.lake.ledger("measurements")
    due = shared.run(1)
    late = [one for one in due if one.why == "late"]
    assert late == due[: len(late)]  # planned first
    assert late
    after = shared.lake.ledger("measurements")
    assert after.origin == before.origin
    assert after.covered[0].start == before.covered[0].start
    assert (after.watermark or BEGIN) > (before.watermark or BEGIN)
    assert shared.missing(BEGIN + 12 * HOUR) == set()
    assert not any(one.why == "late" and one.window.end < BEGIN + 12 * HOUR for one in shared.run(1))  # once is enough


def test_what_is_asked_is_bounded_and_little_is_read_again(shared: Shared) -> None:
    for _ in range(2):
        shared.run(6, reopen=timedelta(0))
    shared.run(24, reopen=timedelta(0))
    counted: list[str] = []
    get = shared.client.get

    def listening(path: str, params: Mapping[str, str] | None = None, signed: bool = True) -> Reply:
        counted.append(path)
        return get(path, params, signed)

    shared.client.get = listening  # type: ignore[method-assign]
    few = late_windows(shared.client, shared.lake, MEASUREMENTS, counts=4)
    assert 0 < len(counted) <= 4
    counted.clear()
    small = Client(replace(shared.client.settings, page_limit=100))
    small.get = listening  # type: ignore[method-assign]
    narrow = late_windows(small, shared.lake, MEASUREMENTS)
    assert len(counted) <= COUNTS
    wide = sum((one.window.end - one.window.start for one in few), timedelta(0))
    assert sum((one.window.end - one.window.start for one in narrow), timedelta(0)) < max(wide, 12 * HOUR)
    assert late_windows(shared.client, shared.lake, MEASUREMENTS, counts=0) == []


def test_revisions_do_not_reopen_anything(tmp_path: Path) -> None:
    now, world = [BEGIN], World(replace(LAGGING, unindexed=0.0, revised=0.2))
    with serve(world=world, clock=lambda: now[0], limits=LIMITS) as api:
        shared = Shared(world, api, now, tmp_path)
        assert not [one for _ in range(10) for one in shared.run(2) if one.why == "late"]
        assert shared.missing(now[0] - HOUR) == set()


def test_the_newest_readings_hold_all_that_is_present(shared: Shared) -> None:
    for _ in range(6):
        shared.run(2)
    stretch = Window(BEGIN, shared.now[0] - SETTLING)
    readings = newest_readings(shared.lake, "measurements", stretch)
    whole = [one.window for one in readings]
    assert min(whole).start == BEGIN
    assert len(newest_readings(shared.lake, "measurements", stretch, rows=1)) < len(readings)


# Measured and predicted


def test_what_turns_up_behind_the_edge_is_measured(shared: Shared) -> None:
    assert measure_lateness(shared.lake, MEASUREMENTS) is None
    assert measure_lateness(shared.lake, RESOURCES["plants"]) is None
    for _ in range(16):
        shared.run(3)
    known = measure_lateness(shared.lake, MEASUREMENTS)
    assert known is not None
    assert known.behind_s == tuple(sorted(known.behind_s))
    assert known.behind_s[0] >= 0
    caught = [known.caught(one) for one in (known.lookback, known.recommended)]
    assert 0 < (caught[0] or 0) < CAUGHT_SHARE <= (caught[1] or 0)
    missed = [known.missed(one) or 0 for one in (timedelta(0), known.lookback, timedelta(days=2))]
    assert missed[0] > missed[1] > missed[2] > 0
    assert sum(known.arrival) == known.rows
    assert "recommended" in describe_lateness(known)
    some = measure_lateness(shared.lake, MEASUREMENTS, rows=known.rows // 2)
    assert some is not None
    assert 0 < some.rows <= known.rows // 2


def test_nothing_late_changes_nothing() -> None:
    calm = Lateness("events", timedelta(minutes=30), 5_000, 10.0, (), 400, ())
    assert calm.recommended == calm.lookback
    assert calm.caught(timedelta(0)) is None
    assert calm.missed(timedelta(0)) == pytest.approx(0.3, abs=0.01)
    output = describe_lateness(calm)
    assert "turned up behind the edge: 0, of 400 read again over 10.0 days" in output
    assert "too few late rows to tell which share it catches (0 seen, 30 needed)" in output
    assert "expected miss is at most 0.3 rows a day" in output
    assert "%" not in output
    assert "recommended" not in output
    assert text_histogram([0] * 10).count("\n") == 0
    assert poisson_upper(100) == pytest.approx(118.08, rel=0.01)


def test_a_small_sample_says_that_it_cannot_tell() -> None:
    small = Lateness("events", timedelta(minutes=30), 24, 0.0013, (), 24, ())
    output = describe_lateness(small)
    assert "too few rows to tell how many turn up behind the edge (24 seen, 24 read again, 300 needed)" in output
    assert "over" not in output
    assert "a day" not in output
    assert "%" not in output
    assert (small.missed(small.lookback), small.recommended) == (None, small.lookback)
    figure = plot_lateness(small)
    assert figure.axes[1].get_title() == "too few rows to tell which turn up late"
    assert "300 needed" not in describe_lateness(replace(small, reread=ROWS_NEEDED))
    short = replace(small, reread=ROWS_NEEDED, days=0.0065)
    assert "too short a time to tell how many turn up behind the edge (0.2 h counted, 6 h needed)" in describe_lateness(
        short
    )
    assert short.missed(short.lookback) is None
    assert "rows a day" in describe_lateness(replace(short, days=TIME_NEEDED / timedelta(days=1)))


def test_what_is_needed_is_the_rule_of_three() -> None:
    # With none of n seen, a share p of all is still likely (1 in 20) where (1 - p) ** n is 0.05.
    for needed, share in ((ROWS_NEEDED, 1 - CAUGHT_SHARE), (LATE_NEEDED, 0.1)):
        assert (1 - share) ** needed < 0.05 < (1 - share) ** (needed * 0.9)
    few = Lateness("events", timedelta(minutes=30), 5_000, 10.0, (), 400, (60.0,) * (LATE_NEEDED - 1))
    assert few.caught(few.lookback) is None
    assert few.recommended == few.lookback
    more = replace(few, behind_s=(60.0,) * LATE_NEEDED)
    assert (more.caught(more.lookback), more.recommended) == (1.0, timedelta(minutes=5))
    assert "catches 100.0% of the 30 seen" in describe_lateness(more)


def test_three_days_the_measured_miss_is_at_most_the_predicted_one(tmp_path: Path) -> None:
    month = simulate(tmp_path, days=3, calibrate=1, every_h=4, settled=timedelta(days=1))
    assert month.rows > 5_000
    assert month.reopened > 0
    assert month.missing == 0
    assert month.measured[0] > 0  # without lookback and counting rows are lost, or this would prove nothing
    assert all(real <= most for real, most in zip(month.measured, month.predicted, strict=True)), month


# What is not kept any more


def test_a_gap_older_than_the_retention_is_said_and_does_not_stop_the_run(tmp_path: Path) -> None:
    now, world = [BEGIN], World(replace(LAGGING, unindexed=0.0))
    with serve(world=world, clock=lambda: now[0], limits=LIMITS) as api:
        shared = Shared(world, api, now, tmp_path)
        shared.run(3)
        now[0] += timedelta(days=91)
        for client in (shared.client, Silent(shared.client.settings)):
            report = check(client, shared.lake, [MEASUREMENTS], settings_of(api), "20270220T000000Z-test", BEGIN)
            assert report.outcome == "ready", report
            earliest = report.due[0].window.start
            assert timedelta(0) < earliest - (now[0] - timedelta(days=90)) <= RETENTION_MARGIN + timedelta(seconds=1)
            assert f"[{BEGIN + 3 * HOUR - SETTLING:%Y-%m-%dT%H:%M:%SZ}" in report.notes[0]
            assert "can't be read any more" in report.steps[-1].detail
        extract_all(shared.client, shared.lake, report.due[:1], "20270220T000000Z-test", 1)


class Silent(Client):
    """A client of an API whose /me says nothing of its retention: only the 400 does."""

    def get(self, path: str, params: Mapping[str, str] | None = None, signed: bool = True) -> Reply:
        reply = super().get(path, params, signed)
        return replace(reply, body=b'{"scopes": ["telemetry.read"]}') if path == "/me" else reply


def test_a_first_run_begins_where_the_api_does(tmp_path: Path) -> None:
    with serve(LAGGING, clock=lambda: BEGIN, limits=LIMITS) as api:
        client = Client(settings_of(api).api)
        start = BEGIN - timedelta(days=200)
        report = check(client, Lake(str(tmp_path)), [MEASUREMENTS], settings_of(api), "20261120T000000Z-test", start)
        assert report.outcome == "ready"
        assert BEGIN - timedelta(days=90) < report.due[0].window.start < BEGIN - timedelta(days=89)
        assert report.notes


def test_a_first_run_whose_first_window_fails_does_not_forget_it(tmp_path: Path) -> None:
    now, plan = [BEGIN], FaultPlan((Fault("cursor_key_missing", "/measurements", at=2, times=1),))
    world = World(replace(LAGGING, unindexed=0.0))
    with serve(world=world, clock=lambda: now[0], limits=LIMITS, plan=plan) as api:
        shared = Shared(world, api, now, tmp_path)
        now[0] += 12 * HOUR
        due = due_windows(shared.client, shared.lake, MEASUREMENTS, now[0], BEGIN)
        with pytest.raises(ApiError):
            extract_all(shared.client, shared.lake, due[::-1], "20261120T120000Z-test", 1)
        ledger = shared.lake.ledger("measurements")
        assert ledger.covered == (due[-1].window,)
        assert (ledger.origin, ledger.watermark) == (BEGIN, None)
        assert plan_windows(ledger, now[0], BEGIN, timedelta(0), MEASUREMENTS.step)[0].start == BEGIN


# As a user takes it


def test_plan_says_what_is_due_and_how_late_rows_are(shared: Shared, tmp_path: Path) -> None:
    for _ in range(16):  # until there are late rows enough for a recommendation
        shared.run(3)
    state = {path for path in tmp_path.rglob("*") if path.is_file()}
    shared.now[0] += HOUR
    command = [sys.executable, "-m", "smartsensor.run.cli", "plan", "--resource", "measurements"]
    env = {**os.environ, **as_env(settings_of(shared.api, str(tmp_path)))}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for text in (
        "What is due",
        "requests (by pages)",
        "MB of raw",
        "Schedules, at",
        "DPU-hours a month",
        "received_at less event time",
        "recommended",
        "a day",
    ):
        assert text in ended.stdout
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == state
