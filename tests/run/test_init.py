"""The package away from its checkout: what its wheel carries, what works with it in an empty folder, and a project of one's own."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from smartsensor.config import ConfigError
from smartsensor.run.cli import run_command
from smartsensor.run.init import write_project
from smartsensor.run.options import project_variables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The wheel of this checkout, built without a package index, as .ci/release.py builds it."
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import release, pathlib; release.build(pathlib.Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT / ".ci", check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with all that this one has but the checkout.

    A .pth file adds this one's packages. Python reads no .pth file in there, so not the one that leads to the checkout.
    """
    folder = tmp_path_factory.mktemp("installed") / "env"
    venv.create(folder)
    python = folder / "bin" / "python"
    place = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (place / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--ignore-installed", str(wheel)], check=True)
    return folder


def run(environment: Path, folder: Path, *words: str) -> tuple[int, str]:
    "Exit code and output of a command of the environment, in a folder, without variables of ours."
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SMARTSENSOR_", "PYTHON"))}
    clean["JUPYTER_PATH"] = f"{sys.prefix}/share/jupyter"  # nbconvert's templates stay with the packages
    clean["PATH"] = f"{environment / 'bin'}{os.pathsep}{clean['PATH']}"
    ended = subprocess.run(
        words, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    return ended.returncode, ended.stdout


def test_the_wheel_carries_job_notebooks_and_suites(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"smartsensor/{folder}/{path.name}"
        for folder, pattern in (("glue_notebooks", "*.ipynb"), ("glue_notebooks", "*.py"), ("expectations", "*.json"))
        for path in (ROOT / folder).glob(pattern)
    }
    assert len(expected) > 10
    assert expected <= carried
    assert {name.split("/")[0].split("-")[0] for name in carried} == {"smartsensor"}  # nothing beside the package


def test_the_wheel_runs_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    code, out = run(environment, tmp_path, "python", "-c", "import smartsensor; print(smartsensor.__file__)")
    assert out.startswith(str(environment)), out
    code, out = run(environment, tmp_path, "smartsensor", "plan", "--simulate", "--resource", "events")
    assert code == 0, out
    code, out = run(environment, tmp_path, "smartsensor", "check", "--simulate", "--resource", "events")
    assert code == 0, out
    code, out = run(environment, tmp_path, "smartsensor", "run", "--simulate", "--days", "0.1")
    assert code == 0, out
    assert "published" in out
    assert (tmp_path / "lake" / "quality" / "index.html").exists()


# --- a project of one's own -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_new_project_runs_and_passes_its_tests_at_once(environment: Path, tmp_path: Path) -> None:
    code, out = run(environment, tmp_path, "smartsensor", "init", "My Weather")
    assert code == 0, out
    project = tmp_path / "My Weather"
    assert (project / ".venv").resolve() == environment
    assert "name-of-the-project" not in "".join(
        path.read_text() for path in project.rglob("*") if path.is_file() and ".venv" not in path.parts
    )
    code, out = run(environment, project, "make", "run")
    assert code == 0, out
    assert "published" in out
    code, out = run(environment, project, "make", "test")
    assert code == 0, out
    assert "7 passed" in out
    code, out = run(environment, project, "smartsensor", "sql", "SELECT count(DISTINCT station_id) AS n FROM readings")
    assert (code, " 3 " in out) == (0, True), out


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Makefile").write_text("mine")
    assert run_command(["init", str(tmp_path)]) == 2
    assert "holds Makefile: nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]
    assert (tmp_path / "Makefile").read_text() == "mine"
    with pytest.raises(ConfigError, match="no project can be written here"):
        write_project(tmp_path / "Makefile" / "demo")


def test_a_fresh_clone_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    written = write_project(tmp_path)
    assert tmp_path / "nbs" / "source.ipynb" in written
    assert tmp_path / ".github" / "workflows" / "ci.yml" in written


def test_a_python_that_is_no_environment_is_not_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setenv("SMARTSENSOR_WHEEL", "/wheels/smartsensor-0.1.0-py3-none-any.whl")
    assert run_command(["init", str(tmp_path / "demo")]) == 0
    assert not (tmp_path / "demo" / ".venv").exists()
    assert "SMARTSENSOR_WHEEL ?= /wheels/smartsensor-0.1.0" in (tmp_path / "demo" / "local.mk").read_text()
    words = ("make", "--dry-run", "run", "SMARTSENSOR_WHEEL=other.whl")
    output = subprocess.run(words, cwd=tmp_path / "demo", capture_output=True, text=True, check=True).stdout
    assert f"{sys._base_executable} -m venv .venv" in output
    assert 'pip install --quiet other.whl ".[test]"' in output


def test_commands_of_a_project_read_its_source_and_its_settings(tmp_path: Path) -> None:
    write_project(tmp_path)
    assert project_variables(tmp_path.parent, {}) == {}
    source = {"SMARTSENSOR_SOURCE": str(tmp_path / "nbs" / "source.ipynb")}
    assert project_variables(tmp_path, {}) == source  # .env holds comments only
    (tmp_path / ".env").write_text("SMARTSENSOR_LAKE=mine\n\n# SMARTSENSOR_ENGINE=spark\nSMARTSENSOR_THREADS = 2\n")
    with pytest.raises(ConfigError, match=r"\.env, line 4: write NAME=value"):
        project_variables(tmp_path, {})
    (tmp_path / ".env").write_text("SMARTSENSOR_LAKE=mine\nSMARTSENSOR_THREADS=2\n")
    assert project_variables(tmp_path, {"SMARTSENSOR_THREADS": "3"}) == {**source, "SMARTSENSOR_LAKE": "mine"}


def test_a_command_of_a_project_says_what_it_lacks(environment: Path, tmp_path: Path) -> None:
    write_project(tmp_path)
    code, out = run(environment, tmp_path, "smartsensor", "plan")
    assert (code, "in the .env of its project" in out) == (2, True), out
    code, out = run(environment, tmp_path, "smartsensor", "plan", "--simulate")
    assert (code, "tests/fake_api.py" in out) == (2, True), out
    (tmp_path / ".env").write_text("SMARTSENSOR_TREADS=2\n")
    code, out = run(environment, tmp_path, "smartsensor", "plan")
    assert (code, "SMARTSENSOR_TREADS" in out) == (2, True), out


def test_the_release_of_a_project_holds_its_source_and_suites(tmp_path: Path) -> None:
    write_project(tmp_path)
    listed = f"""
import pathlib, release
for name, path in release.contents(pathlib.Path("w.zip"), pathlib.Path({str(tmp_path)!r})):
    print(name, path)
"""
    words = [sys.executable, "-c", listed]
    output = subprocess.run(words, cwd=ROOT / ".ci", capture_output=True, text=True, check=True).stdout
    held = dict(line.split(" ", 1) for line in output.splitlines())
    assert held["nbs/source.ipynb"] == str(tmp_path / "nbs" / "source.ipynb")
    assert held["expectations/readings.raw.json"] == str(tmp_path / "expectations" / "readings.raw.json")
    assert held["glue_notebooks/extract.ipynb"] == str(ROOT / "glue_notebooks" / "extract.ipynb")
    assert {name for name in held if name.startswith("expectations/measurements")} == set()
