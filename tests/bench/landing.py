"""Memory and speed of landing one window of 1, 4 and 10 million rows; `python tests/bench/landing.py` ends in one line of figures.

The source is pages.py, a process of its own. What is measured is the whole process that extracts, by what the system says of
it at its end: its greatest resident set, its time from start to end.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extraction import HERE, measured

LIMIT_MB = 500  # at any number of rows
GROWTH = 1.10  # from the least number of rows to four times as many


@contextmanager
def source(rows: int) -> Iterator[str]:
    command = [sys.executable, str(HERE / "pages.py"), str(rows)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()
            child.wait(10)


def landed(rows: int, folder: Path) -> dict[str, float]:
    "Land so many rows in one window."
    window = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")
    with source(rows) as base_url, tempfile.TemporaryDirectory(dir=folder) as lake:
        found = measured([sys.executable, str(HERE / "ours.py"), base_url, "bench", "none", *window, lake, "1"])
        parts = sorted((Path(lake) / "raw").rglob("*.parquet"))
        found |= {"parts": len(parts), "MB": sum(part.stat().st_size for part in parts) / 1e6}
    assert found["rows"] == rows
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    found = {rows: landed(rows, options.folder) for rows in sorted(options.rows)}
    least = min(found)
    output = [
        f"{rows / 1e6:g} M rows {one['rows'] / one['seconds'] / 1000:.0f} k rows/s, {one['cpu'] / rows * 1e6:.1f} CPU s/M, {one['rss']:.0f} MB RSS ({one['rss'] / found[least]['rss']:.0%}), {one['parts']:.0f} parts of {one['MB'] / one['parts']:.0f} MB"
        for rows, one in found.items()
    ]
    bounded = all(one["rss"] < LIMIT_MB for one in found.values())
    grown = all(one["rss"] <= GROWTH * found[least]["rss"] for rows, one in found.items() if rows <= 4 * least)
    print(
        f"landing one window: {'; '.join(output)}; {'within' if bounded and grown else 'NOT WITHIN'} {LIMIT_MB} MB and {GROWTH - 1:.0%} growth"
    )
    return 0 if bounded and grown else 1


if __name__ == "__main__":
    sys.exit(main())
