"""Put a release into the artifacts bucket: `.venv/bin/python .ci/release.py --bucket NAME --release ID`.

What Glue jobs run lies below releases/<ID>/: the package with all that it needs and Glue has not (packed by
`.ci/dist.py`, so that no job asks a package index at night), the job notebooks with their entry, the suites. Both the deployment workflow and the rehearsal call this. Credentials and end point come from the environment, as boto3 has it.

With --project FOLDER the suites and the notebooks in nbs/ are those of a project that `smartsensor init` began, and so are the
job notebooks where it has a folder glue_notebooks.
"""

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = "smartsensor.gluewheels.zip"


def build(folder: Path) -> Path:
    "The wheel, built from this checkout: with the pinned tools of .ci/requirements/build.txt where they are installed."
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    pinned = ["--no-build-isolation", "--no-index"] if importlib.util.find_spec("poetry") else []
    subprocess.run([*pip, *pinned, "--wheel-dir", str(folder), str(ROOT)], check=True)
    return next(folder.glob("smartsensor-*.whl"))


def contents(wheels: Path, project: Path = ROOT) -> Iterator[tuple[str, Path]]:
    "Name below releases/<ID>/, and file."
    yield WHEELS, wheels
    jobs = project if (project / "glue_notebooks").is_dir() else ROOT
    parts = [(jobs, "glue_notebooks", "*.ipynb"), (jobs, "glue_notebooks", "*.py"), (project, "expectations", "*.json")]
    if project != ROOT:  # what declares its source; ours is in the package
        parts.append((project, "nbs", "*.ipynb"))
    for root, folder, pattern in parts:
        found = sorted((root / folder).glob(pattern))
        if not found:
            sys.exit(f"{root / folder} holds no {pattern}: is {project} the folder of the project?")
        for path in found:
            yield f"{folder}/{path.name}", path


def upload(bucket: str, release: str, wheels: Path, project: Path = ROOT) -> int:
    "Put the files; how many."
    import boto3

    s3 = boto3.client("s3")
    files = list(contents(wheels, project))
    for name, path in files:
        s3.upload_file(str(path), bucket, f"releases/{release}/{name}")
    # The session cells of the job notebooks name this one: they can't know which release is the newest.
    s3.upload_file(str(wheels), bucket, f"releases/latest/{WHEELS}")
    return len(files)


def find_wheels() -> Path:
    "What .ci/dist.py packed last."
    found = sorted((ROOT / "dist").glob("*.gluewheels.zip"))
    if len(found) != 1:
        sys.exit(f"{len(found)} files dist/*.gluewheels.zip: run make dist, or name one by --wheels")
    return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--wheels", type=Path, help="the package and what it needs; default what .ci/dist.py packed")
    parser.add_argument(
        "--project", type=Path, default=ROOT, help="folder that has expectations and nbs; default this one"
    )
    options = parser.parse_args()
    number = upload(options.bucket, options.release, options.wheels or find_wheels(), options.project.resolve())
    print(f"{number} files in s3://{options.bucket}/releases/{options.release}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
