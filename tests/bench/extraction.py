"""Rows a second of extraction beside a bare script, from a server of pre-rendered pages; `make bench` runs it.

Rounds are interleaved and medians compared, since a shared machine moves by 30 %: compare within one run only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from smartsensor.simulator.server import Running, start_process

HERE = Path(__file__).parent


def measured(command: list[str]) -> dict[str, float]:
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    seconds, rows = time.monotonic() - began, json.loads(output)["rows"]
    return {"rows": rows, "seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def whole_seconds(text: str) -> str:
    return text.split(".")[0].removesuffix("Z") + "Z"


def round_of(api: Running, threads: tuple[int, ...], startup: float) -> dict[str, dict[str, float]]:
    assert api.bench is not None
    since, before = (whole_seconds(api.bench[name]) for name in ("updated_since", "updated_before"))
    form = {"grant_type": "client_credentials", "scope": "telemetry.read"}
    reply = requests.post(api.token_url, data=form, auth=(api.client_id, api.client_secret), timeout=10)
    with tempfile.TemporaryDirectory() as folder:
        bare = [
            sys.executable,
            str(HERE / "bare.py"),
            api.base_url,
            reply.json()["access_token"],
            since,
            before,
            f"{folder}/bare.parquet",
        ]
        found = {"bare": measured(bare)}
        for number in threads:
            lake = f"{folder}/lake-{number}"
            ours = [
                sys.executable,
                str(HERE / "ours.py"),
                api.base_url,
                api.client_id,
                api.client_secret,
                since,
                before,
                lake,
                str(number),
            ]
            found[f"smartsensor, {number} window{'s' if number > 1 else ''}"] = measured(ours)
    for one in found.values():
        one["seconds"] -= startup
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    startup = measured([sys.executable, "-c", "import smartsensor.jobs.extract; print('{\"rows\": 0}')"])["seconds"]
    limits = ("--burst", "0", "--sustained", "0", "--latency-ms", str(options.latency_ms))
    with start_process("--bench-rows", str(options.rows), *limits) as api:
        rounds = [round_of(api, tuple(options.threads), startup) for _ in range(options.rounds)]
    print(
        f"{rounds[0]['bare']['rows']:,} rows in pages of 1,000, {options.latency_ms:g} ms a request; medians of {options.rounds} interleaved rounds"
    )
    print(f"{'':26}{'k rows/s':>9}{'CPU s/M':>9}{'RSS MB':>8}{'of bare':>9}")
    speeds = {name: statistics.median(one[name]["rows"] / one[name]["seconds"] for one in rounds) for name in rounds[0]}
    for name, speed in speeds.items():
        cpu = statistics.median(one[name]["cpu"] / one[name]["rows"] * 1e6 for one in rounds)
        rss = statistics.median(one[name]["rss"] for one in rounds)
        print(f"{name:26}{speed / 1000:9.0f}{cpu:9.1f}{rss:8.0f}{speed / speeds['bare']:9.0%}")


if __name__ == "__main__":
    main()
