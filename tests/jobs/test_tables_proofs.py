"""Short form of `make tables`; the long one stands in tests/tables/."""

import subprocess
import sys
from pathlib import Path

import pytest

TABLES = Path(__file__).parent.parent / "tables"


@pytest.mark.parametrize("proof", ["readers", "kills", "races", "month", "amplification", "sizes", "commits"])
def test_what_the_tables_promise_holds_in_the_short_form(proof: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(TABLES), "--short", "--only", proof], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr[-3000:]}"
    assert ended.stdout.splitlines()[-1].startswith(f"{proof}: ")
