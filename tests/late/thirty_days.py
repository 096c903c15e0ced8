"""A month in which rows are indexed late, on a virtual clock: is the miss that `smartsensor plan` expects at least the real one?

    .venv/bin/python tests/late/thirty_days.py [--days 30] [--calibrate 10] [--every 3]

One lake lives as a lake does: the declared lookback, and closed windows counted again. What it measured in the first days is the prediction.
From then on two more lakes read the same API with nothing but a lookback, the declared one and the recommended one. At the end each is
compared with the ground truth.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.lateness import measure_lateness
from smartsensor.jobs.plan import REOPEN, due_windows
from smartsensor.lake.lake import Lake
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.http import Client
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import MEASUREMENTS

BEGIN = datetime(2026, 10, 20, tzinfo=UTC)
FLEET = Fleet(assets=2, sensors=3, unindexed=0.05)
SETTLING = timedelta(minutes=1)
SETTLED = timedelta(days=2)  # rows younger than that may still turn up: they are not counted as missed
VERSION = ["measurement_id", "updated_at"]


@dataclass
class Life:
    """A lake, and how it is kept."""

    client: Client
    lake: Lake
    resource: Resource
    start: datetime
    reopen: timedelta
    reopened: int = 0
    runs: int = 0

    def run(self, now: datetime) -> None:
        "What check and extract do, without their notebooks."
        due = due_windows(self.client, self.lake, self.resource, now - SETTLING, self.start, reopen=self.reopen)
        extract_all(
            self.client, self.lake, due, f"{now:%Y%m%dT%H%M%SZ}-late", 1, resources={self.resource.name: self.resource}
        )
        self.reopened += sum(one.why == "late" for one in due)
        self.runs += 1

    def missing(self, world: World, now: datetime, settled: timedelta) -> tuple[int, int]:
        "Rows that exist and are not in raw, and how many exist; of those that are old enough."
        truth = world.truth("measurements", now, self.start, now - settled).select(VERSION)
        names = [key for key in self.lake.list("raw/measurements") if key.endswith(".parquet")]
        raw = pa.concat_tables(pq.read_table(self.lake.open(name), columns=VERSION) for name in names)
        return truth.join(raw, keys=VERSION, join_type="left anti").num_rows, truth.num_rows


@dataclass(frozen=True)
class Month:
    """What came of it; rows a day unless it says otherwise."""

    lookbacks: tuple[timedelta, ...]  # declared, recommended
    predicted: tuple[float, ...]  # for each, from the first days
    measured: tuple[float, ...]  # for each, over the days after them
    missing: int  # rows, in the lake that counts its closed windows again
    rows: int  # that exist
    reopened: int  # windows
    runs: int
    requests: int
    counts: int  # requests, of the lake that counts again: beyond those of the others for each run


def client_of(api: Running) -> Client:
    return Client(ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), rate_per_s=0))


def simulate(
    folder: Path, days: int, calibrate: int, every_h: int, settled: timedelta = SETTLED, fleet: Fleet = FLEET
) -> Month:
    "Let the lakes live."
    world, now = World(fleet), [BEGIN]
    with serve(world=world, clock=lambda: now[0], limits=Limits(burst=0, sustained=0, token_lifetime_s=1 << 30)) as api:

        def life(name: str, lookback: timedelta, reopen: timedelta) -> Life:
            resource = replace(MEASUREMENTS, lookback=lookback)
            return Life(client_of(api), Lake(str(folder / name)), resource, now[0] - SETTLING, reopen)

        lives = [life("whole", MEASUREMENTS.lookback, REOPEN)]
        _live(now, lives, BEGIN + timedelta(days=calibrate), timedelta(hours=every_h))
        known = measure_lateness(lives[0].lake, lives[0].resource)
        assert known is not None
        lookbacks = (known.lookback, known.recommended)
        predicted = tuple(most for one in lookbacks if (most := known.missed(one)) is not None)
        assert len(predicted) == len(lookbacks), "too few rows to predict from"
        lives += [life(f"lookback-{n}", lookback, timedelta(0)) for n, lookback in enumerate(lookbacks)]
        _live(now, lives, BEGIN + timedelta(days=days), timedelta(hours=every_h))
    span = (now[0] - settled - lives[1].start) / timedelta(days=1)
    missing, rows = lives[0].missing(world, now[0], settled)
    sent = [one.client.log.requests for one in lives]
    return Month(
        lookbacks, predicted, tuple(one.missing(world, now[0], settled)[0] / span for one in lives[1:]),
        missing, rows, lives[0].reopened, lives[0].runs, sum(sent), sent[0] - sent[1] * lives[0].runs // lives[1].runs,
    )  # fmt: skip


def _live(now: list[datetime], lives: list[Life], until: datetime, every: timedelta) -> None:
    while now[0] < until:
        now[0] += every
        for one in lives:
            one.run(now[0])


def line(month: Month, days: int, every_h: int, seconds: float) -> str:
    "The figures on one line."

    def each(n: int) -> str:
        minutes = month.lookbacks[n] / timedelta(minutes=1)
        return f"{minutes:g} min: at most {month.predicted[n]:.1f} a day predicted, {month.measured[n]:.1f} measured"

    return (
        f"{days} days, a run every {every_h} h, {FLEET.unindexed:.0%} of rows indexed late: missed by a lookback of {each(0)}; of {each(1)}; "
        f"with closed windows counted again {month.missing} of {month.rows:,} rows missing ({month.reopened} windows reopened in {month.runs} runs, "
        f"{month.counts / month.runs:.1f} more requests a run); {seconds:.0f} s"
    )


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--days", type=int, default=30)
    p.add_argument("--calibrate", type=int, default=10)
    p.add_argument("--every", type=int, default=3, help="hours between two runs")
    a = p.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        month = simulate(Path(folder), a.days, a.calibrate, a.every)
    print(line(month, a.days, a.every, time.monotonic() - began))
    assert all(real <= most for real, most in zip(month.measured, month.predicted, strict=True)), month
    assert month.missing == 0, month


if __name__ == "__main__":
    main()
