"""Devices that appear, and that are taken away: what one run lists is compared with the run before."""

from datetime import timedelta
from pathlib import Path

import pytest
from rounds import Pipeline, run_id, write_suites
from server import Request, epoch_ms
from sources import CASES, Case
from thingsboard_like import ThingsboardLike, device_id


class ChangingFleet(ThingsboardLike):
    """Devices 1 to 4 have rows from the first day on; which of them are listed is up to the test."""

    shown = (1, 2, 3)

    def devices(self, at: object) -> list[int]:
        return [1, 2, 3, 4]

    def device_page(self, request: Request) -> dict[str, object]:
        items = [{"id": {"id": device_id(number)}, "createdTime": epoch_ms(self.start)} for number in self.shown]
        return {"data": items, "hasNext": False}


def one_run(pipeline: Pipeline, number: int) -> tuple[str, ...]:
    """Plan, extract and promote; the notes of the extraction."""
    pipeline.plan(run_id(number))
    notes = pipeline.extract(run_id(number)).notes
    pipeline.promote(run_id(number))
    return notes


def devices(pipeline: Pipeline) -> set[str]:
    return {one["device_id"] for one in pipeline.rows(["device_id"])}


@pytest.fixture
def case() -> Case:
    known = CASES["thingsboard"]
    return Case(ChangingFleet, known.source, known.client_id, known.secret)


def test_the_past_of_a_device_that_appears_is_read_once(case: Case, tmp_path: Path) -> None:
    with ChangingFleet() as api:
        pipeline = Pipeline(case, api, tmp_path)
        write_suites(pipeline.settings.expectations, pipeline.resource)
        assert one_run(pipeline, 1) == ()
        assert device_id(4) not in devices(pipeline)
        api.shown = (1, 2, 3, 4)
        api.advance()
        (note,) = one_run(pipeline, 2)
        assert note.startswith(
            f"telemetry: new device_id: {device_id(4)}; 2 closed windows, since 2026-03-01T00:00:00Z"
        )
        assert pipeline.difference() == ""
        api.advance()
        requests = len(api.log)
        assert one_run(pipeline, 3) == ()
        assert all(
            int(one.query["startTs"][0]) > epoch_ms(api.start) for one in api.log[requests:] if "startTs" in one.query
        )
        assert pipeline.difference() == ""


def test_late_rows_of_a_device_that_is_listed_no_more_are_found(case: Case, tmp_path: Path) -> None:
    with ChangingFleet() as api:
        api.shown = (1, 2, 3, 4)
        pipeline = Pipeline(case, api, tmp_path)
        write_suites(pipeline.settings.expectations, pipeline.resource)
        one_run(pipeline, 1)
        api.shown = (1, 2, 3)
        api.advance()
        (note,) = one_run(pipeline, 2)
        assert f"device_id not listed any more: {device_id(4)}" in note
        assert pipeline.difference() == ""
        api.advance(timedelta(days=2))
        requests = len(api.log)
        assert one_run(pipeline, 3) == ()
        windows = [one.query for one in api.log[requests:] if device_id(4) in one.path]
        assert windows  # of the window that begins before it was missed, and of no other
        last = epoch_ms(api.start + timedelta(days=4) - pipeline.resource.lookback)
        assert all(int(query["endTs"][0]) <= last for query in windows)
