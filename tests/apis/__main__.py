"""Read eight fake APIs the whole way; `make apis` runs it. One line for each; exit 1 where a table differs from the server's truth."""

import argparse
import sys
import tempfile
from pathlib import Path

from rounds import prove
from sources import CASES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="API", choices=tuple(CASES), default=tuple(CASES), help=", ".join(CASES)
    )
    options, differs = parser.parse_args(), False
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            line, problems = prove(name, Path(folder))
        print(line, flush=True)
        for output in problems:
            print(f"  DIFFERS: {output}", flush=True)
        differs |= bool(problems)
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
