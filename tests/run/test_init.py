"""The package away from its checkout: what its wheel carries, and what works with it in an empty folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

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
