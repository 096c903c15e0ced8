"""Build what a Glue job installs into dist/: `.venv/bin/python .ci/dist.py`, with --check to try it out in a clean environment.

The wheel of this checkout; requirements-glue-5.1.txt, the exact pins (with hashes) of what the package needs and Glue 5.1 does
not ship, or ships too old; and all of these as one smartsensor-VERSION.gluewheels.zip, which a job installs from S3 with no
internet (--additional-python-modules s3://.../it, --python-modules-installer-option --no-index). The pins are those of
.ci/requirements/run.txt, so of poetry.lock.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
from release import build

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
PROBE = ROOT / "nbs" / "tutorials" / "glue_parity.ipynb"
PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")  # of Amazon Linux 2023
RUN = "20261120T100000Z-dist"


def shipped() -> dict[str, str]:
    "What Glue 5.1 has already, and we take as it is: the list of the probe notebook, which holds it against a real job."
    cells = json.loads(PROBE.read_text())["cells"]
    source = next("".join(cell["source"]) for cell in cells if "shipped" in cell["metadata"].get("tags", []))
    return dict(ast.literal_eval(source.partition("=")[2].strip()))


def lines(package: str, extras: frozenset[str] = frozenset()) -> list[Requirement]:
    "What a package asks for here, by the metadata of what is installed; [] of one for another platform."
    try:
        asked = list(map(Requirement, requires(package) or []))
    except PackageNotFoundError:
        return []
    return [
        one for one in asked if not one.marker or any(one.marker.evaluate({"extra": name}) for name in extras or {""})
    ]


def needed(name: str = "smartsensor") -> set[str]:
    "Names of all that a package needs; no extras but those that are asked for."
    due = [(name, frozenset[str]())]
    seen = set(due)
    while due:
        for line in lines(*due.pop()):
            one = (canonicalize_name(line.name), frozenset(line.extras))
            if one not in seen:
                seen.add(one)
                due.append(one)
    return {package for package, _ in seen} - {name}


def installed_by_a_job() -> set[str]:
    "Names of what a job has to install: what Glue does not have, or has too old for what we bring."
    ours = needed() - shipped().keys()
    asked = [line for package in {*ours, "smartsensor"} for line in lines(package)]
    has = [(canonicalize_name(line.name), line.specifier) for line in asked]
    return ours | {name for name, wanted in has if name in shipped() and not wanted.contains(shipped()[name])}


def pins(wanted: set[str]) -> list[str]:
    "The blocks of run.txt that pin these: a name and version, and its hashes."
    text = (ROOT / ".ci" / "requirements" / "run.txt").read_text()
    blocks = re.findall(r"(?m)^[^\s#-].*(?:\n[ \t]+--hash.*)*", text)
    return [block for block in blocks if canonicalize_name(re.split(r"[=\[; ]", block, maxsplit=1)[0]) in wanted]


def write_requirements() -> Path:
    "dist/requirements-glue-5.1.txt"
    wanted = installed_by_a_job()
    blocks = pins(wanted)
    missing = wanted - {canonicalize_name(re.split(r"[=\[; ]", block, maxsplit=1)[0]) for block in blocks}
    if missing:
        sys.exit(f"not pinned in .ci/requirements/run.txt: {', '.join(sorted(missing))}; run make lock")
    path = DIST / "requirements-glue-5.1.txt"
    path.write_text("\n".join(blocks) + "\n")
    return path


def pack(wheel: Path, requirements: Path, others: Sequence[Path] = ()) -> Path:
    "dist/smartsensor-VERSION.gluewheels.zip, as Glue wants it: wheels/ with all wheels, and requirements.txt that names them."
    version = wheel.name.split("-")[1]
    path = DIST / f"smartsensor-{version}.gluewheels.zip"
    named = re.findall(r"(?m)^([^\s#;\[]+==[^\s;]+)", requirements.read_text())
    with tempfile.TemporaryDirectory() as folder:
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        words = ["--only-binary=:all:", *platforms, "--python-version=3.11", "--require-hashes", "--no-deps"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *words, "--dest", folder, "-r", requirements], check=True)
        with zipfile.ZipFile(path, "w") as archive:  # wheels are compressed already
            for file in [wheel, *others, *sorted(Path(folder).iterdir())]:
                archive.write(file, f"wheels/{file.name}")
            named += ["==".join(file.name.split("-")[:2]) for file in (wheel, *others)]
            archive.writestr("wheels/requirements.txt", "\n".join(named) + "\n")
    return path


def check(packed: Path) -> str:
    "Install into a clean environment that has Glue's versions, with no index, and run the jobs there as Glue does."
    from smartsensor.simulator.server import start_process

    with tempfile.TemporaryDirectory() as name, start_process() as api:
        folder = Path(name)
        python = folder / "env" / "bin" / "python"
        venv.create(folder / "env", with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *(f"{one}=={version}" for one, version in shipped().items())], check=True)
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(folder)
        offline = ["--no-index", "--find-links", folder / "wheels", "-r", folder / "wheels" / "requirements.txt"]
        subprocess.run([*pip, *offline], check=True)
        subprocess.run([python, "-m", "pip", "check"], check=True)
        settings = {"API_URL": api.base_url, "CLIENT_ID": api.client_id, "CLIENT_SECRET": api.client_secret}
        settings |= {"HISTORY_DAYS": "0.1", "LAKE": str(folder / "lake")}
        env = {**os.environ, **{f"SMARTSENSOR_{key}": value for key, value in settings.items()}}
        for job in ("check", "extract", "promote"):
            submit(python, job, folder, env)
        promoted = json.loads((folder / "lake" / "runs" / RUN / "promote.json").read_text())["promotions"]
    return f"{sum(one['new'] for one in promoted)} rows published by check, extract and promote beside Glue's versions"


def submit(python: Path, job: str, folder: Path, env: dict[str, str]) -> None:
    "Run one job by spark-submit. The clean environment has no pyspark: Spark brings its own, as in Glue."
    from smartsensor.jobs.engine_spark import find_java

    spark = find_spec("pyspark")
    assert spark is not None
    assert spark.origin is not None
    home = Path(spark.origin).parent
    output = {"SPARK_HOME": str(home), "JAVA_HOME": str(find_java()), "SPARK_LOCAL_IP": "127.0.0.1"}
    output |= dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), str(python))
    local = ("ui.enabled=false", "driver.host=127.0.0.1", "driver.bindAddress=127.0.0.1", f"local.dir={folder}")
    conf = [word for one in local for word in ("--conf", f"spark.{one}")]
    order = ["--notebook", ROOT / "glue_notebooks" / f"{job}.ipynb", "--expectations", ROOT / "expectations"]
    order += ["--run_id", RUN, "--SMARTSENSOR_ENGINE", "spark" if job == "promote" else "duckdb", "--JOB_NAME", job]
    words = [home / "bin" / "spark-submit", "--master", "local[2]", *conf, ROOT / "glue_notebooks" / "job.py", *order]
    ended = subprocess.run(words, env={**env, **output}, cwd=folder, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{job} ended with {ended.returncode}:\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
    print(f"{job}: exit code 0", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="try it in a clean environment; some minutes")
    parser.add_argument("--wheel", type=Path, action="append", default=[], help="one more for the zip: a project's own")
    options = parser.parse_args()
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob("smartsensor-*"):
        old.unlink()
    wheel, requirements = build(DIST), write_requirements()
    count = len(pins(installed_by_a_job()))
    packed = pack(wheel, requirements, options.wheel)
    made = [f"{wheel.relative_to(ROOT)} and {count} pins in {requirements.relative_to(ROOT)}"]
    made.append(f"{packed.relative_to(ROOT)} of {packed.stat().st_size / 1e6:.0f} MB")
    if options.check:
        made.append(check(packed))
    print("; ".join(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
