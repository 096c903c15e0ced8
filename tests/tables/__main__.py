"""Prove what the tables promise; `make tables` runs all of it. One line for each proof; exit 1 where one falls short."""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

from processes import Scale
from tqdm import tqdm

PROOFS = ("readers", "kills", "races", "month", "amplification", "sizes", "commits")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="PROOF", choices=PROOFS, default=PROOFS, help=", ".join(PROOFS))
    parser.add_argument(
        "--short", action="store_true", help="few rounds, for the tests: no figure is compared with a goal"
    )
    parser.add_argument("--large", action="store_true", help="20 million rows and 10,000 commits as well")
    parser.add_argument("--spark", action="store_true", help="the same promotion on Spark, once")
    options = parser.parse_args()
    os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")  # else each process of a reader warns that it does so
    scale, fell_short = Scale(options.short, options.large, options.spark), False
    for name in options.only:
        proof = importlib.import_module(name)
        with (
            tempfile.TemporaryDirectory() as folder,
            tqdm(total=proof.steps(scale), desc=name, leave=False, disable=None) as bar,
        ):
            line, problems = proof.prove(Path(folder), scale, bar.update)
        print(line, flush=True)
        for output in problems[:10]:
            print(f"  FALLS SHORT: {output}", flush=True)
        fell_short |= bool(problems)
    return int(fell_short)


if __name__ == "__main__":
    sys.exit(main())
