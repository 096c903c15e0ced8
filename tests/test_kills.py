"""Short forms of `make kills` and `make races`; the long ones stand in tests/kills/."""

import subprocess
import sys
from pathlib import Path

KILLS = Path(__file__).parent / "kills"


def last_line(script: str, *words: str) -> str:
    ended = subprocess.run([sys.executable, str(KILLS / script), *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout.strip().splitlines()[-1]


def test_a_run_that_is_killed_anywhere_ends_as_if_it_never_was() -> None:
    output = last_line("kills.py", "--kills", "10")
    assert output.startswith("kills: ")
    assert "all ended with the same" in output


def test_processes_that_race_for_one_ledger_lose_nothing() -> None:
    assert last_line("races.py", "--advances", "60").endswith("none lost, none counted twice")
