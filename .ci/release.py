"""Put a release into the artifacts bucket: `.venv/bin/python .ci/release.py --bucket NAME --release ID`.

What Glue jobs run lies below releases/<ID>/: the package with all that it needs and Glue has not (packed by
`.ci/dist.py`, so that no job asks a package index at night), the job notebooks with their entry, the suites. Both the deployment workflow and the rehearsal call this. Credentials and end point come from the environment, as boto3 has it.
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


def contents(wheels: Path) -> Iterator[tuple[str, Path]]:
    "Name below releases/<ID>/, and file."
    yield WHEELS, wheels
    for folder, pattern in (("glue_notebooks", "*.ipynb"), ("glue_notebooks", "*.py"), ("expectations", "*.json")):
        for path in sorted((ROOT / folder).glob(pattern)):
            yield f"{folder}/{path.name}", path


def upload(bucket: str, release: str, wheels: Path) -> int:
    "Put the files; how many."
    import boto3

    s3 = boto3.client("s3")
    files = list(contents(wheels))
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
    options = parser.parse_args()
    number = upload(options.bucket, options.release, options.wheels or find_wheels())
    print(f"{number} files in s3://{options.bucket}/releases/{options.release}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
