"""Put a release into the artifacts bucket: `.venv/bin/python .ci/release.py --bucket NAME --release ID [--wheel FILE]`.

What Glue jobs run lies below releases/<ID>/: the wheel, the job notebooks with their entry, the suites, the requirements.
Both the deployment workflow and the rehearsal call this. Credentials and end point come from the environment, as boto3 has it.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path) -> Path:
    "The wheel, built from this checkout: with the pinned tools of .ci/requirements/build.txt where they are installed."
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    pinned = ["--no-build-isolation", "--no-index"] if importlib.util.find_spec("poetry") else []
    subprocess.run([*pip, *pinned, "--wheel-dir", str(folder), str(ROOT)], check=True)
    return next(folder.glob("smartsensor-*.whl"))


def contents(wheel: Path, requirements: Path) -> Iterator[tuple[str, Path]]:
    "Name below releases/<ID>/, and file."
    yield "smartsensor.whl", wheel
    yield "requirements.txt", requirements
    for folder, pattern in (("glue_notebooks", "*.ipynb"), ("glue_notebooks", "*.py"), ("expectations", "*.json")):
        for path in sorted((ROOT / folder).glob(pattern)):
            yield f"{folder}/{path.name}", path


def upload(bucket: str, release: str, wheel: Path, requirements: Path) -> int:
    "Put the files; how many."
    import boto3

    s3 = boto3.client("s3")
    files = list(contents(wheel, requirements))
    for name, path in files:
        s3.upload_file(str(path), bucket, f"releases/{release}/{name}")
    return len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--wheel", type=Path, help="built already; else it is built here")
    pinned = ROOT / ".ci" / "requirements" / "run.txt"
    parser.add_argument("--requirements", type=Path, default=pinned, help="what a job installs; default all of `run`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel or build(Path(folder))
        number = upload(options.bucket, options.release, wheel, options.requirements)
    print(f"{number} files in s3://{options.bucket}/releases/{options.release}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
