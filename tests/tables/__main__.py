"""Prove what the tables promise; `make tables` runs all of it. One line for each proof; exit 1 where one falls short."""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

PROOFS = ("readers", "kills", "races", "month", "amplification", "sizes", "commits")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PROOFS, default=PROOFS, help="which proofs")
    parser.add_argument("--short", action="store_true", help="few rounds, for the tests: no figure is compared with a goal")
    options = parser.parse_args()
    short = 0
    for name in options.only:
        proof = importlib.import_module(name)
        with (
            tempfile.TemporaryDirectory() as folder,
            tqdm(total=proof.STEPS[options.short], desc=name, leave=False, disable=None) as bar,
        ):
            line, problems = proof.prove(Path(folder), options.short, bar.update)
        print(line, flush=True)
        for said in problems[:10]:
            print(f"  FALLS SHORT: {said}", flush=True)
        short += bool(problems)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
