"""Clocks that are wrong: set back, jumping, with leap seconds. Nothing between the first and the latest bound is skipped."""

import tempfile
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lateness import settings_of

from smartsensor.jobs.check import check, readable_until
from smartsensor.jobs.extraction import extract_all
from smartsensor.lake.lake import Lake
from smartsensor.lake.ledger import Evidence, plan_windows
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.decode import decode
from smartsensor.source.errors import ContractError
from smartsensor.source.http import Client, Reply, retry_after_s
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

START = datetime(2026, 11, 20, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-300, 3000), min_size=1, max_size=8), st.integers(0, 120))
def test_a_servers_clock_that_jumps_leaves_no_gap_and_takes_nothing_back(minutes: list[int], lookback: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake, latest = Lake(folder), START
        for number, minute in enumerate(minutes):
            until = START + timedelta(minutes=minute)
            windows = plan_windows(lake.ledger("x"), until, START, timedelta(minutes=lookback), timedelta(hours=6))
            assert all(window.end <= until for window in windows)
            run = f"20261120T12{number:02}00Z-clok"
            read = [Evidence(one, run, f"{run}/{one.key}", 1, 1, 1, None, None, "0" * 64, 1) for one in windows]
            if read:
                lake.close("x", run, read)
            latest = max(latest, until)
            assert lake.ledger("x").covered == ((Window(START, latest),) if latest > START else ())


@pytest.mark.parametrize("ours", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=-400)])
def test_a_wait_until_a_date_follows_the_servers_clock_and_not_ours(ours: timedelta) -> None:
    headers = {"Date": "Fri, 20 Nov 2026 12:00:00 GMT", "Retry-After": "Fri, 20 Nov 2026 12:00:07 GMT"}
    assert retry_after_s(headers, datetime(2026, 11, 20, 12, tzinfo=UTC) + ours) == 7.0


@pytest.mark.parametrize("date", ["Fri, 20 Nov 2026 23:59:60 GMT", "never", "Fri, 99 Nov 2026 12:00:00 GMT", ""])
def test_a_date_that_is_no_instant_is_an_error_of_the_tree_and_no_wait(date: str) -> None:
    assert retry_after_s({"Retry-After": date}, START) == 0.0
    with pytest.raises(ContractError, match="the server's clock is unknown"):
        Reply(200, {"Date": date}, b"", 0.1, 1, None).date()


def test_a_leap_second_in_a_row_is_kept_as_it_came() -> None:
    found = decode(b'{"data":[{"measurement_id":"m","measured_at":"2026-11-20T23:59:60Z"}]}', MEASUREMENTS.schema)
    (row,) = found.batch.to_pylist()
    assert (row["measurement_id"], row["measured_at"]) == ("m", None)
    assert "2026-11-20T23:59:60Z" in row["_extra"]


@pytest.mark.parametrize(("ahead_min", "until_min"), [(-60, -60), (0, 0), (4, 4), (60, 0), (60 * 24 * 30, 0)])
def test_a_server_whose_clock_runs_ahead_closes_no_window_over_the_future(ahead_min: int, until_min: int) -> None:
    settling = timedelta(minutes=1)
    until, notes = readable_until(START + timedelta(minutes=ahead_min), START, settling)
    assert until == START + timedelta(minutes=until_min) - settling
    assert len(notes) == (until_min != ahead_min)


def test_what_is_written_while_the_servers_clock_is_an_hour_ahead_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    "The first run meets a server that is an hour ahead, the second one that is right again."
    ours, servers = [START + timedelta(hours=12)], [START + timedelta(hours=13)]

    class OurClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(ours[0].timestamp(), tz)

    monkeypatch.setattr("smartsensor.jobs.check.datetime", OurClock)
    lake, resources = Lake(str(tmp_path)), [MEASUREMENTS]
    world = World(Fleet(plants=1, assets=1, sensors=1))
    with serve(world=world, clock=lambda: servers[0], limits=Limits(burst=0, sustained=0)) as api:
        settings, client = settings_of(api, str(tmp_path)), Client(settings_of(api).api)
        for run, until in (("20261120T120000Z-aaaa", 12), ("20261120T130000Z-bbbb", 13)):
            report = check(client, lake, resources, settings, run, START)
            assert report.ok, report.steps
            assert report.until == START + timedelta(hours=until) - settings.settling
            assert ("60 min ahead" in " ".join(report.notes)) == (until == 12)
            extract_all(client, lake, report.due, run, 1)
            ours[0] = servers[0]
        assert lake.ledger("measurements").covered == (Window(START, report.until),)
