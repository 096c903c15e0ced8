"""The rule "what may be resumed, and by whom" (nbs/run/63_pipeline.ipynb) as a model: any order of jobs, kills, faults and options.

Each step runs the real pipeline in this process against a simulator whose clock only the model moves. The cells of the
job notebooks run as they stand, without a kernel; the gate judges in SQL, as in tests/kills/job.py. A kill makes every
further write to the lake fail. What the model holds:

* exit code 0 of `run` or `backfill`: what was asked for stands in qualified, up to the bound of its plan, each key once;
* whatever happens, nothing that was published is lost, doubled or taken back to an older revision;
* while the API can't be read or refuses us, no `run` ends with 0; once all is well again, the next one does: or it ends with 6,
  when a backfill was miscounted and waits for a person, and then all else that is due stands in qualified.
"""

import contextlib
import io
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from kills.job import SqlGate
from table_reader import newest, table_of

from smartsensor.config import ApiSettings, Secret, Settings, as_env
from smartsensor.jobs.backfill import Backfill
from smartsensor.jobs.check import raise_if_failed
from smartsensor.jobs.decisions import decide, held_windows
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import new_run_id
from smartsensor.lake.store import Folder
from smartsensor.quality.verdicts import Finding, Verdict
from smartsensor.run import planning
from smartsensor.run.claims import Claim, renew
from smartsensor.run.exit_codes import CODES, code_of
from smartsensor.run.notebooks import ExecutedNotebook, set_variables
from smartsensor.run.pipeline import open_backfills, run_backfill, run_pipeline, source_of
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.smartsensor_api import RESOURCES, SOURCE
from smartsensor.source.sources import connect
from smartsensor.windows import instant

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
# No impossible values: all rows go to qualified, so that it alone is compared with the truth.
FLEET = Fleet(assets=2, sensors=2, plants=2, interval_s=1800, impossible=0.0, revised=0.1)
LIMITS = Limits(burst=0, sustained=0, token_lifetime_s=1 << 30)
FEW = {name: RESOURCES[name] for name in ("plants", "assets", "measurements")}  # all resources of this model
API = {
    "up": [],
    "down": [{"kind": "status", "on": "*", "times": 0, "value": 503}],
    "unauthorized": [{"kind": "invalid_client", "times": 0}],
    "forbidden": [{"kind": "status", "on": "/me", "times": 0, "value": 403}],
    "miscounts": [{"kind": "lying_count", "on": "/measurements/count", "times": 0}],
}
REFUSALS = {"down": 3, "unauthorized": 4, "forbidden": 4}  # exit codes


class Killed(BaseException):
    """The process is gone; no `Exception`, so that nothing on the way takes it for a fault."""


class Gate(SqlGate):
    """Judges in SQL; holds raw of the resources in `held`."""

    held: frozenset[str] = frozenset()

    def __init__(self, expectations: Path, run: str) -> None:
        pass

    def judge(self, batch: Any, resource: str, zone: Any, *others: Any, **more: Any) -> Verdict:
        bad = Finding("never holds", "table", None, "critical", resource not in self.held, 0, 0, "", name="made-up")
        return super().judge(batch, resource, zone, *others, **{**more, "further": (*more.get("further", ()), bad)})

    def write_docs(self, lake: Lake) -> str:
        return "quality/index.html"


@cache
def cells(notebook: Path) -> list[tuple[list[str], CodeType]]:
    "The code cells of a job notebook with their tags, without the magics of Glue."
    read = [one for one in json.loads(notebook.read_text())["cells"] if one["cell_type"] == "code"]
    tagged = [(one["metadata"].get("tags", []), "".join(one["source"])) for one in read]
    return [(tags, compile(code, notebook.name, "exec")) for tags, code in tagged if "session" not in tags]


def execute(
    notebook: Path, parameters: dict[str, Any], lake: Lake, run: str, settings: Settings, pages: object
) -> ExecutedNotebook:
    "What `smartsensor.run.notebooks.execute` does, in this process."
    names: dict[str, Any] = {}
    error = None
    try:
        with set_variables(as_env(settings) | {"TQDM_DISABLE": "1"}), contextlib.redirect_stdout(io.StringIO()):
            for tags, code in cells(notebook):
                exec(code, names)
                names.update(parameters if "parameters" in tags else {})
    except Exception as fault:
        error = type(fault).__name__, str(fault)
    page = f"runs/{run}/{notebook.stem}"
    return ExecutedNotebook(notebook.stem, 0.0, f"{page}.ipynb", f"{page}.html", error)


@contextmanager
def without_kernels() -> Iterator[pytest.MonkeyPatch]:
    "Job notebooks run here, judge in SQL and draw nothing; `run` without --resource is about FEW."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smartsensor.run.pipeline.execute", execute)
        patch.setattr("smartsensor.source.smartsensor_api.SOURCE", replace(SOURCE, collections=tuple(FEW.values())))
        patch.setitem(sys.modules, "smartsensor.quality.gate", SimpleNamespace(Gate=Gate))
        for name in ("plot_landed", "plot_latency", "plot_verdicts"):
            patch.setattr(f"smartsensor.run.plots.{name}", lambda *_: None)
        yield patch


class Pipeline:
    """One lake, the API that it is read from, and a clock."""

    def __init__(self, api: Running, world: World, now: list[datetime], root: Path) -> None:
        self.api, self.world, self.now, self.lake = api, world, now, Lake(str(root))
        self.writes, self.deadline = itertools.count(1), 0
        self.starts: set[datetime] = set()
        self.seen: dict[str, tuple[int, dict[str, Any]]] = {}
        now[0] = BEGIN

    # The outside world

    def settings(self, history_h: int = 6) -> Settings:
        secret = Secret(self.api.client_secret)
        api = ApiSettings(
            self.api.base_url, self.api.token_url, self.api.client_id, secret, rate_per_s=0, max_attempts=1
        )
        return Settings(
            api, lake=str(self.lake.root), expectations=ROOT / "expectations", threads=1, history=timedelta(hours=history_h)
        )  # fmt: skip

    def turn(self, api: str, after: int = 0) -> None:
        "Put the API into a state; a number: so many requests go well, then it is down."
        faults = [{**API["down"][0], "at": int(api)}] if api.isdecimal() else API[api]
        requests.delete(f"{self.api.control_url}/faults", timeout=10)
        if faults:
            requests.post(f"{self.api.control_url}/faults", json=faults, timeout=10).raise_for_status()

    def count_writes(self, patch: pytest.MonkeyPatch) -> None:
        "From the write on that `deadline` names, each write to the lake fails: 0 for never."

        def counted(work: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **more: Any) -> Any:
                if 0 < self.deadline <= next(self.writes):
                    raise Killed
                return work(*args, **more)

            return wrapper

        for name in ("create", "put", "upload", "delete"):
            patch.setattr(Folder, name, counted(getattr(Folder, name)))

    def process(self, work: Callable[[], int], dies_at: int = 0) -> int | None:
        "A process that does some work: its exit code, or None where it was killed. Claims of a process that is gone do not hold."
        self.writes, self.deadline = itertools.count(1), dies_at
        try:
            return work()
        except Exception as error:
            return code_of(error)
        except Killed:
            return None
        finally:
            self.deadline = 0
            self.now[0] += timedelta(seconds=1)  # run ids are seconds apart
            for scope in ("run", "backfill"):
                if found := self.lake.log("_claims", scope).latest()[1]:
                    renew(self.lake, Claim(**found), lease_s=0)

    # What people and schedules start

    def job(self, name: str, run: str, dies_at: int = 0, settings: Settings | None = None, **more: Any) -> int | None:
        "A job notebook by hand."

        def work() -> int:
            notebook = ROOT / "glue_notebooks" / f"{name}.ipynb"
            done = execute(notebook, {"run_id": run, **more}, self.lake, run, settings or self.settings(), None)
            return CODES.get(done.error[0], 1) if done.error else 0

        return self.process(work, dies_at)

    def check(self, resources: Sequence[str] = (), dies_at: int = 0) -> tuple[str, int | None]:
        run = new_run_id(self.now[0])
        self.plan_begins(6)
        return run, self.job("check", run, dies_at, resources=list(resources))

    def run(self, resources: Sequence[str] = (), dies_at: int = 0, history_h: int = 6) -> int | None:
        asked_at = self.now[0]
        self.plan_begins(history_h)

        def work() -> int:
            notebooks = ROOT / "glue_notebooks"
            return run_pipeline(self.settings(history_h), notebooks, resources, now=asked_at).code

        code = self.process(work, dies_at)
        if code == 0 or (code == 6 and self.waits_for_a_person(resources)):
            for name in resources or FEW:
                self.holds_all_that_is_due(name, asked_at)
        return code

    def waits_for_a_person(self, resources: Sequence[str]) -> bool:
        "Whether windows are held because the source counted others than it gave, and for no other reason: a backfill is not read again by itself."
        held = [one for name in resources or FEW for one in held_windows(self.lake, name)]
        return bool(held) and not Gate.held and all(one.declared != one.received for one in held)

    def accept(self) -> None:
        "A person takes all that is held as it is."
        for name in FEW:
            if held := held_windows(self.lake, name):
                decide(self.lake, held, "accept", "the source miscounts", "ana", self.now[0])

    def backfill(self, asked: Backfill | None, dies_at: int = 0) -> int | None:
        "As the command does it."
        asked_at = self.now[0]

        def work() -> int:
            settings = self.settings()
            source = source_of(settings)
            run, found, resumed = planning._choose_backfill(self.lake, asked, source)
            if not resumed:
                run = new_run_id(asked_at, "backfill-")
            report = planning._report(connect(settings), self.lake, settings, run, found, resumed)
            raise_if_failed(report)
            if not report.due:
                planning._close_empty(self.lake, report, resumed)
                return 0
            planning._write_plan(self.lake, report, found, source, resumed)
            chosen = [one.name for one in found.chosen(SOURCE)]
            return run_backfill(settings, ROOT / "glue_notebooks", run, chosen, resumed).code

        code = self.process(work, dies_at)
        if code == 0 and asked:
            edge = self.lake.ledger("measurements").edge or asked_at - timedelta(seconds=60)
            if asked.start < (end := min(asked.end, edge)):
                self.holds("measurements", asked_at, asked.start, end)
        return code

    def plans(self) -> list[str]:
        "Runs that have a plan, newest first."
        return sorted({key.split("/")[1] for key in self.lake.list("runs") if key.endswith("check.json")}, reverse=True)

    # What must hold

    def plan_begins(self, history_h: int) -> None:
        self.starts.add((self.now[0] - timedelta(hours=history_h, seconds=60)).replace(minute=0, second=0))

    def published(self, name: str) -> dict[str, Any]:
        "The newest version of each key in qualified; no key stands there twice."
        version, table = newest(self.lake, name).number, table_of(self.lake, name)
        if name not in self.seen or self.seen[name][0] != version:
            rows = versions(table.scan().to_arrow(), name) if table else []
            assert len(dict(rows)) == len(rows), f"{name}: a key stands in qualified twice"
            self.seen[name] = version, dict(rows)
        return self.seen[name][1]

    def holds(self, name: str, as_of: datetime, since: datetime | None, before: datetime | None) -> None:
        "All rows of a stretch stand in qualified, in a version that is no older."
        found = self.published(name)
        lost = [
            row for row in versions(self.world.truth(name, as_of, since, before), name) if found.get(row[0]) != row[1]
        ]
        assert not lost, f"{name}: {len(lost)} rows are missing in qualified or outdated, {lost[0]} for one"

    def holds_all_that_is_due(self, name: str, asked_at: datetime) -> None:
        newest = max(key.split("/")[1] for key in self.lake.list("runs") if key.endswith("run.json"))
        until = instant(self.lake.json(f"runs/{newest}/check.json")["until"])
        assert until == asked_at - timedelta(seconds=60)
        if FEW[name].mode == "snapshot":
            assert self.published(name) == dict(versions(self.world.truth(name, asked_at), name))
            return
        origin = self.lake.ledger(name).origin
        assert origin in self.starts
        self.holds(name, asked_at, origin, until)
        ever = dict(versions(self.world.truth(name, asked_at, BEGIN - timedelta(days=3)), name))
        assert self.published(name).keys() <= ever.keys()

    @contextmanager
    def nothing_is_taken_back(self) -> Iterator[None]:
        before = {name: self.published(name) for name in FEW}
        yield
        for name, rows in before.items():
            after = self.published(name)
            lost = [key for key, version in rows.items() if key not in after or after[key] < version]
            assert not lost, f"{name}: {len(lost)} rows that were published are gone or older, {lost[0]} for one"


def versions(rows: pa.Table, name: str) -> list[tuple[str, Any]]:
    "Key and version of each row."
    at = pc.cast(rows.column("updated_at"), pa.int64()).to_pylist()
    return list(zip(rows.column(FEW[name].key[0]).to_pylist(), at, strict=True))


AFTER = st.sampled_from([0, 1, 20, 90, 400])  # minutes
STATE = st.sampled_from(["up", "up", "up", "up", *API, "3", "9", "14"])
SOME = st.sampled_from([(), (), ("plants",), ("assets", "measurements")])
DEATH = st.one_of(st.just(0), st.integers(1, 70))  # before which write
HISTORY = st.sampled_from([6, 6, 6, 12])  # hours
HELD = st.sampled_from([frozenset(), frozenset(), frozenset(), frozenset({"measurements"})])


class Model(RuleBasedStateMachine):
    """Steps in any order."""

    steps = 0

    def __init__(self, api: Running, world: World, now: list[datetime]) -> None:
        super().__init__()
        self.folder, self.patches = tempfile.TemporaryDirectory(), pytest.MonkeyPatch()
        self.it = Pipeline(api, world, now, Path(self.folder.name))
        self.it.count_writes(self.patches)

    def teardown(self) -> None:
        self.patches.undo()
        self.folder.cleanup()

    @contextmanager
    def step(self, after: int, api: str, held: frozenset[str] = frozenset()) -> Iterator[None]:
        Model.steps += 1
        self.it.now[0] += timedelta(minutes=after)
        self.it.turn(api)
        self.patches.setattr(Gate, "held", held)
        with self.it.nothing_is_taken_back():
            yield

    @rule(after=AFTER, api=STATE, some=SOME, death=DEATH, history=HISTORY, held=HELD)
    def run(self, after: int, api: str, some: tuple[str, ...], death: int, history: int, held: frozenset[str]) -> None:
        with self.step(after, api, held):
            code = self.it.run(some, death, history)
            assert death or code is not None
            if api in REFUSALS:
                assert code in (REFUSALS[api], None), code
            if api == "up" and not held:
                assert code in (0, None) or (code == 6 and self.it.waits_for_a_person(some)), code

    @rule(after=AFTER, api=STATE, some=SOME, death=DEATH)
    def check(self, after: int, api: str, some: tuple[str, ...], death: int) -> None:
        with self.step(after, api):
            _, code = self.it.check(some, death)
            assert code in (REFUSALS.get(api, code), None), code

    @rule(after=AFTER, api=STATE, which=st.integers(0, 3), death=DEATH)
    def extract(self, after: int, api: str, which: int, death: int) -> None:
        with self.step(after, api):
            plans = self.it.plans()
            self.it.job("extract", plans[which % len(plans)] if plans else "", death)

    @rule()
    def accept(self) -> None:
        "After which no window waits for a person, once it is promoted."
        with self.step(0, "up"):
            self.it.accept()
            if self.it.run() is not None:
                assert not any(held_windows(self.it.lake, name) for name in FEW)

    @rule(which=st.integers(0, 3), death=DEATH, held=HELD)
    def promote(self, which: int, death: int, held: frozenset[str]) -> None:
        with self.step(0, "down", held):
            plans = self.it.plans()
            self.it.job("promote", plans[which % len(plans)] if plans else "", death)

    @rule(after=AFTER, api=STATE, death=DEATH, begin=st.integers(4, 30), hours=st.integers(1, 8), force=st.booleans())
    def backfill(self, after: int, api: str, death: int, begin: int, hours: int, force: bool) -> None:
        start = BEGIN.replace(minute=0) - timedelta(hours=begin)
        asked = Backfill(start, start + timedelta(hours=hours), ("measurements",), force)
        with self.step(after, api):
            code = self.it.backfill(asked, death)
            assert code in (REFUSALS.get(api, code), None), code


@contextmanager
def simulator() -> Iterator[tuple[Running, World, list[datetime]]]:
    world, now = World(FLEET), [BEGIN]
    with serve(world=world, clock=lambda: now[0], limits=LIMITS) as api:
        yield api, world, now


def hold(examples: int, steps: int, derandomize: bool) -> None:
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=derandomize, database=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),  # shrinking takes minutes: ten steps can be read
    )  # fmt: skip
    with simulator() as (api, world, now), without_kernels():
        run_state_machine_as_test(lambda: Model(api, world, now), settings=chosen)


def test_exit_code_0_means_that_all_was_read_after_any_order_of_jobs_kills_and_faults() -> None:
    hold(20, 10, derandomize=True)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with simulator() as (api, world, now), without_kernels() as patch:
        one = Pipeline(api, world, now, tmp_path)
        one.count_writes(patch)
        yield one


def test_a_check_that_found_the_api_down_is_not_gone_on_with(pipeline: Pipeline) -> None:
    pipeline.turn("down")
    assert pipeline.check()[1] == 3
    assert pipeline.run() == 3
    assert pipeline.run() == 3
    assert not any(pipeline.published(name) for name in FEW)
    pipeline.turn("up")
    assert pipeline.run() == 0  # and `run` of this file compares with the truth
    assert all(pipeline.published(name) for name in FEW)


def test_a_check_of_one_resource_does_not_settle_what_a_full_run_reads(pipeline: Pipeline) -> None:
    assert pipeline.check(["plants"])[1] == 0
    assert pipeline.run() == 0
    assert all(pipeline.published(name) for name in FEW)


def test_an_old_plan_that_is_extracted_again_takes_nothing_out_of_a_newer_listing(pipeline: Pipeline) -> None:
    old, _ = pipeline.check(["assets"])
    writes = itertools.takewhile(lambda _: not pipeline.lake.list("raw/assets/_manifests"), itertools.count(1))
    for at in writes:  # killed ever later, until its listing has landed and is not in the ledger yet
        pipeline.job("extract", old, dies_at=at, resources=["assets"])
    assert pipeline.lake.ledger("assets").version == 0
    pipeline.now[0] += timedelta(hours=3)
    assert pipeline.run(["assets"]) == 0
    with pipeline.nothing_is_taken_back():
        assert pipeline.job("extract", old, resources=["assets"]) == 0
        assert pipeline.job("promote", old, resources=["assets"]) == 0


def test_a_miscounted_backfill_waits_for_a_person_and_holds_nothing_else(pipeline: Pipeline) -> None:
    start = BEGIN.replace(minute=0) - timedelta(hours=30)
    pipeline.turn("miscounts")
    assert pipeline.backfill(Backfill(start, start + timedelta(hours=8), ("measurements",))) == 6
    pipeline.turn("up")
    assert pipeline.run() == 6  # and `run` of this file compares all that is due with the truth
    assert pipeline.waits_for_a_person(())
    assert all(pipeline.published(name) for name in FEW)
    pipeline.accept()
    assert pipeline.run() == 0
    assert not held_windows(pipeline.lake, "measurements")
    pipeline.holds("measurements", pipeline.now[0], start, start + timedelta(hours=8))


def test_a_backfill_that_has_left_the_retention_comes_to_its_end(pipeline: Pipeline) -> None:
    asked = Backfill(
        BEGIN.replace(minute=0) - timedelta(days=3), BEGIN.replace(minute=0) - timedelta(days=2), ("measurements",)
    )
    assert pipeline.backfill(asked, dies_at=3) is None  # right after its plan
    (begun,) = open_backfills(pipeline.lake)
    pipeline.now[0] += timedelta(days=1000)
    assert pipeline.backfill(None) == 0
    assert open_backfills(pipeline.lake) == []
    assert "can't be read any more" in pipeline.lake.json(f"runs/{begun}/result.json")["message"]


if __name__ == "__main__":
    import time

    began = time.monotonic()
    try:
        hold(int(sys.argv[1]), int(sys.argv[2]), derandomize=False)
    finally:
        print(f"{Model.steps} steps in {time.monotonic() - began:.0f} s")
