"""Build what a Glue job installs into dist/: `.venv/bin/python .ci/dist.py`, with --check to try it out in a clean environment.

The wheel of this checkout; requirements-glue-5.1.txt, the exact pins (with hashes) of what the package needs and Glue 5.1 does
not ship; and, with --wheelhouse, all of these as wheels for Linux, so that a job without internet installs from S3. The
pins are those of .ci/requirements/run.txt, so of poetry.lock.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
from release import build

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
# What Glue has and we take as it is: the native libraries that Spark's workers use too, and AWS's own. The versions are those
# of Glue 5.0's published list; the probe notebook (nbs/tutorials/glue_parity.ipynb) prints what a real 5.1 has.
SHIPPED = {
    "boto3": "1.34.131", "botocore": "1.34.131", "numpy": "1.26.4", "pandas": "2.2.2", "pyarrow": "17.0.0",
    "requests": "2.32.2", "s3transfer": "0.10.2", "urllib3": "1.26.19", "python-dateutil": "2.9.0.post0", "pytz": "2024.1", "six": "1.16.0",
}  # fmt: skip


def needed(name: str = "smartsensor") -> set[str]:
    "Names of all that a package needs, by the metadata of what is installed here; no extras but those that are asked for."
    found: set[str] = set()
    due = [(name, frozenset[str]())]
    seen = set(due)
    while due:
        package, extras = due.pop()
        try:
            lines = requires(package) or []
        except PackageNotFoundError:
            continue  # for another platform
        for line in map(Requirement, lines):
            if line.marker and not any(line.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                continue
            one = (canonicalize_name(line.name), frozenset(line.extras))
            found.add(one[0])
            if one not in seen:
                seen.add(one)
                due.append(one)
    return found


def pins(wanted: set[str]) -> list[str]:
    "The blocks of run.txt that pin these: a name and version, and its hashes."
    text = (ROOT / ".ci" / "requirements" / "run.txt").read_text()
    blocks = re.findall(r"(?m)^[^\s#-].*(?:\n[ \t]+--hash.*)*", text)
    return [block for block in blocks if canonicalize_name(re.split(r"[=\[; ]", block, maxsplit=1)[0]) in wanted]


def write_requirements() -> Path:
    "dist/requirements-glue-5.1.txt"
    wanted = needed() - SHIPPED.keys()
    blocks = pins(wanted)
    missing = wanted - {canonicalize_name(re.split(r"[=\[; ]", block, maxsplit=1)[0]) for block in blocks}
    if missing:
        sys.exit(f"not pinned in .ci/requirements/run.txt: {', '.join(sorted(missing))}; run make lock")
    path = DIST / "requirements-glue-5.1.txt"
    path.write_text("\n".join(blocks) + "\n")
    return path


def check(wheel: Path, requirements: Path) -> None:
    "Install into a clean environment that has Glue's versions, and run the check job there against the simulator."
    from smartsensor.simulator import start_process

    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *(f"{name}=={version}" for name, version in SHIPPED.items())], check=True)
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", requirements], check=True)
        subprocess.run([*pip, "--no-deps", wheel], check=True)
        subprocess.run([python, "-m", "pip", "check"], check=True)
        with start_process() as api:
            settings = {
                "API_URL": api.base_url,
                "CLIENT_ID": api.client_id,
                "CLIENT_SECRET": api.client_secret,
                "HISTORY_DAYS": "0.1",
            }
            env = {**os.environ, **{f"SMARTSENSOR_{name}": value for name, value in settings.items()}}
            for job in ("check", "extract"):
                order = ["--notebook", ROOT / "glue_notebooks" / f"{job}.ipynb", "--run_id", "20261120T100000Z-dist"]
                order += ["--SMARTSENSOR_LAKE", f"{folder}/lake", "--JOB_NAME", job]
                subprocess.run([python, ROOT / "glue_notebooks" / "job.py", *order], check=True, env=env, cwd=folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheelhouse", action="store_true", help="download the pinned wheels into dist/wheelhouse")
    parser.add_argument("--check", action="store_true", help="try it out in a clean environment; some minutes")
    options = parser.parse_args()
    DIST.mkdir(exist_ok=True)
    wheel, requirements = build(DIST), write_requirements()
    if options.wheelhouse:
        target = [
            "--dest",
            DIST / "wheelhouse",
            "--only-binary=:all:",
            "--platform",
            "manylinux_2_28_x86_64",
            "--platform",
        ]
        target += [
            "manylinux2014_x86_64",
            "--python-version",
            "3.11",
            "--require-hashes",
            "--no-deps",
            "-r",
            requirements,
        ]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *target], check=True)
    if options.check:
        check(wheel, requirements)
    count = len(re.findall(r"(?m)^[^\s#]+==", requirements.read_text()))
    print(
        f"{wheel.relative_to(ROOT)}, and {count} pins in {requirements.relative_to(ROOT)}{', tried' if options.check else ''}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
