"""Run the jobs by spark-submit, measure extraction on executors, kill some, and see how a job ends: `make spark`.

    .venv/bin/python tests/spark/figures.py [--windows 1000] [--kills 5] [--keep FOLDER] [--only notebooks speed ...]

Each window of a minute costs two requests of 20 ms. Executors are processes of their own (local-cluster), of one core each, but
all share the cores of this machine, with the simulator. Spark's start is not counted: a small stage runs before the clock
starts. The simulator's clock stands still, since a revision takes a row out of the window that it was in: so all must land the
same rows. The executed notebooks and the figures stay in FOLDER (dist/spark); all else is removed. The last line has the figures.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from cluster import CONF, environment, executors

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = "20261120T100000Z-spark"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
END = NOW - timedelta(hours=1)
SIMULATOR = ("--sustained", "0", "--latency-ms", "20", "--clock-start", NOW.isoformat(), "--clock-speed", "0")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- one extraction, in a process of its own --------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What `measure` is to do."""

    kind: str  # "threads" or "executors"
    number: int
    first: int  # windows back from END: where it begins
    last: int  # and where it ends
    folder: str
    lake: str
    run: str = RUN
    threads: int = 1  # windows at the same time, on each executor
    kill_at: tuple[int, ...] = ()  # kill an executor when so many pages have come
    seed: int = 0


def measure(task: Task) -> None:
    "Extract, and print what came of it as JSON."
    from smartsensor.config import load_settings
    from smartsensor.jobs.extraction import extract_all
    from smartsensor.jobs.plan import Due
    from smartsensor.lake.lake import Lake
    from smartsensor.source.sources import connect
    from smartsensor.windows import Window, cut

    span = Window(END - timedelta(minutes=task.first), END - timedelta(minutes=task.last))
    due = [Due("measurements", one, None) for one in cut(span, timedelta(minutes=1))]
    session = start_cluster(task.number, Path(task.folder)) if task.kind == "executors" else None
    client, victims = connect(load_settings()), Victims(task.kill_at, random.Random(task.seed))
    began, at = time.monotonic(), time.time()
    threads = task.number if session is None else task.threads
    extraction = extract_all(client, Lake(task.lake), due, task.run, threads, victims, session=session)
    result = {
        "seconds": time.monotonic() - began,
        "rows": sum(one.received for one in extraction.manifests),
        "windows": len(extraction.manifests),
        "requests": client.log.requests,
        "refused": client.log.limited,
        "sent": sorted(at + one.at for one in client.log.recent),
        "killed": victims.killed,
    }
    print(json.dumps(result))
    if session is not None:
        session.stop()


class Victims:
    """Told of each page, kills an executor with some of them."""

    def __init__(self, at: Sequence[int], choice: random.Random) -> None:
        self._at, self._choice, self.pages, self.killed = sorted(at), choice, 0, 0

    def __call__(self, name: str, rows: int) -> None:
        self.pages += 1
        due = self.killed < len(self._at) and self.pages >= self._at[self.killed]
        if due and (alive := executors()):  # else at the next page: those that died are being replaced
            self._choice.choice(alive).kill()
            self.killed += 1


def start_cluster(number: int, folder: Path) -> Any:
    "So many executors of one core, warm."
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local-cluster[{number},1,1024]")
    conf = {**CONF, "spark.local.dir": str(folder), "spark.scheduler.minRegisteredResourcesRatio": "1.0"}
    for name, value in conf.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    session.sparkContext.parallelize(range(number * 4), number * 4).map(
        lambda _: __import__("smartsensor.jobs.extract") and time.sleep(0.5)
    ).count()
    return session


# --- the parent: all of them ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """Where and with what everything runs."""

    folder: Path  # temporary
    keep: Path
    env: Mapping[str, str]
    windows: int

    def task(self, name: str, kind: str, number: int, **more: Any) -> Task:
        "A measurement with a lake of its own, or that of another."
        place = self.folder / name
        place.mkdir()
        given = {"first": self.windows, "last": 0, "lake": str(place / "lake"), **more}
        return Task(kind, number, folder=str(place), **given)

    def start(self, task: Task, **settings: object) -> "subprocess.Popen[str]":
        env = {**self.env, **{f"SMARTSENSOR_{name}": str(value) for name, value in settings.items()}}
        words = [sys.executable, __file__, "--measure", json.dumps(asdict(task))]
        return subprocess.Popen(words, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, task: Task, **settings: object) -> dict[str, Any]:
        return result(self.start(task, **settings))


def result(child: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = child.communicate()
    if child.returncode:
        sys.exit(f"a measurement failed:\n{err[-3000:]}")
    return dict(json.loads(out.splitlines()[-1]))


def content(lake_root: str) -> tuple[str, int]:
    "Hash and number of all rows in raw, sorted; ends everything where files, manifests and ledger differ."
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smartsensor.jobs.verify import verify
    from smartsensor.lake.lake import Lake

    lake = Lake(lake_root)
    files = {key for key in lake.list("raw") if key.endswith(".parquet")}
    manifests = [lake.manifest(key) for key in lake.list("raw/measurements/_manifests")]
    if files != {part.key for one in manifests for part in one.parts}:
        sys.exit(f"{lake_root}: the files in raw are not those that the manifests refer to")
    if differs := verify(lake, "measurements"):
        sys.exit(f"{lake_root}: {differs[:3]}")
    tables = [pq.read_table(lake.open(key)).replace_schema_metadata(None) for key in sorted(files)]
    rows = pa.concat_tables(tables)
    rows = rows.sort_by([(name, "ascending") for name in rows.column_names]).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return hashlib.sha256(sink.getvalue()).hexdigest(), rows.num_rows


def same(one: tuple[str, int], other: tuple[str, int], what: str) -> None:
    if one != other:
        sys.exit(f"{what}: {other[1]} rows, sha {other[0][:8]}; {one[1]} rows, sha {one[0][:8]} were expected")


def speed(bench: Bench) -> tuple[list[str], tuple[str, int], float]:
    "Without a limit: figures, the rows that all of them landed, requests a second of four executors."
    parts, found, rate = list[str](), ("", 0), 0.0
    for kind in ("threads", "executors"):
        base = 0.0
        for number in (1, 2, 4):
            task = bench.task(f"{kind}-{number}", kind, number)
            result = bench.run(task, RATE_PER_S=0)
            base, rate = base or result["seconds"], result["requests"] / result["seconds"]
            landed = content(task.lake)
            found = found if found[1] else landed
            same(found, landed, f"{number} {kind}")
            shutil.rmtree(task.folder)
            text = f"{number} {kind if number > 1 else kind[:-1]} {result['seconds']:.1f} s"
            parts.append(f"{text} ({base / result['seconds']:.2f} x, {rate:.0f} requests/s)")
            say(parts[-1])
    return parts, found, rate


BURST = 10  # requests at once after a pause: the settings' default


def achieved(sent: Sequence[float], rate: float, burst: int = BURST) -> float:
    "Requests that were sent to those that were allowed in that time: above 1 is an overshoot."
    return len(sent) / (burst + (sent[-1] - sent[0]) * rate)


def steady(sent: Sequence[float], begin: float, end: float) -> list[float]:
    "Without what comes at the start: the first requests have leave, and wait for the token."
    return [at for at in sent if begin + 3 <= at <= end]


def budget(bench: Bench, rate: int) -> str:
    "Under a budget: four executors, then two jobs at once. The simulator refuses what is above it."
    one = bench.run(bench.task("budget", "executors", 4, threads=4), RATE_PER_S=rate)
    share = achieved(steady(one["sent"], one["sent"][0], one["sent"][-1]), rate, 0)
    text = f"budget {rate}/s: 4 executors of 4 threads {share:.1%} of what is allowed"
    say(f"{text}, in {one['seconds']:.1f} s")
    half, lake = bench.windows // 2, str(bench.folder / "shared")
    spans = {"a": (bench.windows, half), "b": (half, 0)}
    tasks = [
        bench.task(f"job-{name}", "threads", 4, first=first, last=last, lake=lake, run=f"{RUN}-{name}")
        for name, (first, last) in spans.items()
    ]
    two = [result(child) for child in [bench.start(task, RATE_PER_S=rate) for task in tasks]]
    content(lake)
    both = sorted(at for result in two for at in result["sent"])
    begin, end = max(result["sent"][0] for result in two), min(result["sent"][-1] for result in two)
    if end - begin < 5:
        sys.exit(
            f"the two jobs were at work together for {end - begin:.1f} s: too short to say anything; take more windows"
        )
    together = achieved(steady(both, begin, end), rate, 0)
    both_jobs = f"2 jobs {together:.1%} in the {end - begin:.0f} s in which both send, {achieved(both, rate):.1%} from first to last"
    say(both_jobs)
    refused = one["refused"] + sum(result["refused"] for result in two)
    return f"{text}, {both_jobs}; {refused} refused by the simulator, which allows no more"


def kills(bench: Bench, number: int, seed: int, expected: tuple[str, int]) -> str:
    "Executors killed at random pages: the same rows."
    at = random.Random(seed).sample(range(bench.windows // 20, bench.windows), number)
    task = bench.task("kills", "executors", 4, kill_at=tuple(at), seed=seed)
    result = bench.run(task, RATE_PER_S=0)
    same(expected, content(task.lake), f"{result['killed']} executors killed")
    if result["killed"] != number:
        sys.exit(f"{result['killed']} executors were killed, not {number}")
    return f"{number} executors killed (seed {seed}, {result['seconds']:.1f} s): no row lost or doubled, no file unaccounted for"


# --- the entry script by spark-submit -----------------------------------------------------------------------------------


def submit(
    master: str, conf: Sequence[str], arguments: Sequence[object], env: Mapping[str, str], cwd: Path, log: Path
) -> Any:
    "Start glue_notebooks/job.py as Glue does."
    local = ["spark.ui.enabled=false", "spark.driver.host=127.0.0.1", f"spark.local.dir={cwd}", *conf]
    flags = [word for one in local for word in ("--conf", one)]
    words = [
        Path(env["SPARK_HOME"]) / "bin" / "spark-submit",
        "--master",
        master,
        *flags,
        ROOT / "glue_notebooks" / "job.py",
    ]
    with log.open("w") as file:
        return subprocess.Popen([*map(str, [*words, *arguments])], env=dict(env), cwd=cwd, stdout=file, stderr=file)


def notebooks(bench: Bench) -> str:
    "The three jobs on a cluster, with the package as a wheel and nowhere else."
    sys.path.insert(0, str(ROOT / ".ci"))
    from release import build

    place = bench.folder / "notebooks"
    place.mkdir()
    wheel = build(place)
    # The packages of this environment, but not its own smartsensor: an editable one is found through a .pth file.
    env = {**bench.env, "PYTHONPATH": str(Path(psutil.__file__).parent.parent)}
    env["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")  # the templates of pages
    env |= dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), sys._base_executable)  # type: ignore[attr-defined]
    probe = subprocess.run([env["PYSPARK_PYTHON"], "-c", "import smartsensor"], env=env, cwd=place, capture_output=True)
    assert probe.returncode, "the package must come from the wheel alone"
    texts = []
    for job in ("check", "extract", "promote"):
        order = [
            "--package",
            wheel,
            "--notebook",
            ROOT / "glue_notebooks" / f"{job}.ipynb",
            "--run_id",
            RUN,
            "--JOB_NAME",
            job,
        ]
        order += [
            "--expectations",
            ROOT / "expectations",
            "--SMARTSENSOR_LAKE",
            place / "lake",
            "--SMARTSENSOR_ENGINE",
            "spark",
        ]
        order += ["--SMARTSENSOR_HISTORY_DAYS", "0.2", "--SMARTSENSOR_RATE_PER_S", "0"]
        began, log = time.monotonic(), bench.keep / f"{job}.log"
        code = submit("local-cluster[2,2,1024]", ["spark.sql.shuffle.partitions=8"], order, env, place, log).wait()
        runs = place / "lake" / "runs" / RUN
        for path in runs.glob(f"{job}.*"):
            shutil.copy(path, bench.keep)
        if code:
            sys.exit(f"{job} ended with {code}: {log}")
        texts.append(f"{job} {time.monotonic() - began:.0f} s")
        say(f"{texts[-1]}: {bench.keep / job}.html")
    promoted = json.loads((runs / "promote.json").read_text())["promotions"]
    landed = json.loads((runs / "extract.json").read_text())["totals"]
    received, counted = (sum(one[name] for one in some) for some, name in ((landed, "received"), (promoted, "raw")))
    kept = sum(one["new"] + one["updated"] + one["already"] + one["quarantined"] for one in promoted)
    if not received == counted == kept:
        sys.exit(f"{received} rows received, {counted} in raw, {kept} accounted for")
    return f"notebooks on local-cluster[2,2,1024] from the wheel: {', '.join(texts)}, {received} rows received and accounted for"


CASES = {  # cell, arguments, signal, expected
    "good": ("print(run_id)", [], None, 0),
    "failing cell": ("1 / 0", [], None, 1),
    "killed kernel": ("import os\nos.kill(os.getpid(), 9)", [], None, 1),
    "no session": ("print(run_id)", ["--SMARTSENSOR_ENGINE", "spark"], None, 1),
    "timeout": ("import time\ntime.sleep(120)", ["--time_limit_s", "15"], None, 124),
    "SIGTERM": ("open(run_id, 'w').close()\nimport time\ntime.sleep(120)", [], signal.SIGTERM, 143),
}


def exit_code_of(name: str, bench: Bench) -> int:
    "Exit code of spark-submit of the entry script with one cell."
    import nbformat

    folder = bench.folder / name
    folder.mkdir()
    cell, more, number, _ = CASES[name]
    code = nbformat.v4.new_code_cell
    made = nbformat.v4.new_notebook(cells=[code('run_id = ""', metadata={"tags": ["parameters"]}), code(cell)])
    made.metadata["kernelspec"] = {"name": "glue_pyspark", "display_name": "glue_pyspark", "language": "python"}
    nbformat.write(made, folder / "case.ipynb")
    conf = ["spark.executor.memory=1m"] if name == "no session" else []
    order = ["--notebook", folder / "case.ipynb", "--run_id", RUN, "--SMARTSENSOR_LAKE", folder / "lake", *more]
    child = submit("local[1]", conf, order, bench.env, folder, folder / "log")
    if number is not None:
        while not (folder / RUN).exists() and child.poll() is None:
            time.sleep(0.2)
        child.send_signal(number)
    return int(child.wait(timeout=300))


def wait_for_the_last(folder: Path) -> None:
    "Until nobody works in the folder any more: a driver whose JVM was told to end still keeps its record."
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        busy = (one.info["cwd"] or "" for one in psutil.process_iter(["cwd"]))
        if not any(f"{place}/".startswith(f"{folder}/") for place in busy):
            return
        time.sleep(0.2)


def endings(bench: Bench) -> str:
    codes, unrecorded = {}, list[str]()
    for case, (*_, expected) in CASES.items():
        codes[case] = exit_code_of(case, bench)
        say(f"{case}: exit code {codes[case]}")
        if codes[case] != expected:
            sys.exit(
                f"{case}: exit code {codes[case]}, not {expected}: {(bench.folder / case / 'log').read_text()[-3000:]}"
            )
        wait_for_the_last(bench.folder / case)
        if not (bench.folder / case / "lake" / "runs" / RUN / "case.html").exists():
            unrecorded.append(case)
    if unrecorded != ["no session"]:
        sys.exit(f"these left no executed notebook: {unrecorded}")
    text = ", ".join(f"{case} {code}" for case, code in codes.items())
    return f"exit codes: {text}; executed notebook and page kept by all that had a session"


# --- all of it ------------------------------------------------------------------------------------------------------------

PARTS = ("notebooks", "speed", "budget", "kills", "endings")


def settings_of(api: Any) -> dict[str, str]:
    access = {"API_URL": api.base_url, "CLIENT_ID": api.client_id, "CLIENT_SECRET": api.client_secret}
    return {f"SMARTSENSOR_{name}": value for name, value in access.items()}


def figures(options: argparse.Namespace, folder: Path, stack: ExitStack) -> list[str]:
    from smartsensor.jobs.engine_spark import find_java
    from smartsensor.simulator.server import start_process

    env = {**os.environ, **environment(find_java(), folder / "cluster"), "TZ": "UTC"}
    free = stack.enter_context(start_process("--burst", "0", *SIMULATOR))
    bench = Bench(folder, options.keep, {**env, **settings_of(free)}, options.windows)
    found, only = list[str](), options.only
    if "notebooks" in only:
        found.append(notebooks(bench))
    if {"speed", "budget", "kills"} & set(only):
        parts, rows, rate = speed(bench)
        found.append(f"{options.windows} windows, {rows[1]} rows (sha {rows[0][:8]}) each time: {', '.join(parts)}")
        if "budget" in only:
            allowed = int(
                rate / 2
            )  # well below what four executors can do here, so that it is the budget that holds them
            strict = stack.enter_context(start_process("--burst", str(allowed), *SIMULATOR))
            found.append(budget(Bench(folder, options.keep, {**env, **settings_of(strict)}, options.windows), allowed))
        if "kills" in only:
            found.append(kills(bench, options.kills, options.seed, rows))
            say(found[-1])
    if "endings" in only:
        found.append(endings(bench))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the pages at which executors are killed, and which")
    parser.add_argument("--keep", type=Path, default=ROOT / "dist" / "spark", help="for executed notebooks and figures")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(Task(**json.loads(options.measure)))
        return 0
    options.keep = options.keep.absolute()
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="spark-") as name, ExitStack() as stack:
        found = figures(options, Path(name), stack)
        wait_for_the_last(Path(name))
    cores = f"all executors, the driver and the simulator share {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} at the end)"
    line = "; ".join([*found, cores])
    (options.keep / "figures.txt").write_text(line.replace("; ", "\n") + "\n")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
