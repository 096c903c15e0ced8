"""Backfills: in any order with incremental runs and crashes, killed and gone on with, at the edge of what the API keeps."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_reader import table_of

from smartsensor.config import ApiSettings, Secret, Settings, as_env
from smartsensor.jobs.backfill import Backfill, due_backfill, plan_backfill, resume_backfill
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import EXPORT_FILE_ROWS, EXPORT_REQUESTS, Due, ReadableSpan, by_export, cost
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import new_run_id
from smartsensor.lake.ledger import Evidence, Ledger, plan_windows
from smartsensor.run.pipeline import BACKFILL, open_backfills, unfinished
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window, merge

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
ZERO = datetime(2026, 11, 1, tzinfo=UTC)
FLEET = Fleet(assets=2, sensors=3)
LIMITS = Limits(burst=0, sustained=0, token_lifetime_s=1 << 30)
RUN = "20261120T123000Z-backfill-test"


def at(hour: int) -> datetime:
    return ZERO + timedelta(hours=hour)


# Any order


@dataclass
class Model:
    """A lake in memory, read by what the package plans."""

    ledger: Ledger = field(default_factory=lambda: Ledger("measurements"))
    read: frozenset[tuple[int, int]] = frozenset()  # (key, hour of its version) that were read
    number: int = 0

    def land(self, due: list[Due], which: int) -> list[Due]:
        "Land those that the bits choose, close them, and give what is left."
        landed = [one for n, one in enumerate(due) if which >> n & 1]
        self.read |= {(k, h) for k, h in ROWS for one in landed if one.window.start <= at(h) < one.window.end}
        if landed:
            self.number += 1
            evidence = [Evidence(one.window, "r", "m", 1, 1, 1, None, None, "", 1) for one in landed]
            begin = min(one.window.start for one in due)
            before = self.ledger
            self.ledger = before.advance("r", evidence, begin, any(one.why == "backfill" for one in due))
            assert before.edge is None or (self.ledger.edge or ZERO) >= before.edge
            assert before.origin in (None, self.ledger.origin)
            if due[0].why == "backfill" and before.edge:
                assert self.ledger.edge == before.edge
        return [one for one in due if one not in landed]

    def run(self, until: int, which: int) -> None:
        windows = plan_windows(self.ledger, at(until), at(START), timedelta(hours=1), timedelta(hours=3))
        self.land([Due("measurements", window, None) for window in windows], which)

    def backfill(self, asked: Backfill, until: int) -> list[Due]:
        client = SimpleNamespace(count=lambda *_: None, settings=SimpleNamespace(scope=""), record=False)
        fakes = client, SimpleNamespace(ledger=lambda _: self.ledger)
        return due_backfill(*fakes, [MEASUREMENTS], asked, ReadableSpan(at(until), None))[0]  # type: ignore[arg-type]


START, END = 40, 100
ROWS = [(hour % 17, hour) for hour in range(END)]  # 17 keys, revised again and again
BITS = st.integers(0, 2**40 - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(0, 9), BITS),
        st.tuples(st.just("backfill"), st.tuples(st.integers(0, 99), st.integers(1, 60), st.booleans(), st.booleans()), BITS),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(STEPS, st.randoms())
def test_any_order_of_runs_crashes_and_backfills_gives_the_same_coverage_and_rows(steps: list, chance: object) -> None:
    model, hour, wanted, left = Model(), START + 1, [Window(at(START), at(END))], []
    for kind, what, which in steps:
        if kind == "run":
            hour = min(hour + what, END)
            model.run(hour, which)
        else:
            first, length, force, newest = what
            asked = (
                Backfill(at(first), at(min(first + length, hour)), ("measurements",), force, newest)
                if first < hour
                else None
            )
            if asked:
                wanted.append(Window(asked.start, asked.end))
                left.append(model.land(model.backfill(asked, hour), which))
    for due in left:  # each is gone on with
        assert model.land(due, -1) == []
    model.run(END, -1)
    covered = merge(wanted)
    assert model.ledger.covered == covered
    assert model.ledger.origin == at(START)
    assert model.ledger.edge == at(END)
    assert model.ledger.gaps() == ()
    expected = {(k, h) for k, h in ROWS if any(one.start <= at(h) < one.end for one in covered)}
    assert model.read == expected
    assert latest(model.read) == latest(expected)


def latest(rows: set[tuple[int, int]] | frozenset[tuple[int, int]]) -> dict[int, int]:
    "What promotion makes of it: the latest version of each key."
    return {key: max(hour for other, hour in rows if other == key) for key, _ in rows}


# What is planned


def client_of(api: Running, **changes: object) -> Client:
    secret = Secret(api.client_secret)
    return Client(ApiSettings(api.base_url, api.token_url, api.client_id, secret, **{"rate_per_s": 0, **changes}))  # type: ignore[arg-type]


def settings_of(api: Running) -> Settings:
    return Settings(ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), rate_per_s=10))


def test_missing_force_order_and_the_edge(tmp_path: Path) -> None:
    lake, hours = Lake(str(tmp_path)), timedelta(hours=1)
    with serve(FLEET, clock=lambda: NOW, limits=LIMITS) as api:
        client = client_of(api)
        mine = Window(NOW - 4 * hours, NOW - 1 * hours)
        extract_all(client, lake, [Due("measurements", mine, None)], "20261120T113000Z-test", 1)
        asked = Backfill(NOW - 20 * hours, NOW, ("measurements",))
        plan = plan_backfill(client, lake, asked, settings_of(api), RUN)
        windows = [one.window for one in plan.due]
        assert merge(windows) == (Window(NOW - 20 * hours, mine.start),)
        assert all(one.end - one.start <= MEASUREMENTS.step for one in windows)
        assert windows == sorted(windows)
        assert {one.why for one in plan.due} == {"backfill"}
        assert "smartsensor run" in plan.notes[0]
        assert plan.bytes is not None
        assert plan.bytes > 0
        assert plan.requests == sum(-(-(one.rows or 0) // 1000) + 1 for one in plan.due)
        assert plan.seconds == 0  # the client is not limited here
        forced = plan_backfill(client, lake, replace(asked, force=True, newest_first=True), settings_of(api), RUN)
        windows = [one.window for one in forced.due]
        assert merge(windows) == (Window(NOW - 20 * hours, mine.end),)
        assert windows == sorted(windows, reverse=True)
        extract_all(client, lake, plan.due, RUN, 2)
        ledger = lake.ledger("measurements")
        assert (ledger.origin, ledger.edge) == (mine.start, mine.end)
        assert plan_backfill(client, lake, asked, settings_of(api), RUN).outcome == "nothing_due"
        with pytest.raises(ValueError, match="plants"):
            plan_backfill(client, lake, Backfill(ZERO, NOW, ("plants",)), settings_of(api), RUN)


def test_it_is_cut_to_what_the_api_keeps_and_once_more_when_it_goes_on(tmp_path: Path) -> None:
    lake, now = Lake(str(tmp_path)), [NOW]
    with serve(FLEET, clock=lambda: now[0], limits=LIMITS) as api:
        client = client_of(api)
        asked = Backfill(NOW - timedelta(days=100), NOW - timedelta(days=88), ("measurements",))
        plan = plan_backfill(client, lake, asked, settings_of(api), RUN)
        assert NOW - timedelta(days=90) < plan.due[0].window.start < NOW - timedelta(days=89, hours=22)
        assert "can't be read any more" in plan.notes[0]
        extract_all(client, lake, plan.due[:2], RUN, 1)
        now[0] += timedelta(days=1)  # killed, and nobody looked for a day
        rest = resume_backfill(client, lake, asked, settings_of(api), plan)
        assert rest.due[:2] == plan.due[:2]  # these have landed and are not read again
        assert rest.due[2].window.start > now[0] - timedelta(days=90)
        assert rest.notes
        extract_all(client, lake, rest.due, RUN, 1)
        whole = Backfill(ZERO - timedelta(days=300), ZERO - timedelta(days=299), ("measurements",))
        assert plan_backfill(client, lake, whole, settings_of(api), RUN).outcome == "nothing_due"


@pytest.mark.parametrize("scope", ["telemetry.read", "telemetry.read exports.write"])
def test_the_estimate_knows_what_goes_by_export(scope: str) -> None:
    api = SimpleNamespace(base_url="http://127.0.0.1:1/v1", token_url="x", client_id="x", client_secret="x")
    client = client_of(api, scope=scope)  # type: ignore[arg-type]
    for rows in (None, 0, (MEASUREMENTS.export or 0) - 1, MEASUREMENTS.export, 10**7):
        one = Due("measurements", Window(ZERO, NOW), rows)
        requests, _ = cost(client, [one], {"measurements": MEASUREMENTS})
        pages = max(math.ceil((rows or 0) / client.settings.page_limit), 1)
        exported = EXPORT_REQUESTS + (rows or 0) // EXPORT_FILE_ROWS
        expected = exported if by_export(client, MEASUREMENTS, rows) else pages
        assert requests == expected + (rows is not None)


# As a user takes it


def env_of(api: Running, lake: Path) -> dict[str, str]:
    secret = Secret(api.client_secret)
    credentials = ApiSettings(api.base_url, api.token_url, api.client_id, secret, rate_per_s=0, max_attempts=2)
    values = Settings(credentials, lake=str(lake), expectations=ROOT / "expectations", history=timedelta(hours=6))
    return {**os.environ, **as_env(values)}


def command(api: Running, lake: Path, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "smartsensor.run.cli", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv, cwd=ROOT, env=env_of(api, lake), stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def run(api: Running, lake: Path, *words: str) -> str:
    child = command(api, lake, *words)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err
    return out + err


def kill_when_two_windows_have_landed(child: subprocess.Popen[str], lake: Path) -> None:
    deadline = time.monotonic() + 120
    while len(list(lake.glob(f"raw/measurements/_manifests/*{BACKFILL}*/*.json"))) < 2:
        assert time.monotonic() < deadline
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    for one in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
        one.send_signal(signal.SIGKILL)
    child.communicate()


def read(lake: Path, zone: str) -> pl.DataFrame:
    table = table_of(Lake(str(lake)), "measurements", zone)
    return pl.scan_iceberg(table).collect() if table else pl.DataFrame()


def qualified(lake: Path) -> pl.DataFrame:
    return read(lake, "qualified").sort("measurement_id")


def holds(lake: Path, world: World, since: datetime, until: datetime, as_of: datetime) -> bool:
    "Whether qualified and quarantine hold the truth of a stretch."
    bad = read(lake, "quarantine")
    columns = ["measurement_id", "revision", "updated_at"]
    frames = [qualified(lake).select(columns)]
    frames += [bad.select(columns)] if bad.height else []
    truth = pl.from_arrow(world.truth("measurements", as_of, since, until).select(columns))
    assert isinstance(truth, pl.DataFrame)
    return truth.join(pl.concat(frames), on=columns, how="anti").is_empty()


@pytest.mark.slow
def test_a_backfill_that_is_killed_goes_on_and_leaves_the_edge_alone(tmp_path: Path) -> None:
    world, lake, now = World(FLEET), tmp_path / "lake", [NOW]
    store = Lake(str(lake))
    words = ("--from", "2026-11-18", "--to", "2026-11-20", "--resource", "measurements")
    with serve(world=world, clock=lambda: now[0], limits=LIMITS, latency_s=0.1) as slow:
        run(slow, lake, "run", "--resource", "measurements")
        before = store.ledger("measurements")
        child = command(slow, lake, "backfill", *words, "--threads", "1", "--newest-first")
        kill_when_two_windows_have_landed(child, lake)
    with serve(world=world, clock=lambda: now[0], limits=LIMITS) as api:
        (begun,) = open_backfills(store)
        assert unfinished(store) is None
        now[0] += timedelta(hours=1)
        run(api, lake, "run", "--resource", "measurements")  # an incremental run does its own work meanwhile
        between = store.ledger("measurements")
        assert open_backfills(store) == [begun]
        output = run(api, lake, "backfill")
        assert f"Going on with {begun}" in output
        assert "Predicted and actual" in output
        assert open_backfills(store) == []
        after = store.ledger("measurements")
        assert after.origin == before.origin
        assert (before.edge or NOW) < (between.edge or NOW) == after.edge
        assert after.gaps() == ()
        assert after.covered[0] == Window(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC))
        until = now[0] - timedelta(minutes=1)
        for stretch in after.covered:
            assert holds(lake, world, stretch.start, stretch.end, until)
        record = json.loads((lake / "runs" / begun / "backfill.json").read_text())
        took = json.loads((lake / "runs" / begun / "extract.json").read_text())["totals"][0]
        assert (took["windows"], took["received"]) == (record["predicted"]["windows"], record["predicted"]["rows"])
        assert abs(took["requests"] - record["predicted"]["requests"]) <= 2
        assert "Nothing to read there." in run(api, lake, "backfill", *words)
        rows = qualified(lake)
        run(api, lake, "backfill", *words, "--force")
        assert qualified(lake).equals(rows)
        assert store.ledger("measurements").covered == after.covered
        assert len(list((lake / "raw" / "measurements" / "_manifests").glob(f"*{BACKFILL}*"))) == 2


def test_ids_of_backfills_sort_with_the_others() -> None:
    ids = [new_run_id(NOW), new_run_id(NOW + timedelta(seconds=1), "backfill-"), new_run_id(NOW + timedelta(seconds=2))]
    assert ids == sorted(ids)
    assert [BACKFILL in one for one in ids] == [False, True, False]


@pytest.mark.parametrize(
    ("scope", "widest"), [("telemetry.read exports.write", timedelta(days=7)), ("telemetry.read", MEASUREMENTS.step)]
)
def test_a_backfill_of_days_goes_by_export_where_the_scope_allows_it(
    tmp_path: Path, scope: str, widest: timedelta
) -> None:
    "83,000 rows a day: ten days are one window of seven, and the small ones of what is left over where that is too little for a job."
    with serve(clock=lambda: NOW, limits=LIMITS) as api:
        credentials = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), scope=scope)
        day = NOW.replace(hour=0, minute=0)
        asked = Backfill(day - timedelta(days=10), day - timedelta(days=1), ("measurements",))
        report = plan_backfill(Client(credentials), Lake(str(tmp_path)), asked, Settings(credentials), RUN)
    assert report.ok, report.steps
    assert max(one.window.end - one.window.start for one in report.due) == widest
    assert merge(one.window for one in report.due) == (Window(asked.start, asked.end),)
    assert [by_export(Client(credentials), MEASUREMENTS, one.rows) for one in report.due] == [
        one.window.end - one.window.start == timedelta(days=7) for one in report.due
    ]
