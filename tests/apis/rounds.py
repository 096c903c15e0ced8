"""A fake API read the whole way, in rounds: new; a day later; under faults and killed in the middle. After each the table is the truth.

A round is check, extract, promote (with the gate and a suite of each zone) and read. A killed extraction is a process of its own
that kills itself by SIGKILL at a page; the next process goes on with the same plan.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest.mock import patch

from server import FAULTS, FakeApi, Faults, Row
from sources import CASES, Case

from smartsensor.config import ApiSettings, Secret, Settings
from smartsensor.jobs import landing
from smartsensor.jobs.check import Report, check, raise_if_failed
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.extraction import Extraction, extract_all
from smartsensor.jobs.promote import promote
from smartsensor.jobs.reading import read
from smartsensor.lake.lake import Lake
from smartsensor.quality.gate import Gate
from smartsensor.source.http import Client
from smartsensor.source.resources import Resource
from smartsensor.source.sources import connect

CONTEXT = multiprocessing.get_context("fork")  # the killed process needs no import
SCRIPT = ["429 seconds", None, "429 date", "500", None, "cut", "401", "short", "503"]
BY_CHANCE = [kind for kind in FAULTS if kind != "401"]  # a token that is refused again at once ends a run, as it should


def write_suites(folder: Path, resource: Resource) -> None:
    """The shortest suites that gate promotion: rows as expected and keys present; in qualified, each key once."""

    def expectation(kind: str, name: str, **kwargs: Any) -> dict[str, Any]:
        why = {"name": name, "why": "A table with other rows is not the source's."}
        return {"type": kind, "kwargs": kwargs, "severity": "critical", "meta": why}

    rows = expectation("expect_table_row_count_to_equal", "row-count", value={"$PARAMETER": "expected_rows"})
    present = [
        expectation("expect_column_values_to_not_be_null", f"{name}-present", column=name) for name in resource.key
    ]
    if len(resource.key) == 1:
        once = expectation("expect_column_values_to_be_unique", "key-unique", column=resource.key[0])
    else:
        once = expectation("expect_compound_columns_to_be_unique", "key-unique", column_list=list(resource.key))
    folder.mkdir(parents=True, exist_ok=True)
    for zone, expectations in (("raw", [rows, *present]), ("qualified", [rows, *present, once])):
        suite = {"name": f"{resource.name}.{zone}", "expectations": expectations}
        suite |= {"meta": {"team": "tests", "key": list(resource.key)}}
        (folder / f"{resource.name}.{zone}.json").write_text(json.dumps(suite))


@dataclass
class Pipeline:
    """What reads one fake API into one lake."""

    case: Case
    api: FakeApi
    root: Path

    @property
    def resource(self) -> Resource:
        return self.case.source.collections[0]

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    @property
    def settings(self) -> Settings:
        api = ApiSettings(
            self.api.url,
            client_id=self.case.client_id,
            client_secret=Secret(self.case.secret),
            rate_per_s=0,
            max_attempts=12,
        )
        return Settings(
            api, str(self.root / "lake"), expectations=self.root / "expectations", settling=timedelta(0), history=timedelta(days=2),
        )  # fmt: skip

    def client(self) -> Client:
        client = connect(self.settings, self.case.source)
        client.sleep = lambda seconds: None  # what the server asks for is 0 s; the rest is jitter
        return client

    def plan(self, run: str) -> Report:
        report = check(self.client(), self.lake, [self.resource], self.settings, run)
        raise_if_failed(report)
        self.lake.put(f"runs/{run}/check.json", json.dumps(report.as_json()).encode())
        return report

    def extract(self, run: str, on_rows: Callable[[str, int], None] = lambda resource, rows: None) -> Extraction:
        due = Report.from_json(self.lake.json(f"runs/{run}/check.json")).due
        with patch.multiple(landing, PART_ROWS=25, GROUP_ROWS=25):  # so that a window has parts, and progress
            return extract_all(self.client(), self.lake, due, run, 2, on_rows, self.case.source.resources)

    def extract_and_die(self, run: str, page: int) -> None:
        """Extract in a process that is killed at a page; AssertionError where it came to its end."""
        process = CONTEXT.Process(target=self._die_at, args=(run, page))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"the process ended with {process.exitcode}, and was to be killed"

    def _die_at(self, run: str, page: int) -> None:
        seen = [0]

        def count(resource: str, rows: int) -> None:
            seen[0] += 1
            if seen[0] == page:
                os.kill(os.getpid(), signal.SIGKILL)

        self.extract(run, count)

    def promote(self, run: str) -> Any:
        with TemporaryDirectory() as folder:
            engine = DuckDB(Path(folder), threads=1)
            try:
                return promote(self.lake, self.resource, engine, Gate(self.settings.expectations, run), run)
            finally:
                engine.close()

    def difference(self) -> str:
        """What is wrong with the published rows, in words; "" when they equal the server's truth in every column."""
        truth = self.api.truth(self.api.start, self.api.now)
        return differences(truth, self.rows(list(truth[0])), self.api.key)

    def rows(self, columns: list[str]) -> list[Row]:
        return read(self.resource, columns=columns, lake=self.lake).arrow().to_pylist()


def differences(truth: Sequence[Row], found: Sequence[Row], key: Sequence[str]) -> str:
    wanted, got = ({tuple(row[name] for name in key): row for row in rows} for rows in (truth, found))
    lost, invented = wanted.keys() - got.keys(), got.keys() - wanted.keys()
    other = [one for one in wanted.keys() & got.keys() if wanted[one] != got[one]]
    doubled = len(found) - len(got)
    counts = {"lost": len(lost), "invented": len(invented), "with other values": len(other), "doubled": doubled}
    output = ", ".join(f"{count} rows {what}" for what, count in counts.items() if count)
    example = f"; such as {wanted[other[0]]}, which is {got[other[0]]} here" if other else ""
    return f"{output}{example}" if output else ""


def run_id(number: int) -> str:
    return f"20260310T{number:02}0000Z-apis"


def prove(name: str, root: Path) -> tuple[str, list[str]]:
    """One line about an API, and what differs."""
    case, problems, began = CASES[name], list[str](), perf_counter()
    with case.kind() as api:
        pipeline = Pipeline(case, api, root)
        write_suites(pipeline.settings.expectations, pipeline.resource)
        for number, round_ in enumerate((_plain, _plain, _with_faults_and_a_kill), 1):
            if number > 1:
                api.advance()
            round_(pipeline, run_id(number))
            done = pipeline.promote(run_id(number))
            output = pipeline.difference() if done.outcome == "published" else f"the gate held it: {done.held}"
            problems += [f"round {number}: {output}"] if output else []
        truth, requests = len(api.truth(api.start, api.now)), len(api.log)
        rows = len(read(pipeline.resource, lake=pipeline.lake))
        seconds = perf_counter() - began
    line = f"{name:12} {rows:6,} rows, {truth:6,} in truth, {requests:4} requests, {seconds:5.1f} s"
    return line, problems


def _plain(pipeline: Pipeline, run: str) -> None:
    pipeline.plan(run)
    pipeline.extract(run)


def _with_faults_and_a_kill(pipeline: Pipeline, run: str) -> None:
    pipeline.plan(run)
    pipeline.api.faults = Faults(list(SCRIPT), retry_after_s=0)
    pipeline.extract_and_die(run, 3)
    pipeline.api.faults = Faults(list(SCRIPT), 0.2, BY_CHANCE, seed=5, retry_after_s=0)
    pipeline.extract(run)
    pipeline.api.faults = Faults()
