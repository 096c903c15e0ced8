"""Every fault alone, and random mixtures of faults, over real HTTP; `make matrix` runs all of it.

First each way of sending requests shows how much of the rate it uses (four minutes, mostly of waiting). Each trial runs extraction against a server that fails, up to three times; then the server is mended, and the runs after that
must end with each row of the source in the table once. Exit 1 where a row is lost, doubled or unreadable.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from budget import prove as prove_budget
from manners import MANNERS
from tqdm import tqdm
from trial import Outcome, Plan, mixture, run_trial, single

from smartsensor.simulator.faults import FAULTS, TOKEN_PATH, Fault

README = Path(__file__).parent / "README.md"
STATUSES = (400, 401, 403, 404, 410, 429, 500, 502, 503, 504)


def singles() -> dict[str, Plan]:
    "Each fault alone; a fault of pages strikes the third page, a bad manner the third to fifth."
    plans = {}
    for kind in FAULTS:
        fault, export = single(kind), kind.startswith("export")
        plans[f"{kind}: {FAULTS[kind].split(';')[0]}"] = Plan((fault if export else moved(fault, 2),), (), export)
    for status in STATUSES:
        value = {
            "status": status,
            "retry_after": 3 if status in (429, 503) else None,
            "form": "date",
            "html": status == 502,
        }
        plans[f"status {status}"] = Plan((moved(single("status"), 2, value),))
    for kind in MANNERS:
        plans[kind] = Plan((), ((kind, 2, 0 if kind.startswith("an endless") else 3),))
    return plans


def moved(fault: Fault, at: int, value: Any = None) -> Fault:
    "The fault at a later request, where there is one."
    at = 0 if fault.on in (TOKEN_PATH, "/measurements/count") else at
    return replace(fault, at=at, value=value or fault.value)


def try_plan(plan: Plan) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return run_trial(plan, Path(folder) / "lake")


def words(outcome: Outcome) -> str:
    "What became of a trial, for the table."
    if outcome.problems:
        return "; ".join(outcome.problems)
    held = f"; the gate holds {outcome.held} windows" if outcome.held else ""
    if not outcome.stops:
        return f"went on{held}"
    return (
        ", ".join(f"{kind} x{times}" if times > 1 else kind for kind, times in Counter(outcome.stops).items())
        + f"; recovered{held}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500, help="mixtures; 500")
    parser.add_argument("--seed", type=int, default=0, help="of the first mixture; the next have the next numbers")
    parser.add_argument("--only-mixtures", action="store_true", help="no fault alone, no rates")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the table to tests/matrix/README.md")
    options = parser.parse_args(argv)
    alone = {} if options.only_mixtures else singles()
    mixed = {f"mixture {seed}": mixture(seed) for seed in range(options.seed, options.seed + options.n)}
    plans = {**alone, **mixed}
    rates, wasteful = prove_budget() if alone else ("", [])
    print(rates)
    with ProcessPoolExecutor(options.processes) as pool:
        found = pool.map(try_plan, plans.values())
        outcomes = dict(zip(plans, tqdm(found, total=len(plans), disable=None, leave=False), strict=True))
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.problems}
    for name, outcome in bad.items():
        print(f"FALLS SHORT: {name} ({plans[name]}): {words(outcome)}", file=sys.stderr)
    if alone:
        print(summary("faults alone", [outcomes[name] for name in alone]))
    print(summary("mixtures", [outcomes[name] for name in mixed]))
    for way in wasteful:
        print(f"FALLS SHORT: {way}", file=sys.stderr)
    if options.write:
        README.write_text(table({name: outcomes[name] for name in alone}, [outcomes[name] for name in mixed], rates))
    return int(bool(bad or wasteful))


def summary(what: str, outcomes: Sequence[Outcome]) -> str:
    stopped = [one for one in outcomes if one.stops]
    return (
        f"{what}: {len(outcomes)} trials, {sum(one.requests for one in outcomes):,} requests; {len(outcomes) - len(stopped)} went on, "
        f"{len(stopped)} stopped with a typed error and recovered at a later run; in {sum(one.held > 0 for one in outcomes)} the gate holds windows; "
        f"{sum(bool(one.problems) for one in outcomes)} fell short"
    )


def table(alone: dict[str, Outcome], mixed: Sequence[Outcome], rates: str) -> str:
    "The README of this folder."
    kinds = Counter(kind for one in mixed for kind in one.stops)
    lines = [f"| {name} | {words(one)} | {one.requests} |" for name, one in alone.items()]
    stops = [f"| {kind} | {times} |" for kind, times in kinds.most_common()]
    return "\n".join(
        [
            "# The fault matrix\n",
            f"{__doc__.splitlines()[0]} Made by `.venv/bin/python tests/matrix --write`.\n",
            "Each trial reads one hour of measurements in three windows of five pages each, under the API's own rate limit. "
            "A run that ends with an error is followed by the next one; after three runs the server is mended. "
            "Each trial then compares the source with the promoted table, key by key, opens each raw file with DuckDB and Polars, "
            "and compares the number of 429s with those that were played.\n",
            f"- {summary('faults alone', list(alone.values()))}",
            f"- {summary('mixtures of one to four faults', mixed)}\n",
            "| fault | what became of it | requests |", "| --- | --- | ---: |", *lines,
            "\n## What ended runs of the mixtures\n", "| error | runs |", "| --- | ---: |", *stops,
            "\n## How much of the rate is used\n",
            "Two minutes of each way, over real HTTP, from the time on when it has settled.\n", rates, "",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
