"""What may be resumed, and by whom: the cases of the table in nbs/run/093_pipeline.ipynb, with the real commands."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartsensor.config import ApiSettings, Secret, Settings
from smartsensor.lake.lake import Lake
from smartsensor.run.pipeline import RunRequest, interrupted, source_of, unfinished

SETTINGS = Settings(ApiSettings("http://127.0.0.1:8001/v1", "http://127.0.0.1:8001/t", "id", Secret("secret")))
RUN = "20261120T120000Z-7f3a"


def left_behind(lake: Lake, asked: RunRequest | None, outcome: str | None, ended: bool = False) -> None:
    if asked:
        lake.put(f"runs/{RUN}/run.json", json.dumps(asked.__dict__).encode())
    if outcome:
        lake.put(f"runs/{RUN}/check.json", json.dumps({"outcome": outcome}).encode())
    if ended:
        lake.put(f"runs/{RUN}/result.json", b"{}")


ALL = RunRequest.of(SETTINGS, (), None)


@pytest.mark.parametrize(
    ("recorded", "outcome", "ended", "goes_on"),
    [
        (ALL, "ready", False, True),
        (ALL, "nothing_due", False, True),
        (ALL, "unreachable", False, False),  # its check failed
        (ALL, None, False, False),  # killed before its plan
        (ALL, "ready", True, False),
        (None, "ready", False, False),  # a check by hand, a job of AWS Glue, a run of before run.json
        (RunRequest.of(SETTINGS, ("plants",), None), "ready", False, False),  # covers less
        (RunRequest.of(SETTINGS, (), datetime(2026, 11, 1, tzinfo=UTC)), "ready", False, False),
        (RunRequest.of(replace(SETTINGS, history=timedelta(days=9)), (), None), "ready", False, False),
        (replace(ALL, source="https://api.example.com/v1"), "ready", False, False),
    ],
)
def test_only_a_run_that_was_asked_for_the_same_goes_on(
    tmp_path: Path, recorded: RunRequest | None, outcome: str | None, ended: bool, goes_on: bool
) -> None:
    lake = Lake(str(tmp_path))
    left_behind(lake, recorded, outcome, ended)
    assert unfinished(lake, ALL) == (RUN if goes_on else None)
    assert interrupted(lake) == ([RUN] if recorded and not ended else [])


def test_the_port_of_a_simulator_does_not_name_a_source() -> None:
    other = replace(SETTINGS, api=replace(SETTINGS.api, base_url="http://127.0.0.1:9009/v1"))
    assert source_of(SETTINGS) == source_of(other) == "http://127.0.0.1/v1"
    far = replace(SETTINGS, api=replace(SETTINGS.api, base_url="https://api.example.com:8443/v1/"))
    assert source_of(far) == "https://api.example.com:8443/v1"
