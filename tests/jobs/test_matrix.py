"""A few mixtures of the fault matrix; `make matrix` has all of it."""

import subprocess
import sys
from pathlib import Path

MATRIX = Path(__file__).parent.parent / "matrix"
LOSES_A_ROW_OF_EACH_PAGE = """
import sys
from dataclasses import replace
from pathlib import Path
import trial
from smartsensor.jobs import extract as room
split = room.split_by_window
room.split_by_window = lambda batch, *rest: tuple(part.slice(1) for part in split(batch, *rest))
print(*trial.run_trial(trial.Plan(), Path(sys.argv[1])).problems, sep="\\n")
"""


def test_mixtures_of_faults_lose_nothing_and_double_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(MATRIX), "--only-mixtures", "--n", "4", "--processes", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 trials" in done.stdout
    assert "0 fell short" in done.stdout


def test_the_matrix_notices_a_client_that_loses_rows(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOSES_A_ROW_OF_EACH_PAGE, str(tmp_path / "lake")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=MATRIX)
    assert "not recovered" in done.stdout
    assert "rows lost" in done.stdout
