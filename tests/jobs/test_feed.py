"""Feeds over real HTTP: ids that grow, and a change token that is kept from run to run."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rounds import write_suites
from test_bad_manners import served

from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import due_windows
from smartsensor.jobs.promote import promote
from smartsensor.jobs.reading import read
from smartsensor.lake.lake import Lake
from smartsensor.quality.gate import Gate
from smartsensor.source.http import Client
from smartsensor.source.paging import CursorPaging, KeysetPaging, NextUrlPaging
from smartsensor.source.resources import REAL, WHOLE, Resource, columns

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALARMS = Resource(
    "alarms", "/alarms", ("id",), columns(id=WHOLE, value=(REAL,)), "feed", version=(),
    paging=KeysetPaging("since_id", "id", short_page_ends=True),
)  # fmt: skip
CHANGES = replace(ALARMS, paging=CursorPaging(next_cursor="token", has_more="more", cursor_param="token"))


class Api:
    "Rows 1 to `newest`; `failing` answers 400 from the second page on."

    def __init__(self, newest: int) -> None:
        self.newest, self.failing, self.asked = newest, False, list[dict[str, str]]()

    def __call__(self, path: str, query: dict[str, str]) -> Any:
        after, limit = int(query.get("since_id", query.get("token", "0"))), int(query["limit"])
        self.asked.append(query)
        found = range(after + 1, min(after + limit, self.newest) + 1)
        last = found[-1] if found else after
        rows: list[Any] = [{"id": n, "value": n / 2} for n in found]
        if self.failing and after:
            rows = ["broken"]
        return {"data": rows, "token": str(last), "more": last < self.newest}


def run(client: Client, lake: Lake, resource: Resource, number: int) -> list[int]:
    "One run: plan, land, close. The ids that it landed."
    name = f"20261120T12000{number}Z-feed"
    due = due_windows(client, lake, resource, NOON + timedelta(hours=number), NOON - timedelta(days=1))
    manifests = extract_all(client, lake, due, name, 2, resources={"alarms": resource}).manifests
    tables = [pq.read_table(lake.open(part.key)) for one in manifests for part in one.parts]
    return [one for table in tables for one in table.column("id").to_pylist()]


@pytest.mark.parametrize("resource", [ALARMS, CHANGES], ids=["ids that grow", "a change token"])
def test_each_run_goes_on_from_the_place_of_the_last(tmp_path: Path, resource: Resource) -> None:
    api, lake = Api(250), Lake(str(tmp_path))
    with served(api) as client:
        assert run(client, lake, resource, 0) == list(range(1, 251))
        api.newest = 260
        assert run(client, lake, resource, 1) == list(range(251, 261))
        assert run(client, lake, resource, 2) == [], "a run without news keeps its place"
        api.newest, before = 263, len(api.asked)
        assert run(client, lake, resource, 3) == [261, 262, 263]
        assert len(api.asked) == before + 1, "it does not begin anew"
    assert lake.ledger("alarms").gaps() == ()


@pytest.mark.parametrize("resource", [ALARMS, CHANGES], ids=["ids that grow", "a change token"])
def test_a_run_that_failed_loses_nothing(tmp_path: Path, resource: Resource) -> None:
    api, lake = Api(250), Lake(str(tmp_path))
    with served(api) as client:
        api.failing = True
        with pytest.raises(Exception, match="list of objects"):
            run(client, lake, resource, 0)
        api.failing = False
        assert run(client, lake, resource, 1) == list(range(1, 251))


def test_a_style_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="a feed goes on from a cursor or from a key"):
        replace(ALARMS, paging=NextUrlPaging())


def test_a_feed_is_promoted_run_by_run(tmp_path: Path) -> None:
    api, lake = Api(120), Lake(str(tmp_path / "lake"))
    write_suites(tmp_path / "suites", ALARMS)
    with served(api) as client:
        for number, newest in enumerate((120, 133)):
            api.newest = newest
            run(client, lake, ALARMS, number)
            name = f"20261120T12000{number}Z-feed"
            with lake.scratch() as folder, closing(DuckDB(folder)) as engine:
                done = promote(lake, ALARMS, engine, Gate(tmp_path / "suites", name), name)
            assert done.outcome == "published"
            assert done.new == (120, 13)[number]
    assert sorted(read(ALARMS, lake=lake).arrow().column("id").to_pylist()) == list(range(1, 134))
