"""Measure extraction on threads and on executors, and how the job's entry ends: `.venv/bin/python tests/spark/figures.py [WINDOWS]`.

Each window of a minute costs two requests of 20 ms. Executors are processes of their own (local-cluster); Spark's start is not
counted, a first small stage is, once, before the clock starts. All must land the same rows. The last line has the figures.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = "20261120T100000Z-spark"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
END = NOW - timedelta(hours=1)
# A revision takes a row out of the window that it was in: the simulator's clock stands still, so that all read the same.
STILL = ("--clock-start", NOW.isoformat(), "--clock-speed", "0")


def measure(kind: str, number: int, windows: int, folder: Path, end: str) -> None:
    "Extract in this process, and print what came of it as JSON."
    from smartsensor.check import Due
    from smartsensor.config import load_settings
    from smartsensor.extract import extract_all
    from smartsensor.lake import Lake
    from smartsensor.runner import connect
    from smartsensor.windows import Window, cut, instant

    settings, until, session = load_settings(), instant(end), None
    due = [
        Due("measurements", one, None)
        for one in cut(Window(until - timedelta(minutes=windows), until), timedelta(minutes=1))
    ]
    if kind == "executors":
        session = cluster(number, folder)
    client = connect(settings)
    began = time.monotonic()
    extraction = extract_all(
        client, Lake(str(folder / "lake")), due, RUN, number if session is None else 1, session=session
    )
    seconds = time.monotonic() - began
    rows = sum(one.received for one in extraction.manifests)
    print(
        json.dumps(
            {"seconds": seconds, "rows": rows, "windows": len(extraction.manifests), "requests": client.log.requests}
        )
    )
    if session is not None:
        session.stop()


def cluster(executors: int, folder: Path) -> Any:
    "So many executors of one core, warm."
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local-cluster[{executors},1,1024]")
    for name, value in {
        "ui.enabled": "false",
        "driver.host": "127.0.0.1",
        "local.dir": str(folder),
        "ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(f"spark.{name}", value)
    session = builder.config("spark.scheduler.minRegisteredResourcesRatio", "1.0").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    session.sparkContext.parallelize(range(executors * 4), executors * 4).map(
        lambda _: __import__("smartsensor.extract") and time.sleep(0.5)
    ).count()
    return session


def speed(windows: int, env: dict[str, str], folder: Path) -> str:
    "Seconds by number of threads and executors."
    parts, rows = [], set()
    for kind in ("threads", "executors"):
        base = 0.0
        for number in (1, 2, 4):
            place = folder / f"{kind}-{number}"
            place.mkdir()
            words = [sys.executable, __file__, "measure", kind, str(number), str(windows), str(place), END.isoformat()]
            out = subprocess.run(words, env=env, capture_output=True, text=True)
            if out.returncode:
                sys.exit(f"{kind} {number} failed:\n{out.stderr[-3000:]}")
            said = json.loads(out.stdout.splitlines()[-1])
            base = base or said["seconds"]
            rows.add((said["rows"], said["windows"]))
            rate = said["requests"] / said["seconds"]
            parts.append(
                f"{number} {kind} {said['seconds']:.1f} s ({base / said['seconds']:.2f} x, {rate:.0f} requests/s)"
            )
            print(parts[-1], file=sys.stderr, flush=True)
    if len(rows) != 1:
        sys.exit(f"not the same rows everywhere: {rows}")
    return f"{windows} windows, {rows.pop()[0]} rows: " + ", ".join(parts)


CASES = {  # cell, arguments, signal, expected
    "good": ("print(run_id)", [], None, 0),
    "failing cell": ("1 / 0", [], None, 1),
    "killed kernel": ("import os\nos.kill(os.getpid(), 9)", [], None, 1),
    "no session": ("print(run_id)", ["--SMARTSENSOR_ENGINE", "spark"], None, 1),
    "timeout": ("import time\ntime.sleep(120)", ["--time_limit_s", "15"], None, 124),
    "SIGTERM": ("open(run_id, 'w').close()\nimport time\ntime.sleep(120)", [], signal.SIGTERM, 143),
}


def ending(name: str, env: dict[str, str], folder: Path) -> int:
    "Exit code of spark-submit of the entry script with one cell."
    import nbformat

    cell, more, number, _ = CASES[name]
    code = nbformat.v4.new_code_cell
    made = nbformat.v4.new_notebook(cells=[code('run_id = ""', metadata={"tags": ["parameters"]}), code(cell)])
    made.metadata["kernelspec"] = {"name": "glue_pyspark", "display_name": "glue_pyspark", "language": "python"}
    nbformat.write(made, folder / "case.ipynb")
    conf = ["--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1"]
    conf += ["--conf", "spark.executor.memory=1m"] if name == "no session" else []
    words = [
        Path(sys.executable).parent / "spark-submit",
        "--master",
        "local[1]",
        *conf,
        ROOT / "glue_notebooks" / "job.py",
    ]
    words += ["--notebook", folder / "case.ipynb", "--run_id", RUN, "--SMARTSENSOR_LAKE", folder / "lake", *more]
    child = subprocess.Popen(words, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if number is not None:
        while not (folder / RUN).exists() and child.poll() is None:
            time.sleep(0.2)
        child.send_signal(number)
    return child.wait(timeout=300)


def main() -> int:
    from smartsensor.engines import find_java
    from smartsensor.simulator import start_process

    windows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with (
        tempfile.TemporaryDirectory() as name,
        start_process("--burst", "0", "--sustained", "0", "--latency-ms", "20", *STILL) as api,
    ):
        settings = {
            "API_URL": api.base_url,
            "CLIENT_ID": api.client_id,
            "CLIENT_SECRET": api.client_secret,
            "RATE_PER_S": "0",
        }
        python = dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), sys.executable)
        env = {**os.environ, **python, "JAVA_HOME": str(find_java()), "SPARK_LOCAL_IP": "127.0.0.1"}
        env |= {f"SMARTSENSOR_{key}": value for key, value in settings.items()}
        codes = {}
        for case in CASES:
            (Path(name) / case).mkdir()
            codes[case] = ending(case, env, Path(name) / case)
            print(f"{case}: exit code {codes[case]}", file=sys.stderr, flush=True)
        figures = speed(windows, env, Path(name))
    wrong = [case for case, code in codes.items() if code != CASES[case][3]]
    print(f"{figures}; exit codes: " + ", ".join(f"{case} {code}" for case, code in codes.items()))
    return int(bool(wrong))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]), sys.argv[6])
    else:
        sys.exit(main())
