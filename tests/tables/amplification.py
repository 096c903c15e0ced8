"""How many rows are written for a row that is new or changed: in order, and with late rows, promoted each hour."""

import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

from processes import CONTEXT, Scale
from synthetic import DAY0, Row, engine, land, promoted, reading, write_suite

from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, files

EACH = 200  # rows an hour
LATE = (0.0, 0.01, 0.05, 0.30)  # share of rows; half of them are new, half are revisions; of any of the days before
GOAL = 2.0


def steps(scale: Scale) -> int:
    "Cases."
    return 2 if scale.short else len(LATE)


def hour_rows(chance: random.Random, hour: int, known: list[Row], late: float) -> list[Row]:
    "The rows of an hour."
    rows, now = list[Row](), DAY0 + timedelta(hours=hour)
    for at in range(EACH):
        if known and chance.random() < late and chance.random() < 0.5:
            place = chance.randrange(len(known))
            old = known[place]
            new = reading(old["reading_id"], hour, old["revision"] + 1, old["measured_at"], 1.0)
            known[place] = new
        else:
            behind = timedelta(hours=chance.randrange(hour + 1) if chance.random() < late / 2 else 0)
            new = reading(f"r-{hour:04}-{at:04}", hour, 1, now - behind + timedelta(seconds=18 * at), 1.0)
            known.append(new)
        new["updated_at"] = now + timedelta(seconds=18 * at)
        rows.append(new)
    return rows


def life(root: Path, late: float, days: int) -> tuple[float, int]:
    "Rows written over rows new or changed; files at the end."
    write_suite(root / "suites", "readings")
    lake, chance, known = Lake(str(root)), random.Random(9), list[Row]()
    tables, written, wanted = Tables(lake), 0, 0
    with engine() as opened:
        for hour in range(24 * days):
            land(lake, hour, hour_rows(chance, hour, known, late))
            done = promoted(lake, opened, hour)
            wanted += done.new + done.updated
            table = tables.find(QUALIFIED, "readings")
            assert table is not None
            snapshot = table.metadata.current_snapshot()
            assert snapshot is not None
            assert snapshot.summary is not None
            written += int(snapshot.summary.additional_properties.get("added-records", 0))
        return written / wanted, len(files(table))


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    days, cases = 1 if scale.short else 30, (0.0, 0.30) if scale.short else LATE
    with ProcessPoolExecutor(2, mp_context=CONTEXT) as pool:
        each = [pool.submit(life, folder / str(late), late, days) for late in reversed(cases)]
        found = []
        for one in reversed(each):
            found.append(one.result())
            tick()
    words = [
        f"{late:.0%} late {ratio:.2f} ({count:,} files)" for late, (ratio, count) in zip(cases, found, strict=True)
    ]
    line = (
        f"amplification: rows written over rows new or changed, {days} days, a promotion an hour, {EACH} rows each: {', '.join(words)}; "
        f"goal {GOAL:g} in order"
    )
    return line, [f"in order {found[0][0]:.2f}"] if found[0][0] > GOAL else []
