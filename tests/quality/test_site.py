"""The index of the quality site: it is never green over a run that failed, was held, was killed or never came."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from smartsensor.quality.site import RunState, refresh_site, run_states, usual_interval_s

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Store(dict[str, bytes]):
    "A lake in memory."

    def put(self, key: str, data: bytes) -> None:
        self[key] = data

    def read(self, key: str) -> bytes:
        return self[key]

    def list(self, prefix: str) -> list[str]:
        return sorted(key for key in self if key.startswith(f"{prefix}/"))

    def exists(self, key: str) -> bool:
        return key in self

    def delete(self, key: str) -> None:
        self.pop(key, None)


def run(store: Store, at: datetime, **result: object) -> str:
    "A run that began at an instant; without a result it was killed."
    name = f"{at:%Y%m%dT%H%M%SZ}-aaaa"
    store[f"runs/{name}/run.json"] = b"{}"
    if result:
        store[f"runs/{name}/result.json"] = json.dumps({"code": 0, "message": "", **result}).encode()
    return name


def index(store: Store, now: datetime = NOON, complete: datetime | None = NOON - timedelta(hours=3)) -> str:
    refresh_site(store, {"measurements": complete, "events": None}, now)
    return store["quality/index.html"].decode()


def shows_missing(page: str) -> bool:
    return "hidden" not in page.split('id="missing"')[1].split(">")[0]


def test_a_run_that_failed_stands_first_with_its_code_and_message() -> None:
    store = Store()
    run(store, NOON - timedelta(hours=2), outcome="published")
    failed = run(store, NOON - timedelta(hours=1), outcome="failed", code=3, message="check: no reply\nlong text")
    page = index(store)
    assert "last run: failed" in page
    assert f"Run {failed}: failed, exit code 3." in page
    assert "check: no reply" in page
    assert "long text" not in page
    assert page.index(failed) < page.index("published")


def test_a_run_that_the_gate_held_and_one_that_was_killed_are_named_as_such() -> None:
    store = Store()
    run(store, NOON - timedelta(hours=2), outcome="failed", code=6, message="held")
    run(store, NOON - timedelta(hours=1))
    assert [state.status for state in run_states(store, 10)] == ["not ended", "held"]
    assert "last run: not ended" in index(store)


def test_after_a_good_run_nothing_is_red() -> None:
    store = Store()
    run(store, NOON - timedelta(hours=1), outcome="nothing_due")
    page = index(store)
    assert "last run: nothing due" in page
    assert 'class="card alert"><b>Run' not in page
    assert not shows_missing(page)


def test_the_age_of_the_data_stands_beside_the_instant_that_it_is_counted_from() -> None:
    page = index(Store())
    assert re.findall(r'data-at="([^"]*)">([^<]+)<', page) == [
        ("2026-11-20T09:00:00+00:00", "3 h"),
        ("", "nothing yet"),
    ]


def test_a_run_that_did_not_come_is_missed_after_twice_the_usual_time() -> None:
    store = Store()
    for hours in (5, 4, 3, 2):
        run(store, NOON - timedelta(hours=hours), outcome="published")
    assert not shows_missing(index(store, NOON - timedelta(minutes=1)))
    assert shows_missing(index(store, NOON + timedelta(minutes=1)))


def test_no_habit_is_read_from_few_runs_or_from_backfills() -> None:
    hourly = [RunState(f"20261120T{hour:02d}0000Z-aaaa", "published") for hour in (9, 8, 7, 6)]
    assert usual_interval_s(hourly) == 3600
    assert usual_interval_s(hourly[:3]) is None
    backfills = [RunState(f"20261120T0900{second:02d}Z-backfill-aaaa", "published") for second in range(9)]
    assert usual_interval_s([*backfills, *hourly[:2]]) is None


def test_what_ended_a_run_is_text_and_no_markup() -> None:
    store = Store()
    run(store, NOON, outcome="failed", code=5, message='<script>alert("x")</script>')
    page = index(store)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_run_whose_name_has_no_time_is_listed_too() -> None:
    store = Store()
    store["runs/by-hand/run.json"] = b"{}"
    assert "by-hand" in index(store)


@pytest.mark.parametrize(
    "damaged", [b"", b"{}", b"[]", b"\xff", b'{"code": null, "outcome": "published", "message": ""}']
)
def test_a_damaged_result_is_shown_and_breaks_nothing(damaged: bytes) -> None:
    store = Store()
    store["runs/20261120T110000Z-aaaa/result.json"] = damaged
    assert "last run: unreadable" in index(store)
