"""Clocks that are wrong: set back, jumping, with leap seconds. Nothing between the first and the latest bound is skipped."""

import tempfile
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartsensor.lake.lake import Lake
from smartsensor.lake.ledger import Evidence, plan_windows
from smartsensor.source.decode import decode
from smartsensor.source.errors import ContractError
from smartsensor.source.http import Reply, retry_after_s
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
