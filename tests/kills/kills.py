"""Kill a run at random writes, at random instants and at each named step; start it again; compare with one that was never killed.

`make kills` runs it: raw must be the same to the byte, qualified and quarantine the same to the row, and the ledger must
agree with raw. It ends in one line of figures.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from smartsensor.jobs.promote import STEPS
from smartsensor.jobs.verify import verify
from smartsensor.lake.lake import Lake
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
from table_reader import rows_of

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
JOB = Path(__file__).parent / "job.py"
RESOURCES = ("plants", "measurements", "events")


@dataclass(frozen=True)
class Death:
    """When one process is killed."""

    write: int = 0  # before its n-th change to the lake
    step: str = ""  # when promotion has done this step
    after_s: float = 0.0  # from outside, so long after its start


def started(root: Path, api: str, death: Death) -> int:
    "Run the job once; its exit code (-9 where it was killed)."
    child = subprocess.Popen(
        [sys.executable, str(JOB), str(root), api, str(death.write), death.step],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    timer = threading.Timer(death.after_s, child.kill)
    if death.after_s:
        timer.start()
    _, output = child.communicate()
    timer.cancel()
    if child.returncode not in (0, -9):
        raise RuntimeError(output.decode())
    return child.returncode


def fingerprint(root: Path) -> dict[str, Any]:
    "Raw to the byte, qualified and quarantine to the row."
    files = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (root / "raw").rglob("*")
        if path.is_file()
    }
    lake = Lake(str(root))
    rows = {
        f"{zone}/{name}": sorted(repr(row) for row in rows_of(lake, name, zone))
        for name in RESOURCES
        for zone in ("qualified", "quarantine")
    }
    claims = {name: [str(window) for window in Lake(str(root)).ledger(name).covered] for name in RESOURCES}
    problems = [output for name in RESOURCES for output in verify(Lake(str(root)), name)]
    return {"raw": files, "rows": rows, "covered": claims, "problems": problems}


def trial(folder: Path, api: str, death: Death, expected: dict[str, Any]) -> bool:
    "Kill once, start again, compare; whether the kill came before the end."
    root = Path(tempfile.mkdtemp(dir=folder))
    code = started(root, api, death)
    if code == -9 and started(root, api, Death()) != 0:
        raise AssertionError(f"{death}: the second start was killed")
    got = fingerprint(root)
    if got != expected:
        differing = {name: (got[name], expected[name]) for name in expected if got[name] != expected[name]}
        raise AssertionError(f"{death}: {json.dumps(differing, default=str)[:2000]}\nThe lake is kept: {root}")
    shutil.rmtree(root, ignore_errors=True)  # SQLite may take its own log away at the same moment
    return code == -9


def deaths(number: int, writes: int, seconds: float, seed: int) -> list[Death]:
    "Each named step once, then random writes and random instants, half of each."
    chance = random.Random(seed)
    some = [Death(step=step) for step in STEPS]
    for at in range(number - len(some)):
        some.append(Death(write=chance.randint(1, writes)) if at % 2 else Death(after_s=chance.uniform(0.3, seconds)))
    return some[:number]


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=220)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    limits = Limits(burst=0, sustained=0)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(world=World(Fleet(assets=6, sensors=4)), clock=lambda: NOW, limits=limits) as running,
    ):
        api = json.dumps(
            {name: getattr(running, name) for name in ("base_url", "token_url", "client_id", "client_secret")}
        )
        whole, began = Path(folder) / "whole", time.monotonic()
        output = subprocess.run(
            [sys.executable, str(JOB), str(whole), api, "0", ""], check=True, capture_output=True, text=True
        ).stdout
        seconds, writes = time.monotonic() - began, json.loads(output)["writes"]
        expected = fingerprint(whole)
        assert not expected["problems"], expected["problems"]
        assert len(expected["rows"]) >= 3, expected["rows"]
        with ThreadPoolExecutor(2) as pool:
            work = deaths(options.kills, writes, seconds, options.seed)
            tries = pool.map(lambda death: trial(Path(folder), api, death, expected), work)
            killed = sum(tqdm(tries, total=len(work), unit=" kills", disable=None))
    rows = sum(map(len, expected["rows"].values()))
    line = f"kills: {killed} of {len(work)} processes killed before their end ({writes} writes, {len(STEPS)} steps each once), all ended with the same {len(expected['raw'])} raw files and {rows:,} rows"
    print(line)
    return line


if __name__ == "__main__":
    main()
