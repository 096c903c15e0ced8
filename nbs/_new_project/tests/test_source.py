"""The declared source against the fake API, its suites, and a whole run: `make test`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from fake_api import STATIONS, readings, serve
from nbclient import NotebookClient

import smartsensor
from smartsensor import Window, connect, load_settings
from smartsensor.quality.suites import read_suite
from smartsensor.source.sources import load_source

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "nbs" / "source.ipynb"
SOURCE = load_source(str(NOTEBOOK))


@pytest.fixture(scope="module")
def api() -> Iterator[dict[str, str]]:
    "The variables of the fake API, which answers meanwhile; none of the shell's."
    with serve() as variables:
        others = {name: value for name, value in os.environ.items() if not name.startswith("SMARTSENSOR_")}
        yield others | variables | {"SMARTSENSOR_SOURCE": str(NOTEBOOK)}


def test_every_page_of_a_window_is_read(api: dict[str, str]) -> None:
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    window = Window(end - timedelta(days=2), end)
    client, resource = connect(load_settings(api), SOURCE), SOURCE.resources["readings"]
    rows = [row for page in client.pages(resource, window) for row in page.batch.to_pylist()]
    truth = readings(window.start, window.end)
    assert len(truth) > 2 * 24 * 6
    assert [row["reading_id"] for row in rows] == [row["id"] for row in truth]
    assert [row["measured_at"].timestamp() * 1000 for row in rows] == [row["ts"] for row in truth]
    assert not any(row["_extra"] for row in rows)  # each field that the API sends is declared
    assert client.count(resource, window) == len(truth)


@pytest.mark.parametrize("name", SOURCE.resources)
@pytest.mark.parametrize("zone", ["raw", "qualified"])
def test_every_resource_has_its_suites(name: str, zone: str) -> None:
    suite = read_suite(ROOT / "expectations" / f"{name}.{zone}.json")
    judged = {entry.kwargs["column"] for entry in suite.entries if "column" in entry.kwargs}
    assert judged <= {*SOURCE.resources[name].schema.names, "_extra"}


def test_a_run_publishes_what_the_api_has(api: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "smartsensor.run.cli", "run", "--days", "1", "--lake", str(tmp_path / "lake")]
    ended = subprocess.run(command, cwd=ROOT, env=api, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    published = smartsensor.read("readings", lake=str(tmp_path / "lake")).arrow().to_pylist()
    times = [row["measured_at"] for row in published]
    truth = readings(min(times), max(times) + timedelta(seconds=1))
    assert max(times) - min(times) > timedelta(hours=23)
    assert {(row["reading_id"], row["temperature"]) for row in published} == {
        (row["id"], row["temperature"]) for row in truth
    }
    assert smartsensor.read("stations", lake=str(tmp_path / "lake")).arrow().num_rows == len(STATIONS)


def test_the_notebook_runs_from_top_to_bottom(api: dict[str, str]) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}}).execute(env=api)
