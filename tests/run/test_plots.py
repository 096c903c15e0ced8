"""Pictures of resources that are not ours: another name, an incremental field only, no instant at all, rows that are few."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest
from smartsensor.run.plots import PANELS, plot_landed, rows_by_hour
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.source.http import Client
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import RESOURCES
from smartsensor.windows import EPOCH, Window

DAY = Window(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))
READINGS = replace(RESOURCES["measurements"], name="readings")
STAMPED = replace(RESOURCES["measurements"], name="stamped", event_field=None)
KINDS = replace(RESOURCES["measurement-types"], name="kinds")  # no column of it is an instant
SITES = replace(RESOURCES["plants"], name="sites")


@pytest.fixture(scope="module")
def api() -> Iterator[Running]:
    with serve(Fleet(assets=2, sensors=2), clock=lambda: DAY.end + timedelta(hours=1)) as running:
        yield running


def landed(api: Running, lake: Lake, resources: dict[str, Resource]) -> list[Manifest]:
    client = Client(ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), rate_per_s=0))
    due = [
        Due(name, DAY if one.mode == "incremental" else Window(EPOCH, DAY.end), None) for name, one in resources.items()
    ]
    return list(extract_all(client, lake, due, "20261121T010000Z-test", 1, resources=resources).manifests)


def named(*resources: Resource) -> dict[str, Resource]:
    return {resource.name: resource for resource in resources}


def test_resources_of_somebody_else_are_plotted_by_what_they_declare(api: Running, tmp_path: Path) -> None:
    lake, resources = Lake(str(tmp_path)), named(READINGS, STAMPED, KINDS, SITES)
    manifests = landed(api, lake, resources)
    figure = plot_landed(lake, manifests, resources)
    titles = sorted(axes.get_title() for axes in figure.axes)
    rows = {one.resource: one.received for one in manifests}
    assert titles == [
        f"readings: {rows['readings']:,} rows, by the hour of measured_at (UTC)",
        f"stamped: {rows['stamped']:,} rows, by the hour of updated_at (UTC)",
    ]
    hours = rows_by_hour(lake, STAMPED, manifests)
    assert sum(hours.values()) == rows["stamped"] > 100
    assert all(DAY.start <= hour < DAY.end for hour in hours)


def test_where_no_resource_has_an_instant_a_sentence_stands_in_the_picture(api: Running, tmp_path: Path) -> None:
    lake, resources = Lake(str(tmp_path)), named(KINDS, SITES)
    (axes,) = plot_landed(lake, landed(api, lake, resources), resources).axes
    assert [text.get_text() for text in axes.texts] == [
        "Nothing to plot: no row with an event time or an incremental field landed."
    ]


def test_a_resource_that_is_not_declared_is_named_with_what_to_do(api: Running, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with pytest.raises(
        ValueError, match="rows of readings landed, but resources does not declare them: pass resources="
    ):
        plot_landed(lake, landed(api, lake, named(READINGS)))


def test_few_rows_have_whole_ticks(api: Running, tmp_path: Path) -> None:
    alarms = replace(RESOURCES["events"], name="alarms")
    lake = Lake(str(tmp_path))
    manifests = landed(api, lake, named(alarms))
    assert 0 < max(rows_by_hour(lake, alarms, manifests).values()) < 4
    (axes,) = plot_landed(lake, manifests, named(alarms)).axes
    ticks = list(axes.get_yticks())
    assert ticks == [round(tick) for tick in ticks]


def test_of_many_resources_the_fullest_are_shown_and_the_others_counted(api: Running, tmp_path: Path) -> None:
    many = named(*(replace(STAMPED, name=f"stamped-{n}") for n in range(PANELS + 2)))
    lake = Lake(str(tmp_path))
    figure = plot_landed(lake, landed(api, lake, many), many)
    assert len(figure.axes) == PANELS
    assert figure.get_supxlabel() == "2 more resources with fewer rows are not shown"
