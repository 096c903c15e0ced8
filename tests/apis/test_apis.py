"""A short form of `make apis`: each fake API the whole way, a day later, and under faults with a kill."""

from pathlib import Path

import pytest
from rounds import prove
from sources import CASES


@pytest.mark.parametrize("name", CASES)
def test_the_table_is_the_truth(name: str, tmp_path: Path) -> None:
    line, problems = prove(name, tmp_path)
    assert not problems, line
