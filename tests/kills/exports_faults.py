"""Each fault of an export, in each format and compression: the same bytes as pages, as few jobs as need be, nothing left.

.venv/bin/python tests/kills/exports_faults.py [--only parquet]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "source"))

from test_exports import HOUR, Stand, matrix, tree

from smartsensor.jobs import extract as extract_module
from smartsensor.simulator.faults import Fault
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.world import World
from smartsensor.source.export_jobs import ExportRequest

WAYS = [(form, compression) for form in ("parquet", "ndjson", "csv") for compression in ("none", "gzip")]


def wrong_with(world: World, root: Path, fault: Fault, jobs: int, expected: dict[str, str]) -> str:
    "What is not as it should be; an empty text where all is."
    with Stand(world, root, fault) as stand:
        try:
            stand.extract()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        cost = stand.cost()
        found = {
            "other bytes": tree(stand.lake) != expected,
            f"{cost['created']} jobs for {jobs}": cost["created"] != jobs,
            f"{cost['left']} jobs left": cost["left"] != 0,
            "a handle left": stand.lake.list("state/exports") != [],
            "files left": list(stand.exporter().folder.glob("*")) != [],
        }
    return "; ".join(text for text, holds in found.items() if holds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("parquet", "ndjson", "csv"), help="one format; default all")
    options = parser.parse_args()
    began, world, wrong, runs = time.monotonic(), World(Fleet(revised=0.0)), 0, 0
    with tempfile.TemporaryDirectory() as name:
        with Stand(world, Path(name) / "pages") as stand:
            stand.extract(rows=None)
            expected = tree(stand.lake)
        for form, compression in WAYS:
            if options.only not in (None, form):
                continue
            extract_module.ExportRequest = lambda *fields: ExportRequest(*fields, format=form, compression=compression)  # type: ignore[assignment,misc] # noqa: B023
            for fault, jobs in matrix():
                runs += 1
                output = wrong_with(world, Path(name) / str(runs), fault, jobs, expected)
                if output:
                    wrong += 1
                    print(f"{fault.kind} on {fault.on}, {form}, {compression}: {output}", file=sys.stderr)
    print(
        f"export faults: {len(matrix())} faults x {runs // len(matrix())} ways on window {HOUR}: {runs - wrong} of {runs} "
        f"landed the same bytes as pages and left nothing; {wrong} wrong; {time.monotonic() - began:.0f} s"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
