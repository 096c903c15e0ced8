"""Two and eight processes promote one resource while rows land: nothing lost, nothing doubled."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kills import wrong
from processes import CONTEXT, Child, Scale, started_by_a_living_process
from synthetic import Truth, engine, generation_rows, land, metadata_of, promoted, write_suite

from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Conflict

SEED = 5


def promote_on(root: Path, number: int, finished: Any, report: Callable[[Any], None]) -> None:
    "Promote whatever has landed until told that no more comes and nothing is due; tell what was published."
    lake, published, conflicts = Lake(str(root)), 0, 0
    with engine() as opened:
        report("ready")
        while started_by_a_living_process():
            last = finished.is_set()  # before the promotion: what landed until then is seen by it
            try:
                done = promoted(lake, opened, number)
            except Conflict:
                conflicts += 1  # said to be run again
                continue
            published += done.outcome == "published"
            if last and done.outcome == "nothing new":
                break
            finished.wait(0.02 if done.outcome == "nothing new" else 0)
    report((published, conflicts))


def race(root: Path, promoters: int, generations: int, tick: Callable[[], None]) -> tuple[int, int, list[str]]:
    "Publications, promotions that gave up, problems."
    write_suite(root / "suites", "readings")
    lake, truth = Lake(str(root)), Truth.empty()
    finished = CONTEXT.Event()
    runners = [
        Child(f"promoter {one} of {promoters}", promote_on, root, 1000 * (1 + one), finished)
        for one in range(promoters)
    ]
    for one in runners:
        assert one.hear() == "ready"
    for generation in range(1, generations + 1):
        rows = generation_rows(SEED, generation, truth.good)
        truth.add(rows)
        before = metadata_of(root)
        land(lake, generation, rows)
        while metadata_of(root) == before:  # all promoters go for this window
            for one in runners:
                one.check()
            time.sleep(0.02)
        tick()
    finished.set()
    found = [one.hear() for one in runners]
    for one in runners:
        one.join()
    published = sum(number for number, _ in found)
    return published, sum(number for _, number in found), wrong(root, truth, published)


def steps(scale: Scale) -> int:
    "Windows, of both races."
    return 6 if scale.short else 80


def prove(folder: Path, scale: Scale, tick: Callable[[], None]) -> tuple[str, list[str]]:
    "One line, and what falls short."
    each, problems, words = steps(scale) // 2, list[str](), []
    for promoters in (2, 8 if not scale.short else 3):
        published, gave_up, output = race(folder / str(promoters), promoters, each, tick)
        problems += [f"{promoters} promoters: {one}" for one in output]
        words.append(
            f"{promoters} promoters {published} publications of {each} windows ({gave_up} gave up after 10 conflicts)"
        )
    return (
        f"races: {', '.join(words)}: {len(problems)} faults, nothing lost, nothing doubled"
        if not problems
        else f"races: {', '.join(words)}: {len(problems)} faults",
        problems,
    )
