"""Two and eight processes advance one ledger 1,000 times: no update may be lost, no window counted twice.

`make races` runs it; it ends in one line of figures. Each process reads the newest version, adds one window, and creates the
next version; who comes second is told so, reads again and adds its window to what the other made.
"""

import argparse
import multiprocessing
import tempfile
import time
from datetime import timedelta

from smartsensor.lake import log as module
from smartsensor.lake.lake import Lake
from smartsensor.lake.ledger import Evidence
from smartsensor.lake.store import Conflict
from smartsensor.windows import Window, cut, instant

START = instant("2026-01-01T00:00:00Z")


def evidence(window: Window, run: str) -> Evidence:
    return Evidence(window, run, f"raw/x/_manifests/{run}/{window.key}.json", 7, 7, 7, None, None, "0" * 64, 1)


def advance(root: str, run: str, windows: list[Window], messages: "multiprocessing.Queue[int]") -> None:
    conflicts = 0
    append = module.Log.append

    def counting(log: module.Log, version: int, document: object) -> None:
        nonlocal conflicts
        try:
            append(log, version, document)  # type: ignore[arg-type]
        except Conflict:
            conflicts += 1
            raise

    module.Log.append = counting  # type: ignore[assignment,method-assign]
    lake = Lake(root)
    for window in windows:
        lake.close("x", run, [evidence(window, run)])
    messages.put(conflicts)


def race(processes: int, advances: int) -> tuple[int, float]:
    "Conflicts that were met, and seconds; AssertionError when a window is lost or counted twice."
    windows = list(cut(Window(START, START + timedelta(minutes=advances)), timedelta(minutes=1)))
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    with tempfile.TemporaryDirectory() as root:
        shares = [windows[number::processes] for number in range(processes)]
        runners = [
            context.Process(target=advance, args=(root, f"run-{n}", share, messages)) for n, share in enumerate(shares)
        ]
        began = time.monotonic()
        for one in runners:
            one.start()
        conflicts = sum(messages.get(timeout=600) for _ in runners)
        for one in runners:
            one.join()
        seconds = time.monotonic() - began
        assert [one.exitcode for one in runners] == [0] * processes
        lake = Lake(root)
        newest = lake.ledger("x")
        added = [one.window for version in range(1, newest.version + 1) for one in lake.ledger("x", version).added]
        assert newest.version == advances, f"{newest.version} versions of {advances}"
        assert sorted(added) == windows, "a window was lost or counted twice"
        assert newest.covered == (Window(windows[0].start, windows[-1].end),)
    return conflicts, seconds


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--advances", type=int, default=1000)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 8])
    options = parser.parse_args(argv)
    found = {number: race(number, options.advances) for number in options.processes}
    output = ", ".join(
        f"{number} processes {conflicts} conflicts in {seconds:.0f} s" for number, (conflicts, seconds) in found.items()
    )
    line = f"races: {options.advances:,} advances each: {output}; none lost, none counted twice"
    print(line)
    return line


if __name__ == "__main__":
    main()
