"""Thirty days with late rows, revisions, events that change their date, a new column, backfills and rollbacks: is the table the truth?"""

import copy
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from processes import Scale
from synthetic import (
    DAY0,
    READINGS,
    WIDER,
    Row,
    Truth,
    difference,
    engine,
    land,
    promoted,
    reading,
    rows_by_polars,
    write_suite,
)  # fmt: skip

from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, current

SEED, EACH, A_DAY = 3, 40, 6  # rows of a window; windows a day


def steps(scale: Scale) -> int:
    "Days."
    return 4 if scale.short else 30


def window_rows(chance: random.Random, number: int, day: int, known: list[Row], wide: bool) -> tuple[list[Row], int]:
    "New rows, some of them late; revisions, some of which change their date; and how many rows are late."
    now, rows, late = DAY0 + timedelta(days=day), list[Row](), 0
    for at in range(EACH):
        behind = chance.randrange(day + 1) if chance.random() < 0.1 else 0
        late += behind > 0
        at_time = now - timedelta(days=behind) + timedelta(seconds=chance.randrange(86_400))
        rows.append(reading(f"r-{number}-{at}", number, 1, at_time, chance.randrange(1000)))
    for old in chance.sample(known, min(6, len(known))):
        moved = old["measured_at"] + timedelta(days=chance.choice((0, 0, 1, -1, 3)))
        rows.append(reading(old["reading_id"], number, old["revision"] + 1, moved, chance.randrange(1000)))
    if wide:
        rows = [{**row, "humidity": float(chance.randrange(100))} for row in rows]
    return rows + chance.sample(known, min(4, len(known))), late


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    root, chance, days = folder / "lake", random.Random(SEED), steps(scale)
    write_suite(root / "suites", "readings")
    lake, truth, problems = Lake(str(root)), Truth.empty(), list[str]()
    versions: dict[int, Truth] = {}  # the newest of them
    number = late = backfilled = rollbacks = compared = publications = 0
    resource, skipped = READINGS, list[tuple[int, list[Row]]]()
    with engine() as opened:
        for day in range(days):
            wide = day >= days // 2
            resource = WIDER if wide else READINGS
            names = [*resource.schema.names]
            for _ in range(A_DAY):
                number += 1
                rows, behind = window_rows(chance, number, day, [*truth.good.values()], wide)
                late += behind
                if chance.random() < 0.05:
                    skipped.append((number, rows))  # a gap, to be filled later
                    continue
                truth.add(rows)
                land(lake, number, rows, resource)
                if chance.random() < 0.2 and skipped:
                    at, missed = skipped.pop(0)
                    truth.add(missed)
                    land(lake, at, missed, resource)
                    backfilled += 1
                done = promoted(lake, opened, number, resource=resource)
                publications += done.outcome == "published"
                versions = {**dict([*versions.items()][-4:]), done.version: copy.deepcopy(truth)}
            if day % 5 == 2:
                rollbacks += 1
                problems += _rolled_back(root, lake, versions, names)
                done = promoted(lake, opened, number, resource=resource)  # what the rollback took is due again
                versions = {done.version: copy.deepcopy(truth)}
            problems += [
                f"day {day}: {output}" for output in [difference(rows_by_polars(root), truth.good, names)] if output
            ]
            compared += 1
            tick()
    line = (
        f"month: {days} days, {publications} promotions, {len(truth.good):,} rows, {late} late, {backfilled} windows backfilled, {rollbacks} rollbacks, "
        f"a new column: Polars alone found the truth on {compared - len(problems)} of {compared} days"
    )
    return line, problems


def _rolled_back(root: Path, lake: Lake, versions: dict[int, Truth], names: list[str]) -> list[str]:
    "Publish an older version again, and compare the table with what was true then."
    table = Tables(lake).find(QUALIFIED, "readings")
    assert table is not None
    older = [number for number in versions if number != current(table).number]
    target = older[-3] if len(older) > 2 else older[0]
    rollback(table, target, "by-hand")
    output = difference(rows_by_polars(root), versions[target].good, names)
    return [f"after the rollback to {target}: {output}"] if output else []
