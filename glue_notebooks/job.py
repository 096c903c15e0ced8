"""What an AWS Glue job starts, and spark-submit on a laptop: runs one job notebook in the driver.

    --notebook s3://bucket/extract.ipynb --run_id 20261120T100000Z-7f3a --SMARTSENSOR_LAKE s3://lake ...

The package is installed already (--additional-python-modules), or comes as a wheel that --package names. All that follows is
in `smartsensor.run.glue.run_job`; the exit code says what came of it.
"""

import os
import sys
import tempfile
from pathlib import Path


def take_package(address: str, folder: Path) -> None:
    "Put a wheel on the path of this process, of the kernel that it starts and, as a zip, of the executors."
    place = folder / f"{Path(address).stem}.zip"  # Spark ships .zip, and does not know .whl
    if address.startswith("s3://"):
        import boto3

        bucket, _, key = address.removeprefix("s3://").partition("/")
        boto3.client("s3").download_file(bucket, key, str(place))
    else:
        place.write_bytes(Path(address).read_bytes())
    sys.path.insert(0, str(place))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])


def main(arguments: list[str]) -> int:
    "Take the package if it is named, then run the job."
    with tempfile.TemporaryDirectory(prefix="package-") as folder:
        if "--package" in arguments[:-1]:
            take_package(arguments[arguments.index("--package") + 1], Path(folder))
        from smartsensor.run.glue import run_job

        return run_job(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
