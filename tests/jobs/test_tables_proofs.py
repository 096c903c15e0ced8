"""Short form of `make tables`; the long one stands in tests/tables/."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tables.processes import Child, ChildFailed

TABLES = Path(__file__).parent.parent / "tables"


@pytest.mark.parametrize("proof", ["readers", "kills", "races", "month", "amplification", "sizes", "commits"])
def test_what_the_tables_promise_holds_in_the_short_form(proof: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(TABLES), "--short", "--only", proof], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr[-3000:]}"
    assert ended.stdout.splitlines()[-1].startswith(f"{proof}: ")


def fail(report: Callable[[Any], None]) -> None:
    report("ready")
    raise ValueError("the disk is full")


def die(report: Callable[[Any], None]) -> None:
    report("ready")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("work", "output"), [(fail, "ValueError: the disk is full"), (die, "one ended with -9 before it had told all")]
)
def test_a_process_that_fails_or_dies_is_heard_at_once(work: Callable[..., None], output: str) -> None:
    child = Child("one", work)
    assert child.hear() == "ready"
    with pytest.raises(ChildFailed, match=output):
        child.hear()
    child.join()
    with pytest.raises(ChildFailed, match="one ended"):
        child.check()
