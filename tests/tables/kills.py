"""Kill promotion at each of its steps and at each step of its commits; lose the answers of commits; compare with the truth."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from processes import CONTEXT, Scale
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from synthetic import Truth, difference, engine, generation_rows, land, promoted, rows_by_polars, write_suite

from smartsensor.lake.catalogs import QUALIFIED, QUARANTINE, SyncedFileIO
from smartsensor.lake.commits import referenced
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, current, versions

SEED = 11


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a promotion, and when; a kill, or an answer that is lost."""

    at: str  # "staged", "before the catalog", …; "" for nothing
    number: int  # the n-th time that this is reached
    kind: str = "killed"  # "answer lost": the commit landed and the client got an error; "told of a conflict": the same, and a conflict was said

    def __str__(self) -> str:
        return f"{self.kind} {self.at}, time {self.number}"


def _instrument(fault: Fault) -> Counter[str]:
    "Let commits report their steps, and the fault happen; returns how often each step was reached."
    reached: Counter[str] = Counter()

    def at(step: str) -> None:
        reached[step] += 1
        if (step, reached[step]) == (fault.at, fault.number):
            if fault.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise CommitFailedException("told twice") if fault.kind == "told of a conflict" else OSError("no answer")

    def around(owner: Any, name: str, what: str) -> None:
        work = getattr(owner, name)

        def wrapper(*args: Any, **more: Any) -> Any:
            at(f"before {what}")
            result = work(*args, **more)
            at(f"after {what}")
            return result

        setattr(owner, name, staticmethod(wrapper) if name == "_write_metadata" else wrapper)

    around(SqlCatalog, "_write_metadata", "writing metadata")
    around(SqlCatalog, "commit_table", "the catalog's commit")
    around(SyncedFileIO, "new_output", "a file of metadata")
    reached_step[0] = at
    return reached


reached_step: list[Callable[[str], None]] = [lambda step: None]


def promote_once(root: Path, generation: int, fault: Fault, messages: Any) -> None:
    "Promote with a fault; tell the steps, or the error."
    steps = _instrument(fault)
    try:
        with engine() as opened:
            promoted(Lake(str(root)), opened, generation, reached_step[0])
        messages.send((dict(steps), ""))
    except Exception as error:
        messages.send((dict(steps), f"{type(error).__name__}: {error}"))


def in_process(root: Path, generation: int, fault: Fault) -> tuple[dict[str, int], str] | None:
    "Promote in another process; None where it was killed."
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=promote_once, args=(root, generation, fault, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        output: tuple[dict[str, int], str] = ours.recv()
    except EOFError:
        return None
    finally:
        process.join()
    return output


NOTHING = Fault("", 0)


def trial(folder: Path, first: Fault, second: Fault) -> tuple[list[dict[str, int]], list[str], int]:
    "Promote two generations, each with a fault and then again without: steps that were reached, problems, processes killed."
    root, truth, steps, killed, problems = (
        Path(mkdtemp(dir=folder)),
        Truth.empty(),
        list[dict[str, int]](),
        0,
        list[str](),
    )
    write_suite(root / "suites", "readings")
    lake = Lake(str(root))
    for generation, fault in ((1, first), (2, second)):
        rows = generation_rows(SEED, generation, truth.good)
        truth.add(rows)
        land(lake, generation, rows)
        output = in_process(root, generation, fault)
        killed += output is None
        steps.append(output[0] if output else {})
        if output is None or output[1]:
            again = in_process(root, generation, NOTHING)
            assert again is not None
            problems += [f"the second start: {again[1]}"] * bool(again[1])
    return steps, [f"{first}; {second}: {one}" for one in (*problems, *wrong(root, truth, 2))], killed


def wrong(root: Path, truth: Truth, publications: int) -> list[str]:
    "What is not as it must be in a lake, in words."
    tables = Tables(Lake(str(root)))
    table, aside = tables.find(QUALIFIED, "readings"), tables.find(QUARANTINE, "readings")
    assert table is not None
    assert aside is not None
    problems = []
    for place in (table, aside):
        try:
            missing = [path for path in referenced(place) if not Path(path).exists()]
        except FileNotFoundError as error:
            return [f"{place.name()[-1]} can't be read: {error}"]
        if missing:
            return [f"{len(missing)} files are gone that {place.name()[-1]} refers to"]
    problems += [
        difference(rows_by_polars(root), truth.good),
        difference(rows_by_polars(root, "quarantine_readings"), truth.bad),
    ]
    if current(table).number != publications or len(versions(table)) != publications:
        problems.append(f"{len(versions(table))} versions of {publications} publications")
    return [one for one in problems if one]


def faults(steps: dict[str, int]) -> list[Fault]:
    "A kill at each step, and each answer of the catalog lost in two ways."
    kills = [Fault(step, at) for step, times in steps.items() for at in range(1, times + 1)]
    lost = [
        Fault(one.at, one.number, kind)
        for one in kills
        if one.at == "after the catalog's commit"
        for kind in ("answer lost", "told of a conflict")
    ]
    return kills + lost


def _kills(pair: tuple[Fault, Fault]) -> bool:
    return all(fault.kind == "killed" for fault in pair)


def steps(scale: Scale) -> int:
    "Trials, about."
    return 8 if scale.short else 90


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    (first, second), problems, _ = trial(folder, NOTHING, NOTHING)
    work = [(fault, NOTHING) for fault in faults(first)] + [(NOTHING, fault) for fault in faults(second)]
    if scale.short:  # the lost answers, and some kills
        work = [one for one in work if not _kills(one)][::3] + [one for one in work if _kills(one)][:: len(work) // 4]
    killed = 0

    def one(pair: tuple[Fault, Fault]) -> tuple[list[dict[str, int]], list[str], int]:
        done = trial(folder, *pair)
        tick()
        return done

    with ThreadPoolExecutor(2) as pool:
        for _, output, dead in pool.map(one, work):
            problems += output
            killed += dead
    wanted = sum(map(_kills, work))
    if killed != wanted:
        problems.append(f"{killed} of {wanted} processes were killed")
    line = (
        f"kills: {killed} promotions killed, each step and each write of a commit once, {len(work) - wanted} answers of the catalog lost: "
        f"{len(problems)} tables with a row lost, doubled or other"
    )
    return line, problems
