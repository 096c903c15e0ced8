"""The whole way, as a user takes it: `smartsensor run` against the simulator, once, again, and after a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psutil
import pytest
from table_reader import rows_of, table_of
from typer.testing import CliRunner

from smartsensor.config import ApiSettings, Secret, Settings, as_env
from smartsensor.lake.lake import Lake
from smartsensor.run.cli import app
from smartsensor.run.pipeline import unfinished
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.smartsensor_api import RESOURCES

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
FLEET = Fleet(assets=4, sensors=6)
UNLIMITED = Limits(burst=0, sustained=0)


@pytest.fixture(scope="module")
def world() -> World:
    return World(FLEET)


def env_of(api: Running, lake: Path, **changes: object) -> dict[str, str]:
    credentials = ApiSettings(
        api.base_url, api.token_url, api.client_id, Secret(api.client_secret), rate_per_s=0, max_attempts=2
    )
    settings = Settings(credentials, lake=str(lake), expectations=ROOT / "expectations", history=timedelta(days=1))
    return {**os.environ, **as_env(settings)}


def started(api: Running, lake: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "smartsensor.run.cli", *(words or ("run",))]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=env_of(api, lake),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(api: Running, lake: Path, *words: str) -> tuple[int, str, str]:
    child = started(api, lake, *words)
    out, err = child.communicate(timeout=300)
    return child.returncode, out, err


def result(lake: Path) -> dict[str, object]:
    newest = max(path.name for path in (lake / "runs").iterdir())
    return json.loads((lake / "runs" / newest / "result.json").read_text())


def read(lake: Path, resource: str, zone: str = "qualified") -> pl.DataFrame:
    "A table, by Polars."
    table = table_of(Lake(str(lake)), resource, zone)
    assert table is not None
    return pl.scan_iceberg(table).collect()


def same_as_truth(lake: Path, world: World, now: datetime) -> int:
    "Compare qualified, read by Polars, with the ground truth: keys once, latest revisions, values; the rest stands in quarantine."
    until = now - timedelta(seconds=60)
    good, bad = (read(lake, "measurements", zone) for zone in ("qualified", "quarantine"))
    since = (NOW - timedelta(seconds=60) - timedelta(days=1)).replace(minute=0, second=0)
    truth = pl.from_arrow(world.truth("measurements", until, since, until))
    assert isinstance(truth, pl.DataFrame)
    assert good["measurement_id"].is_unique().all()
    columns = ["measurement_id", "revision", "value", "quality_flag", "measured_at", "updated_at"]
    both = pl.concat([good.select(columns), bad.select(columns)]).unique().sort("measurement_id", "revision")
    latest = both.group_by("measurement_id", maintain_order=True).last().select(columns)
    assert latest.equals(truth.select(columns).sort("measurement_id"))
    assert 0 < bad.height < good.height / 100
    return good.height


def draws_the_picture_of_the_readme(lake: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    at_that_time = code[1].replace("now()", f"TIMESTAMPTZ '{NOW.isoformat()}'")
    subprocess.run(
        [sys.executable, "-c", at_that_time], cwd=lake.parent, env={**os.environ, "MPLBACKEND": "agg"}, check=True
    )
    assert (lake.parent / "vibration.png").stat().st_size > 10_000


def test_a_first_and_a_second_run_hold_the_truth(world: World, tmp_path: Path) -> None:
    lake, now = tmp_path / "lake", [NOW]
    with serve(world=world, clock=lambda: now[0], limits=UNLIMITED) as api:
        code, out, err = run(api, lake)
        assert code == 0, out + err
        assert "First run" in out
        assert f"file://{lake}/quality/index.html" in out
        first = result(lake)
        assert {row["resource"] for row in first["resources"]} == set(RESOURCES)
        for row in first["resources"]:
            assert (
                row["declared"]
                == row["received"]
                == row["raw"]
                == row["new"] + row["updated"] + row["already"] + row["quarantined"]
            )
            assert 0 < row["passed"] <= row["expectations"]
        rows = same_as_truth(lake, world, NOW)
        now[0] = NOW + timedelta(hours=2)
        code, out, err = run(api, lake)
        assert code == 0, out + err
        assert "Incremental run" in out
        second = {row["resource"]: row for row in result(lake)["resources"]}["measurements"]
        assert 0 < second["new"] < rows / 5
        assert second["already"] > 0
        assert same_as_truth(lake, world, now[0]) == rows + second["new"]
    draws_the_picture_of_the_readme(lake)
    folder = lake / "runs" / str(first["run"])
    for job in ("check", "extract", "promote"):
        page = (folder / f"{job}.html").read_text()
        assert not re.search(r"""(src|href)=["']?https?://""", page)
        assert api.client_secret not in page + (folder / f"{job}.ipynb").read_text()


def test_a_killed_run_goes_on_under_its_own_name(world: World, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, latency_s=0.05) as api:
        child = started(api, lake)
        deadline = time.monotonic() + 120
        while not list(lake.glob("raw/measurements/_manifests/*/*.json")):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
        family = [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]
        for one in family:  # the kernel first: it stands in a session of its own, and would finish its work
            one.send_signal(signal.SIGKILL)
        child.communicate()
        killed = unfinished(Lake(str(lake)))
        assert killed is not None
        code, out, err = run(api, lake)
        assert code == 0, out + err
        assert f"Run {killed} was interrupted" in out
        assert result(lake)["run"] == killed
        assert len(list((lake / "runs").iterdir())) == 1
        same_as_truth(lake, world, NOW)


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (Fault("invalid_client", times=0), 4, "authenticated"),
        (Fault("status", "/health", times=0, value=503), 3, "reachable"),
        (Fault("error_in_200", "/plants", times=0), 5, "schema"),
        (Fault("lying_count", "/plants/count", times=0, value=3), 6, "row"),
    ],
)
def test_each_end_has_its_exit_code_and_says_why(
    world: World, tmp_path: Path, fault: Fault, code: int, says: str
) -> None:
    lake = tmp_path / "lake"
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=FaultPlan((fault,))) as api:
        got, out, err = run(api, lake, "run", "--resource", "plants")
        assert got == code, out + err
        assert says in err
        assert f"Exit code {code}" in err
        assert api.client_secret not in out + err
        assert rows_of(Lake(str(lake)), "plants") == []
        assert result(lake)["code"] == code
    if code == 6:
        assert "plants" in err
        assert "quality/" in err
        with serve(
            world=world, clock=lambda: NOW + timedelta(minutes=5), limits=UNLIMITED
        ) as api:  # the source has mended its count
            got, out, err = run(api, lake, "run", "--resource", "plants")
            assert got == 0, out + err


def test_a_renamed_field_holds_and_the_terminal_says_which_and_what_to_do(world: World, tmp_path: Path) -> None:
    lake, renamed = tmp_path / "lake", FaultPlan((Fault("renamed_field", times=0, value={"value": "reading"}),))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=renamed) as api:
        code, out, err = run(api, lake, "run", "--resource", "measurements", "--resource", "plants")
    assert code == 6, out + err
    for message in (
        "measurements.raw",
        "field value is on each page",
        "unknown field that may be its new name: reading",
        "optional",
    ):
        assert message in err, err
    messages = re.search(r"smartsensor (backfill --force --from \S+ --to \S+ --resource measurements)", err)
    assert messages is not None, err
    lines = [line for line in out.splitlines() if line.startswith(("held ", "warning "))]
    assert any("measurements.raw" in line and "value" in line and line.startswith("held") for line in lines), out
    assert any("_extra is null" in line and line.startswith("warning") for line in lines), out
    assert rows_of(Lake(str(lake)), "measurements") == []
    assert rows_of(Lake(str(lake)), "plants"), "one that is held keeps no other back"
    with serve(world=world, clock=lambda: NOW + timedelta(minutes=5), limits=UNLIMITED) as api:
        code, out, err = run(api, lake, "run", "--resource", "measurements")
        assert code == 6, "what is held stays held until it is read again: " + out + err
        code, out, err = run(api, lake, *messages[1].split(), "--yes")
        assert code == 0, out + err
    values = read(lake, "measurements")
    assert values["value"].null_count() < values.height / 5


def test_suites_are_looked_at_first_where_the_environment_says(world: World, tmp_path: Path) -> None:
    suites, lake = tmp_path / "suites", tmp_path / "lake"
    shutil.copytree(ROOT / "expectations", suites)
    (suites / "plants.qualified.json").write_text("{")
    (suites / "events.raw.json").unlink()
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED) as api:
        env = env_of(api, lake) | {"SMARTSENSOR_EXPECTATIONS": str(suites)}
        command = [sys.executable, "-m", "smartsensor.run.cli", "run", "--resource", "plants", "--resource", "events"]
        ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    for message in ("plants.qualified.json", "events.raw.json", str(suites)):
        assert message in ended.stderr
    assert not (lake / "raw").exists(), "nothing is extracted"


def test_usage_and_configuration_end_with_2(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SMARTSENSOR_")}
    for words, says in (
        (("run",), "SMARTSENSOR_API_URL"),
        (("run", "--resource", "x", "--simulate"), "no such resource"),
        (("run", "--nonsense"), "nonsense"),
    ):
        command = [sys.executable, "-m", "smartsensor.run.cli", *words]
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**clean, "SMARTSENSOR_LAKE": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2, ended.stderr
        assert says in ended.stderr


def test_a_home_folder_that_cannot_be_written_to_is_not_mentioned(tmp_path: Path) -> None:
    "IPython, Jupyter and matplotlib write there by themselves, and warn or fail. /proc refuses root too."
    left_out = ("SMARTSENSOR_", "IPYTHONDIR", "JUPYTER_", "MPLCONFIGDIR", "XDG_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    command = [sys.executable, "-m", "smartsensor.run.cli", "run", "--simulate", "--resource", "plants", "--days", "1"]
    ended = subprocess.run(
        [*command, "--lake", str(tmp_path / "lake")],
        cwd=ROOT,
        env={**env, "HOME": "/proc" if sys.platform == "linux" else "/dev/null"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    message = (ended.stdout + ended.stderr).lower()
    assert not [word for word in ("ipython", "jupyter", "matplotlib", "warning", "/proc") if word in message], message


@pytest.mark.parametrize(("user", "passed"), [(0, True), (1000, False)])
def test_lab_hands_options_on_and_stays_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, passed: bool
) -> None:
    "What JupyterLab is started with; root is refused by JupyterLab itself unless it is allowed."
    seen: list[list[str]] = []

    def started_with(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0)

    for name in ("API_URL", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"SMARTSENSOR_{name}", "https://api.example.invalid")
    monkeypatch.setattr("smartsensor.run.workbench.os.geteuid", lambda: user)
    monkeypatch.setattr("smartsensor.run.workbench.subprocess.run", started_with)
    words = ["lab", "--no-simulate", "--lake", str(tmp_path), "--", "--no-browser", "--ServerApp.ip=0.0.0.0"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    (command,) = seen
    assert "--no-browser" in command
    assert ("--allow-root" in command) == ("--allow-root" in ended.output) == passed
    assert [word for word in command if word.startswith("--ServerApp.ip=")][-1] == "--ServerApp.ip=127.0.0.1"
