"""Kill a run that exports before and after each of its steps, and at random bytes of its downloads; then start it again.

Each round has a run of its own against one server. After the restart there must be exactly one job of the server for the
request, none left, no handle, no file of a download, and every row once, as pages have them. Every third run never comes
back: there the sweeper of the next run has to clean up. It ends in one line of figures.

    .venv/bin/python tests/kills/exports_kills.py [--steps N] [--bytes N]
"""

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import requests

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs.extract import ExtractionContext, extract, make_exporter
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Folder
from smartsensor.simulator.server import Running, start_process
from smartsensor.source import downloads as downloads_room
from smartsensor.source.export_jobs import Exporter, open_exports
from smartsensor.source.exports import sweep
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
START = NOW - timedelta(days=5)  # long enough ago: no row of it changes any more
HOUR = Window(START, START + timedelta(minutes=30))
SPEED = 100  # of the server's clock; our sleeps are as much shorter
DUE = [Due("measurements", HOUR, 10**9)]


class Stepper:
    """Counts what is about to happen and what has happened; kills this process at one of them."""

    def __init__(self, deadline: int) -> None:
        self.deadline, self.count = deadline, itertools.count(1)
        self.last = 0

    def step(self) -> None:
        self.last = next(self.count)
        if self.last == self.deadline:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **more: Any) -> Any:
            self.step()
            made = function(*args, **more)
            self.step()
            return made

        return wrapper


def client_of(api: Running) -> Client:
    settings = ApiSettings(
        api.base_url,
        api.token_url,
        api.client_id,
        Secret(api.client_secret),
        "telemetry.read exports.write",
        rate_per_s=0,
    )
    return Client(settings, sleep=lambda seconds: time.sleep(seconds / SPEED))


def run_once(api: Running, root: Path, run: str, deadline: int, chunk: int) -> int:
    "One run in this process; how many steps it took. A deadline of 0 kills nothing."
    stepper = Stepper(deadline)
    if chunk:  # only the bytes of the downloads are steps
        downloads_room.CHUNK = chunk
        downloads_room._Download.count = stepper.around(downloads_room._Download.count)  # type: ignore[method-assign]
    else:
        for name in ("create", "put", "upload", "delete"):
            setattr(Folder, name, stepper.around(getattr(Folder, name)))
        Exporter.send = stepper.around(Exporter.send)  # type: ignore[method-assign]
        downloads_room._hash = stepper.around(downloads_room._hash)
    from smartsensor.jobs import extraction as module

    module.ExtractionContext = lambda rows, **more: ExtractionContext(
        rows, sleep=lambda seconds: time.sleep(seconds / SPEED), **more
    )  # type: ignore[assignment,misc]
    extract_all(client_of(api), Lake(str(root)), DUE, run, threads=1)
    return stepper.last


def forked(work: Callable[[], int]) -> tuple[int, int]:
    "Do it in a child: its exit code (-9 where it was killed), and what it gave."
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, str(work()).encode())
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return os.waitstatus_to_exitcode(status), int(pipe.read() or 0)


class Fleet:
    """The runs of this script and what became of them."""

    def __init__(self, api: Running, folder: Path) -> None:
        self.api, self.folder, self.number = api, folder, 0
        self.killed = self.swept = self.wrong = self.downloaded = 0
        self.expected = folder / "pages"
        forked(
            lambda: (
                extract(client_of(api), Lake(str(self.expected)), MEASUREMENTS, HOUR, "20261120T000000Z-page").received
            )
        )

    def control(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.api.control_url}/log", timeout=30).json()["exports"])

    def round(self, deadline: int, chunk: int = 0) -> int:
        "One run, killed once; the steps that it took where it was not killed."
        self.number += 1
        run, root = f"20261120T{self.number:06}Z-kill", self.folder / f"lake-{self.number}"
        before = self.control()["created"]
        code, steps = forked(lambda: run_once(self.api, root, run, deadline, chunk))
        self.killed += code == -9
        gone = self.number % 3 == 0 and code == -9
        if gone:
            self.swept += 1
            code, _ = forked(lambda: self.sweep(root, run))
        else:
            code, _ = forked(lambda: run_once(self.api, root, run, 0, 0))
        after = self.control()
        created = after["created"] - before
        # One that was killed before it asked, and never came back, is asked for once more by the sweeper at most.
        good = code == 0 and created <= 1 and (gone or created == 1) and after["left"] == 0
        good = good and not list((root / ".tmp" / "exports").glob("*")) and not open_exports(Lake(str(root)))
        good = good and (gone or forked(lambda: self.same(root))[1] == 1)
        if not good:
            self.wrong += 1
            print(
                f"step {deadline}, chunk {chunk}, gone {gone}: code {code}, {created} created, {after['left']} left",
                file=sys.stderr,
            )
        return steps

    def sweep(self, root: Path, run: str) -> int:
        lake = Lake(str(root))
        lake.put(f"runs/{run}/result.json", b"{}")
        return len(sweep(make_exporter(client_of(self.api), lake)))

    def same(self, root: Path) -> int:
        return int(
            rows_of(root).equals(rows_of(self.expected)) and Lake(str(root)).ledger("measurements").covered == (HOUR,)
        )


def rows_of(root: Path) -> pa.Table:
    lake = Lake(str(root))
    manifests = [lake.manifest(key) for key in lake.list("raw/measurements/_manifests")]
    assert len(manifests) == 1
    return pa.concat_tables(pq.read_table(lake.open(part.key)).replace_schema_metadata() for part in manifests[0].parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=0, help="how many of the steps; 0: each of them")
    parser.add_argument("--bytes", type=int, default=40, help="kills within downloads")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    began, chance = time.monotonic(), random.Random(options.seed)
    server = ("--clock-start", NOW.isoformat(), "--clock-speed", str(SPEED), "--burst", "0", "--sustained", "0")
    with tempfile.TemporaryDirectory() as name, start_process(*server, "--export-file-rows", "700") as api:
        fleet = Fleet(api, Path(name))
        steps = fleet.round(0)
        chosen = sorted(chance.sample(range(1, steps + 1), options.steps)) if options.steps else range(1, steps + 1)
        for step in chosen:
            fleet.round(step)
        if options.bytes:
            pieces = fleet.round(0, 499)
            for _ in range(options.bytes):
                fleet.round(chance.randrange(1, pieces), 499)
        cost = fleet.control()
    print(
        f"export kills: {fleet.number} runs, {fleet.killed} killed at {len(chosen)} of {steps} steps and {options.bytes} points of downloads, "
        f"{fleet.swept} never came back and were swept; {cost['created']} jobs created, {cost['left']} left; "
        f"{fleet.wrong} wrong; {time.monotonic() - began:.0f} s"
    )
    return int(fleet.wrong > 0 or fleet.killed < fleet.number // 2)


if __name__ == "__main__":
    sys.exit(main())
