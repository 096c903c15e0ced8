"""One run of check, extract and promote in one process, that may be told to kill itself at a write or at a step.

Great Expectations takes seconds to import and writes nothing before the pages at the end, so the gate here judges by the
row rules alone, in SQL; everything else is what a real run does.
"""

import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from smartsensor.config import ApiSettings, Secret, Settings
from smartsensor.jobs import landing as extraction
from smartsensor.jobs.check import Report, check
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.promote import promote
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Folder, NotFound
from smartsensor.quality.row_rules import row_rules
from smartsensor.quality.verdicts import Finding, Verdict
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import SOURCE

RUN = "20261120T120000Z-kill"
RESOURCES = ["plants", "measurements", "events"]
EXPECTATIONS = Path(__file__).parent.parent.parent / "expectations"


class SqlGate:
    """Row count and row rules, by DuckDB."""

    expectations = EXPECTATIONS

    def judge(
        self,
        batch: Any,
        resource: str,
        zone: Any,
        parameters: Mapping[str, int],
        about: Mapping[str, str] | None = None,
        further: Sequence[Finding] = (),
        trial: bool = False,
    ) -> Verdict:
        import duckdb

        connection = duckdb.connect()
        frame = connection.from_arrow(batch)
        same = batch.num_rows == parameters["expected_rows"]
        findings = [
            Finding("rows as declared", "count", None, "critical", same, 0, 0, str(batch.num_rows), name="row-count")
        ]
        for rule in row_rules(EXPECTATIONS / f"{resource}.raw.json") if zone == "raw" else ():
            bad = len(frame.filter(rule.where))
            findings.append(Finding(rule.name, "row", None, "critical", True, bad, batch.num_rows, "", name=rule.name))
        return Verdict(resource, zone, batch.num_rows, (*findings, *further), None, about or {})

    def record(self, verdict: Verdict) -> None:
        pass


def counted(count: "itertools.count[int]", deadline: int, work: Callable[..., Any]) -> Callable[..., Any]:
    "The same work, and death before the one that the count says."

    def wrapper(*args: Any, **more: Any) -> Any:
        if next(count) == deadline:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*args, **more)

    return wrapper


def main(root: str, api: str, write: int = 0, step: str = "") -> dict[str, int]:
    count = itertools.count(1)
    for name in ("create", "put", "upload", "delete"):
        setattr(Folder, name, counted(count, write, getattr(Folder, name)))
    SqlCatalog.commit_table = counted(count, write, SqlCatalog.commit_table)  # type: ignore[method-assign]
    extraction.PART_ROWS, extraction.GROUP_ROWS = 1500, 500
    credentials = json.loads(api)
    settings = Settings(
        ApiSettings(
            credentials["base_url"], credentials["token_url"], credentials["client_id"],
            Secret(credentials["client_secret"]), page_limit=250,
        ),
        lake=root, history=timedelta(hours=40),
    )  # fmt: skip
    lake, resources = Lake(root), SOURCE.choose(RESOURCES)
    client = Client(settings.api)
    plan = f"runs/{RUN}/check.json"
    try:
        report = Report.from_json(lake.json(plan))
    except NotFound:
        report = check(client, lake, resources, settings, RUN)
        lake.put(plan, json.dumps(report.as_json()).encode())
    extract_all(client, lake, report.due, RUN, threads=2)

    def reached(now: str) -> None:
        if step == now:
            os.kill(os.getpid(), signal.SIGKILL)

    with tempfile.TemporaryDirectory() as folder:
        engine = DuckDB(Path(folder))
        for resource in resources:
            promote(lake, resource, engine, SqlGate(), RUN, reached)
        engine.close()
    return {"writes": next(count) - 1}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]), sys.stdout)
